"""Telephone numbers: China's, North America's, all with +, and others that words announce."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.numbers import OTHER_NUMBER
from chatwright.curate.privacy.view import View, digits_of

_EXTENSION = re.compile(
    r"(?: ?,? ?(?:x|ext\.?|extension|转|轉|分机|分機)[ :.\uff1a]?)[0-9]{1,6}(?![0-9A-Za-z])",
    re.I,
)
_INTERNATIONAL = re.compile(
    r"\(?(?:\+|(?<![0-9])00) ?\(?[1-9][0-9]{0,2}\)?(?:[ ().\-/]{0,3}[0-9]){5,14}(?![0-9])"
)
_ENDS_IN_WORD = re.compile(r"[0-9A-Za-z]\Z")
_AND = re.compile(r"[\s,;/(\u3001\uff0c\uff1b]*(?:or|and|&|或者?|和|及|、)?[\s(]*")
_ENDS_IN_GROUP = re.compile(r"[0-9][ .\-/]{1,3}\Z")
_GROUP_END = re.compile(r"[0-9](?=[ ().\-/]+[0-9])")
_CN_MOBILE = re.compile(
    r"(?<![0-9A-Za-z_])(?:(?:00)?86[ -]?)?1[3-9][0-9](?:[0-9]{8}|([ "
    r"-])[0-9]{4}\1[0-9]{4})(?![0-9A-Za-z_])"
)
_CN_FIXED = re.compile(
    r"(?<![0-9A-Za-z_])(?:(?:00)?86[ -]?)?\(?0(?:10|2[0-9]|[3-9][0-9]{2})(?:\) ?|[ "
    r"-])[2-8][0-9]{3}[ -]?[0-9]{3,4}(?![0-9A-Za-z_])"
)
_CN_SERVICE = re.compile(
    r"(?<![0-9A-Za-z_])[48]00([ -])(?:[0-9]{4}\1[0-9]{3}|[0-9]{3}\1?[0-9]{4})(?![0-9A-Za-z_])"
)
_NORTH_AMERICA = re.compile(
    r"(?<![0-9A-Za-z_])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}([-. "
    r"]))[2-9][0-9]{2}[-. ][0-9]{4}(?![0-9])"
)
_TRUNK = re.compile(r"(?<![0-9A-Za-z_])\(?0[1-9](?:[ ()\-/]{0,2}[0-9]){7,9}(?![0-9A-Za-z_])")
_BARE_NORTH_AMERICA = re.compile("1?[2-9][0-9]{2}[2-9][0-9]{6}")
_BARE_CN_MOBILE = re.compile("1[3-9][0-9]{9}")

_WORD = (
    r"phone|tel|telephone|mobile|cell|cellphone|fax|call|called|calls|calling|dial|text"
    r"|texts|sms|ring|whatsapp"
    r"|hotline|contact|desk|office|home|work|reach|answering|answer|messages?|registered"
    r"|number is|my number"
    r"|landline|voicemail|pager"
)
_ZH_WORD = (
    "电话|電話|手机|手機|联系|聯絡|致电|拨打|撥打|拨|热线|熱線|传真|傳真|座机"
    "|号码|號碼|短信|簡訊|来电|咨询|微信同号|固话|移动|tel"
)
# The word, at most three words between, and no end of a sentence.
_BEFORE = re.compile(
    rf"(?:(?<![a-z])(?:{_WORD})(?![a-z])"
    rf"|{_ZH_WORD})(?:[^0-9.!?;\u3002\uff01\uff1f\uff1b\n]{{0,18}}|\.? ?[:\uff1a#]?\n?)[ "
    rf"(+:\uff1a#]*\Z"
)
_AFTER = re.compile(
    r"[ \-(,/]{0,3}(?:office|fax|mobile|cell|home|work|tel|phone|desk|landline"
    r"|hotline)(?![a-z]| ?:)"
    r"| (?:is|was) (?:my|his|her|our|their) (?:phone|number|cell|mobile)"
    rf"|[\s\uff08(]{{0,2}}(?:{_ZH_WORD})"
)
_GROUP = re.compile("[0-9]+")
_LOOSE = re.compile(r" [-./] ?|[-./] ")
_NUMBER_AFTER_WORD = re.compile(
    r"(?<![A-Za-z_])\(?[0-9][0-9 ().\-/]{5,24}(?<=[0-9])(?![0-9A-Wa-wYZyz_])"
)
_DATE = re.compile(
    r"(?:(?:19|20)[0-9]{2}[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:[12][0-9]|3[01]|0?[1-9])(?![0-9])"
    r"|(?:0?[1-9]|[12][0-9]|3[01])[-./](?:0?[1-9]|[12][0-9]|3[01])[-./](?:19|20)[0-9]{2}(?![0-9])"
    r"|(?:19|20)[0-9]{2} ?[-/] ?(?:19|20)?[0-9]{2}(?![0-9])"
    r"|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?![0-9]))"
)
_SSN = re.compile("[0-9]{3}-[0-9]{2}-[0-9]{4}")
_PRICE = re.compile(r"[0-9]+\.[0-9]+(?![0-9.\-])")
# National numbers that start with the trunk prefix 0 are tried in these countries.
_TRUNK_REGIONS = (
    "GB",
    "AU",
    "DE",
    "FR",
    "IT",
    "CH",
    "SE",
    "NL",
    "ZA",
    "IN",
    "JP",
    "TW",
    "NZ",
    "IE",
)


# `[start, end)`, confidence and canonical form of what a pattern matched; None: no number.
Judged = tuple[int, int, float, str]
Judge = Callable[[View, re.Match[str]], Judged | None]


def find_phones(view: View) -> Iterator[Found]:
    """Telephone numbers with their extension.

    With + or 00: what `phonenumbers` (libphonenumber) calls valid or possible. Mainland China's
    mobile (1[3-9], 11 digits), fixed and 400 numbers, North America's 3-3-4 groups by form. Any
    other national number needs a trunk 0 and validity, or a word before or behind it. A number
    that is part of a longer code, a date, a decimal, or that words call an order is none.
    """
    taken = -1
    for start, end in view.numbers:
        if start < taken:
            continue
        # "Call 555-0100 or 555-0123": the word holds for the second one too.
        goes_on = 0 <= start - taken <= 12 and _AND.fullmatch(view.text, max(taken, 0), start)
        found_here = _in_number(view, start, end, goes_on=bool(goes_on))
        for found in sorted(found_here, key=lambda f: f.start):
            taken = max(taken, found.end)
            yield found


def _in_number(view: View, start: int, end: int, *, goes_on: bool) -> list[Found]:
    """What is found where `View.numbers` saw digits; readings may overlap."""
    text = view.text
    left = start
    while left > 0 and start - left < 3 and text[left - 1] in "+( ":
        left -= 1
    stop = min(len(text), end + 1)
    found: list[Found] = []
    if "+" in text[left:start] or text.find("00", start, end) >= 0:
        found += _each(view, _INTERNATIONAL, left, stop, _international)
    found += _each(view, _CN_MOBILE, start, stop, _mobile)
    found += _each(view, _CN_FIXED, max(0, start - 1), stop, _fixed)
    found += _each(view, _CN_SERVICE, start, stop, _service)
    found += _each(view, _NORTH_AMERICA, max(0, start - 1), stop, _north_america)
    if not found:
        found += _each(view, _TRUNK, max(0, start - 1), stop, _trunk)
    if not found:
        found += _announced(view, start, end, goes_on=goes_on)
    return found


def _each(view: View, pattern: re.Pattern[str], start: int, stop: int, judge: Judge) -> list[Found]:
    """What `judge` takes of a pattern's matches, with the words around counted in."""
    out: list[Found] = []
    for m in pattern.finditer(view.text, start, stop):
        judged = judge(view, m)
        if judged is None:
            continue
        begin, end, confidence, value = judged
        if confidence < 0.9 or m.re is _CN_MOBILE:
            confidence = _in_context(view, begin, end, confidence)
        out.append(_with_extension(view, Found(begin, end, "phone", confidence, value)))
    return out


