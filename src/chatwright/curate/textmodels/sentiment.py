"""How positive a text sounds: VADER for English, a lexicon with rules for Chinese."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from chatwright.curate.textmodels.sentiment_zh import chinese_valence
from chatwright.curate.words import HAN, is_chinese

_HAN = re.compile(f"[{HAN}]+")
_LINE = re.compile(r"\n+")
_CHINESE_SENTENCE = re.compile(r"(?<=[。！？!?…])[”’」』）)]*(?![。！？!?…])")
_ENGLISH_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+")
_ALPHA = 15.0  # VADER's: a single strong word comes to about 0.6
_SIGNS = 0x2190  # from here on arrows, pictographs and emoji


def sentiment(text: str) -> float:
    """The tone of a text, −1 (negative) … 1 (positive): the mean over its sentences.

    From −0.05 to 0.05 counts as neutral. English sentences have VADER's compound score (Hutto &
    Gilbert 2014). Chinese ones are scored in its manner: valences of words, turned by negation,
    scaled by degree, with more weight after a "but". Irony is beyond both. Other languages give
    0 or little else.
    """
    scores = [
        _chinese(sentence) if is_chinese(sentence) else _english(sentence)
        for sentence in _sentences(text)
    ]
    return sum(scores) / len(scores) if scores else 0.0


def _sentences(text: str) -> Iterator[str]:
    for line in _LINE.split(text):
        ending = _CHINESE_SENTENCE if _HAN.search(line) else _ENGLISH_SENTENCE
        yield from (
            part for part in ending.split(line) if any(c.isalnum() or ord(c) > _SIGNS for c in part)
        )


def _english(sentence: str) -> float:
    return float(_vader().polarity_scores(sentence)["compound"])


def _chinese(sentence: str) -> float:
    valence = chinese_valence(sentence)
    # Emoji and English words beside the Chinese are VADER's to judge; its compound is undone first.
    beside = _HAN.sub(" ", sentence)
    if any(c.isalpha() or ord(c) > _SIGNS for c in beside):
        other = max(-0.99, min(0.99, _english(beside)))
        valence += other * math.sqrt(_ALPHA / (1 - other * other))
    return valence / math.sqrt(valence * valence + _ALPHA)


@lru_cache(maxsize=1)
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
