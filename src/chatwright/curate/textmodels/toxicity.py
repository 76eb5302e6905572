"""How likely a text is offensive, in English and Chinese.

`toxicity_en.md` and `toxicity_zh.md` beside this file are the models' cards: what they were trained
on, how good they are, and on whom they err. `train_toxicity.py` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright.curate.textmodels.prepare import (
    has_han,
    has_latin_word,
    latin_remainder,
    prepare,
    split_parts,
)

if TYPE_CHECKING:
    from chatwright.curate.textmodels.hashed import HashedModel

# The usual bound from which a text counts as offensive; the cards tell precision and recall at it.
TOXIC = 0.5


def toxicity(text: str) -> float:
    """The probability, 0…1, that people would call a text offensive; its worst part decides.

    A text with Chinese characters is judged by the Chinese model, and its Latin words also by the
    English one; a long text in parts of a tweet's length, at sentence ends. Listed identity terms
    are masked: "I am gay." and "I am straight." have the same score. Probabilities are calibrated
    for a mix in which half of the texts are offensive; `TOXIC` is the usual bound, 0.8 a stricter
    one where false alarms cost more than misses. A text without words in either script gives 0;
    other languages in Latin script are not understood.
    """
    return toxicity_many([text])[0]


def toxicity_many(texts: Sequence[str]) -> list[float]:
    """`toxicity` of each text, in order; many at once are quicker than one by one."""
    return [max(scores, default=0.0) for scores in part_scores(texts)]


def part_scores(texts: Sequence[str], most: int | None = None) -> list[list[float]]:
    """The probability of each part of each text; of a longer text, of `most` evenly spread parts.

    A text of both scripts has parts of both, and of its Latin words at most a third of `most`.
    """
    found: list[list[float]] = [[] for _ in texts]
    for language in ("en", "zh"):
        owners: list[int] = []
        prepared: list[str] = []
        for at, text in enumerate(texts):
            parts = _parts(text, language)
            limit = most and (most if language == "zh" or not has_han(text) else -(-most // 3))
            if limit and len(parts) > limit:
                parts = [parts[n * len(parts) // limit] for n in range(limit)]
            owners += [at] * len(parts)
            prepared += [prepare(part, language) for part in parts]
        if not prepared:
            continue
        for at, chance in zip(owners, _model(language).probabilities(prepared), strict=True):
            found[at].append(float(chance))
    return found


def _parts(text: str, language: str) -> list[str]:
    chinese = has_han(text)
    if language == "zh":
        return split_parts(text, "zh") if chinese else []
    if chinese:
        text = latin_remainder(text)
    return [part for part in split_parts(text, "en") if has_latin_word(part)]


@lru_cache(maxsize=2)
def _model(language: str) -> HashedModel:
    from chatwright.curate.textmodels.hashed import load_model

    return load_model(Path(__file__).parent / f"toxicity_{language}.npz")
