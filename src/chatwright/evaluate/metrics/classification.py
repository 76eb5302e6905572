"""Figures of classification: accuracy, precision, recall, F1, Matthews; the confusion matrix.

All but accuracy are no means of items. Each item gives, for every class, whether it is a true
positive, a false positive or a false negative; the sums of these over the items are all that a
figure needs, so a bootstrap draws items and computes the figure anew. A class that occurs neither
in gold nor in predictions has no figure and takes no part in an average, and 0 ÷ 0 is 0, as in
scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import DataError
from chatwright.evaluate.statistics import Floats


@dataclass(frozen=True, slots=True)
class Prediction:
    """The class of an item and the one that a model gave it.

    `predicted` is None where the model gave none of the classes: wrong, and a false positive of no
    class. `scores` are the probabilities of the classes in the order of the labels, summing to 1.
    """

    gold: str
    predicted: str | None
    scores: tuple[float, ...] | None = None


def class_counts(predictions: Sequence[Prediction], labels: Sequence[str]) -> Floats:
    """True positives, false positives and false negatives of each class, [items, 3 × classes].

    Raises `DataError` for a gold or predicted class that is not among the labels.
    """
    at = _places(labels)
    out = np.zeros((len(predictions), len(labels), 3))
    for row, one in zip(out, predictions, strict=True):
        gold, predicted = _place(at, one.gold, "gold"), one.predicted
        if predicted is not None:
            given = _place(at, predicted, "predicted")
            row[given, 0 if given == gold else 1] = 1
        if predicted != one.gold:
            row[gold, 2] = 1
    return out.reshape(len(predictions), 3 * len(labels))


def confusion_matrix(predictions: Sequence[Prediction], labels: Sequence[str]) -> NDArray[np.int64]:
    """Items by gold class (row) and predicted class (column), [classes, classes + 1].

    The last column counts items whose prediction is none of the classes.
    """
    at = _places(labels)
    out = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for one in predictions:
        given = -1 if one.predicted is None else _place(at, one.predicted, "predicted")
        out[_place(at, one.gold, "gold"), given] += 1
    return out


def precision(sums: Floats) -> Floats:
    """Precision of one class from its three counts; micro-averaged from those of several."""
    right, wrong, _ = _by_class(sums)
    return _over(right.sum(axis=1), (right + wrong).sum(axis=1))


def recall(sums: Floats) -> Floats:
    """Recall of one class from its three counts; micro-averaged from those of several."""
    right, _, missed = _by_class(sums)
    return _over(right.sum(axis=1), (right + missed).sum(axis=1))


def f1(sums: Floats) -> Floats:
    """F1 of one class from its three counts; micro-averaged from those of several."""
    right, wrong, missed = _by_class(sums)
    return _over(2 * right.sum(axis=1), (2 * right + wrong + missed).sum(axis=1))


def macro_precision(sums: Floats) -> Floats:
    """Mean precision of the classes that occur in gold or predictions."""
    right, wrong, missed = _by_class(sums)
    return _mean(_over(right, right + wrong), right + wrong + missed > 0)


def macro_recall(sums: Floats) -> Floats:
    """Mean recall of the classes that occur in gold or predictions."""
    right, wrong, missed = _by_class(sums)
    return _mean(_over(right, right + missed), right + wrong + missed > 0)


def macro_f1(sums: Floats) -> Floats:
    """Mean F1 of the classes that occur in gold or predictions."""
    right, wrong, missed = _by_class(sums)
    return _mean(_over(2 * right, 2 * right + wrong + missed), right + wrong + missed > 0)


def balanced_accuracy(sums: Floats) -> Floats:
    """Mean recall of the classes that occur in gold (Brodersen et al. 2010)."""
    right, _, missed = _by_class(sums)
    return _mean(_over(right, right + missed), right + missed > 0)


def matthews(sums: Floats) -> Floats:
    """Matthews correlation for any number of classes (Gorodkin 2004), −1…1; 0 where undefined."""
    right, wrong, missed = _by_class(sums)
    gold, given = right + missed, right + wrong
    items = gold.sum(axis=1)
    # Answers that name no class are a class of their own, one that gold never has.
    none = items - given.sum(axis=1)
    covariance = right.sum(axis=1) * items - (gold * given).sum(axis=1)
    of_gold = items**2 - (gold**2).sum(axis=1)
    of_given = items**2 - (given**2).sum(axis=1) - none**2
    return _over(covariance, np.sqrt(of_gold * of_given))


def _by_class(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """True positives, false positives and false negatives, each [resamples, classes]."""
    return sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]


def _over(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def _mean(values: Floats, used: NDArray[np.bool_]) -> Floats:
    return _over(np.where(used, values, 0.0).sum(axis=1), used.sum(axis=1).astype(np.float64))


def _places(labels: Sequence[str]) -> dict[str, int]:
    at = {label: place for place, label in enumerate(labels)}
    if len(at) != len(labels) or not at:
        raise DataError(
            "the labels of a classification must be different from each other and at least one"
        )
    return at


def _place(at: dict[str, int], label: str, what: str) -> int:
    if label not in at:
        raise DataError(
            f"the {what} class {label!r} is none of the labels",
            hint=f"labels: {', '.join(list(at)[:20])}",
        )
    return at[label]
