"""Text as the toxicity models see it: cut into parts, spelling folded, identity terms masked."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

from chatwright.curate.textmodels.identity import terms
from chatwright.curate.words import HAN

# Every English identity term becomes this one sign (private use), every Chinese one a gap, so that
# a sentence has the same score whichever group it names.
MASK = "\ue000"
_MASKS = re.compile(f"{MASK}(?:[\\s-]*{MASK})+")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|(?<!\w)@\w+|&#?\w+;", re.IGNORECASE)
_ADDRESS_SIGNS = ("//", "www.", "WWW.", "@", "&")
_REPOST = re.compile(r"\b[rR][tT]\b")
_STRETCHED = re.compile(r"(.)\1{2,}", re.DOTALL)
_WORD = re.compile(rf"{MASK}|[^\W_]+(?:['*@$!#][^\W_]+)*")
_PRONOUNS = {"she": "he", "her": "him", "hers": "his", "herself": "himself", "an": "a"}
_DIGITS = re.compile(r"\d+")
_HAN_GAP = re.compile(rf"(?<=[{HAN}])\s+(?=[{HAN}])")
_NOT_ZH = re.compile(r"[^\w！？!?，。,.、…~]+")
_LATIN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_HAN = re.compile(f"[{HAN}]")
_HAN_STRETCH = re.compile(rf"[{HAN}]+(?:[^A-Za-z{HAN}]+[{HAN}]+)*")
_SENTENCE = re.compile(r"[^\n。！？!?.;；]*[\n。！？!?.;；]*['\"”’」』）)]*\s*")

PART_LENGTH = {"en": 240, "zh": 120}  # characters: what the models were trained on is no longer


def has_han(text: str) -> bool:
    """Whether there is a Chinese character."""
    return _HAN.search(text) is not None


def latin_remainder(text: str) -> str:
    """What is left of a mixed text without its Chinese."""
    return _HAN_STRETCH.sub("\n", text)


def has_latin_word(text: str) -> bool:
    """Whether there is anything that an English reader would read as a word."""
    return any(len(m.group()) > 1 for m in _LATIN.finditer(text))


def split_parts(text: str, language: str, limit: int | None = None) -> list[str]:
    """Whole sentences packed into parts of at most `limit` characters (`PART_LENGTH`), in order.

    A sentence that is longer is cut between words where it has spaces. No part is blank.
    """
    limit = limit or PART_LENGTH[language]
    if len(text) <= limit:
        return [text] if text.strip() else []
    parts, current = [], ""
    for match in _SENTENCE.finditer(text):
        sentence = match.group()
        if current and len(current) + len(sentence.rstrip()) > limit:
            parts.append(current)
            current = ""
        current += sentence
        while len(current.rstrip()) > limit:
            cut = current.rfind(" ", limit // 2, limit)
            cut = limit if cut < 0 else cut
            parts.append(current[:cut])
            current = current[cut:]
    parts.append(current)
    return [part.strip() for part in parts if part.strip()]


@lru_cache(maxsize=8)
def _english_terms(unmasked: frozenset[str]) -> re.Pattern[str]:
    known = "|".join(re.escape(t) for t in terms("en") if t not in unmasked)
    return re.compile(rf"(?<![\w'])(?:{known})(?![\w'])")


@lru_cache(maxsize=8)
def _chinese_terms(unmasked: frozenset[str]) -> re.Pattern[str]:
    known = "|".join(re.escape(t) for t in terms("zh") if t not in unmasked)
    return re.compile(rf"(?:{known})人?")


def prepare(text: str, language: str, *, mask: bool = True, unmasked: Collection[str] = ()) -> str:
    """Fold what should not matter: width, case, addresses, stretched letters, whom it is about.

    `mask=False` and `unmasked` (terms to leave alone) serve to measure what masking changes.
    """
    text = html.unescape(text)
    if any(sign in text for sign in _ADDRESS_SIGNS):
        text = _ADDRESS.sub(" ", text)
    text = unicodedata.normalize("NFKC", _REPOST.sub(" ", text)).lower()
    text = _STRETCHED.sub(r"\1", text.replace("’", "'"))
    if language == "zh":
        text = _HAN_GAP.sub("", _DIGITS.sub("0", text))
        if mask:
            text = _chinese_terms(frozenset(unmasked)).sub(MASK, text.replace("她", "他"))
            # Not even a sign is left: in COLD, to name any group is half an offence.
            text = _MASKS.sub(MASK, text).replace(MASK, " ")
        return _NOT_ZH.sub(" ", text).strip()
    if mask:
        text = _MASKS.sub(MASK, _english_terms(frozenset(unmasked)).sub(MASK, text))
    words = [_DIGITS.sub("0", w) for w in _WORD.findall(text)]
    if mask:
        words = [_PRONOUNS.get(w, w) for w in words]
    return " ".join(words)
