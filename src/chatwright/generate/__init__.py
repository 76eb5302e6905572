"""Generation: KV cache, continuous batching, sampling, streaming.

The engine is imported when it is first used: settings alone do not pay for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chatwright.generate.params import Completion, FinishReason, Piece, SamplingParams

if TYPE_CHECKING:
    from chatwright.generate.engine import Engine, Messages
    from chatwright.generate.request import Request

_HOMES = {"Engine": "engine", "Messages": "engine", "Request": "request"}

__all__ = [
    "Completion",
    "Engine",
    "FinishReason",
    "Messages",
    "Piece",
    "Request",
    "SamplingParams",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
