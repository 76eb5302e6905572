"""Sentences with invented personal data and with what only looks like it, for measuring.

English and Chinese, every value in a place that is known. Values are random; some may exist. The
sentences say what a thing is in many ways or not at all, and half of them hold look-alikes: version
and order numbers, dates, ISBNs, hashes, coordinates, prices, timestamps, file names, decorators.
"""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from chatwright.curate.privacy.kinds import PatternType
from chatwright.curate.privacy.numbers import IBAN_LENGTHS, id_check, luhn, mod97
from chatwright.curate.privacy.synthetic_sentences import EN, EN_LOOKALIKES, ZH, ZH_LOOKALIKES

Value = Callable[[random.Random], str]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its personal data: `(start, end, type)`, characters, by position."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def labelled_texts(seed: int, count: int, language: str) -> list[Labelled]:
    """`count` texts of one to four sentences in `en` or `zh`; the same seed gives the same."""
    chance = random.Random(f"{seed}-{language}")
    return [_text(chance, language) for _ in range(count)]


def _text(chance: random.Random, language: str) -> Labelled:
    positive, negative = (EN, EN_LOOKALIKES) if language == "en" else (ZH, ZH_LOOKALIKES)
    parts: list[str] = []
    spans: list[tuple[int, int, str]] = []
    length = 0
    for _ in range(chance.randint(1, 4)):
        if chance.random() < 0.5:
            template = chance.choice(negative)
        else:
            template = chance.choice(positive[chance.choice(sorted(positive))])
        for piece, kind in _filled(chance, template):
            if kind:
                spans.append((length, length + len(piece), kind))
            parts.append(piece)
            length += len(piece)
        end = "" if language == "zh" else " " if template[-1] in ".!?" else "\n"
        parts.append(end)
        length += len(end)
    return Labelled("".join(parts), tuple(spans))


def _filled(chance: random.Random, template: str) -> list[tuple[str, str]]:
    """A template's pieces; the values of personal data with their type."""
    out: list[tuple[str, str]] = []
    for literal, name, _, _ in string.Formatter().parse(template):
        out.append((literal, ""))
        if name:
            out.append((_VALUES[name](chance), _TYPES.get(name, "")))
    return out


def _digits(chance: random.Random, n: int) -> str:
    return "".join(chance.choice("0123456789") for _ in range(n))


def _hex(chance: random.Random, n: int) -> str:
    return "".join(chance.choice("0123456789abcdef") for _ in range(n))


def _alnum(chance: random.Random, n: int) -> str:
    return "".join(chance.choice(string.ascii_letters + string.digits) for _ in range(n))


def _email(chance: random.Random) -> str:
    local = chance.choice(
        ["li.wei", "john_smith", "a.b-c", "zhangwei", "m", "info", "Maria.Lopez", "x99", "test+tag"]
    )
    host = chance.choice(
        [
            "163.com",
            "qq.com",
            "example.com",
            "mail.uni-bonn.de",
            "gmail.com",
            "corp.co.uk",
            "tsinghua.edu.cn",
        ]
    )
    return f"{local}{chance.choice(['', str(chance.randint(1, 9999))])}@{host}"


def _cn_mobile(chance: random.Random) -> str:
    number = "1" + chance.choice(["38", "39", "50", "86", "77", "99", "31"]) + _digits(chance, 8)
    parts = number[:3], number[3:7], number[7:]
    shape = chance.randrange(6)
    plain = number if shape < 3 else (" " if shape == 3 else "-").join(parts)
    return {4: "+86 " + number, 5: "+86-" + "-".join(parts)}.get(shape, plain)


def _cn_fixed(chance: random.Random) -> str:
    area = chance.choice(["010", "021", "0755", "0571", "028"])
    number = chance.choice("68") + _digits(chance, 7)
    return chance.choice(
        [f"{area}-{number}", f"({area}){number}", f"{area}-{number}转{chance.randint(100, 9999)}"]
    )


def _us_phone(chance: random.Random) -> str:
    area = chance.choice(["212", "415", "312", "617", "202", "512"])
    middle, last = f"{chance.randint(200, 999)}", _digits(chance, 4)
    if middle[1:] == "11":
        middle = "555"
    return chance.choice(
        [
            f"({area}) {middle}-{last}",
            f"{area}-{middle}-{last}",
            f"+1 {area} {middle} {last}",
            f"{area}.{middle}.{last}",
            f"1-{area}-{middle}-{last}",
            f"{area}-{middle}-{last} ext. {chance.randint(10, 999)}",
        ]
    )


def _foreign_phone(chance: random.Random) -> str:
    import phonenumbers

    region = chance.choice(["GB", "DE", "FR", "JP", "AU", "SG", "HK", "BR", "IN"])
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert number is not None and number.national_number is not None
    base = number.national_number
    for _ in range(20):
        number.national_number = base - base % 10_000 + chance.randrange(10_000)
        if phonenumbers.is_valid_number(number):
            break
    style = chance.choice(
        [phonenumbers.PhoneNumberFormat.E164, phonenumbers.PhoneNumberFormat.INTERNATIONAL]
    )
    return str(phonenumbers.format_number(number, style))


