"""The numbers of a run that follow from the model where the settings leave them open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from chatwright.errors import TrainingError
from chatwright.model import ModelConfig, best_dtype
from chatwright.train.preference.settings import (
    DPO_FULL_RATE,
    DPO_LORA_RATE,
    REWARD_FULL_RATE,
    REWARD_LORA_RATE,
)
from chatwright.train.settings import OptimizerName, TrainSettings

_SFT_LENGTH = 2048
_SFT_BATCH = 4096
# Measured at depth 4 (width 256): see docs/benchmarks.md.
_PRETRAIN_RATE = 5e-3
_PRETRAIN_WIDTH = 256
_EMBEDDING_RATE = 0.1
_HEAD_RATE = 5e-3
_SFT_SHARE = 0.1
_LORA_RATE = 5e-4
# Full training and adapters, where it is not supervised learning from text.
_RATES = {
    "reward": (REWARD_FULL_RATE, REWARD_LORA_RATE),
    "dpo": (DPO_FULL_RATE, DPO_LORA_RATE),
    "ppo": (5e-6, 1e-4),
    "grpo": (5e-6, 1e-4),
}
# An optimizer's peak rate in parts of AdamW's (Muon's updates are scaled to be as large). The best
# of thirds and threes at width 64 on 82,000 tokens of WikiText-2, with losses of 4.40 (AdamW), 4.14
# (auto), 4.68 (SGD), 4.41 (RMSprop), 4.45 (Adagrad) and 4.49 (LAMB).
_RATE_OF = {"sgd": 30.0, "rmsprop": 0.3, "adagrad": 3.0, "lamb": 3.0}
# On a CPU, so many tokens that what their backward pass needs takes about this much memory: a small
# model's products are then long enough, and its weights' gradients are added up less often (12 %
# of the time at 10 million parameters, 4,096 tokens against 1,024).
_MICRO_BATCH_CPU = (1024, 4096)
_ACTIVATIONS_CPU = 750e6
_MICRO_BATCH_GPU = 32_768


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a run works with; every field is decided."""

    length: int
    rows_per_step: int
    micro_batch_tokens: int
    learning_rate: float
    rates: Mapping[str, float]
    weight_decay: float
    optimizer: OptimizerName
    dtype: torch.dtype

    @property
    def batch_tokens(self) -> int:
        return self.rows_per_step * self.length


def decide(settings: TrainSettings, config: ModelConfig, device: torch.device) -> Numbers:
    """Fill in what `settings` leave open, from the model's shape and the device.

    Pretraining follows the dial: a step is 1,024 tokens per layer (4,096 at depth 4), and the rate
    falls with the square root of the width, as usual for Adam-like updates of given RMS. Adapters
    take 5e-4; full fine-tuning takes a tenth of the pretraining rate. Preferences and rewards are
    learnt far more slowly. All that is AdamW's rate: SGD takes 30 times as much, Adagrad 3 times,
    LAMB too (its rate is relative to the weights' size), RMSprop 0.3 times.

    Raises `TrainingError` where a row would be longer than the model's context.
    """
    pretrain = settings.objective == "pretrain"
    length = settings.length or min(config.context, 1 << 30 if pretrain else _SFT_LENGTH)
    if length > config.context:
        raise TrainingError(
            f"rows of {length} tokens do not fit the model's context of {config.context}",
            where="length",
            hint=f"set length to at most {config.context}",
        )
    if settings.batch_size is not None:
        rows_per_step = settings.batch_size
    else:
        by_depth = 1024 * config.n_layers if pretrain else _SFT_BATCH
        rows_per_step = max(1, (settings.batch_tokens or by_depth) // length)
    on_cpu = device.type == "cpu"
    micro = settings.micro_batch_tokens or (
        _micro_batch_on_cpu(config) if on_cpu else _MICRO_BATCH_GPU
    )
    decay = settings.weight_decay
    dtypes = {
        "fp32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "auto": best_dtype(str(device)),
    }
    optimizer = settings.optimizer
    if settings.lora is not None and optimizer == "auto":
        optimizer = "adamw"
    return Numbers(
        length=length,
        rows_per_step=rows_per_step,
        micro_batch_tokens=micro,
        learning_rate=settings.learning_rate or usual_rate(settings, config.width),
        rates={
            name: rate
            for name, rate in (
                ("embed_tokens", settings.embedding_learning_rate),
                ("lm_head", settings.head_learning_rate),
            )
            if rate is not None
        },
        weight_decay=(0.1 if pretrain else 0.0) if decay is None else decay,
        optimizer=optimizer,
        dtype=dtypes[settings.precision],
    )


def for_fresh_weights(settings: TrainSettings, config: ModelConfig) -> TrainSettings:
    """`settings` with the rates of embedding and head that suit a model of `zero_outputs`.

    Where they are left open, for pretraining with Muon and a head of its own. Both fall with the
    width as the others do.
    """
    if (
        settings.objective != "pretrain"
        or settings.optimizer not in ("auto", "muon")
        or config.tied
    ):
        return settings
    scale = (_PRETRAIN_WIDTH / config.width) ** 0.5
    return settings.model_copy(
        update={
            "embedding_learning_rate": settings.embedding_learning_rate or _EMBEDDING_RATE * scale,
            "head_learning_rate": settings.head_learning_rate or _HEAD_RATE * scale,
        }
    )


def usual_rate(settings: TrainSettings, width: int) -> float:
    """The peak learning rate for a model of that width where the settings name none."""
    full: float = _PRETRAIN_RATE * (_PRETRAIN_WIDTH / width) ** 0.5
    if settings.objective != "pretrain":
        full *= _SFT_SHARE
    full, adapters = _RATES.get(settings.objective, (full, _LORA_RATE))
    rate: float = full if settings.lora is None else adapters
    return rate * _RATE_OF.get(settings.optimizer, 1.0)


def _micro_batch_on_cpu(config: ModelConfig) -> int:
    least, most = _MICRO_BATCH_CPU
    per_token = 2 * config.n_layers * (10 * config.width + 4 * config.mlp_width)
    return min(most, max(least, int(_ACTIVATIONS_CPU / per_token) // 512 * 512))
