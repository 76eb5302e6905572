"""Membership inference: telling the rows a model was trained on from rows it never saw.

Every attack gives a row a score that should be higher for members. What is told is the area under
the ROC curve (0.5: chance) and, since an attack that is sure of a few matters more than one that is
vaguely right about all (Carlini et al. 2022), the true positive rate at 1 % false positives.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.evaluate.statistics import CONFIDENCE, RESAMPLES, Estimate
from chatwright.govern.audit.results import Attack, Membership

Floats = NDArray[np.float64]

MIN_K = 0.2
FALSE_POSITIVES = 0.01


@dataclass(frozen=True, slots=True)
class Observed:
    """One row: the loss (nats) of each token that carried loss, and the text of those tokens.

    `reference`: the sum of losses of the same text under a model that was not trained on it.
    """

    losses: Floats
    text: str
    reference: float | None = None


def loss_score(row: Observed) -> float:
    """Minus the mean loss (Yeom et al. 2018): what was seen in training costs less."""
    return -float(row.losses.mean())


def min_k_score(row: Observed, share: float = MIN_K) -> float:
    """Mean log-probability of the `share` least likely tokens, at least one (Shi et al. 2024).

    A text never seen holds a few tokens that surprise; one from training holds fewer.
    """
    count = max(1, math.floor(len(row.losses) * share))
    return -float(np.sort(row.losses)[-count:].mean())


def zlib_score(row: Observed) -> float:
    """Minus total loss per byte of the zlib-compressed text (Carlini et al. 2021).

    Compression stands in for how predictable the text is by itself.
    """
    return -float(row.losses.sum()) / len(zlib.compress(row.text.encode("utf-8", "replace")))


def reference_score(row: Observed) -> float:
    """How much less the row costs this model than the reference, per byte of text (nats).

    Carlini et al. 2021; Watson et al. 2022 ("difficulty calibration"). Per byte, because the two
    models may cut the text into other tokens.
    """
    if row.reference is None:
        raise ValueError("this row has no reference loss")
    size = max(1, len(row.text.encode("utf-8", "replace")))
    return (row.reference - float(row.losses.sum())) / size


def blind_score(row: Observed) -> float:
    """Compressed bytes per byte: asks no model, so it should tell nothing.

    Where it does, members and non-members differ as texts, and no other attack proves memorisation
    (Das et al. 2024, "Blind baselines beat membership inference attacks").
    """
    raw = row.text.encode("utf-8", "replace")
    return len(zlib.compress(raw)) / max(1, len(raw))


ATTACKS = {"loss": loss_score, "min-20%": min_k_score, "zlib": zlib_score}


def tpr_at_fpr(members: Floats, others: Floats, rate: float = FALSE_POSITIVES) -> float:
    """Share of members above the lowest threshold that at most `rate` of the others exceed.

    With fewer than 1 / rate others, none of them may exceed it.
    """
    allowed = math.floor(rate * len(others) + 1e-9)
    # The (allowed + 1)-th highest of the others: exceeded by at most `allowed` of them.
    threshold = np.sort(others)[len(others) - 1 - allowed]
    return float((members > threshold).mean())


def _wins(members: Floats, others: Floats) -> Floats:
    """[members, others]: 1 where the member scores higher, 0.5 where equal."""
    difference = members[:, None] - others[None, :]
    return np.where(difference > 0, 1.0, np.where(difference == 0, 0.5, 0.0))


def judge(
    name: str, members: Floats, others: Floats, *, seed: int = 0, resamples: int = RESAMPLES
) -> Attack:
    """AUC and TPR at 1 % FPR with percentile bootstrap intervals; both sides are drawn again."""
    random = np.random.default_rng(seed)
    n, m = len(members), len(others)
    wins = _wins(members, others)
    aucs, tprs = np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        left, right = random.integers(0, n, n), random.integers(0, m, m)
        drawn = np.bincount(left, minlength=n) @ wins @ np.bincount(right, minlength=m)
        aucs[i] = drawn / (n * m)
        tprs[i] = tpr_at_fpr(members[left], others[right])
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]

    def estimate(value: float, values: Floats) -> Estimate:
        low, high = np.quantile(values, ends)
        return Estimate(value, float(low), float(high), n + m)

    return Attack(
        name,
        auc=estimate(float(wins.mean()), aucs),
        tpr=estimate(tpr_at_fpr(members, others), tprs),
    )


def membership(
    members: Mapping[str, Observed],
    others: Mapping[str, Observed],
    *,
    kind: str,
    reference: str | None = None,
    seed: int = 0,
    resamples: int = 1_000,
) -> Membership:
    """Run every attack. Raises `ValueError` where one side has fewer than two rows."""
    inside = [members[i] for i in sorted(members) if len(members[i].losses)]
    outside = [others[i] for i in sorted(others) if len(others[i].losses)]
    if len(inside) < 2 or len(outside) < 2:
        raise ValueError("membership needs at least two training rows and two held-out rows")
    attacks = dict(ATTACKS)
    if all(row.reference is not None for row in (*inside, *outside)):
        attacks["reference"] = reference_score
    else:
        reference = None

    def run(name: str, score: object) -> Attack:
        left = np.array([score(row) for row in inside])  # type: ignore[operator]
        right = np.array([score(row) for row in outside])  # type: ignore[operator]
        return judge(name, left, right, seed=seed, resamples=resamples)

    return Membership(
        members=len(inside),
        non_members=len(outside),
        kind=kind,
        attacks=[run(name, score) for name, score in attacks.items()],
        blind=run("blind", blind_score),
        reference=reference,
    )
