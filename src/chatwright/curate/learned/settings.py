"""What a recipe says about learned scores: `learned: [{model: …, min: 0.5}]`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from chatwright.stage import Settings


class LearnedRule(Settings):
    """One learned score as a rule: the model, and the bounds that a row's score must keep.

    `model` is a stage of the recipe, a model of the workspace, or the path of a folder: a quality
    model (scores 0…1) or a perplexity model (1 and more). `languages`: rows of others are not
    judged. Without `min` and `max` the score is only written into the row's `meta["scores"]`, under
    `name` (default: the model's).
    """

    model: str = Field(min_length=1)
    min: float | None = None
    max: float | None = None
    languages: tuple[str, ...] | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self
