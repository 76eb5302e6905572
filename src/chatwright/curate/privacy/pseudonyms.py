"""Invented values in the place of real ones: the same for the same value, and nobody's."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from chatwright.curate.privacy.kinds import PiiType
from chatwright.curate.privacy.numbers import id_check, luhn, mod97
from chatwright.curate.privacy.view import digits_of

_BASE32 = "abcdefghijkmnpqrstuvwxyz23456789"  # without l, o, 0 and 1, which are read for each other
_ONSETS_WORDS = "B Br C D Dr F G Gr H J K L M N P R S St T Tr V W"
_ONSETS = _ONSETS_WORDS.split()
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea"]
_CODAS = ["l", "m", "n", "r", "s", "x", "nd", "lt", "ren", "len", "vik", "ton", "ris", "mar", "den"]
_SURNAMES = (
    "赵钱孙李周吴郑王冯陈蒋沈韩杨朱秦许何吕张孔曹严魏陶姜谢邹苏潘葛范彭鲁韦马方任袁柳"
    "唐费薛雷贺汤罗毕郝安常傅卞齐元顾孟黄穆萧尹姚邵汪"
)
_GIVEN = (
    "若云思远景行子衿知夏书宁清和亦然望舒星野南乔北辰松亭竹溪青禾以沫安歌念初明谦怀瑾"
    "予白听澜晚舟乐山见微如初千帆一诺"
)
_COMPOUND = ("欧阳", "司马", "上官", "诸葛", "东方", "皇甫", "慕容", "司徒", "夏侯")
_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋陕吉闽贵粤青藏川宁琼"


class _Numbers:
    """Numbers without end from one digest: HMAC-SHA256 of the value, then of a counter."""

    def __init__(self, key: bytes, text: str) -> None:
        self._key = hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
        self._pool = int.from_bytes(self._key, "big")
        self._left = 256
        self._block = 0

    def below(self, n: int) -> int:
        """A number 0 … n - 1, n at most 2**64."""
        if self._left < 80:
            self._block += 1
            digest = hmac.new(self._key, self._block.to_bytes(4, "big"), hashlib.sha256).digest()
            self._pool, self._left = int.from_bytes(digest, "big"), 256
        taken = self._pool & ((1 << 80) - 1)  # 16 bits more than n: the bias is below 2**-16
        self._pool >>= 80
        self._left -= 80
        return taken % n

    def digits(self, n: int) -> str:
        return "".join(str(self.below(10)) for _ in range(n))

    def letters(self, n: int, alphabet: str = _BASE32) -> str:
        return "".join(alphabet[self.below(len(alphabet))] for _ in range(n))


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """What stands for a value under a key: the same value has the same pseudonym everywhere.

    Who has no key cannot tell which value it was; who has it can test guesses. The values are of
    kinds that are given to nobody: example.com (RFC 2606), 555-01xx numbers, 12x mobiles in China,
    card numbers from 9999, ID cards of region 99, IBANs of XX, 240.0.0.0/4, 2001:db8::/32 (RFC
    3849), locally administered MACs, SSNs with group 00. Small ranges (555-01xx with 800 area
    codes: 80,000 numbers) let two values share a pseudonym now and then.
    """

    key: bytes = field(repr=False)

    def of(self, kind: PiiType, value: str, original: str) -> str:
        """The pseudonym of a canonical `value`, in the form of its spelling `original`."""
        if kind == "private_key":
            return "[PRIVATE_KEY]"
        if kind == "name":
            return self._name(original)
        return _MAKERS[kind](_Numbers(self.key, f"{kind}\0{value}"), value, original)

    def _name(self, original: str) -> str:
        """Part by part, so that "Ada Lovelace" and "Lovelace" go on being one family."""
        if re.search("[\u4e00-\u9fff]", original):
            family = next((c for c in _COMPOUND if original.startswith(c)), original[:1])
            given = original[len(family) :]
            chosen = _Numbers(self.key, f"family\0{family}").letters(1, _SURNAMES)
            if not given:
                return chosen
            return chosen + _chars(_Numbers(self.key, f"given\0{given}"), len(given))
        return re.sub(r"[^\W\d_]+", self._part, original)

    def _part(self, m: re.Match[str]) -> str:
        part = m[0]
        word = _word(_Numbers(self.key, f"name\0{part.lower()}"))
        if len(part) == 1:
            return word[0] if part.isupper() else word[0].lower()
        return word.upper() if part.isupper() else word.lower() if part.islower() else word


def _word(numbers: _Numbers) -> str:
    """An invented name of two syllables, one of some 250,000."""
    out = _ONSETS[numbers.below(len(_ONSETS))] + _VOWELS[numbers.below(len(_VOWELS))]
    out += _ONSETS[numbers.below(len(_ONSETS))].lower() + _VOWELS[numbers.below(5)]
    return out + _CODAS[numbers.below(len(_CODAS))]


def _chars(numbers: _Numbers, n: int) -> str:
    return numbers.letters(n, _GIVEN)


def _fill(original: str, digits: str) -> str:
    """The original with other digits in its own grouping; digits that are left over are cut."""
    left = iter(digits)
    return "".join(next(left, "0") if c.isdecimal() else c for c in original)


def _phone(numbers: _Numbers, value: str, original: str) -> str:
    shown = len(digits_of(_ascii(original)))
    if value.startswith("+1") and len(value) == 12:
        area = str(200 + numbers.below(800))
        national = f"{area}55501{numbers.digits(2)}"
    elif re.fullmatch(r"\+861[3-9][0-9]{9}", value):
        national = "12" + numbers.digits(9)
    else:
        return _fill(original, _unassigned(numbers, value, _ascii(original), shown))
    extension = shown - len(national)
    if extension <= 0:
        return _fill(original, national)
    digits = digits_of(_ascii(original))
    prefix = _prefix_length(digits, value)
    return _fill(original, digits[:prefix] + national + numbers.digits(max(0, extension - prefix)))


def _prefix_length(digits: str, value: str) -> int:
    """How many digits of a spelling stand before the national number: 1, 001, 86, 0086."""
    code = "1" if value.startswith("+1") else "86"
    for prefix in (f"00{code}", code):
        if digits.startswith(prefix) and len(digits) >= len(value) - 1:
            return len(prefix)
    return 0


def _unassigned(numbers: _Numbers, value: str, original: str, shown: int) -> str:
    """Digits for a number that libphonenumber calls valid nowhere; a country's code stays."""
    import phonenumbers

    digits = digits_of(original)
    keep = 0
    if value.startswith("+") and "+" in original:
        try:
            keep = len(str(phonenumbers.parse(value, None).country_code))
        except phonenumbers.NumberParseException:
            keep = 0
    elif digits.startswith("0"):
        keep = 1
    for _ in range(32):
        made = digits[:keep] + numbers.digits(shown - keep)
        try:
            parsed = phonenumbers.parse(f"+{made}", None)
        except phonenumbers.NumberParseException:
            return made
        if not phonenumbers.is_valid_number(parsed):
            return made
    return digits[:keep] + "0" * (shown - keep)


