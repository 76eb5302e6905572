"""Reward models: a number for each answer, higher for those that people prefer.

A linear head reads the hidden state at an answer's last token (Stiennon et al. 2020; Ouyang et al.
2022). The checkpoint is a sequence classifier with one label, as `transformers` opens it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from chatwright.model.transformer import Transformer
from chatwright.train.blocks import training_blocks
from chatwright.train.objectives import Loss
from chatwright.train.packing import Batch
from chatwright.train.preference.losses import bradley_terry
from chatwright.train.preference.plan import PairPlan
from chatwright.train.preference.preparing import plans_of
from chatwright.train.preference.scoring import score_batch
from chatwright.train.setup import Prepared, Setup

_STD_AT_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Reward:
    """The Bradley–Terry loss on pairs: sequence 2i of a batch is the chosen one, 2i + 1 the other.

    The weight is the number of pairs. Metrics: `accuracy`, the share of pairs whose chosen answer
    has the higher reward (half for a tie), `margin`, the mean difference, and the mean rewards.
    """

    center: float = 0.0
    margin: bool = False

    def loss(self, model: Transformer, batch: Batch) -> Loss:
        rewards = score_batch(model, batch)
        chosen, rejected = rewards[0::2], rewards[1::2]
        margin = batch.extra["margin"][0::2] if self.margin else None
        losses = bradley_terry(chosen, rejected, margin, self.center)
        difference = (chosen - rejected).detach()
        return Loss(
            losses.sum(),
            torch.tensor(len(losses)),
            {
                "accuracy": wins(difference),
                "margin": difference.sum(),
                "reward_chosen": chosen.detach().sum(),
                "reward_rejected": rejected.detach().sum(),
            },
        )


def wins(difference: torch.Tensor) -> torch.Tensor:
    """How many of these are above 0; one that is 0 counts half."""
    return (difference > 0).float().sum() + 0.5 * (difference == 0).float().sum()


def prepare(setup: Setup) -> Prepared:
    """Objective `reward`, on preferences."""
    s = setup.settings.preference
    plans = plans_of(setup)
    return Prepared(
        Reward(s.center, s.margin),
        plans.training,
        total=plans.total,
        validation=plans.validation,
        finish=lambda: normalise(
            setup.model, plans.training, s.normalise_pairs, setup.numbers.micro_batch_tokens
        ),
    )


@torch.no_grad()
def normalise(model: Transformer, plan: PairPlan, pairs: int, tokens_at_once: int) -> None:
    """Note mean and deviation of the rewards of both answers of up to `pairs` pairs of the plan.

    They go into the model's config, and `score_sequences` applies them; the head stays as it is, so
    that other programs read the same number. The pairs are spread evenly over the plan. Mean and
    deviation are of both answers together, since a policy gives good and bad ones. 0 pairs leave
    the rewards as they are.
    """
    mean, deviation = 0.0, 1.0
    if pairs:
        count = len(plan.pairs)
        picked = [plan.pairs[i * count // min(pairs, count)] for i in range(min(pairs, count))]
        model.eval()
        with training_blocks(model):
            rewards = [
                score_batch(model, batch.to(model.device)).cpu().numpy()
                for batch in plan.batches(picked, tokens_at_once)
            ]
        found = np.concatenate(rewards).astype(np.float64)
        mean = float(found.mean())
        deviation = max(float(found.std()), _STD_AT_LEAST)
    model.config = model.config.model_copy(update={"reward_mean": mean, "reward_std": deviation})
