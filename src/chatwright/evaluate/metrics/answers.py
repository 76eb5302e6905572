"""What a text metric is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatwright.curate.words import is_chinese
from chatwright.evaluate.results import Metric
from chatwright.records.grounding import without_citations

# One item's values, as the metric's statistic takes their sums; None where it does not apply.
Columns = tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a model, and what it is held against.

    `references` are all right answers; `language` is a code such as `en` or `zh` (guessed from the
    text where it is None). `passages` name what was shown to the model, from number 1, and `gold`
    the passages that hold the answer, shown or not: with passages, `[1]` in the text is a citation.
    """

    text: str
    references: tuple[str, ...] = ()
    language: str | None = None
    prompt: str = ""
    passages: tuple[str, ...] = ()
    gold: tuple[str, ...] = ()

    @property
    def prose(self) -> str:
        """The text without its citations; the text itself where no passages were shown."""
        return without_citations(self.text) if self.passages else self.text

    @property
    def wanted(self) -> tuple[str, ...]:
        """The references, without their citations where passages were shown."""
        if not self.passages:
            return self.references
        return tuple(without_citations(reference) for reference in self.references)

    @property
    def chinese(self) -> bool:
        """Whether the answer is to be read as Chinese: by its language, else by its letters."""
        if self.language is not None:
            return self.language.lower().replace("_", "-").split("-")[0] in {"zh", "cmn", "yue"}
        return any(is_chinese(text) for text in (*self.references, self.text))


@dataclass(frozen=True, slots=True)
class TextMetric:
    """A metric of texts. `score` sees all answers at once and gives each its values.

    None stands for an item to which the metric does not apply (one without a reference, say):
    such an item is left out of the figure and never counted as 0.
    """

    metric: Metric
    score: Callable[[Sequence[Answer]], list[Columns]]


def mean_of(value: Callable[[Answer], float | None]) -> Callable[[Sequence[Answer]], list[Columns]]:
    """The score of a plain mean: `value` of each answer by itself, None where it has none."""

    def score(answers: Sequence[Answer]) -> list[Columns]:
        found = (value(answer) for answer in answers)
        return [None if one is None else (float(one), 1.0) for one in found]

    return score


def best_of(
    value: Callable[[str, str], float],
) -> Callable[[Sequence[Answer]], list[Columns]]:
    """The score of a mean over `value(answer, reference)`: the best reference of each answer."""

    def best(answer: Answer) -> float | None:
        said = answer.prose
        return max((value(said, wanted) for wanted in answer.wanted), default=None)

    return mean_of(best)
