"""Moderation of a chat's texts, by the scores that `curate` weighs pages with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chatwright.curate.safety.adult import adult_score
from chatwright.curate.safety.lexicon import words_in
from chatwright.curate.textmodels.toxicity import toxicity_many
from chatwright.curate.words import HAN

MODEL = "chatwright-moderation-1"
# The category, and from which score on a text is flagged. Chats are short, and a false alarm
# interrupts somebody: the stricter bound of the toxicity models (their card has both).
BOUNDS: Mapping[str, float] = {"harassment": 0.8, "sexual": 0.5}
_HAN = re.compile(f"[{HAN}]")
_READ = 100_000  # characters of one text that are looked at

REASONS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "harassment": "it may insult or attack somebody",
        "sexual": "it may be sexually explicit",
    },
    "zh": {
        "harassment": "内容可能带有侮辱或攻击性",
        "sexual": "内容可能含有露骨的色情描写",
    },
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A text's scores by category, 0…1, and the categories that reach their bound."""

    scores: Mapping[str, float]

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(name for name, bound in BOUNDS.items() if self.scores[name] >= bound)

    @property
    def flagged(self) -> bool:
        return bool(self.categories)


def moderate(texts: Sequence[str]) -> list[Judged]:
    """The judgement of each text, in order; English and Chinese are understood.

    `harassment` is the calibrated chance that people call the text's worst part offensive,
    `sexual` the score of explicit words. Other categories are not measured.
    """
    read = [text[:_READ] for text in texts]
    judged: list[Judged] = []
    for text, offensive in zip(read, toxicity_many(read), strict=True):
        han = 0 if text.isascii() else len(_HAN.findall(text))
        lower = text.lower()
        explicit, _ = adult_score(lower, words_in(text, han))
        judged.append(Judged({"harassment": float(offensive), "sexual": float(explicit)}))
    return judged


def reason(categories: Sequence[str], language: str) -> str:
    """Why a text was flagged, in plain words."""
    words = REASONS["zh" if language.startswith("zh") else "en"]
    return ("\uff1b" if language.startswith("zh") else "; ").join(words[one] for one in categories)
