"""American or British spelling, as an edit that is asked for and logged.

By rule from our own list of stems, not from a library: those that exist replace words by lists of
other people's text of unclear licence, and turn names, quotations and words with two meanings
(`programme`, `practise`, `cheque`, `metre`) as well. Here a word changes only where the two
spellings never differ in meaning, in lower case or where a sentence begins: "Pearl Harbor" and
"the Labour Party" stay.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from chatwright.curate.normal.protect import inside, protected

Spelling = Literal["american", "british"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# British stem before "our": colo(u)r. Endings below; forms in -orous, -oration are alike in both.
_OUR = _words(
    "ard arm behavi cand clam col demean discol dishon endeav fav ferv flav harb hon hum lab "
    "misdemean neighb od parl ranc rum sav savi splend succ tum unfav val vap vig"
)
_OUR_ENDINGS = _words(
    ". s ed ing er ers able ably ful fully less ite ites al ally y ies hood hoods ly edly ism"
)
# Verbs and their family in -ise/-yse; words that are -ise in both (advise, surprise) are not here.
_ISE = _words(
    "apolog author categor central character civil colon critic crystall custom digit econom "
    "emphas equal familiar fantas final formal general harmon hospital human ideal immun industr "
    "initial internal jeopard legal local maxim mechan memor minim mobil modern monopol national "
    "neutral normal optim organ patron penal personal polar popular priorit privat public random "
    "rational real recogn reorgan revolution sanit scrutin serial social special stabil standard "
    "steril subsid summar symbol sympath synchron terror theor token util vandal verbal visual "
    "capital commercial computer container energ epitom hypothes item moistur pressur synthes "
    "tantal traumat urban vapor victim western"
)
_ISE_ENDINGS = _words("e es ed ing er ers able ation ations ational")
_YSE = _words("anal catal paral")
_YSE_ENDINGS = _words("ed ing er ers")  # "analyses" is also a plural
# Stems that double their l in British spelling only.
_LL = _words(
    "cancel channel counsel dial duel enamel equal fuel funnel initial jewel label level marshal "
    "marvel model panel pedal quarrel rival shovel signal snivel spiral swivel travel tunnel "
    "unravel"
)
_LL_ENDINGS = _words("ed ing er ers")
_NOT_LL = frozenset(("equaller", "equallers", "initialler", "initiallers"))
_PAIRS = _words(
    "aluminium:aluminum analogue:analog catalogue:catalog catalogues:catalogs dialogue:dialog "
    "centre:center centres:centers centred:centered theatre:theater theatres:theaters "
    "fibre:fiber fibres:fibers calibre:caliber lustre:luster meagre:meager sombre:somber "
    "spectre:specter sabre:saber litre:liter litres:liters kilometre:kilometer "
    "kilometres:kilometers centimetre:centimeter centimetres:centimeters "
    "millimetre:millimeter millimetres:millimeters defence:defense offence:offense "
    "pretence:pretense grey:gray greyer:grayer greyish:grayish mould:mold moulds:molds "
    "mouldy:moldy moult:molt plough:plow ploughed:plowed ploughing:plowing "
    "sceptic:skeptic sceptics:skeptics sceptical:skeptical scepticism:skepticism "
    "jewellery:jewelry pyjamas:pajamas moustache:mustache moustaches:mustaches "
    "manoeuvre:maneuver manoeuvres:maneuvers manoeuvred:maneuvered "
    "anaesthetic:anesthetic anaesthesia:anesthesia anaemia:anemia anaemic:anemic "
    "haemorrhage:hemorrhage leukaemia:leukemia oesophagus:esophagus oestrogen:estrogen "
    "paediatric:pediatric paediatrician:pediatrician orthopaedic:orthopedic "
    "diarrhoea:diarrhea foetus:fetus foetal:fetal encyclopaedia:encyclopedia "
    "fulfil:fulfill fulfils:fulfills fulfilment:fulfillment "
    "enrol:enroll enrols:enrolls enrolment:enrollment instalment:installment "
    "instalments:installments skilful:skillful skilfully:skillfully wilful:willful "
    "wilfully:willfully marvellous:marvelous woollen:woolen counsellor:counselor "
    "counsellors:counselors traveller:traveler ageing:aging acknowledgement:acknowledgment "
    "judgement:judgment likeable:likable sizeable:sizable saleable:salable "
    "cosy:cozy cosier:cozier tyre:tire tyres:tires kerb:curb kerbs:curbs "
    "artefact:artifact artefacts:artifacts ageism:ageism colour-blind:color-blind"
)
# Not made British: another word in British English too, or a technical term.
_ONE_WAY = frozenset(
    _words("tire tires curb curbs analog dialog catalog catalogs fetus fetal judgment")
)
_WORD = re.compile("[A-Za-z]+(?:-[A-Za-z]+)?")
_COMMON = re.compile(r"\b(?:the|of|and|to|is|in|that|for)\b", re.I)
_ENOUGH = 0.1  # of the words of an English text, a quarter are among those eight


@lru_cache(maxsize=2)
def _table(to: Spelling) -> dict[str, str]:
    """Every form in the other spelling → its form in this one."""
    british: dict[str, str] = {}
    for stem in _OUR:
        for ending in _OUR_ENDINGS:
            tail = "" if ending == "." else ending
            british[f"{stem}our{tail}"] = f"{stem}or{tail}"
    for stem in _ISE:
        for ending in _ISE_ENDINGS:
            british[f"{stem}is{ending}"] = f"{stem}iz{ending}"
    for stem in _YSE:
        british[f"{stem}yse"] = f"{stem}yze"
        for ending in _YSE_ENDINGS:
            british[f"{stem}ys{ending}"] = f"{stem}yz{ending}"
    for stem in _LL:
        for ending in _LL_ENDINGS:
            if f"{stem}l{ending}" not in _NOT_LL:
                british[f"{stem}l{ending}"] = f"{stem}{ending}"
    for pair in _PAIRS:
        there, here = pair.split(":")
        british[there] = here
    british = {b: a for b, a in british.items() if a != b}
    if to == "american":
        return british
    return {a: b for b, a in british.items() if a not in _ONE_WAY}


def is_english(text: str) -> bool:
    """Whether a text has an English text's share of the commonest words."""
    start = text[:20_000]
    words = len(start.split())
    return words > 0 and len(_COMMON.findall(start)) >= _ENOUGH * words


def unify_spelling(run: str, to: Spelling) -> str:
    """The text's English words in one spelling; the number of lines stays."""
    table = _table(to)

    def edit(line: str) -> str:
        spans = protected(line)

        def word(match: re.Match[str]) -> str:
            found = match.group()
            known = table.get(found.lower())
            if known is None or inside(match.start(), spans):
                return found
            if found.islower():
                return known
            if found[1:].islower() and _begins_sentence(line, match.start()):
                return known.capitalize()
            return found

        return _WORD.sub(word, line)

    return "\n".join(edit(line) for line in run.split("\n"))


def _begins_sentence(line: str, at: int) -> bool:
    before = line[max(0, at - 6) : at].rstrip(" \"'(*_>#-")
    return (not before and at <= 6) or before.endswith((".", "!", "?", ":"))
