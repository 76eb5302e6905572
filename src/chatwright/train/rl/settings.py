"""What a person may say about reinforcement learning, with defaults for a small model on a CPU."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from chatwright.stage import Settings


class KlSettings(Settings):
    """How far the policy may drift from the reference, as a penalty in nats times `coefficient`.

    With `target` (nats per answer) the coefficient is steered towards it as Ziegler et al. 2019 do:
    after each iteration it grows by the factor 1 + clip(KL / target − 1, ±0.2) · answers / horizon.
    (They made a million answers, with a horizon of 10,000.)
    """

    coefficient: float = Field(default=0.05, ge=0)
    target: float | None = Field(default=None, gt=0)
    horizon: float = Field(default=1000, gt=0)

    @model_validator(mode="after")
    def _can_adapt(self) -> Self:
        if self.target is not None and self.coefficient == 0:
            raise ValueError("a coefficient of 0 stays 0 whatever the target: begin above 0")
        return self


class RolloutSettings(Settings):
    """What PPO and GRPO share: how answers are made, and how often each is learnt from.

    An iteration makes `answers` answers to each of `prompts` prompts, each of at most
    `max_new_tokens` tokens, sampled at `temperature` from the whole vocabulary. It is then gone
    through `epochs` times in `minibatches` parts, each of which is one step of the optimizer, so an
    iteration is `epochs` · `minibatches` steps. A prompt that leaves no room for the answer within
    the run's `length` is left out with a line in the ledger.

    The ratio of new to old probability is clipped to 1 − `clip_low` … 1 + `clip_high` (None: the
    same as `clip_low`; Yu et al. 2025 take 0.2 and 0.28). `reward_clip` bounds each reward to ±that
    value. `missing_end_penalty` is subtracted from the reward of an answer that was cut off at
    `max_new_tokens`; `mask_cut` takes no loss from such answers at all.

    `importance_cap` weighs each token by what the trainer's probability is to that of the engine
    that drew it, at most the cap (truncated importance sampling; None: not at all). It needs
    temperature 1. `engine` says what draws the answers ("auto": the compiled kernels where they can
    compute the model), and `engine_weights` the type of its copy of the weights.

    `samples` answers of each iteration are written to `rollouts.jsonl` with their rewards.
    """

    prompts: int = Field(default=8, ge=1)
    answers: int = Field(default=1, ge=1)
    max_new_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, gt=0, le=10)
    epochs: int = Field(default=1, ge=1)
    minibatches: int = Field(default=1, ge=1)

    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float | None = Field(default=None, gt=0)
    entropy_bonus: float = Field(default=0.0, ge=0)
    reward_clip: float | None = Field(default=None, gt=0)
    missing_end_penalty: float = Field(default=0.0, ge=0)
    mask_cut: bool = False
    importance_cap: float | None = Field(default=None, ge=1)

    engine: Literal["auto", "torch"] = "auto"
    engine_weights: Literal["model", "float32"] = "model"
    engine_batch: int = Field(default=16, ge=1)
    samples: int = Field(default=4, ge=0)

    @property
    def clip(self) -> tuple[float, float]:
        """How far the ratio may go below and above 1."""
        return self.clip_low, self.clip_low if self.clip_high is None else self.clip_high

    @property
    def steps_per_iteration(self) -> int:
        return self.epochs * self.minibatches

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.minibatches > self.prompts * self.answers:
            raise ValueError(
                f"{self.minibatches} minibatches of {self.prompts * self.answers} answers: a "
                "minibatch holds at least one answer"
            )
        if self.importance_cap is not None and self.temperature != 1.0:
            raise ValueError("importance_cap needs temperature 1: the engine's log-probabilities "
                             "are those of the model itself")  # fmt: skip
        return self


class PpoSettings(RolloutSettings):
    """Settings of the objective `ppo` (Schulman et al. 2017; Ouyang et al. 2022).

    The penalty for drifting from the reference is taken from each token's reward (`kl_in` "reward":
    the difference of log-probabilities, k1) or added to the loss ("loss": k3, Schulman 2020).
    `gamma` and `lambda_` are those of generalised advantage estimation (Schulman et al. 2016).
    Advantages are whitened over an iteration's tokens, and with `whiten_rewards` rewards too
    (their mean stays).

    The value head reads the policy's last hidden states; with `value_gradient` its loss also trains
    the layers below, weighted by `value_coefficient`. `value_clip` bounds how far a value may move
    from the old one before its loss stops falling (None: no bound).

    `pretrain_mix` adds so many times the pretraining loss to each step (PPO-ptx), on
    `pretrain_tokens` tokens of the documents that stand among the data. It needs temperature 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    prompts: int = Field(default=16, ge=1)
    epochs: int = Field(default=2, ge=1)

    kl: KlSettings = KlSettings()
    kl_in: Literal["reward", "loss"] = "reward"
    gamma: float = Field(default=1.0, ge=0, le=1)
    lambda_: float = Field(default=0.95, ge=0, le=1, alias="lambda")
    whiten: bool = True
    whiten_rewards: bool = False
    value_clip: float | None = Field(default=0.2, gt=0)
    value_coefficient: float = Field(default=0.1, ge=0)
    value_gradient: bool = True
    pretrain_mix: float = Field(default=0.0, ge=0)
    pretrain_tokens: int = Field(default=512, ge=2)

    @model_validator(mode="after")
    def _one_temperature(self) -> Self:
        if self.pretrain_mix and self.temperature != 1.0:
            raise ValueError("pretrain_mix needs temperature 1: the same probabilities are learnt")
        return self


class GrpoSettings(RolloutSettings):
    """Settings of the objective `grpo` (Shao et al. 2024), with what DAPO and Dr. GRPO changed.

    An answer's advantage is its reward less the mean of the answers to the same prompt, divided by
    their standard deviation where `scale` is "group" (Shao et al.), by that of all answers of the
    iteration ("batch"), or by nothing ("none", Liu et al. 2025: Dr. GRPO).

    `normalise` says what the sum of the tokens' losses is divided by: "tokens" by the number of
    tokens of the step (DAPO, Yu et al. 2025), "sequences" first by each answer's length and then by
    the number of answers (Shao et al.), "constant" by `max_new_tokens` times the number of answers
    (Dr. GRPO).

    The penalty for drifting from the reference is k3 in the loss, times `kl.coefficient` (0: the
    reference is not even computed).
    """

    prompts: int = Field(default=4, ge=1)
    answers: int = Field(default=8, ge=2)
    clip_high: float | None = Field(default=0.28, gt=0)
    kl: KlSettings = KlSettings(coefficient=0.0)
    scale: Literal["group", "batch", "none"] = "group"
    normalise: Literal["tokens", "sequences", "constant"] = "tokens"
