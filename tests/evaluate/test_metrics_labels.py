"""Classification and calibration against scikit-learn, plain loops and by hand."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from chatwright.errors import DataError, UsageError
from chatwright.evaluate.metrics import (
    LABEL_METRICS,
    Prediction,
    aggregate_predictions,
    calibration_counts,
    class_counts,
    class_metrics,
    compare_predictions,
    confusion_matrix,
    reliability,
    softmax,
)
from chatwright.evaluate.metrics.calibration import brier, calibration_error, log_loss
from chatwright.evaluate.statistics import STATISTICS

LABELS = ["yes", "no", "也许", "never used"]
NONE = "(none)"
label = st.sampled_from(LABELS[:3])
guess = st.one_of(label, st.none())
items = st.lists(st.tuples(label, guess), min_size=1, max_size=30)


def predictions(pairs: list[tuple[str, str | None]]) -> list[Prediction]:
    return [Prediction(gold, given) for gold, given in pairs]


def value(name: str, pairs: list[tuple[str, str | None]]) -> float:
    return aggregate_predictions(predictions(pairs), LABELS, [name], resamples=2)[name].value


def sklearns(gold: list[str], given: list[str], labels: list[str]) -> dict[str, float]:
    """scikit-learn's figures; an answer without a class is a class that averages leave out."""
    out = {
        "accuracy": sk.accuracy_score(gold, given),
        "balanced_accuracy": sk.balanced_accuracy_score(gold, given),
        "matthews": sk.matthews_corrcoef(gold, given),
    }
    for average in ("macro", "micro"):
        found = sk.precision_recall_fscore_support(
            gold, given, labels=labels, average=average, zero_division=0
        )
        for name, figure in zip(("precision", "recall", "f1"), found, strict=False):
            out[f"{average}_{name}"] = figure
    return out


@settings(deadline=None, max_examples=40)
@given(items)
@example([("yes", "no")])
@example([("yes", "yes")])
@example([("yes", "no"), ("yes", "no")])  # a class that gold has and predictions have not
@example([("yes", None), ("no", None)])
def test_every_figure_is_scikit_learns(pairs: list[tuple[str, str | None]]) -> None:
    gold, given = [g for g, _ in pairs], [p or NONE for _, p in pairs]
    occurring = [name for name in LABELS if name in gold or name in given]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells of classes that are absent
        expected = sklearns(gold, given, occurring)
    found = aggregate_predictions(predictions(pairs), LABELS, list(expected), resamples=2)
    assert {name: e.value for name, e in found.items()} == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(items)
def test_figures_of_one_class_are_scikit_learns(pairs: list[tuple[str, str | None]]) -> None:
    gold, given = [g for g, _ in pairs], [p or NONE for _, p in pairs]
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        gold, given, labels=LABELS, zero_division=0
    )
    for at, name in enumerate(LABELS):
        expected = {
            f"precision[{name}]": precision[at],
            f"recall[{name}]": recall[at],
            f"f1[{name}]": f1[at],
        }
        assert [one.metric.name for one in class_metrics(name)] == list(expected)
        found = aggregate_predictions(predictions(pairs), LABELS, list(expected), resamples=2)
        assert {key: e.value for key, e in found.items()} == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(items)
def test_confusion_matrix_is_scikit_learns(pairs: list[tuple[str, str | None]]) -> None:
    gold, given = [g for g, _ in pairs], [p or NONE for _, p in pairs]
    theirs = sk.confusion_matrix(gold, given, labels=[*LABELS, NONE])
    assert (confusion_matrix(predictions(pairs), LABELS) == theirs[:-1]).all()
    assert confusion_matrix(predictions(pairs), LABELS).sum() == len(pairs)


