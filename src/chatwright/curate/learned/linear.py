"""A linear model of quality: logistic regression over hashed n-grams of words and characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.learned.text import as_words
from chatwright.curate.textmodels.hashed import Features, HashedModel
from chatwright.errors import DataError


@dataclass(frozen=True, slots=True)
class QualityModel:
    """How much a text is like the positive examples, 0…1; `characters` is how far it is read."""

    model: HashedModel
    characters: int

    def score(self, texts: Sequence[str]) -> list[float]:
        """The calibrated probability of each text, for a mix with as many good as bad ones."""
        prepared = [as_words(text, self.characters) for text in texts]
        found: list[float] = self.scores_of(prepared).tolist()
        return found

    def scores_of(self, prepared: Sequence[str]) -> NDArray[np.float64]:
        """The same for texts that `as_words` has made."""
        return self.model.probabilities(prepared)


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts as `as_words` makes them, and whether each is a positive example, `[n]`."""

    texts: list[str]
    positive: NDArray[np.bool_]


def train_linear(
    train: Examples,
    calibration: Examples,
    features: Features,
    *,
    characters: int,
    inverse_penalty: float,
    least_texts: int,
) -> QualityModel:
    """Fit (L2, both classes weighted alike), quantise to int8, calibrate (Platt 1999).

    An n-gram that is in fewer than `least_texts` texts is left out. The same examples give the same
    model. Raises `DataError` where a class has no example.
    """
    from sklearn.linear_model import LogisticRegression

    for examples in (train, calibration):
        if len(set(examples.positive.tolist())) < 2:
            raise DataError(
                "there must be positive and negative examples to train and to calibrate on",
                hint="give more rows, or a larger share of held-out ones",
            )
    rows = _matrix(features, train.texts)
    rare = np.bincount(rows.indices, minlength=rows.shape[1]) < least_texts
    rows.data[rare[rows.indices]] = 0
    rows.eliminate_zeros()
    fitted = LogisticRegression(
        C=inverse_penalty, class_weight="balanced", solver="liblinear", random_state=0
    ).fit(rows, train.positive)
    weights = fitted.coef_[0]
    step = max(float(np.abs(weights).max()), 1e-9) / 127
    quantised = np.rint(weights / step).astype(np.int8)
    raw = HashedModel(features, quantised, step, float(fitted.intercept_[0]))
    slope, shift = _platt(raw, calibration)
    return QualityModel(
        HashedModel(features, quantised, step * slope, raw.bias * slope + shift), characters
    )


def _matrix(features: Features, texts: Sequence[str]) -> Any:
    """One row of length 1 per text, as the model that scores sees it."""
    from scipy.sparse import csr_matrix

    columns, starts = features.indices(texts)
    sizes = np.diff(starts)
    values = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes).astype(np.float32)
    return csr_matrix((values, columns, starts), shape=(len(texts), 1 << features.bits))


def _platt(model: HashedModel, examples: Examples) -> tuple[float, float]:
    """Slope and shift of the logit with which a score is a probability, classes weighted alike."""
    from sklearn.linear_model import LogisticRegression

    chance = np.clip(model.probabilities(examples.texts), 1e-9, 1 - 1e-9)
    logits = np.log(chance / (1 - chance)).reshape(-1, 1)
    fitted = LogisticRegression(C=1e3, class_weight="balanced").fit(logits, examples.positive)
    # A model that is wrong more often than right must not be turned round: it has learned nothing.
    return max(float(fitted.coef_[0, 0]), 0.0), float(fitted.intercept_[0])


@dataclass(frozen=True, slots=True)
class LinearScores:
    """Quality on held-out examples; `at` maps a bound to (precision, recall) in equal halves."""

    positive: int
    negative: int
    auc: float
    brier: float
    at: dict[float, tuple[float, float]]


def judge(model: QualityModel, held_out: Examples) -> LinearScores:
    """How well a model tells held-out positive from negative examples."""
    from sklearn.metrics import brier_score_loss, roc_auc_score

    chance, positive = model.scores_of(held_out.texts), held_out.positive
    weight = np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))
    at = {}
    for bound in (0.1, 0.25, 0.5, 0.75, 0.9):
        recall = float((chance[positive] >= bound).mean())
        kept = recall + float((chance[~positive] >= bound).mean())
        at[bound] = (recall / kept if kept else 1.0, recall)
    return LinearScores(
        positive=int(positive.sum()),
        negative=int((~positive).sum()),
        auc=float(roc_auc_score(positive, chance)),
        brier=float(brier_score_loss(positive, chance, sample_weight=weight)),
        at=at,
    )
