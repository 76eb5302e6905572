"""What answers to choices tell beyond right and wrong: calibration, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chatwright.evaluate.metrics.calibration import (
    calibration_counts,
    calibration_error,
    reliability,
)
from chatwright.evaluate.statistics import wilson
from chatwright.govern.contrast import shares

_BINS = 10
_FEWEST = 30  # items below which a calibration plot shows nothing but chance
_MOST_LABELS = 16
_MOST_CONFUSIONS = 12

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bin:
    """Items whose confidence lies in one tenth: their mean confidence and accuracy, 0 … 1.

    `low` and `high`: 95 % Wilson interval of the accuracy (Wilson 1927).
    """

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """A model's bins, and its expected calibration error over them (Guo et al. 2017), 0 … 1.

    Over all tasks together and without length normalisation: a task's own `ece` may differ.
    """

    model: str
    bins: list[Bin]
    error: float
    count: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each label (row) was taken for each (column), by one model on one task.

    With many labels `matrix` is empty and `pairs` holds the most frequent mistakes: (label, taken
    for, how often).
    """

    model: str
    labels: list[str]
    matrix: list[list[int]]
    pairs: list[tuple[str, str, int]]
    mistakes: int

    @property
    def top(self) -> int:
        return max((max(row) for row in self.matrix), default=0)


def calibration(lines: Iterable[Line], model: str, bins: int = _BINS) -> Calibration | None:
    """Confidence against accuracy over all choice items; None where there are too few.

    The confidence is the probability of the chosen answer among the choices (a softmax of their
    log-probabilities, not normalised by length: what is normalised is no probability).
    """
    found: list[tuple[float, bool]] = []
    for line in lines:
        gold, answer = line.get("gold"), line.get("answers", {}).get(model)
        if answer is None or not isinstance(gold, int) or isinstance(gold, bool):
            continue
        parts = shares(answer.get("logprobs"), line.get("choices"), "acc")
        if parts:
            best = max(range(len(parts)), key=parts.__getitem__)
            found.append((parts[best], best == gold))
    if len(found) < _FEWEST:
        return None
    sure, right = np.array([c for c, _ in found]), np.array([float(r) for _, r in found])
    counts = calibration_counts(sure, right, bins)
    made = []
    for part in reliability(counts):
        if part.confidence is None or part.accuracy is None:
            continue
        share = wilson(round(part.accuracy * part.count), part.count)
        made.append(Bin(part.confidence, part.accuracy, share.low, share.high, part.count))
    error = float(calibration_error(counts.sum(axis=0, keepdims=True))[0])
    return Calibration(model, made, error, len(found))


def confusion(lines: Iterable[Line], model: str) -> Confusion | None:
    """What a model took for what in one classification task; None where no label is known."""
    counts: Counter[tuple[str, str]] = Counter()
    order: dict[str, None] = {}
    for line in lines:
        answer, choices = line.get("answers", {}).get(model), line.get("choices") or []
        if answer is None:
            continue
        for choice in choices:
            order.setdefault(str(choice).strip())
        gold = _label(line.get("gold"), choices)
        said = _label(answer.get("choice"), choices) or _label(answer.get("text"), choices)
        if gold is None:
            continue
        order.setdefault(gold)
        known = said is not None and (said in order or not choices)
        taken = str(said) if known else "(none of them)"
        order.setdefault(taken)
        counts[gold, taken] += 1
    if not counts:
        return None
    labels = list(order)
    mistakes = sorted(
        ((a, b, n) for (a, b), n in counts.items() if a != b), key=lambda m: (-m[2], m[0], m[1])
    )
    matrix = [[counts[a, b] for b in labels] for a in labels] if len(labels) <= _MOST_LABELS else []
    wrong = sum(n for *_, n in mistakes)
    return Confusion(model, labels, matrix, mistakes[:_MOST_CONFUSIONS], wrong)


def _label(value: Any, choices: Sequence[Any]) -> str | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return str(choices[value]).strip() if 0 <= value < len(choices) else str(value)
    text = str(value).strip()
    return text or None
