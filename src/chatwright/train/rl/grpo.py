"""Group relative policy optimisation: the other answers to a prompt are the baseline."""

from __future__ import annotations

import torch

from chatwright.train.rl.advantages import group_advantages
from chatwright.train.rl.objective import PolicyObjective
from chatwright.train.rl.preparing import prepare_rollouts
from chatwright.train.rl.rollout import Rollouts
from chatwright.train.rl.settings import GrpoSettings
from chatwright.train.rl.source import RolloutSource
from chatwright.train.setup import Prepared, Setup


class GrpoSource(RolloutSource):
    """One advantage for all tokens of an answer: how much better than its group it is."""

    settings: GrpoSettings

    def learn_from(self, rollouts: Rollouts) -> dict[str, float]:
        s, by_token = self.settings, rollouts.by_token
        lengths = rollouts.answer_lengths
        scores = self.scores(rollouts)
        advantages = group_advantages(scores, s.answers, s.scale)
        kept = torch.ones_like(scores)
        if s.mask_cut:
            kept = 1.0 - rollouts.cut.double()
        # What each token weighs in the sum, and what each answer adds to the divisor.
        weights, rollouts.counts = {
            "tokens": (kept, lengths * kept),
            "sequences": (kept / lengths, kept),
            "constant": (kept / s.max_new_tokens, kept),
        }[s.normalise]
        by_token["weight"] = weights.repeat_interleave(lengths).float()
        if "reference" in by_token:
            by_token["kl_weight"] = self.kl.coefficient * by_token["weight"]
        by_token["advantages"] = advantages.repeat_interleave(lengths).float()
        groups = scores.view(-1, s.answers)
        return {
            "group_std": float(groups.std(1).mean()),
            # Groups in which all answers are worth the same teach nothing.
            "flat_groups": float((groups.std(1) == 0).double().mean()),
        }


def prepare(setup: Setup) -> Prepared:
    """Objective `grpo`: prompts in, groups of answers judged by a reward model or a function."""
    s = setup.settings.grpo
    objective = PolicyObjective(
        s.clip, s.temperature, s.entropy_bonus, importance_cap=s.importance_cap
    )
    return prepare_rollouts(setup, s, GrpoSource, objective)
