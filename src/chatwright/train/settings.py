"""What a person may say about a training run, and the numbers that follow where nothing is said."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from chatwright.stage import Settings

ObjectiveName = Literal["pretrain", "sft"]
ScheduleName = Literal["wsd", "cosine", "linear", "constant"]
OptimizerName = Literal["auto", "adamw", "muon"]
Precision = Literal["auto", "fp32", "bf16"]

_ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al. 2021): W + (alpha / rank) · B·A, only A and B are trained."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = _ALL_LINEAR


class TrainSettings(Settings):
    """How to train. Every number has a default that suits a small model on a CPU.

    How much: exactly one of `epochs`, `steps` and `tokens` (one epoch when none is given); never a
    time, because the same recipe must give the same weights on a slow machine.

    How many at once: a step takes `batch_tokens` tokens (or `batch_size` rows of `length`),
    computed `micro_batch_tokens` at a time to bound memory; the latter changes no result beyond
    rounding.

    `threads`, `checkpoint_every` (in steps), else `checkpoint_seconds`, and `keep_checkpoints`
    say how, not what; the last three enter no fingerprint. Same settings, data, seed and number of
    threads give the same bits.
    """

    objective: ObjectiveName = "sft"
    lora: LoraSettings | None = None

    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)

    length: int | None = Field(default=None, ge=2)
    batch_tokens: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    micro_batch_tokens: int | None = Field(default=None, ge=1)
    too_long: Literal["drop", "cut"] = "drop"

    learning_rate: float | None = Field(default=None, gt=0)
    schedule: ScheduleName = "wsd"
    warmup: float = Field(default=0.05, ge=0)
    decay: float = Field(default=0.3, ge=0, le=1)
    final_learning_rate: float = Field(default=0.0, ge=0, le=1)

    optimizer: OptimizerName = "auto"
    weight_decay: float | None = Field(default=None, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float | None = Field(default=1.0, gt=0)

    precision: Precision = "auto"
    threads: int | None = Field(default=None, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1, exclude=True)
    checkpoint_seconds: float = Field(default=60.0, ge=0, exclude=True)
    keep_checkpoints: int = Field(default=2, ge=1, exclude=True)
    validate_every: int | None = Field(default=None, ge=1)
    validation_tokens: int = Field(default=16_384, ge=1)

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for names in (("epochs", "steps", "tokens"), ("batch_tokens", "batch_size")):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} exclude each other; give one")
        if self.objective == "pretrain" and self.lora is not None and self.optimizer == "muon":
            raise ValueError("muon is for full training; adapters are trained with adamw")
        return self
