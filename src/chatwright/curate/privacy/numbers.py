"""Numbers with a form or checksum of their own: bank cards, IBANs, ID cards, US SSNs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.view import View, digits_of

_CARD = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9][.,])(?:"
    r"[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{1,3})?"
    r"|3[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5}"
    r"|[0-9]{6}([ -])[0-9]{10,13}"
    r"|[0-9]{12,19})(?![0-9A-Za-z_]|[.,][0-9])"
)
# Issuers by the first digits (ISO/IEC 7812 as the networks publish them): low, high, lengths.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = (
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("300", "305", frozenset({14, 16, 19})),  # Diners Club
    ("3095", "3095", frozenset({14, 16, 19})),
    ("36", "36", frozenset({14, 16, 19})),
    ("38", "39", frozenset({14, 16, 19})),
    ("3528", "3589", frozenset({16, 17, 18, 19})),  # JCB
    ("2131", "2131", frozenset({15})),
    ("1800", "1800", frozenset({15})),
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),
    ("2200", "2204", frozenset({16, 17, 18, 19})),  # Mir
    ("6011", "6011", frozenset({16, 19})),  # Discover
    ("644", "649", frozenset({16, 19})),
    ("65", "65", frozenset({16, 19})),
    ("60", "60", frozenset({16})),  # RuPay
    ("62", "62", frozenset({16, 17, 18, 19})),  # UnionPay
    ("81", "82", frozenset({16, 17, 18, 19})),
    ("95", "95", frozenset({16, 17, 18, 19})),  # cards of Chinese banks before UnionPay's 62
    ("50", "50", frozenset(range(12, 20))),  # Maestro
    ("56", "58", frozenset(range(12, 20))),
    ("63", "63", frozenset(range(12, 20))),
    ("67", "67", frozenset(range(12, 20))),
)
_CARD_WORDS = re.compile(
    r"(?<![a-z])(?:cards?|cc)(?![a-z])|visa|master ?card|amex"
    r"|american express|maestro|union ?pay|debit|credit"
    r"|卡号|银行卡|信用卡|储蓄卡|借记卡|账号|帐号|账户|打款|转账"
)
OTHER_NUMBER = re.compile(
    r"(?:(?<![a-z])(?:order|invoice|tracking|track|isbn|ean|upc|barcode|serial|sku|imei|timestamp"
    r"|ticket|ref(?:erence)?|issn|doi|part|model|case|uid|id|commit|batch|lot|seed|build"
    r"|licen[cs]e)"
    r"|订单|单号|编号|条码|序列号|流水|发票|批号|时间戳|型号|快递|运单)"
    r"(?: ?(?:number|code|no\.?|num|nr\.?|id|号|号码))?[ #:\uff1a=是为\"']{0,4}(?:is |was )?\Z"
)


def find_bank_cards(view: View) -> Iterator[Found]:
    """Payment card numbers: an issuer's first digits, a length that it gives out, Luhn's sum.

    12 or 13 digits pass the sum by chance too often (one in ten): they need a word
    near them that says card. So do other first digits, and what words before it call an order.
    """
    for start, end in view.numbers:
        if end - start < 12:
            continue
        for m in _CARD.finditer(view.text, start, min(len(view.text), end + 2)):
            if m.end() > end:
                continue
            digits = digits_of(m[0])
            if not 12 <= len(digits) <= 19 or len(set(digits)) < 2 or not luhn(digits):
                continue
            issued = _issued(digits)
            before = view.before(m.start(), 48)
            says_card = bool(
                _CARD_WORDS.search(before) or _CARD_WORDS.search(view.after(m.end(), 24))
            )
            other = OTHER_NUMBER.search(before) is not None
            if (
                (other or not issued or len(digits) < 14)
                if not says_card
                else (other and not issued)
            ):
                continue
            confidence = 0.8 if not issued else 0.98 if says_card else 0.9
            yield Found(*m.span(), "bank_card", confidence, digits)


def luhn(digits: str) -> bool:
    """Whether the last digit is Luhn's check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, c in enumerate(reversed(digits)):
        value = ord(c) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _issued(digits: str) -> bool:
    return any(
        low <= digits[: len(low)] <= high and len(digits) in lengths
        for low, high, lengths in _ISSUERS
    )


