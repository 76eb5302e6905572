"""Direct preference optimisation: the policy itself is the reward model (Rafailov et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from chatwright.model.transformer import Transformer
from chatwright.train.objectives import Loss
from chatwright.train.packing import Batch
from chatwright.train.preference.logps import answer_log_probs
from chatwright.train.preference.losses import direct_preference
from chatwright.train.preference.preparing import plans_of
from chatwright.train.preference.reference import check_reference, reference_log_probs
from chatwright.train.preference.reward import wins
from chatwright.train.preference.settings import PairLoss
from chatwright.train.setup import Prepared, Setup

REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class DirectPreference:
    """DPO on pairs: sequence 2i of a batch is the chosen one, 2i + 1 the other.

    `batch.extra["reference"]` [S] holds the answers' log-probabilities under the reference. The
    weight is the number of pairs. With `sft_weight` the chosen answer's cross-entropy per token is
    added (Pang et al. 2024, "Iterative reasoning preference optimization", equation 3).

    Metrics, means over pairs: `reward_chosen` and `reward_rejected` are β times the log-ratio to
    the reference, `margin` their difference, `accuracy` the share of pairs where it is above 0
    (half for a tie), `log_prob_chosen` and `log_prob_rejected` the answers' log-probabilities.
    """

    beta: float = 0.1
    kind: PairLoss = "sigmoid"
    label_smoothing: float = 0.0
    sft_weight: float = 0.0

    def loss(self, model: Transformer, batch: Batch) -> Loss:
        log_probs, lengths = answer_log_probs(model, batch)
        ratios = log_probs - batch.extra[REFERENCE]
        chosen, rejected = ratios[0::2], ratios[1::2]
        losses = direct_preference(
            chosen,
            rejected,
            beta=self.beta,
            loss=self.kind,
            label_smoothing=self.label_smoothing,
            lengths=(lengths[0::2], lengths[1::2]),
        )
        if self.sft_weight:
            losses = losses - self.sft_weight * log_probs[0::2] / lengths[0::2]
        margins = self.beta * (chosen - rejected).detach()
        return Loss(
            losses.sum(),
            torch.tensor(len(losses)),
            {
                "accuracy": wins(margins),
                "margin": margins.sum(),
                "reward_chosen": self.beta * chosen.detach().sum(),
                "reward_rejected": self.beta * rejected.detach().sum(),
                "log_prob_chosen": log_probs[0::2].detach().sum(),
                "log_prob_rejected": log_probs[1::2].detach().sum(),
            },
        )


def prepare(setup: Setup) -> Prepared:
    """Objective `dpo`, on preferences.

    The reference is the model that is named as such, else the model as it is now, before its first
    step; it is asked once, for the pairs to come, and not needed after that.
    """
    s = setup.settings.preference
    plans = plans_of(setup)
    reference = setup.models.get(REFERENCE, setup.model)
    check_reference(setup.model, reference)
    asked = [(plans.training, plans.training.used(plans.total))]
    if plans.validation is not None:
        held_out = plans.validation.first(setup.settings.validation_tokens)
        asked.append((plans.validation, held_out))
    for plan, pairs in asked:
        plan.known[REFERENCE] = reference_log_probs(
            reference,
            plan,
            pairs,
            setup.folder / REFERENCE,
            dtype=setup.numbers.dtype,
            tokens_at_once=setup.numbers.micro_batch_tokens,
            progress=setup.progress,
        )
    return Prepared(
        DirectPreference(s.beta, s.loss, s.label_smoothing, s.sft_weight),
        plans.training,
        total=plans.total,
        validation=plans.validation,
    )