def test_figures_by_hand() -> None:
    # yes: 2 right, 1 given wrongly, 1 missed; no: 1 right, 1 given wrongly, 1 missed.
    pairs = [("yes", "yes"), ("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")]
    assert value("accuracy", pairs) == pytest.approx(3 / 5)
    assert value("macro_f1", pairs) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert value("micro_f1", pairs) == pytest.approx(3 / 5)
    assert value("balanced_accuracy", pairs) == pytest.approx((2 / 3 + 1 / 2) / 2)
    # (TP·TN − FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN))
    assert value("matthews", pairs) == pytest.approx((2 * 1 - 1 * 1) / (3 * 3 * 2 * 2) ** 0.5)
    assert confusion_matrix(predictions(pairs), ["yes", "no"]).tolist() == [[2, 1, 0], [1, 1, 0]]
    # One answer names no class: it was missed, and no class was wrongly given.
    unsaid = [*pairs[:4], ("no", None)]
    assert value("micro_precision", unsaid) == pytest.approx(2 / 4)
    assert value("micro_recall", unsaid) == pytest.approx(2 / 5)
    assert confusion_matrix(predictions(unsaid), ["yes", "no"]).tolist() == [[2, 1, 0], [1, 0, 1]]


def test_a_resample_is_the_figure_of_the_drawn_items() -> None:
    random = np.random.default_rng(1)
    pairs = [(LABELS[a], LABELS[b]) for a, b in random.integers(0, 3, size=(12, 2))]
    draws = random.integers(0, 12, size=(20, 12))
    sums = class_counts(predictions(pairs), LABELS)[draws].sum(axis=1)
    for name in ("macro_f1", "balanced_accuracy", "matthews"):
        ours = STATISTICS[LABEL_METRICS[name].metric.statistic](sums)
        theirs = []
        for draw in draws:
            gold, given = [pairs[i][0] for i in draw], [pairs[i][1] for i in draw]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                occurring = sorted({*gold, *given})
                theirs.append(sklearns(gold, given, occurring)[name])
        assert ours == pytest.approx(theirs)


def test_intervals_and_comparisons() -> None:
    random = np.random.default_rng(0)
    gold = [LABELS[i] for i in random.integers(0, 3, 300)]
    poor = [Prediction(g, g if random.random() < 0.4 else "yes") for g in gold]
    good = [Prediction(g, g if random.random() < 0.9 else "yes") for g in gold]
    names = ["accuracy", "macro_f1", "f1[no]"]
    estimates = aggregate_predictions(poor, LABELS, names, resamples=500)
    for name in names:
        assert estimates[name].low < estimates[name].value < estimates[name].high
        assert estimates[name].count == 300
    differences = compare_predictions(poor, good, LABELS, names, resamples=500)
    better = aggregate_predictions(good, LABELS, names, resamples=500)
    for name in names:
        assert differences[name].significant
        assert differences[name].value == pytest.approx(better[name].value - estimates[name].value)
    same = compare_predictions(poor, poor, LABELS, names, resamples=200)
    assert not any(d.significant or d.value for d in same.values())
    with pytest.raises(ValueError, match="same items"):
        compare_predictions(poor, good[1:], LABELS, names)


def test_wrong_input_is_said() -> None:
    with pytest.raises(DataError, match="gold class 'what'"):
        aggregate_predictions([Prediction("what", "yes")], LABELS, ["macro_f1"])
    with pytest.raises(DataError, match="predicted class 'what'"):
        aggregate_predictions([Prediction("yes", "what")], LABELS, ["accuracy"])
    with pytest.raises(DataError, match="different"):
        class_counts([], ["a", "a"])
    with pytest.raises(UsageError, match=r"f1\[what\]"):
        aggregate_predictions([Prediction("yes", "no")], LABELS, ["f1[what]"])
    with pytest.raises(DataError, match="none of the 0 items"):
        aggregate_predictions([], LABELS, ["accuracy"])
    two = ["yes", "no"]
    for scores, message in (
        ((0.5,), "1 scores for 2"),
        ((0.9, 0.9), "no probabilities"),
        ((1.5, -0.5), "no probabilities"),
        ((float("nan"), 1.0), "no probabilities"),
    ):
        with pytest.raises(DataError, match=message):
            aggregate_predictions([Prediction("yes", "yes", scores)], two, ["ece"])
    with pytest.raises(DataError, match="ece applies to none"):
        aggregate_predictions([Prediction("yes", "yes")], two, ["ece"])
    with pytest.raises(DataError, match="between 0 and 1"):
        calibration_counts(np.array([1.2]), np.array([1.0]))