def _id_card(chance: random.Random) -> str:
    region = chance.choice(["110105", "310104", "440305", "510107", "330106", "620102"])
    born = f"{chance.randint(1940, 2012)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
    first = region + born + _digits(chance, 3)
    last = id_check(first)
    return first + (last.lower() if chance.random() < 0.2 else last)


def _bank_card(chance: random.Random) -> str:
    prefix, length = chance.choice(
        [
            ("4", 16),
            ("5412", 16),
            ("2221", 16),
            ("371", 15),
            ("6011", 16),
            ("622848", 19),
            ("621700", 19),
            ("3530", 16),
        ]
    )
    digits = prefix + _digits(chance, length - len(prefix) - 1)
    digits += next(str(c) for c in range(10) if luhn(digits + str(c)))
    if length == 15:
        return chance.choice([digits, f"{digits[:4]} {digits[4:10]} {digits[10:]}"])
    join = chance.choice(["", " ", " ", "-"])
    return join.join(digits[i : i + 4] for i in range(0, length, 4))


def _iban(chance: random.Random) -> str:
    country = chance.choice(["DE", "GB", "FR", "NL", "ES", "CH"])
    length = IBAN_LENGTHS[country] - 4
    bank = (
        "".join(chance.choice(string.ascii_uppercase) for _ in range(4))
        if country in ("GB", "NL")
        else ""
    )
    rest = bank + _digits(chance, length - len(bank))
    iban = f"{country}{98 - mod97(f'{country}00{rest}'):02}{rest}"
    return (
        iban if chance.random() < 0.5 else " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))
    )


def _ssn(chance: random.Random) -> str:
    area = chance.choice([chance.randint(1, 665), chance.randint(667, 899)])
    return f"{area:03}-{chance.randint(1, 99):02}-{chance.randint(1, 9999):04}"


def _ip(chance: random.Random) -> str:
    if chance.random() < 0.25:
        if chance.random() < 0.5:
            return ":".join("a" + _hex(chance, 3) for _ in range(7)) + ":1"
        start = chance.choice(["2001:db8", "fe80", "2a00:1450:4001"])
        return f"{start}:a{_hex(chance, 3)}:{chance.randint(1, 9)}::{_hex(chance, 2)}1"
    first = chance.choice([10, 192, 172, 8, 47, 120, 203, 81])
    return f"{first}.{chance.randint(0, 255)}.{chance.randint(10, 255)}.{chance.randint(1, 254)}"


def _mac(chance: random.Random) -> str:
    pairs = [_hex(chance, 2) for _ in range(6)]
    text = chance.choice([":", "-"]).join(["3c", *pairs[1:]])
    return text.upper() if chance.random() < 0.5 else text


def _passport(chance: random.Random) -> str:
    return chance.choice(
        [
            "E" + _digits(chance, 8),
            "G" + _digits(chance, 8),
            "EA" + _digits(chance, 7),
            "C" + _digits(chance, 8),
        ]
    )


def _plate(chance: random.Random) -> str:
    start = chance.choice("京沪粤浙川苏鲁豫") + chance.choice("ABCDEF")
    dot = chance.choice(["", "", "\u00b7"])
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    body = chance.choice(
        [
            _digits(chance, 5),
            chance.choice(letters) + _digits(chance, 4),
            _digits(chance, 3) + chance.choice(letters) + _digits(chance, 1),
        ]
    )
    green = chance.choice("DF") + _digits(chance, 5)
    return start + dot + (green if chance.random() < 0.3 else body)


def _wechat(chance: random.Random) -> str:
    return (
        chance.choice(["wx_", "li", "sunny-", "Amy", "zhang_"])
        + _alnum(chance, 4).lower()
        + str(chance.randint(10, 999))
    )


def _qq(chance: random.Random) -> str:
    return str(chance.randint(10_000_0, 4_000_000_000))


def _api_key(chance: random.Random) -> str:
    make = chance.choice(
        [
            lambda: "sk-proj-" + _alnum(chance, 48),
            lambda: "ghp_" + _alnum(chance, 36),
            lambda: "AKIA" + _alnum(chance, 16).upper(),
            lambda: "AIza" + _alnum(chance, 35),
            lambda: "hf_" + _alnum(chance, 34),
            lambda: "LTAI" + _alnum(chance, 20),
            lambda: f"xoxb-{_digits(chance, 11)}-{_digits(chance, 12)}-{_alnum(chance, 24)}",
            lambda: "glpat-" + _alnum(chance, 20),
        ]
    )
    return make()


def _private_key(chance: random.Random) -> str:
    kind = chance.choice(["RSA ", "EC ", "", "OPENSSH "])
    lines = "\n".join(_alnum(chance, 64) for _ in range(chance.randint(2, 12)))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


