"""Training: one loop, many objectives; resumable to the bit.

Names are imported when they are first used: settings alone do not pay for torch.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.train.api import TrainResult, train
    from chatwright.train.distil_settings import DistilSettings
    from chatwright.train.loop import Trainer
    from chatwright.train.metrics import read_metrics
    from chatwright.train.objectives import Loss, Objective
    from chatwright.train.packing import Batch
    from chatwright.train.preference.settings import PreferenceSettings
    from chatwright.train.rl.rewards import Sample
    from chatwright.train.rl.settings import GrpoSettings, KlSettings, PpoSettings
    from chatwright.train.samples import SampleSettings
    from chatwright.train.settings import LoraSettings, TrainSettings
    from chatwright.train.watch import Callback, Watcher

_HOMES = {
    "train": ".api",
    "TrainResult": ".api",
    "DistilSettings": ".distil_settings",
    "Trainer": ".loop",
    "read_metrics": ".metrics",
    "Loss": ".objectives",
    "Objective": ".objectives",
    "Batch": ".packing",
    "PreferenceSettings": ".preference.settings",
    "Sample": ".rl.rewards",
    "GrpoSettings": ".rl.settings",
    "KlSettings": ".rl.settings",
    "PpoSettings": ".rl.settings",
    "SampleSettings": ".samples",
    "LoraSettings": ".settings",
    "TrainSettings": ".settings",
    "Callback": ".watch",
    "Watcher": ".watch",
}

__all__ = [
    "Batch",
    "Callback",
    "DistilSettings",
    "GrpoSettings",
    "KlSettings",
    "LoraSettings",
    "Loss",
    "Objective",
    "PpoSettings",
    "PreferenceSettings",
    "Sample",
    "SampleSettings",
    "TrainResult",
    "TrainSettings",
    "Trainer",
    "Watcher",
    "read_metrics",
    "train",
]

__getattr__ = lazy_names(__name__, _HOMES)