# Two digits that follow two letters: rare, and quick to look for since it starts at a digit.
_IBAN_ANCHOR = re.compile(r"[0-9]{2}(?<=[A-Za-z]{2}[0-9]{2})(?<![0-9A-Za-z_][A-Za-z]{2}[0-9]{2})")
_IBAN_REST = re.compile(r"(?:[ -]?[A-Za-z0-9]){11,30}")
# Length by country: SWIFT's IBAN registry.
_IBAN_LENGTHS_WORDS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
    "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
    "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
    "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
IBAN_LENGTHS = {name[:2]: int(name[2:]) for name in _IBAN_LENGTHS_WORDS.split()}


def find_ibans(view: View) -> Iterator[Found]:
    """International bank account numbers: the country's length, ISO 7064's mod 97 (ISO 13616)."""
    text = view.text
    for anchor in _IBAN_ANCHOR.finditer(text):
        start = anchor.start() - 2
        length = IBAN_LENGTHS.get(text[start : start + 2].upper())
        if length is None:
            continue
        rest = _IBAN_REST.match(text, anchor.end())
        if rest is None:
            continue
        end = _end_of(text, anchor.end(), rest.end(), length - 4)
        if end is None or (end < len(text) and text[end].isascii() and text[end].isalnum()):
            continue
        value = re.sub("[ -]", "", text[start:end]).upper()
        if mod97(value) == 1:
            yield Found(start, end, "iban", 0.99, value)


def _end_of(text: str, start: int, limit: int, count: int) -> int | None:
    """Where `count` letters or digits from `start` on end, or None where there are fewer."""
    for at in range(start, limit):
        if text[at] not in " -":
            count -= 1
            if count == 0:
                return at + 1
    return None


def mod97(iban: str) -> int:
    """ISO 7064's remainder of an IBAN in capitals and without spaces: 1 where it is right."""
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97


_ID18 = re.compile(
    r"(?<![0-9A-Za-z_])[1-9][0-9]{5}([ -]?)(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]"
    r"|[12][0-9]|3[01])"
    r"\1[0-9]{3}[0-9Xx](?![0-9A-Za-z_])"
)
_ID15 = re.compile(
    r"(?<![0-9A-Za-z_])[1-9][0-9]{5}[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]"
    r"|3[01])[0-9]{3}(?![0-9A-Za-z_])"
)
# The check digit in brackets is looked for first: it is rare.
_HONG_KONG_CHECK = re.compile(r"\([0-9A]\)(?<=[A-Z][0-9]{6}\([0-9A]\))")
_HONG_KONG = re.compile(r"(?<![0-9A-Za-z])[A-Z]{1,2}[0-9]{6}\([0-9A]\)")
_TAIWAN = re.compile(r"[A-Z](?<![0-9A-Za-z][A-Z])[1289][0-9]{8}(?![0-9A-Za-z])")
_ID_WORDS = re.compile(
    r"身份证|身份證|身分證|证件|證件|公民|(?<![a-z])id(?![a-z])|identity|hkid|resident"
)
# Provinces by the first two digits (GB/T 2260); 81 to 83 and 91: residence permits.
_REGIONS_WORDS = (
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 "
    "65 71 81 82 83 91"
)
_REGIONS = frozenset(_REGIONS_WORDS.split())
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def find_id_cards(view: View) -> Iterator[Found]:
    """Identity cards of China (18 digits: GB 11643's region, date and checksum; 15 with context).

    Also Hong Kong's with its check digit in brackets and Taiwan's with context.
    """
    text = view.text
    for start, end in view.numbers:
        if end - start < 15:
            continue
        stop = min(len(text), end + 2)
        for m in _ID18.finditer(text, start, stop):
            digits = re.sub("[ -]", "", m[0]).upper()
            if (
                digits[:2] in _REGIONS
                and _is_date(digits[6:14])
                and id_check(digits[:17]) == digits[17]
            ):
                yield Found(*m.span(), "id_card", 0.99, digits)
        for m in _ID15.finditer(text, start, stop):
            if m[0][:2] in _REGIONS and _is_date(f"19{m[0][6:12]}") and _says_id(view, m):
                yield Found(*m.span(), "id_card", 0.8, m[0])
    for check in _HONG_KONG_CHECK.finditer(text):
        for m in _HONG_KONG.finditer(text, max(0, check.start() - 8), check.end()):
            if _hong_kong_check(m[0]):
                yield Found(*m.span(), "id_card", 0.95 if _says_id(view, m) else 0.8, m[0])
    for start, end in view.numbers:
        if end - start >= 9 and start and text[start - 1].isalpha():
            number = _TAIWAN.match(text, start - 1)
            if number is not None and _taiwan_check(number[0]) and _says_id(view, number):
                yield Found(*number.span(), "id_card", 0.9, number[0])


