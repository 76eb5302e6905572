"""Generation: KV cache, continuous batching, sampling, streaming.

The engine is imported when it is first used: settings alone do not pay for torch.
"""

from typing import TYPE_CHECKING

from chatwright.generate.params import Completion, FinishReason, Piece, SamplingParams
from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.generate.engine import Engine, Messages
    from chatwright.generate.request import Request

_HOMES = {"Engine": ".engine", "Messages": ".engine", "Request": ".request"}

__all__ = [
    "Completion",
    "Engine",
    "FinishReason",
    "Messages",
    "Piece",
    "Request",
    "SamplingParams",
]

__getattr__ = lazy_names(__name__, _HOMES)
