"""What the objectives on pairs share: which pairs are learnt from and which are held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.errors import TrainingError
from chatwright.train.preference.pairs import open_pairs
from chatwright.train.preference.plan import MixedPairs, PairPlan
from chatwright.train.preference.settings import HELD_OUT_SHARE, PAIRS_PER_STEP
from chatwright.train.setup import Data, Setup


@dataclass(frozen=True, slots=True)
class Plans:
    """The order of training, of validation (where there is one), and the number of steps."""

    training: PairPlan
    validation: PairPlan | None
    total: int


def plans_of(setup: Setup) -> Plans:
    """Open the pairs that a run was given and decide their order.

    Held out are the pairs of `validation` data where some were named, else those whose prompts lie
    in the last `held_out` share of the range `prompts`.
    """
    s = setup.settings.preference
    low, high = s.prompts
    share = s.held_out
    if share is None:
        share = 0.0 if setup.validation is not None else HELD_OUT_SHARE
    border = high - share * (high - low)
    training = _plan(setup, setup.data, (low, border))
    held_out = None
    if setup.validation is not None:
        held_out = _plan(setup, [(setup.validation, 1.0)], (0.0, 1.0))
    elif share:
        try:
            held_out = _plan(setup, setup.data, (border, high))
        except TrainingError:  # no prompt of these few lies there
            setup.progress.line("no pair is held out: there are too few prompts")
    return Plans(training, held_out, _steps(setup, training))


def _plan(
    setup: Setup, data: Sequence[tuple[Data, float]], places: tuple[float, float]
) -> PairPlan:
    return PairPlan(
        [MixedPairs(open_pairs(setup.opener, part), weight) for part, weight in data],
        length=setup.numbers.length,
        pairs_per_step=pairs_per_step(setup),
        seed=setup.seed,
        places=places,
        too_long=setup.settings.too_long,
        stage=setup.stage,
    )


def pairs_per_step(setup: Setup) -> int:
    """`batch_size` counts pairs here; `batch_tokens` is as many as fit at full length."""
    s = setup.settings
    if s.batch_size is not None:
        return s.batch_size
    if s.batch_tokens is not None:
        return max(1, s.batch_tokens // (2 * setup.numbers.length))
    return PAIRS_PER_STEP


def _steps(setup: Setup, plan: PairPlan) -> int:
    s = setup.settings
    if s.steps is not None:
        return s.steps
    if s.tokens is not None:
        return max(1, math.ceil(s.tokens / (pairs_per_step(setup) * plan.tokens_per_pair)))
    return plan.end_after(s.epochs or 1.0)
