"""How an answer cites the passages that it was shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CitationScore:
    """How an answer cites. `right`: it cites, and nothing but passages that hold the answer.

    `precision` is the share of its citations that are right, `recall` the share of the passages
    that hold the answer and were shown which it cites. An answer that cites everything in sight
    has recall 1 and is not `right`.
    """

    any: float
    right: float
    precision: float
    recall: float


def citation_score(
    cited: Sequence[int], shown: Sequence[str], gold: Collection[str]
) -> CitationScore:
    """Score the passage numbers `cited` (from 1) against the ids or uris that hold the answer.

    `shown[n - 1]` names the passage that the model saw as number n. A number outside `shown` counts
    as a wrong citation.
    """
    numbers = list(dict.fromkeys(cited))
    right = [n for n in numbers if 1 <= n <= len(shown) and shown[n - 1] in gold]
    available = sum(name in gold for name in shown)
    return CitationScore(
        any=float(bool(numbers)),
        right=float(bool(numbers) and len(right) == len(numbers)),
        precision=len(right) / len(numbers) if numbers else 0.0,
        recall=len(right) / available if available else 0.0,
    )
