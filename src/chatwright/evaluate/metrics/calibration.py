"""Whether a model is as often right as it says it is: calibration error, Brier score, log loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chatwright.errors import DataError
from chatwright.evaluate.metrics.classification import Prediction
from chatwright.evaluate.statistics import Floats

BINS = 15
# A probability of 0 would make one item's log loss infinite; scikit-learn clips at the same value.
_LEAST = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions with a confidence in (low, high]: how many, how sure, how often right."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def softmax(log_scores: Sequence[float]) -> tuple[float, ...]:
    """Probabilities from log-likelihoods (or other logits) of the classes."""
    values = np.asarray(log_scores, dtype=np.float64)
    powers = np.exp(values - values.max())
    return tuple((powers / powers.sum()).tolist())


def calibration_counts(confidences: Floats, correct: Floats, bins: int = BINS) -> Floats:
    """(items, confidence, right ones) of each bin, [items, 3 × bins].

    Bins are equally wide and hold their upper edge (Guo et al. 2017); confidence 0 is in the first.
    Raises `DataError` for a confidence outside 0…1.
    """
    sure, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if not ((sure >= 0) & (sure <= 1)).all():
        raise DataError("confidences must be probabilities between 0 and 1")
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    out = np.zeros((len(sure), bins, 3))
    out[np.arange(len(sure)), place] = np.stack((np.ones_like(sure), sure, right), axis=1)
    return out.reshape(len(sure), -1)


def calibration_error(sums: Floats) -> Floats:
    """Expected calibration error, 0…1: |accuracy − confidence| of the bins, by their items.

    From `calibration_counts`' sums [resamples, 3 × bins] (Naeini et al. 2015; Guo et al. 2017).
    """
    count, sure, right = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    return np.asarray(np.abs(right - sure).sum(axis=1) / count.sum(axis=1))


def reliability(counts: Floats) -> list[Bin]:
    """The bins of `calibration_counts` for a reliability diagram; an empty one has no values."""
    sums = counts.sum(axis=0).reshape(-1, 3)
    width = 1 / len(sums)
    return [
        Bin(
            low=i * width,
            high=(i + 1) * width,
            count=int(count),
            confidence=float(sure / count) if count else None,
            accuracy=float(right / count) if count else None,
        )
        for i, (count, sure, right) in enumerate(sums)
    ]


def probabilities(predictions: Sequence[Prediction], labels: Sequence[str]) -> Floats:
    """The predictions' scores, [items, classes]. Raises `DataError` where they are no such."""
    for number, one in enumerate(predictions):
        scores = one.scores
        if scores is None or len(scores) != len(labels):
            raise DataError(
                f"prediction {number} has {0 if scores is None else len(scores)} scores for "
                f"{len(labels)} classes",
                hint="give the probability of every class, in the order of the labels",
            )
        if min(scores) < 0 or not abs(sum(scores) - 1) < 1e-6:
            raise DataError(
                f"the scores of prediction {number} are no probabilities",
                hint="at least 0 and 1 in sum; softmax() makes them of log-likelihoods",
            )
    return np.array([one.scores for one in predictions], dtype=np.float64)


def brier(scores: Floats, gold: Sequence[int]) -> Floats:
    """Brier score of each item (Brier 1950), 0…2: squared errors of all classes' probabilities.

    `scores` [items, classes], `gold` the classes' numbers. For two classes it is twice what
    scikit-learn gives for a binary target.
    """
    return np.asarray(((scores - np.eye(scores.shape[1])[list(gold)]) ** 2).sum(axis=1))


def log_loss(scores: Floats, gold: Sequence[int]) -> Floats:
    """−log of the probability that each item's right class got, in nats."""
    found = scores[np.arange(len(scores)), list(gold)]
    return np.asarray(-np.log(np.maximum(found, _LEAST)))
