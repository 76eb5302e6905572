"""Every metric of classification under the name that a task calls it by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chatwright.errors import UsageError
from chatwright.evaluate.metrics import calibration, classification
from chatwright.evaluate.metrics.answers import Columns
from chatwright.evaluate.metrics.classification import Prediction, class_counts
from chatwright.evaluate.metrics.figures import figure, paired
from chatwright.evaluate.results import Metric
from chatwright.evaluate.statistics import (
    RESAMPLES,
    STATISTICS,
    Difference,
    Estimate,
    Floats,
)

STATISTICS.update(
    precision=classification.precision,
    recall=classification.recall,
    f1=classification.f1,
    macro_precision=classification.macro_precision,
    macro_recall=classification.macro_recall,
    macro_f1=classification.macro_f1,
    balanced_accuracy=classification.balanced_accuracy,
    matthews=classification.matthews,
    calibration_error=calibration.calibration_error,
)

Score = Callable[[Sequence[Prediction], Sequence[str]], list[Columns]]


@dataclass(frozen=True, slots=True)
class LabelMetric:
    """A metric of predictions. `score` sees all of them, and the labels in their order.

    None stands for a prediction to which the metric does not apply (one without probabilities).
    """

    metric: Metric
    score: Score


def _accuracy(predictions: Sequence[Prediction], labels: Sequence[str]) -> list[Columns]:
    class_counts(predictions, labels)  # complains of a class that is none of the labels
    return [(float(one.predicted == one.gold), 1.0) for one in predictions]


def _counts(predictions: Sequence[Prediction], labels: Sequence[str]) -> list[Columns]:
    return _rows(class_counts(predictions, labels))


def _of_class(label: str) -> Score:
    def score(predictions: Sequence[Prediction], labels: Sequence[str]) -> list[Columns]:
        at = 3 * list(labels).index(label)
        return _rows(class_counts(predictions, labels)[:, at : at + 3])

    return score


def _with_scores(
    value: Callable[[Sequence[Prediction], Sequence[str], Floats], Floats],
) -> Score:
    """The score of a metric of probabilities: `value` of the predictions that have any."""

    def score(predictions: Sequence[Prediction], labels: Sequence[str]) -> list[Columns]:
        used = [one for one in predictions if one.scores is not None]
        if not used:
            return [None] * len(predictions)
        class_counts(used, labels)
        rows = iter(_rows(value(used, labels, calibration.probabilities(used, labels))))
        return [None if one.scores is None else next(rows) for one in predictions]

    return score


def _calibration(bins: int) -> Score:
    def value(used: Sequence[Prediction], labels: Sequence[str], scores: Floats) -> Floats:
        # The confidence is in the class that was given, which a correction may have chosen.
        at = {label: i for i, label in enumerate(labels)}
        given = [
            int(row.argmax()) if one.predicted is None else at[one.predicted]
            for one, row in zip(used, scores, strict=True)
        ]
        sure = np.minimum(scores[np.arange(len(used)), given], 1.0)
        right = np.array([g == at[one.gold] for g, one in zip(given, used, strict=True)], float)
        return calibration.calibration_counts(sure, right, bins)

    return _with_scores(value)


def _mean_of(loss: Callable[[Floats, Sequence[int]], Floats]) -> Score:
    def value(used: Sequence[Prediction], labels: Sequence[str], scores: Floats) -> Floats:
        losses = loss(scores, [list(labels).index(one.gold) for one in used])
        return np.stack((losses, np.ones_like(losses)), axis=1)

    return _with_scores(value)


def _rows(columns: Floats) -> list[Columns]:
    return [tuple(row) for row in columns.tolist()]


_ALL: tuple[LabelMetric, ...] = (
    LabelMetric(
        Metric("accuracy", "Accuracy", "higher", "share", "items given the right class"), _accuracy
    ),
    LabelMetric(
        Metric(
            "balanced_accuracy",
            "Balanced accuracy",
            "higher",
            "share",
            "mean over the classes of the share of their items that were found",
            "balanced_accuracy",
        ),
        _counts,
    ),
    *(
        LabelMetric(
            Metric(
                f"{average}_{name}",
                f"{title}, {average}",
                "higher",
                "share",
                f"{what}, {how}",
                name if average == "micro" else f"macro_{name}",
            ),
            _counts,
        )
        for average, how in (("macro", "mean over the classes"), ("micro", "all classes as one"))
        for name, title, what in (
            ("precision", "Precision", "of the predictions of a class that are right"),
            ("recall", "Recall", "of the items of a class that were found"),
            ("f1", "F1", "harmonic mean of precision and recall"),
        )
    ),
    LabelMetric(
        Metric(
            "matthews",
            "Matthews correlation",
            "higher",
            "number",
            "of gold and predicted classes: 1 perfect, 0 chance",
            "matthews",
        ),
        _counts,
    ),
    LabelMetric(
        Metric(
            "ece",
            "Calibration error",
            "lower",
            "share",
            "distance of confidence from accuracy, over 15 bins of confidence",
            "calibration_error",
        ),
        _calibration(calibration.BINS),
    ),
    LabelMetric(
        Metric(
            "ece_10",
            "Calibration error, 10 bins",
            "lower",
            "share",
            "distance of confidence from accuracy, over 10 bins of confidence",
            "calibration_error",
        ),
        _calibration(10),
    ),
    LabelMetric(
        Metric(
            "brier",
            "Brier score",
            "lower",
            "number",
            "squared error of the classes' probabilities, 0 to 2",
        ),
        _mean_of(calibration.brier),
    ),
    LabelMetric(
        Metric("log_loss", "Log loss", "lower", "number", "nats that the right class costs"),
        _mean_of(calibration.log_loss),
    ),
)
LABEL_METRICS: dict[str, LabelMetric] = {one.metric.name: one for one in _ALL}


def class_metrics(label: str) -> tuple[LabelMetric, ...]:
    """Precision, recall and F1 of one class, called `f1[LABEL]` and so on."""
    return tuple(
        LabelMetric(
            Metric(f"{name}[{label}]", f"{title} of {label}", "higher", "share", what, name),
            _of_class(label),
        )
        for name, title, what in (
            ("precision", "Precision", "predictions of this class that are right"),
            ("recall", "Recall", "items of this class that were found"),
            ("f1", "F1", "harmonic mean of precision and recall of this class"),
        )
    )


def label_metric(name: str, labels: Sequence[str]) -> LabelMetric:
    """The metric of that name (`macro_f1`, `f1[LABEL]`). Raises `UsageError` for no such name."""
    if name in LABEL_METRICS:
        return LABEL_METRICS[name]
    for label in labels:
        if name.endswith(f"[{label}]"):
            for one in class_metrics(label):
                if one.metric.name == name:
                    return one
    raise UsageError(
        f"there is no metric of classification called {name!r}",
        hint=f"known: {', '.join(LABEL_METRICS)}; and precision[LABEL], recall[LABEL], f1[LABEL]",
    )


def aggregate_predictions(
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    names: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """The figure of each metric over the predictions, with its bootstrap interval.

    Raises `UsageError` for an unknown name, `DataError` for a class that is none of the labels, for
    scores that are no probabilities, and for a metric that applies to no prediction.
    """
    found = {name: label_metric(name, labels) for name in names}
    return {
        name: figure(one.metric, one.score(predictions, labels), seed=seed, resamples=resamples)
        for name, one in found.items()
    }


def compare_predictions(
    baseline: Sequence[Prediction],
    other: Sequence[Prediction],
    labels: Sequence[str],
    names: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Difference]:
    """`other − baseline` of each metric on the same items, in the same order, by paired bootstrap.

    Raises as `aggregate_predictions` does, and `ValueError` where the items are not the same.
    """
    if [one.gold for one in baseline] != [one.gold for one in other]:
        raise ValueError("the two lists of predictions are not of the same items")
    found = {name: label_metric(name, labels) for name in names}
    return {
        name: paired(
            one.metric,
            one.score(baseline, labels),
            one.score(other, labels),
            seed=seed,
            resamples=resamples,
        )
        for name, one in found.items()
    }
