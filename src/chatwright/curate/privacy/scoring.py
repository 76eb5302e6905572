"""Precision and recall of findings against labels, per type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Labels = Sequence[tuple[int, int, str]]


@dataclass(slots=True)
class Score:
    """Counts over many texts. `exact` of `found` have the label's very bounds.

    `matched`: labels that a finding of the same type covers for the most part (the overlap is at
    least half of both together). `labels` = matched + missed; `findings` = right + wrong.
    """

    labels: int = 0
    findings: int = 0
    matched: int = 0
    exact: int = 0

    @property
    def recall(self) -> float:
        """Matched labels ÷ labels; 1 where there are none."""
        return self.matched / self.labels if self.labels else 1.0

    @property
    def precision(self) -> float:
        """Matched findings ÷ findings; 1 where there are none."""
        return self.matched / self.findings if self.findings else 1.0


def score(pairs: Iterable[tuple[Labels, Labels]], types: Sequence[str]) -> dict[str, Score]:
    """Each type's score over pairs (labels, findings) of texts; a label is matched at most once."""
    scores = {name: Score() for name in types}
    for labels, findings in pairs:
        for name, one in scores.items():
            wanted = [(start, end) for start, end, kind in labels if kind == name]
            got = [(start, end) for start, end, kind in findings if kind == name]
            one.labels += len(wanted)
            one.findings += len(got)
            one.exact += len(set(wanted) & set(got))
            left = list(got)
            for start, end in wanted:
                best = max(left, key=lambda span: _overlap(span, (start, end)), default=None)
                if best is not None and _overlap(best, (start, end)) >= 0.5:
                    left.remove(best)
                    one.matched += 1
    return scores


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> float:
    """The common part ÷ both together."""
    common = min(a[1], b[1]) - max(a[0], b[0])
    return max(0, common) / (max(a[1], b[1]) - min(a[0], b[0]))
