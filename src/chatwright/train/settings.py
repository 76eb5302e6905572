"""What a person may say about a training run, and the numbers that follow where nothing is said."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from chatwright.stage import Settings
from chatwright.train.distil_settings import DistilSettings
from chatwright.train.preference.settings import PreferenceSettings
from chatwright.train.rl.settings import GrpoSettings, PpoSettings
from chatwright.train.samples import SampleSettings

ObjectiveName = Literal["pretrain", "sft", "reward", "dpo", "ppo", "grpo", "distil"]
ScheduleName = Literal["wsd", "cosine", "linear", "constant"]
OptimizerName = Literal["auto", "adamw", "muon", "sgd", "rmsprop", "adagrad", "radam", "lamb"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

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
    rounding. Neither does `packing`: sequences end to end, or padded beside each other.
    `checkpoint_activations` saves memory and costs time: no block's insides are kept.

    What is learnt: `learn` every assistant message of a conversation, or only the last one; all
    weights but those that `freeze` names ("embed_tokens", "layers.0-5", "layers.*.mlp"), or the
    adapters of `lora`. `dropout` is the share of embeddings, and of what attention and MLP add,
    that is zeroed.

    How: `betas` are for adamw, radam and lamb, the second one for rmsprop too. `momentum` is for
    sgd (0.9 when None), rmsprop (0) and muon (0.95), `nesterov` for sgd (false) and muon (true).
    Where one optimizer shares the work with another (muon with adamw), each takes its own. A model
    with fresh weights learns much sooner when its embedding has a far larger rate than the rest:
    `embedding_learning_rate`, and `head_learning_rate` for a head that is not the embedding, are
    their peaks (`learning_rate` when None; a recipe's new model sets them), without weight decay.

    `threads`, `checkpoint_every` (in steps), else `checkpoint_seconds`, and `keep_checkpoints`
    say how, not what; the last three enter no fingerprint. Same settings, data, seed and number of
    threads give the same bits: on a GPU only with `deterministic`, which is slower and changes last
    digits, so that it enters the fingerprint where it is true; on a CPU it changes nothing.
    `samples` asks the model something now and then; that changes nothing either.

    `preference`, `ppo`, `grpo` and `distil` are the objectives' own settings.
    """

    objective: ObjectiveName = "sft"
    lora: LoraSettings | None = None
    preference: PreferenceSettings = PreferenceSettings()
    ppo: PpoSettings = PpoSettings()
    grpo: GrpoSettings = GrpoSettings()
    distil: DistilSettings = DistilSettings()

    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)

    length: int | None = Field(default=None, ge=2)
    batch_tokens: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    micro_batch_tokens: int | None = Field(default=None, ge=1)
    too_long: Literal["drop", "cut"] = "drop"
    packing: Literal["packed", "padded"] = "packed"
    learn: Literal["all", "last"] = "all"

    learning_rate: float | None = Field(default=None, gt=0)
    embedding_learning_rate: float | None = Field(default=None, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    schedule: ScheduleName = "wsd"
    warmup: float = Field(default=0.05, ge=0)
    decay: float = Field(default=0.3, ge=0, le=1)
    final_learning_rate: float = Field(default=0.0, ge=0, le=1)

    optimizer: OptimizerName = "auto"
    weight_decay: float | None = Field(default=None, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float | None = Field(default=None, ge=0, lt=1)
    nesterov: bool | None = None
    eps: float | None = Field(default=None, gt=0)
    clip: float | None = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    freeze: tuple[str, ...] = ()
    checkpoint_activations: bool = False

    precision: Precision = "auto"
    distributed: Literal["auto", "ddp", "fsdp"] = Field(default="auto", exclude=True)
    compile: bool = Field(default=False, exclude=True)
    deterministic: bool = False
    threads: int | None = Field(default=None, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1, exclude=True)
    checkpoint_seconds: float = Field(default=60.0, ge=0, exclude=True)
    keep_checkpoints: int = Field(default=2, ge=1, exclude=True)
    validate_every: int | None = Field(default=None, ge=1)
    validation_tokens: int = Field(default=16_384, ge=1)
    samples: SampleSettings | None = Field(default=None, exclude=True)

    @model_serializer(mode="wrap")
    def _as_before(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is off: a run that was trained before the setting came is not run again."""
        said: dict[str, Any] = usual(self)
        if not self.deterministic:
            said.pop("deterministic", None)
        return said

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for names in (("epochs", "steps", "tokens"), ("batch_tokens", "batch_size")):
            given = [name for name in names if getattr(self, name) is not None]
            if len(given) > 1:
                raise ValueError(f"{' and '.join(given)} exclude each other; give one")
        return self

    @model_validator(mode="after")
    def _optimizer_takes_it(self) -> Self:
        name = self.optimizer
        if self.lora is not None and name == "muon":
            raise ValueError("muon is for full training; adapters are trained with adamw")
        if self.momentum is not None and name not in ("sgd", "rmsprop", "muon", "auto"):
            raise ValueError(f"{name} has no momentum to set; its betas average the gradients")
        if self.nesterov is not None and name not in ("sgd", "muon", "auto"):
            raise ValueError(f"{name} has no nesterov; sgd and muon do")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.eps is not None and name == "sgd":
            raise ValueError("sgd has no eps")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas lie between 0 and 1 (1 not included)")
        return self

    @model_validator(mode="after")
    def _objective_takes_it(self) -> Self:
        dropped = self.dropout or (self.lora is not None and self.lora.dropout)
        if dropped and self.objective in ("ppo", "grpo"):
            raise ValueError(
                f"{self.objective} takes no dropout: the probabilities of its answers would not be "
                "those that they were sampled with"
            )
        if self.packing == "padded" and self.objective not in ("pretrain", "sft", "distil"):
            raise ValueError(
                f"packing: padded is for pretrain, sft and distil, not {self.objective}"
            )
        if self.learn == "last" and self.objective not in ("sft", "distil"):
            raise ValueError(f"learn: last is for conversations, and {self.objective} takes others")
        return self
