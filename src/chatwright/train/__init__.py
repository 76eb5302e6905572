"""Training: one loop, many objectives; resumable to the bit.

Names are imported when they are first used: settings alone do not pay for torch.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.train.api import TrainResult, train
    from chatwright.train.loop import Trainer
    from chatwright.train.metrics import read_metrics
    from chatwright.train.objectives import Loss, Objective
    from chatwright.train.packing import Batch
    from chatwright.train.settings import LoraSettings, TrainSettings

_HOMES = {
    "train": ".api",
    "TrainResult": ".api",
    "Trainer": ".loop",
    "read_metrics": ".metrics",
    "Loss": ".objectives",
    "Objective": ".objectives",
    "Batch": ".packing",
    "LoraSettings": ".settings",
    "TrainSettings": ".settings",
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

__getattr__ = lazy_names(__name__, _HOMES)
