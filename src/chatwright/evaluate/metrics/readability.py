"""How hard a text is to read: Flesch's formulas for English, characters for Chinese."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from chatwright.curate.words import HAN
from chatwright.evaluate.metrics.answers import Answer, Columns
from chatwright.evaluate.metrics.syllables import count_syllables
from chatwright.evaluate.statistics import Floats

_HAN = re.compile(f"[{HAN}]")
_WORD = re.compile(r"[^\W_]+(?:['’.,\-][^\W_]+)*")
# Latin marks end a sentence before a space (not "3.5" or "v2.0.1"), Chinese ones wherever they are
# (as escapes: some editors turn full-width marks into ASCII); so does "!" or "?" between Chinese
# characters, and a line break: items of a list have no mark.
_SENTENCE_END = re.compile(
    r"[.!?…]+[\"'”’)\]]*(?:\s|$)|[\u3002\uff01\uff1f]+|……|\n+" + rf"|(?<=[{HAN}])[!?]+(?=[{HAN}])"
)


def reading_ease(sums: Floats) -> Floats:
    """Flesch reading ease (1948) from sums of (words, sentences, syllables)."""
    words, sentences, syllables = sums.T
    return np.asarray(206.835 - 1.015 * words / sentences - 84.6 * syllables / words)


def kincaid_grade(sums: Floats) -> Floats:
    """Flesch–Kincaid grade (Kincaid et al. 1975) from sums of (words, sentences, syllables)."""
    words, sentences, syllables = sums.T
    return np.asarray(0.39 * words / sentences + 11.8 * syllables / words - 15.59)


def english_counts(answers: Sequence[Answer]) -> list[Columns]:
    """(words, sentences, syllables) of each English answer."""
    out: list[Columns] = []
    for answer in answers:
        words = [] if answer.chinese else _WORD.findall(answer.prose)
        counts = (len(words), count_sentences(answer.prose), sum(map(count_syllables, words)))
        out.append(tuple(map(float, counts)) if words else None)
    return out


def chinese_sentence_counts(answers: Sequence[Answer]) -> list[Columns]:
    """(Han characters, sentences) of each Chinese answer."""
    out: list[Columns] = []
    for answer in answers:
        han = len(_HAN.findall(answer.prose)) if answer.chinese else 0
        out.append((float(han), float(count_sentences(answer.prose))) if han else None)
    return out


def common_character_counts(answers: Sequence[Answer]) -> list[Columns]:
    """(common Han characters, Han characters) of each Chinese answer."""
    out: list[Columns] = []
    for answer in answers:
        han = _HAN.findall(answer.prose) if answer.chinese else []
        out.append((float(common_characters(han)), float(len(han))) if han else None)
    return out


def count_sentences(text: str) -> int:
    """Stretches of text with a letter or digit between sentence ends or line breaks."""
    return sum(_WORD.search(part) is not None for part in _SENTENCE_END.split(text))


def common_characters(han: Sequence[str]) -> int:
    """How many are of the level that a national standard calls common.

    GB 2312 level 1 (3,755 characters), or Big5 level 1 (5,401) where Big5 knows more of them: a
    text in traditional characters.
    """
    simplified, traditional = (
        [_code(character, standard) for character in han] for standard in ("gb2312", "big5")
    )
    if sum(map(bool, traditional)) > sum(map(bool, simplified)):
        return sum(0xA440 <= code <= 0xC67E for code in traditional)
    return sum(0xB0A1 <= code <= 0xD7F9 for code in simplified)


def _code(character: str, standard: str) -> int:
    try:
        return int.from_bytes(character.encode(standard), "big")
    except UnicodeEncodeError:
        return 0
