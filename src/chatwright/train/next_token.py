"""Pretraining and supervised fine-tuning: one loss, two kinds of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chatwright.train.objectives import NextToken, Objective
from chatwright.train.plan import Mixed, Plan
from chatwright.train.setup import Data, Prepared, Setup, steps_of

# A uniform guess costs ln V nats per token. A loss three times that has diverged.
_DIVERGED = 3.0


def plan_of(setup: Setup, data: Sequence[tuple[Data, float]], *, chat: bool) -> Plan:
    """The order of training on `data`: conversations (`chat`) or documents."""
    s = setup.settings
    form = "pretrain" if not chat else "sft" if s.learn == "all" else "sft-last"
    return Plan(
        [Mixed(setup.opener.open(d, form), weight) for d, weight in data],
        length=setup.numbers.length,
        rows_per_step=setup.numbers.rows_per_step,
        seed=setup.seed,
        chat=chat,
        too_long=s.too_long,
        stage=setup.stage,
    )


def prepare(setup: Setup) -> Prepared:
    """Objectives `pretrain` (documents) and `sft` (conversations)."""
    return prepare_with(setup, NextToken(), chat=setup.settings.objective == "sft")


def prepare_with(setup: Setup, objective: Objective, *, chat: bool) -> Prepared:
    """`objective` on documents or conversations."""
    plan = plan_of(setup, setup.data, chat=chat)
    held_out = None
    if setup.validation is not None:
        held_out = plan_of(setup, [(setup.validation, 1.0)], chat=chat)
    return Prepared(
        objective,
        plan,
        total=steps_of(setup.settings, setup.numbers, plan.end_after),
        validation=held_out,
        ceiling=_DIVERGED * math.log(setup.model.config.vocab_size),
    )
