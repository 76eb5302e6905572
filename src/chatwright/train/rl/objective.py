"""What PPO and GRPO minimise, on batches that carry what was known when the answers were made.

Extras of a batch, by token: "advantages" and "weight" (of the token in the sum); "log_probs" of the
policy that drew (not given: those of the policy now, for an iteration's only update), "engine" (the
engine's own), and where wanted "reference" with "kl_weight", "values" with "returns", and
"pretrain" (weight of a document's token). By sequence: "count" (how much of the divisor it is).
All weights are given, so micro-batches and ranks add up to one large batch exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from chatwright.model import Transformer
from chatwright.train.logprobs import log_probs_of_hidden, packed_hidden
from chatwright.train.objectives import Loss
from chatwright.train.packing import Batch
from chatwright.train.rl.kl import k3
from chatwright.train.rl.losses import clipped_policy_loss, clipped_value_loss
from chatwright.train.rl.policy import padded, values_of


@dataclass(frozen=True, slots=True)
class PolicyObjective:
    """The clipped policy loss, and beside it a value loss, an entropy bonus, a penalty, documents.

    Dropout is off: otherwise the first ratio of an update would not be 1.
    """

    clip: tuple[float, float]
    temperature: float = 1.0
    entropy_bonus: float = 0.0
    value_coefficient: float = 0.0
    value_clip: float | None = None
    value_gradient: bool = True
    importance_cap: float | None = None

    def loss(self, model: Transformer, batch: Batch) -> Loss:
        if "judged" in batch.extra:
            return _judged(batch)
        model.eval()  # also in the backward pass, where a block may be computed again
        batch = padded(model, batch)
        x = batch.extra
        first = "log_probs" not in x
        hidden = packed_hidden(model, batch)
        log_probs, entropy = log_probs_of_hidden(
            model, hidden, batch, self.temperature, entropy=first or self.entropy_bonus > 0
        )
        old = log_probs.detach() if first else x["log_probs"]
        weight, learnt = x["weight"], x["weight"] > 0
        advantages = x["advantages"]
        if self.importance_cap is not None:
            # Nothing but the advantage is weighted: a factor ≥ 0 goes through the minimum.
            away = torch.exp(old - x["engine"])
            advantages = advantages * away.clamp(max=self.importance_cap)
        policy, ratio, clipped = clipped_policy_loss(log_probs, old, advantages, self.clip)
        total = (weight * policy).sum()
        metrics = {
            "policy_loss": _mean(policy, learnt),
            "ratio": _mean(ratio, learnt),
            "clip_fraction": _mean(clipped, learnt),
            "update_kl": _mean(k3(old, log_probs), learnt),
        }
        if entropy is not None:
            metrics["entropy"] = _mean(entropy, learnt)
            if self.entropy_bonus:
                total = total - self.entropy_bonus * (weight * entropy).sum()
        if "engine" in x:
            metrics["engine_mismatch"] = _mean((old - x["engine"]).abs(), learnt)
        if "kl_weight" in x:
            divergence = k3(log_probs, x["reference"])
            total = total + (x["kl_weight"] * divergence).sum()
            metrics["kl_per_token"] = _mean(divergence, learnt)
        if "returns" in x:
            values = values_of(model, hidden, gradient=self.value_gradient)
            loss, bounded = clipped_value_loss(values, x["values"], x["returns"], self.value_clip)
            total = total + self.value_coefficient * (weight * loss).sum()
            metrics["value_loss"] = _mean(loss, learnt)
            metrics["value_clip_fraction"] = _mean(bounded, learnt)
        if "pretrain" in x:
            total = total - (x["pretrain"] * log_probs).sum()
            documents = x["pretrain"] > 0
            metrics["pretrain_loss"] = _mean(-log_probs, documents)
        return Loss(total, x["count"].sum(), metrics)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """A metric with a weight of its own: the sum over `where`, and how many that are."""
    return torch.stack([(values.detach() * where).sum().float(), where.sum().float()])


def _judged(batch: Batch) -> Loss:
    """Validation: minus the mean reward of answers to prompts that are not learnt from."""
    rewards, ended = batch.extra["judged"], batch.extra["ended"]
    count = torch.tensor(len(rewards), device=rewards.device)
    return Loss(-rewards.sum(), count, {"reward": rewards.sum(), "ended": ended.sum()})
