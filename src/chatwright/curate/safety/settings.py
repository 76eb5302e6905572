"""What a recipe may say under `safety`."""

from __future__ import annotations

from pydantic import Field, field_validator

from chatwright.stage import Settings

SCORES = ("adult", "offensive", "spam", "personal_data")


class ScoreRule(Settings):
    """The largest score, 0…1, that a page may have; by language code where that differs.

    `any` is for the languages that are not named. None: the score is noted and nothing dropped.
    """

    max: float | dict[str, float] | None = None

    @field_validator("max")
    @classmethod
    def _in_range(cls, value: float | dict[str, float] | None) -> float | dict[str, float] | None:
        bounds = value.values() if isinstance(value, dict) else [value]
        if any(bound is not None and not 0 <= bound <= 1 for bound in bounds):
            raise ValueError("a score is between 0 and 1")
        return value

    def bound(self, language: str | None) -> float | None:
        if isinstance(self.max, dict):
            return self.max.get(language or "any", self.max.get("any"))
        return self.max


class SafetySettings(Settings):
    """Which scores are taken and where they drop a page; null takes no such score.

    `adult`, `spam`: our own lists of words and signs, English and Chinese. `offensive`: the models
    in `textmodels/`, on at most `parts` parts of a page, evenly spread, each of a tweet's length.
    `personal_data`: the share of lines with an address, number or identity.
    """

    adult: ScoreRule | None = ScoreRule(max=0.5)
    offensive: ScoreRule | None = ScoreRule(max=0.7)
    spam: ScoreRule | None = ScoreRule(max=0.6)
    personal_data: ScoreRule | None = ScoreRule(max=0.5)
    parts: int = Field(default=12, ge=1)
