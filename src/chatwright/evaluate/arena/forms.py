"""Results of the scoring form: means, differences and agreement, scale by scale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from chatwright.curate.label.agreement import cohen_kappa, krippendorff_alpha
from chatwright.evaluate.arena.results import JudgePair, ScaleResult
from chatwright.evaluate.arena.shapes import BEST_SCORE, LEAST_SCORE, SCALES, Rating
from chatwright.evaluate.statistics import Floats, bootstrap, paired_bootstrap

_LEAST_ITEMS = 5  # fewer, drawn again, hardly vary: a difference would look sure and be none
_STEPS = BEST_SCORE - LEAST_SCORE + 1


def summarise_scales(
    ratings: Sequence[Rating], models: Sequence[str], seed: int, resamples: int
) -> list[ScaleResult]:
    """One result for each scale that anybody used, in the form's order."""
    return [
        _scale([r for r in ratings if scale in r.scores], scale, models, seed, resamples)
        for scale in SCALES
        if any(scale in rating.scores for rating in ratings)
    ]


def _scale(
    ratings: Sequence[Rating], scale: str, models: Sequence[str], seed: int, resamples: int
) -> ScaleResult:
    scores: dict[str, dict[str, list[int]]] = {model: defaultdict(list) for model in models}
    judged: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for rating in ratings:
        scores[rating.model][rating.item].append(rating.scores[scale])
        judged[rating.item, rating.model][rating.judge] = rating.scores[scale] - LEAST_SCORE
    means = {}
    for model, by_item in scores.items():
        if by_item:
            top, bottom = _sums(by_item, sorted(by_item))
            means[model] = bootstrap(top, bottom, seed=seed, resamples=resamples)
    baseline = models[0]
    differences = {}
    for model in models[1:]:
        both = sorted(scores[baseline].keys() & scores[model].keys())
        if len(both) >= _LEAST_ITEMS:
            differences[model] = paired_bootstrap(
                _sums(scores[baseline], both),
                _sums(scores[model], both),
                seed=seed,
                resamples=resamples,
            )
    return ScaleResult(
        scale=scale,
        means=means,
        differences=differences,
        kappas=tuple(_kappas(list(judged.values()))),
        alpha=krippendorff_alpha(list(judged.values()), _STEPS, "ordinal"),
    )


def _sums(by_item: dict[str, list[int]], items: Sequence[str]) -> tuple[Floats, Floats]:
    """Of each item, the sum of its scores and how many there are: whole items are drawn again."""
    top = np.array([sum(by_item[item]) for item in items], dtype=np.float64)
    bottom = np.array([len(by_item[item]) for item in items], dtype=np.float64)
    return top, bottom


def _kappas(judged: Sequence[dict[str, int]]) -> list[JudgePair]:
    names = sorted({judge for unit in judged for judge in unit})
    found = []
    for first, second in combinations(names, 2):
        both = [(unit[first], unit[second]) for unit in judged if first in unit and second in unit]
        if both:
            mine, yours = [a for a, _ in both], [b for _, b in both]
            same = sum(a == b for a, b in both) / len(both)
            kappa = cohen_kappa(mine, yours, _STEPS, quadratic=True)
            found.append(JudgePair(first, second, len(both), same, kappa))
    return found