def test_calibration_error_by_hand() -> None:
    # Ten bins. (0.9, 1]: sure 0.95, 1 of 2 right; (0.5, 0.6]: sure 0.6, right; weights 2/3, 1/3.
    counts = calibration_counts(np.array([0.95, 0.95, 0.6]), np.array([1.0, 0.0, 1.0]), 10)
    assert calibration_error(counts.sum(axis=0, keepdims=True)) == pytest.approx(
        [2 / 3 * 0.45 + 1 / 3 * 0.4]
    )
    bins = reliability(counts)
    assert [b.count for b in bins] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]  # 0.6 is its bin's upper edge
    assert (bins[9].confidence, bins[9].accuracy) == (pytest.approx(0.95), 0.5)
    assert (bins[9].low, bins[9].high) == (pytest.approx(0.9), pytest.approx(1))
    assert (bins[0].confidence, bins[0].accuracy) == (None, None)
    edges = calibration_counts(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 10)
    assert [b.count for b in reliability(edges)] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def plain_ece(sure: list[float], right: list[bool], bins: int) -> float:
    """Guo et al. 2017, equation 3, as their loop has it: a bin holds its upper edge."""
    error = 0.0
    for low, high in pairwise(np.linspace(0, 1, bins + 1)):
        inside = [i for i, s in enumerate(sure) if low < s <= high]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            confidence = sum(sure[i] for i in inside) / len(inside)
            error += abs(accuracy - confidence) * len(inside) / len(sure)
    return error


logits = st.lists(st.floats(-30, 30), min_size=3, max_size=3)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(label, logits), min_size=1, max_size=30))
def test_calibration_equals_plain_loops_and_scikit_learn(
    rows: list[tuple[str, list[float]]],
) -> None:
    labels = LABELS[:3]
    scores = [softmax(values) for _, values in rows]
    best = [labels[int(np.argmax(p))] for p in scores]
    said = [Prediction(g, b, p) for (g, _), b, p in zip(rows, best, scores, strict=True)]
    names = ["ece", "ece_10", "brier", "log_loss", "accuracy"]
    found = aggregate_predictions(said, labels, names, resamples=2)
    sure = [max(p) for p in scores]
    right = [g == b for (g, _), b in zip(rows, best, strict=True)]
    assert found["ece"].value == pytest.approx(plain_ece(sure, right, 15))
    assert found["ece_10"].value == pytest.approx(plain_ece(sure, right, 10))
    assert found["accuracy"].value == pytest.approx(sum(right) / len(right))
    gold = [g for g, _ in rows]
    table = np.array(scores)
    assert found["brier"].value == pytest.approx(
        np.mean(
            [
                sum((p[k] - (name == g)) ** 2 for k, name in enumerate(labels))
                for g, p in zip(gold, table, strict=True)
            ]
        )
    )
    # scikit-learn wants the classes sorted.
    order = np.argsort(labels)
    expected = sk.log_loss(gold, table[:, order], labels=sorted(labels))
    assert found["log_loss"].value == pytest.approx(expected)


def test_brier_and_log_loss_by_hand() -> None:
    scores = np.array([[0.8, 0.2], [0.5, 0.5], [0.0, 1.0]])
    assert brier(scores, [0, 1, 1]) == pytest.approx([0.08, 0.5, 0])
    assert log_loss(scores, [0, 1, 1]) == pytest.approx([-np.log(0.8), np.log(2), 0])
    # Twice scikit-learn's for a binary target.
    binary = sk.brier_score_loss([1, 0, 0], scores[:, 0])
    assert brier(scores, [0, 1, 1]).mean() == pytest.approx(2 * binary)
    assert np.isfinite(log_loss(scores, [0, 0, 0])).all()


def test_a_prediction_without_probabilities_is_left_out_of_calibration() -> None:
    two = ["yes", "no"]
    said = [Prediction("yes", "yes", (0.75, 0.25)), Prediction("no", None)]
    found = aggregate_predictions(said, two, ["ece", "accuracy"])
    assert (found["ece"].value, found["ece"].count) == (pytest.approx(0.25), 1)
    assert (found["accuracy"].value, found["accuracy"].count) == (0.5, 2)


def test_softmax() -> None:
    assert softmax([0, 0]) == (0.5, 0.5)
    assert softmax([-1000, -1001]) == pytest.approx((1 / (1 + np.exp(-1)), 1 / (1 + np.e)))
    assert sum(softmax([1e3, -1e3, 5])) == pytest.approx(1)
