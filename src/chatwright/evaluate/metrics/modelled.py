"""Metrics that a small model judges: nearness in meaning and toxicity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from chatwright.evaluate.metrics.answers import Answer, Columns

if TYPE_CHECKING:
    from chatwright.curate.textmodels.embedding import Embedder


def relatedness(answers: Sequence[Answer], embedder: Embedder | None = None) -> list[Columns]:
    """Cosine of each answer's embedding with its nearest reference, −1…1.

    Raises `UsageError` where embeddings are not installed.
    """
    wanted = [a for a in answers if a.references]
    if not wanted:
        return [None] * len(answers)
    texts = list(dict.fromkeys(t for a in wanted for t in (a.prose, *a.wanted)))
    vectors = (embedder or _embedder()).embed(texts)
    at = {text: vector for text, vector in zip(texts, vectors, strict=True)}
    out: list[Columns] = []
    for answer in answers:
        nearest = [float(at[answer.prose] @ at[r]) for r in answer.wanted]
        out.append((max(nearest), 1.0) if nearest else None)
    return out


def toxicity_of(
    bound: float | None = None,
) -> Callable[[Sequence[Answer]], list[Columns]]:
    """The score of toxicity: the mean probability, or the share of answers at or above `bound`."""

    def score(answers: Sequence[Answer]) -> list[Columns]:
        from chatwright.curate.textmodels import toxicity_many

        found = toxicity_many([a.text for a in answers])
        return [(float(p if bound is None else p >= bound), 1.0) for p in found]

    return score


@cache
def _embedder() -> Embedder:
    from chatwright.curate.textmodels.embedding import Embedder

    return Embedder()
