"""Training: one loop, many objectives; resumable to the bit.

Names are imported when they are first used: settings alone do not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatwright.train.api import TrainResult, train
    from chatwright.train.loop import Trainer
    from chatwright.train.metrics import read_metrics
    from chatwright.train.objectives import Loss, Objective
    from chatwright.train.packing import Batch
    from chatwright.train.settings import LoraSettings, TrainSettings

_HOMES = {
    "train": "api",
    "TrainResult": "api",
    "Trainer": "loop",
    "read_metrics": "metrics",
    "Loss": "objectives",
    "Objective": "objectives",
    "Batch": "packing",
    "LoraSettings": "settings",
    "TrainSettings": "settings",
}

__all__ = [
    "Batch",
    "LoraSettings",
    "Loss",
    "Objective",
    "TrainResult",
    "TrainSettings",
    "Trainer",
    "read_metrics",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
