"""The numbers of a run that follow from the model where the settings leave them open."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from chatwright.errors import TrainingError
from chatwright.model import ModelConfig, best_dtype
from chatwright.train.settings import OptimizerName, TrainSettings

_SFT_LENGTH = 2048
_SFT_BATCH = 4096
_LORA_RATE = 5e-4
# Measured at depth 4 (width 256): see docs/benchmarks.md.
_PRETRAIN_RATE = 5e-3
_PRETRAIN_WIDTH = 256
_SFT_SHARE = 0.1
_MICRO_BATCH_CPU = 1024
_MICRO_BATCH_GPU = 32_768


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a run works with; every field is decided."""

    length: int
    rows_per_step: int
    micro_batch_tokens: int
    learning_rate: float
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
    take 5e-4; full fine-tuning takes a tenth of the pretraining rate.

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
    micro = settings.micro_batch_tokens or (_MICRO_BATCH_CPU if on_cpu else _MICRO_BATCH_GPU)
    rate = _PRETRAIN_RATE * (_PRETRAIN_WIDTH / config.width) ** 0.5
    if settings.lora is not None:
        rate = _LORA_RATE
    elif not pretrain:
        rate *= _SFT_SHARE
    decay = settings.weight_decay
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "auto": best_dtype(str(device))}
    return Numbers(
        length=length,
        rows_per_step=rows_per_step,
        micro_batch_tokens=micro,
        learning_rate=settings.learning_rate or rate,
        weight_decay=(0.1 if pretrain else 0.0) if decay is None else decay,
        optimizer="adamw" if settings.lora is not None else settings.optimizer,
        dtype=dtypes[settings.precision],
    )
