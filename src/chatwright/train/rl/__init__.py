"""Reinforcement learning: PPO and GRPO on answers that the model itself makes."""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.train.rl.rewards import Sample, load_reward_function
    from chatwright.train.rl.settings import GrpoSettings, KlSettings, PpoSettings

_HOMES = {
    "Sample": ".rewards",
    "load_reward_function": ".rewards",
    "GrpoSettings": ".settings",
    "KlSettings": ".settings",
    "PpoSettings": ".settings",
}

__all__ = ["GrpoSettings", "KlSettings", "PpoSettings", "Sample", "load_reward_function"]

__getattr__ = lazy_names(__name__, _HOMES)
