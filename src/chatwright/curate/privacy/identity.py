"""Passports and car plates."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.view import View

_PASSPORT_WORD = re.compile("passport|护照|護照|通行证|通行證|回乡证|台胞证")
_PASSPORT_NUMBER = re.compile(
    r"(?<![0-9A-Za-z_])(?:[A-Za-z]{1,2}[0-9]{6,9}|[A-Za-z][A-Za-z0-9][0-9]{7}|[0-9]{8,9}"
    r"|[0-9]{2}[A-Za-z]{2}[0-9]{5})"
    r"(?![0-9A-Za-z_]|[.\-/][0-9])"
)
# The two lines at the foot of a passport's page (ICAO 9303, part 4).
_MRZ = re.compile(r"P[A-Z<][A-Z]{3}[A-Z<]{39}\s{1,2}[A-Z0-9<]{44}")
_ABBREVIATION = re.compile(r"(?i)\b(?:no|nr|num)\.")
_JUST_BEFORE = re.compile(r"[\s(\uff08,\uff0c]*")
_REACH = 40


def find_passports(view: View) -> Iterator[Found]:
    """Passport and travel permit numbers after (or just before) a word that says so; MRZ lines.

    The forms: China's E or G and 8 digits, E, a letter and 7 digits; one or two letters and 6 to 9
    digits; 8 or 9 digits (UK, USA, …). There is no checksum, so without a word there is no finding.
    """
    text = view.text
    if "P" in text and "<<<" in text:
        for m in _MRZ.finditer(text):
            yield Found(*m.span(), "passport", 0.99, m[0])
    if not any(
        mark in view.lower for mark in ("passport", "护照", "護照", "通行", "回乡证", "台胞证")
    ):
        return
    floor = 0
    for word in _PASSPORT_WORD.finditer(view.lower):
        number = _PASSPORT_NUMBER.search(text, max(floor, word.end()), word.end() + _REACH)
        if number is not None and _same_sentence(text[word.end() : number.start()]):
            floor = number.end()
            yield Found(*number.span(), "passport", 0.9, number[0].upper())
            continue
        # "E12345678 (passport)"
        for near in _PASSPORT_NUMBER.finditer(text, max(floor, word.start() - 16), word.start()):
            if near[0][0].isalpha() and _JUST_BEFORE.fullmatch(text, near.end(), word.start()):
                floor = word.end()
                yield Found(*near.span(), "passport", 0.8, near[0].upper())


def _same_sentence(between: str) -> bool:
    # "Passport No. 123" is one sentence.
    between = _ABBREVIATION.sub("", between)
    return not re.search(r"[.!?;]\s|[\u3002\uff01\uff1f\uff1b\n]", between)


_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE = re.compile(
    rf"[{_PROVINCES}](?:[A-HJ-Za-hj-z][ \u00b7\u2022\u30fb\u2027.-]?"
    r"(?:[A-HJ-NP-Za-hj-np-z0-9]{4}[A-HJ-NP-Za-hj-np-z0-9学警港澳挂领应急]"
    r"[学警港澳挂]?(?![0-9A-Za-z_])"
    # New energy (GA 36-2018): D or F first for small cars, last for large ones.
    r"|[A-Ka-k][A-HJ-NP-Za-hj-np-z0-9][0-9]{4}(?![0-9A-Za-z_])|[0-9]{5}[A-Ka-k](?![0-9A-Za-z_])))"
)
_EMBASSY = re.compile("使[0-9]{6}(?![0-9A-Za-z])|[0-9]{6}使")
_PLATE_WORD = re.compile(
    r"licen[cs]e plate|number plate|(?:car|vehicle|registration|plate) (?:number|plate"
    r"|registration|no)|(?<![a-z])plates?(?![a-z])"
    "|车牌|車牌|车号|牌照|kennzeichen|immatriculation"
)
_PLATE_MARKS = (
    "plate",
    "registration",
    "车牌",
    "車牌",
    "车号",
    "牌照",
    "kennzeichen",
    "immatriculation",
)
_FOREIGN = re.compile(
    r"(?<![0-9A-Za-z_-])(?=[A-Z0-9 -]{0,9}[0-9])(?:[A-Z]{2}[0-9]{2} ?[A-Z]{3}|[A-Z]{1,3}[ "
    r"-][A-Z]{1,2} ?[0-9]{1,4}[EH]?"
    r"|[A-Z]{2}-[0-9]{3}-[A-Z]{2}|[A-Z]{1,4}[ -]?[0-9]{2,5}|[0-9]{1,4}[ -]?[A-Z]{2,4}[ "
    r"-]?[0-9]{0,4}"
    r"|[A-Z]{1,3}[ -]?[0-9]{1,4}[ -]?[A-Z]{1,3}|[0-9]{1,4}[ -][A-Z]{1,3}[ "
    r"-][0-9]{1,4})(?![0-9A-Za-z_-])"
)


def find_car_plates(view: View) -> Iterator[Found]:
    """Car plates: China's by form (GA 36, with new-energy, police, trailers, Hong Kong and Macau).

    Other countries' plates have no form of their own: a word before them must say plate.
    """
    text = view.text
    if not text.isascii():
        for m in _PLATE.finditer(text):
            number = m[0].upper()
            if sum(c.isdecimal() for c in number) >= 2:
                value = "".join(c for c in number if c.isalnum())
                yield Found(*m.span(), "car_plate", 0.95, value)
        if "使" in text:
            for m in _EMBASSY.finditer(text):
                yield Found(*m.span(), "car_plate", 0.7, m[0])
    if not any(mark in view.lower for mark in _PLATE_MARKS):
        return
    floor = 0
    for word in _PLATE_WORD.finditer(view.lower):
        foreign = _FOREIGN.search(text, max(floor, word.end()), word.end() + 24)
        if foreign is not None and _same_sentence(text[word.end() : foreign.start()]):
            floor = foreign.end()
            value = "".join(c for c in foreign[0] if c.isalnum())
            if len(value) >= 4:
                yield Found(*foreign.span(), "car_plate", 0.8, value)