def _in_context(view: View, start: int, end: int, confidence: float) -> float:
    """The confidence that words and marks around leave."""
    if OTHER_NUMBER.search(view.before(start, 32)):
        return min(confidence, 0.3)
    if _is_announced(view, start, end):
        return max(confidence, 0.9)
    return min(confidence, 0.3) if _is_part(view.text, start, end) else confidence


def _is_announced(view: View, start: int, end: int) -> bool:
    return bool(_BEFORE.search(view.before(start, 40)) or _AFTER.match(view.after(end, 24)))


def _is_part(text: str, start: int, end: int) -> bool:
    """Whether a hyphen, slash, dot or mark joins the number to a longer code or decimal."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if len(before) == 2 and before[1] in "-_/.,=#" and before[0].isascii() and before[0].isalnum():
        return True
    if before[-1:] in ("#", "$", "\u00a5", "\uffe5", "\u20ac", "\u00a3"):
        return True
    return (len(after) == 2 and after[0] in "-_/.," and after[1].isdecimal()) or after[:1] == "%"


def _international(view: View, m: re.Match[str]) -> Judged | None:
    """The longest start of a run of digits after + or 00 that is a number somewhere."""
    start, end = m.span()
    text = view.text
    if text[start] == "(" and ")" not in text[start:end]:
        start += 1
    plus = "+" in text[start : start + 3]
    # Not the end of a word; and in 6217 0045 7823 9445 the 00 is in the middle.
    if _ENDS_IN_WORD.search(text, max(0, start - 4), start) or (
        not plus and _ENDS_IN_GROUP.search(text, max(0, start - 4), start)
    ):
        return None
    ends = [end, *(start + cut.end() for cut in _GROUP_END.finditer(text[start:end]))]
    for stop in sorted(set(ends), reverse=True)[:4]:
        valid, possible, value = _parsed(_spelled(text[start:stop]))
        if valid or (possible and stop == end and plus):
            return start, stop, 0.97 if valid else 0.75, value
    digits = digits_of(text[start:end])
    if plus and 8 <= len(digits) <= 15:
        return start, end, 0.6, f"+{digits}"
    # 001-518-640-0854 with an area code that is not given out.
    north_america = len(digits) == 13 and digits.startswith("001")
    return (start, end, 0.75, f"+{digits[2:]}") if north_america else None


def _spelled(text: str) -> str:
    text = text.lstrip("( ")
    return text if text.startswith("+") else "+" + text.removeprefix("00").lstrip()


@lru_cache(maxsize=4096)
def _parsed(number: str) -> tuple[bool, bool, str]:
    """Whether libphonenumber calls a number with + valid, possible, and its E.164 form."""
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return False, False, ""
    return (
        phonenumbers.is_valid_number(parsed),
        phonenumbers.is_possible_number(parsed),
        phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164),
    )


@lru_cache(maxsize=4096)
def _national(digits: str, regions: tuple[str, ...]) -> str | None:
    """The E.164 form of a national number in the first of the regions where it is valid."""
    import phonenumbers

    for region in regions:
        try:
            parsed = phonenumbers.parse(digits, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number_for_region(parsed, region):
            return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
    return None


def _mobile(view: View, m: re.Match[str]) -> Judged | None:
    start, end = m.span()
    if view.text[max(0, start - 1) : start] == "+":
        return None  # `_international` has it, with its country
    return start, end, 0.85, f"+86{digits_of(m[0])[-11:]}"


def _fixed(view: View, m: re.Match[str]) -> Judged | None:
    digits = digits_of(m[0])
    national = digits[digits.index("0", 2 if digits.startswith("00") else 0) :]
    value = _national(national, ("CN",))
    return None if value is None else (*m.span(), 0.85, value)


def _service(view: View, m: re.Match[str]) -> Judged | None:
    return *m.span(), 0.7, f"+86{digits_of(m[0])}"


def _north_america(view: View, m: re.Match[str]) -> Judged | None:
    start, end = m.span()
    text = view.text
    if text.endswith(("+", "1-", "1 ", "1."), 0, start):
        return None  # `_international` has it
    number = digits_of(m[0])[-10:]
    spaced = m[1] == " " or ("(" not in m[0] and " " in m[0])
    if spaced and not _parsed(f"+1{number}")[0] and not _is_announced(view, start, end):
        return None
    after = text[end : end + 1]
    if after.isascii() and after.isalpha() and _EXTENSION.match(text, end) is None:
        return None
    return start, end, 0.6 if spaced else 0.85, f"+1{number}"


def _trunk(view: View, m: re.Match[str]) -> Judged | None:
    if not re.search(r"[ )\-/]", m[0].strip("(")) or _DATE.match(m[0]) or _SSN.fullmatch(m[0]):
        return None
    digits = digits_of(m[0])
    value = _national(digits, _TRUNK_REGIONS)
    return None if value is None else (*m.span(), 0.6, value)


def _announced(view: View, start: int, end: int, *, goes_on: bool) -> list[Found]:
    """A number of 7 to 15 digits in any grouping that a word announces."""
    text = view.text
    begin = start - 1 if start and text[start - 1] == "(" else start
    m = _NUMBER_AFTER_WORD.match(text, begin, min(len(text), end + 1))
    # A row of numbers that goes on is none, and neither is the end of a word.
    if m is None or m.end() > end or not _could_be_number(m[0]):
        return []
    if begin != start and ")" not in m[0]:
        begin = start
    other = OTHER_NUMBER.search(view.before(begin, 40)) or _is_part(text, begin, m.end())
    if other or not (goes_on or _is_announced(view, begin, m.end())):
        return []
    digits = digits_of(m[0])
    value = digits
    if _BARE_CN_MOBILE.fullmatch(digits):
        value = f"+86{digits}"
    elif _BARE_NORTH_AMERICA.fullmatch(digits):
        value = f"+1{digits[-10:]}"
    return [_with_extension(view, Found(begin, m.end(), "phone", 0.7, value))]


def _could_be_number(text: str) -> bool:
    """Not a date, a price, a row of small numbers, or one digit again and again."""
    digits, shape = digits_of(text), text.lstrip("(")
    if not 7 <= len(digits) <= 15 or len(set(digits)) == 1:
        return False
    if len(_GROUP.findall(text)) * 2 > len(digits) or _LOOSE.search(text):
        return False
    return not (_DATE.match(shape) or _PRICE.fullmatch(shape))


def _with_extension(view: View, found: Found) -> Found:
    m = _EXTENSION.match(view.text, found.end)
    if m is None:
        return found
    return Found(found.start, m.end(), "phone", found.confidence, found.value)