def _address_en(chance: random.Random) -> str:
    street = chance.choice(
        ["Maple", "Oak Hill", "King", "Washington", "Elm", "St. James", "Lakeview"]
    )
    kind = chance.choice(["Street", "Ave", "Road", "Lane", "Blvd", "Drive", "Court"])
    unit = chance.choice(["", "", ", Apt 4B", ", Suite 210"])
    town = chance.choice(["", "", ", Springfield, IL 62704", ", Portland, OR 97205"])
    return f"{chance.randint(1, 9999)} {street} {kind}{unit}{town}"


def _address_zh(chance: random.Random) -> str:
    start = chance.choice(
        [
            "北京市朝阳区",
            "上海市徐汇区",
            "广东省深圳市南山区",
            "浙江省杭州市西湖区",
            "成都市武侯区",
            "南京市鼓楼区",
        ]
    )
    road = chance.choice(
        ["建国路", "漕溪北路", "科技南十二路", "文三路", "人民南路四段", "中山北大街"]
    )
    tail = chance.choice(["", "", "3号楼", "2单元301室", "5栋1202室", "8层"])
    return f"{start}{road}{chance.randint(1, 1999)}号{tail}"


def _isbn(chance: random.Random) -> str:
    first = "978" + _digits(chance, 9)
    check = (10 - sum(int(c) * (1, 3)[i % 2] for i, c in enumerate(first)) % 10) % 10
    digits = first + str(check)
    return chance.choice(
        [digits, f"{digits[:3]}-{digits[3]}-{digits[4:8]}-{digits[8:12]}-{digits[12]}"]
    )


def _date(chance: random.Random) -> str:
    y, m, d = chance.randint(1950, 2026), chance.randint(1, 12), chance.randint(1, 28)
    return chance.choice(
        [
            f"{y}-{m:02}-{d:02}",
            f"{m}/{d}/{y}",
            f"{y}{m:02}{d:02}",
            f"{d}.{m}.{y}",
            f"{y}-{m:02}-{d:02} {d:02}:{m:02}:{d:02}",
        ]
    )


_VALUES: dict[str, Value] = {
    "email": _email,
    "cn_mobile": _cn_mobile,
    "cn_fixed": _cn_fixed,
    "us_phone": _us_phone,
    "foreign_phone": _foreign_phone,
    "id_card": _id_card,
    "bank_card": _bank_card,
    "iban": _iban,
    "ssn": _ssn,
    "ip": _ip,
    "mac": _mac,
    "passport": _passport,
    "plate": _plate,
    "wechat": _wechat,
    "qq": _qq,
    "api_key": _api_key,
    "private_key": _private_key,
    "address_en": _address_en,
    "address_zh": _address_zh,
    # What only looks like it.
    "version": lambda c: ".".join(str(c.randint(0, 30)) for _ in range(c.randint(3, 4))),
    "order": lambda c: c.choice(["", "SO-", "2024"]) + _digits(c, c.randint(9, 13)),
    "order_cn_like": lambda c: "13" + _digits(c, 9),
    "tracking": lambda c: c.choice(["SF", "YT", "1Z"]) + _digits(c, 13),
    "date": _date,
    "isbn": _isbn,
    "md5": lambda c: _hex(c, 32),
    "sha": lambda c: _hex(c, 40),
    "uuid": lambda c: str(uuid.UUID(int=c.getrandbits(128), version=4)),
    "place": lambda c: f"{c.uniform(-89, 89):.6f}, {c.uniform(-179, 179):.6f}",
    "price": lambda c: f"{c.randint(1, 9_999_999):,}.{_digits(c, 2)}",
    "amount": lambda c: str(c.randint(10_000_000, 99_999_999)),
    "stamp": lambda c: str(c.randint(1_500_000_000, 1_800_000_000)),
    "stamp_ms": lambda c: str(c.randint(1_500_000_000_000, 1_800_000_000_000)),
    "time": lambda c: f"{c.randint(0, 23):02}:{c.randint(0, 59):02}:{c.randint(0, 59):02}",
    "number": lambda c: str(c.randint(2, 999)),
    "colour": lambda c: "#" + _hex(c, 6),
    "arxiv": lambda c: f"{c.randint(10, 26)}{c.randint(1, 12):02}.{_digits(c, 5)}",
    "fingerprint": lambda c: ":".join(_hex(c, 2).upper() for _ in range(20)),
    "years": lambda c: f"{c.randint(1900, 1999)}-{c.randint(2000, 2026)}",
    "part": lambda c: f"{_alnum(c, 2).upper()}-{_digits(c, 4)}-{_digits(c, 3)}",
}
_TYPES: dict[str, PatternType] = {
    "email": "email",
    "cn_mobile": "phone",
    "cn_fixed": "phone",
    "us_phone": "phone",
    "foreign_phone": "phone",
    "id_card": "id_card",
    "bank_card": "bank_card",
    "iban": "iban",
    "ssn": "us_ssn",
    "ip": "ip",
    "mac": "mac",
    "passport": "passport",
    "plate": "car_plate",
    "wechat": "social",
    "qq": "social",
    "api_key": "api_key",
    "private_key": "private_key",
    "address_en": "address",
    "address_zh": "address",
}
