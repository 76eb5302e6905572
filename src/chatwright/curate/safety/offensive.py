"""How offensive a page is, by the models of `textmodels/`.

A page's score is the mean of the worst third of its parts (a part has a tweet's length, and at most
so many are judged, evenly spread): one quoted insult does not condemn a long article, and a page of
comments that is one third abuse has the score of its abuse.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatwright.curate.textmodels.toxicity import part_scores


def offensive_scores(texts: Sequence[str], parts: int) -> list[float]:
    """The score of each text, in order; 0 where there is no word in English or Chinese letters."""
    return [_worst_third(scores) for scores in part_scores(texts, parts)]


def _worst_third(scores: Sequence[float]) -> float:
    if not scores:
        return 0.0
    most = sorted(scores, reverse=True)[: -(-len(scores) // 3)]
    return sum(most) / len(most)