def _id_card(numbers: _Numbers, value: str, original: str) -> str:
    plain = _ascii(original)
    if not re.fullmatch(r"[0-9 -]+[0-9Xx]", plain) or len(digits_of(plain)) < 15:
        return _shaped(numbers, plain, first="X")
    year, month, day = 1900 + numbers.below(100), 1 + numbers.below(12), 1 + numbers.below(28)
    seventeen = f"99{numbers.digits(4)}{year}{month:02}{day:02}{numbers.digits(3)}"
    made = iter(seventeen + id_check(seventeen))
    return "".join(next(made, "0") if c.isalnum() else c for c in plain)


def _ip(numbers: _Numbers, value: str, original: str) -> str:
    if ":" in value:
        return str(
            IPv6Address(
                (0x20010DB8 << 96) + (numbers.below(1 << 48) << 48) + numbers.below(1 << 48)
            )
        )
    low = numbers.below((1 << 28) - 2) + 1
    return ".".join(str(part) for part in (0xF0000000 + low).to_bytes(4, "big"))


def _mac(numbers: _Numbers, value: str, original: str) -> str:
    made = f"02{numbers.below(1 << 40):010x}"
    left = iter(made.upper() if original.upper() == original else made)
    return "".join(next(left) if c.isalnum() else c for c in original)