def id_check(first17: str) -> str:
    """The 18th character of a Chinese ID number (GB 11643: ISO 7064 MOD 11-2)."""
    total = sum(int(c) * weight for c, weight in zip(first17, _WEIGHTS, strict=True))
    return "10X98765432"[total % 11]


def _says_id(view: View, m: re.Match[str]) -> bool:
    return bool(
        _ID_WORDS.search(view.before(m.start(), 24)) or _ID_WORDS.search(view.after(m.end(), 12))
    )


def _is_date(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return True


def _hong_kong_check(number: str) -> bool:
    letters, digits, check = number[:-9], number[-9:-3], number[-2]
    values = [36] * (2 - len(letters)) + [ord(c) - 55 for c in letters]
    total = sum(v * w for v, w in zip([*values, *map(int, digits)], range(9, 1, -1), strict=True))
    return (total + (10 if check == "A" else int(check))) % 11 == 0


def _taiwan_check(number: str) -> bool:
    value = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(number[0]) + 10
    weights = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
    digits = [value // 10, value % 10, *map(int, number[1:])]
    return sum(d * w for d, w in zip(digits, weights, strict=True)) % 10 == 0


_SSN = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9A-Za-z]-)[0-9]{3}([- ])[0-9]{2}\1[0-9]{4}(?![0-9A-Za-z_]"
    r"|-[0-9A-Za-z])"
)
_SSN_PLAIN = re.compile(r"(?<![0-9A-Za-z_-])[0-9]{9}(?![0-9A-Za-z_-])")
_SSN_WORDS = re.compile(r"(?<![a-z])(?:ssn|itin)(?![a-z])|social security|社会安全|社安")


def find_us_ssns(view: View) -> Iterator[Found]:
    """US social security numbers: 3-2-4 digits that the SSA gives out.

    Where words say so, also with spaces or run together, and numbers that start with 9 (ITIN).
    """
    text = view.text
    for start, end in view.numbers:
        if end - start < 9:
            continue
        for m in _SSN.finditer(text, start, min(len(text), end + 2)):
            says = _SSN_WORDS.search(view.before(m.start(), 48)) is not None
            other = OTHER_NUMBER.search(view.before(m.start(), 48)) is not None
            if not says and (other or m[1] != "-"):
                continue
            if _given_out(digits_of(m[0]), also_itin=says):
                yield Found(*m.span(), "us_ssn", 0.98 if says else 0.85, digits_of(m[0]))
        for m in _SSN_PLAIN.finditer(text, start, min(len(text), end + 2)):
            before = view.before(m.start(), 32)
            if OTHER_NUMBER.search(before) or not _SSN_WORDS.search(before):
                continue
            if _given_out(m[0], also_itin=True):
                yield Found(*m.span(), "us_ssn", 0.9, m[0])


def _given_out(digits: str, *, also_itin: bool) -> bool:
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area in ("000", "666") or group == "00" or serial == "0000":
        return False
    return area < "900" or also_itin
