"""Proximal policy optimisation with a value head on the policy (Ouyang et al. 2022)."""

from __future__ import annotations

import torch

from chatwright.train.rl.advantages import explained_variance, gae, token_mask, whiten
from chatwright.train.rl.kl import k1
from chatwright.train.rl.objective import PolicyObjective
from chatwright.train.rl.preparing import prepare_rollouts
from chatwright.train.rl.rollout import Rollouts
from chatwright.train.rl.settings import PpoSettings
from chatwright.train.rl.source import RolloutSource
from chatwright.train.setup import Prepared, Setup


class PpoSource(RolloutSource):
    """Advantages of each token by generalised advantage estimation."""

    settings: PpoSettings
    values = True

    def learn_from(self, rollouts: Rollouts) -> dict[str, float]:
        s, by_token = self.settings, rollouts.by_token
        lengths = rollouts.answer_lengths
        values = rollouts.rows(by_token["values"].double())
        mask = token_mask(lengths, values.shape[1])
        # The reward comes with the last token, the penalty for drifting with each.
        rewards = torch.zeros_like(values)
        rewards[torch.arange(len(lengths)), lengths - 1] = self.scores(rollouts)
        kept = torch.ones_like(rollouts.rewards)
        if s.mask_cut:
            kept = 1.0 - rollouts.cut.double()
        weights = mask * kept[:, None]
        if "reference" in by_token:
            if s.kl_in == "reward":
                drift = k1(by_token["log_probs"].double(), by_token["reference"].double())
                rewards -= self.kl.coefficient * rollouts.rows(drift)
            else:
                by_token["kl_weight"] = rollouts.flat(self.kl.coefficient * weights)
        counted = weights > 0
        if s.whiten_rewards:
            rewards = whiten(rewards, counted, keep_mean=True)
        advantages, returns = gae(rewards, values, lengths, gamma=s.gamma, lambda_=s.lambda_)
        figures = {"explained_variance": explained_variance(returns, values, counted)}
        figures["value"] = float(by_token["values"].double().mean())
        if s.whiten:
            advantages = whiten(advantages, counted)
        by_token["returns"] = rollouts.flat(returns)
        by_token["weight"] = rollouts.flat(weights)
        rollouts.counts = lengths * kept
        by_token["advantages"] = rollouts.flat(advantages)
        return figures


def prepare(setup: Setup) -> Prepared:
    """Objective `ppo`: prompts in, answers judged by a reward model or a function."""
    s = setup.settings.ppo
    objective = PolicyObjective(
        s.clip,
        s.temperature,
        s.entropy_bonus,
        value_coefficient=s.value_coefficient,
        value_clip=s.value_clip,
        value_gradient=s.value_gradient,
        importance_cap=s.importance_cap,
    )
    mix = (s.pretrain_mix, s.pretrain_tokens)
    return prepare_rollouts(setup, s, PpoSource, objective, mix=mix)