def _iban(numbers: _Numbers, value: str, original: str) -> str:
    rest = "".join(
        str(numbers.below(10)) if c.isdecimal() else numbers.letters(1, "ABCDEFGHJKMNPQRSTUVW")
        for c in value[4:]
    )
    check = 98 - mod97(f"XX00{rest}")
    left = iter(f"XX{check:02}{rest}")
    return "".join(next(left) if c.isalnum() else c for c in original)


def _shaped(numbers: _Numbers, original: str, first: str) -> str:
    """Letters for letters and digits for digits; the first letter is one that is not given out."""
    out: list[str] = []
    for c in _ascii(original):
        if c.isdecimal():
            out.append(str(numbers.below(10)))
        elif c.isalpha():
            letter = (
                first
                if not any(o.isalpha() for o in out)
                else numbers.letters(1, "ABCDEFGHJKLMNPQRSTUVWXYZ")
            )
            out.append(letter if c.isupper() else letter.lower())
        else:
            out.append(c)
    return "".join(out)


def _plate(numbers: _Numbers, value: str, original: str) -> str:
    """China's plates never have the letter I: the second character is one."""
    if original[:1] in _PROVINCES and original[1:2].isalpha():
        return _PROVINCES[numbers.below(len(_PROVINCES))] + _shaped(
            numbers, original[1:], first="I"
        )
    return _shaped(numbers, original, first="I")


def _account(numbers: _Numbers, value: str, original: str) -> str:
    plain = _ascii(original)
    if plain.isdecimal():
        return "0" + numbers.digits(len(plain) - 1)  # a QQ number never starts with 0
    return f"{'@' if plain.startswith('@') else ''}user_{numbers.letters(8)}"


def _address(numbers: _Numbers, value: str, original: str) -> str:
    number = 1 + numbers.below(998)
    if re.search("[\u4e00-\u9fff]", original):
        return f"{_chars(numbers, 2)}路{number}号"
    return f"{number} {_word(numbers)} Street"


def _place(numbers: _Numbers, value: str, original: str) -> str:
    return _word(numbers) if original.isascii() else f"{_chars(numbers, 2)}镇"


def _organisation(numbers: _Numbers, value: str, original: str) -> str:
    return f"{_word(numbers)} Company" if original.isascii() else f"{_chars(numbers, 2)}公司"


def _ascii(text: str) -> str:
    from chatwright.curate.privacy.view import View

    return View(text).text


def _email(numbers: _Numbers, value: str, original: str) -> str:
    return f"{_word(numbers).lower()}.{numbers.letters(6)}@example.com"


def _bank_card(numbers: _Numbers, value: str, original: str) -> str:
    digits = "9999" + numbers.digits(len(value) - 5)
    return _fill(original, next(d for c in range(10) if luhn(d := f"{digits}{c}")))


def _us_ssn(numbers: _Numbers, value: str, original: str) -> str:
    return _fill(original, f"9{numbers.digits(2)}00{numbers.digits(4)}")


def _passport(numbers: _Numbers, value: str, original: str) -> str:
    return _shaped(numbers, original, first="X")


def _api_key(numbers: _Numbers, value: str, original: str) -> str:
    return f"example-key-{numbers.letters(16)}"


_MAKERS: dict[PiiType, Callable[[_Numbers, str, str], str]] = {
    "email": _email,
    "phone": _phone,
    "id_card": _id_card,
    "bank_card": _bank_card,
    "ip": _ip,
    "mac": _mac,
    "iban": _iban,
    "us_ssn": _us_ssn,
    "passport": _passport,
    "car_plate": _plate,
    "social": _account,
    "api_key": _api_key,
    "address": _address,
    "place": _place,
    "organisation": _organisation,
}
