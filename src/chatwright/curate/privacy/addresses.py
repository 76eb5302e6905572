"""Postal addresses as they are written in English, and streets of other Latin languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chatwright.curate.privacy.kinds import Found
from chatwright.curate.privacy.view import View

_STREET = (
    "Street|St|Str|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl"
    "|Square|Sq|Terrace|Ter|Way"
    "|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Close|Crescent|Cres|Trail|Trl|Alley|Mews|Row"
    "|Plaza|Pike|Loop|Grove"
    "|Gardens|Hill|Wharf|Quay|Esplanade|Turnpike|Expressway|Freeway|Route|Run|Path|Parade|Broadway"
)
_CAPITAL = "A-Z\u00c0-\u00d6\u00d8-\u00de\u0100-\u017e"
_UNIT = (
    r"(?:(?:,? |,\n)(?:(?:Apt|Apartment|Suite|Ste|Unit|Floor|Room|Rm|Flat|Bldg|Building)\.?\s#?"
    r"|#\s?)[0-9A-Z][0-9A-Za-z-]{0,5})?"
)
# "Springfield, IL 62704", "London SW1A 2AA", ", ISHAM, United Kingdom 64677": only with a code or a
# state at its end, or the next sentence would be swallowed.
_CITY = (
    r"(?:,?\s{1,2}(?:[A-Z][\w.'\u2019-]{1,24} ?){1,4},?\s{1,2}"
    r"(?:[A-Z]{2},? [0-9]{5}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][0-9A-Z]? [0-9][A-Z]{2}"
    r"|[A-Z]{2}(?![A-Za-z])|[0-9]{5}(?![0-9])))?"
)
_ADDRESS = re.compile(
    r"[0-9](?<![0-9A-Za-z.,$#:/-][0-9])[0-9]{0,5}[A-Za-z]?(?:[-/][0-9]{1,5}[A-Za-z]?)?,? "
    r"(?:(?:North|South|East|West|N|S|E|W|NE|NW|SE|SW)\.? )?"
    rf"(?:(?:[{_CAPITAL}][a-z]{{0,2}}\.|[{_CAPITAL}0-9][\w'\u2019-]{{0,24}}) "
    rf"){{1,4}}(?:{_STREET})(?![A-Za-z0-9_])\.?"
    rf"(?: (?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)(?![A-Za-z]))?{_UNIT}{_CITY}"
)
_BOX = re.compile(
    r"(?<![A-Za-z])(?:P\.? ?O\.? ?Box|Post Office Box)\s#?[0-9]{1,7}(?![0-9])"
    + _CITY
    + r"|(?<![A-Za-z])(?:PSC|CMR|Unit|psc|cmr|unit)\s[0-9]{1,5},?\s(?:Box"
    r"|box)\s[0-9]{1,5}\s{1,2}[AFDafd][Pp][Oo]\s[Aa][AEPaep]\s[0-9]{5}",
)
_NO_STREET = re.compile(
    r"(?:in|of|to|the|and|at|on|first|last|next|every|per|years?|days?|hours?|minutes?"
    r"|times|people|men|women"
    r"|million|billion|percent)(?![a-z])",
    re.I,
)
# Words for a street that stand first: "Rua Diadema 1903", "31 Rue de Tanger".
_FIRST = (
    "Rue|Boulevard|Chemin|Impasse|All\u00e9e|Quai|Via|Viale|Piazza|Corso|Vicolo|Rua"
    "|Avenida|Travessa|Pra\u00e7a|Calle|R\u00faa"
    "|Paseo|Plaza|Avda\\.?|Av\\.|Avenue|ul\\.|ulica|al\\.|Postbox|Postfach"
)
_SMALL = "de|du|des|la|le|les|l|del|della|delle|dei|di|da|do|dos|das|el|los|las|e|y|en"
_NUMBER_FIRST = re.compile(
    rf"[0-9](?<![0-9A-Za-z.,$#:/-][0-9])[0-9]{{0,4}}(?: ?(?:bis|ter))?,? (?:{_FIRST}|rue"
    rf"|boulevard|avenue|chemin|impasse|quai)"
    rf"(?: (?:{_SMALL}))*(?:[ '\u2019-][{_CAPITAL}][\w\u2019'-]{{1,24}}){{1,4}}"
)
# Without a word for a street, a flat's number says that it is one: "9721 Dalmatinova 43 Apt. 678".
_WITH_UNIT = re.compile(
    rf"[0-9](?<![0-9A-Za-z.,$#:/-][0-9])[0-9]{{0,5}} (?:[{_CAPITAL}][\w.'\u2019-]{{1,24}} "
    rf"){{1,4}}(?:[0-9]{{1,5}}[a-z]?\.?)?"
    r"\s{0,2}(?:Apt\.|Suite|Apartment|Flat) [0-9]{1,5}(?![0-9])" + _CITY
)
_NUMBER = re.compile(r"[0-9]{1,5}[A-Za-z]?(?![0-9A-Za-z:])")
_BEFORE_NUMBER = re.compile(
    rf"(?:[0-9]{{1,5}} )?(?:(?<![^\s(,])(?:{_FIRST})(?: (?:{_SMALL})| "
    rf"[{_CAPITAL}][\w.'\u2019-]{{1,24}}){{0,5}}"
    rf"|(?<![\w-])[{_CAPITAL}][\w.-]{{1,30}}(?:stra\u00dfe|strasse|str\.|weg|gasse|platz"
    rf"|allee|gatan|v\u00e4gen|katu|kuja|tie|vej"
    r"|gade|straat|laan|plein|utca|gata|vegen|veien|br\u00fccke)),? \Z"
)
_TAIL = re.compile(_UNIT + _CITY)
# A number that may be a house's: not a decimal, not a part of a word; then a word. All forms that
# start with the number are tried there and nowhere else.
_HOUSE = re.compile(
    rf"[0-9](?<![0-9A-Za-z.,$#:/-][0-9])[0-9]{{0,5}}[A-Za-z]{{0,3}}"
    rf"(?:[-/][0-9]{{1,5}}[A-Za-z]?)?,? (?=[{_CAPITAL}0-9a-z])"
)
_HOUSE_FIRST = ((_ADDRESS, 0.75), (_NUMBER_FIRST, 0.7), (_WITH_UNIT, 0.7))


def find_addresses(view: View) -> Iterator[Found]:
    """Street addresses in English: number, name, a word for a street; unit, town, code; PO boxes.

    Also Germanic compounds with their number (`Hauptstraße 5`). An address without any word for a
    street has no pattern, and is not found.
    """
    text = view.text
    floor = 0
    for number in _HOUSE.finditer(text):
        if number.start() < floor:
            continue
        for pattern, confidence in _HOUSE_FIRST:
            m = pattern.match(text, number.start())
            if m is not None and _is_address(view, m):
                floor = m.end()
                yield _address(m.start(), floor, text, confidence)
                break
    lower = view.lower
    if "box" in lower:
        for m in _BOX.finditer(text):
            yield _address(m.start(), m.end(), text, 0.85)
    for m in _NUMBER.finditer(text):
        at = m.start()
        if at < 4 or text[at - 1] != " " or not (text[at - 2].islower() or text[at - 2] in ".,x"):
            continue
        street = _BEFORE_NUMBER.search(text, max(0, at - 64), at)
        if street is not None:
            tail = _TAIL.match(text, m.end())
            yield _address(street.start(), tail.end() if tail else m.end(), text, 0.75)


def _is_address(view: View, m: re.Match[str]) -> bool:
    """Not "5 of the Court", not "in 2004 Wall Street"."""
    name = m[0].split(" ", 1)[1]
    if _NO_STREET.match(name) and not name.lower().startswith(("first", "last")):
        return False
    year = re.match("(?:19|20)[0-9]{2} ", m[0])
    return not (
        year and view.before(m.start(), 3).endswith(("in ", "of ", "by ", "\u00a9 ", "\u00a9"))
    )


def _address(start: int, end: int, text: str, confidence: float) -> Found:
    while end > start and text[end - 1] in " ,.\n":
        end -= 1
    return Found(start, end, "address", confidence, " ".join(text[start:end].lower().split()))
