"""Generation: KV cache, continuous batching, sampling, streaming.

The engine is imported when it is first used, and torch only where a `Transformer` is computed.
"""

from typing import TYPE_CHECKING

from chatwright.generate.params import Completion, Constraint, FinishReason, Piece, SamplingParams
from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.generate.cached_engine import CachedEngine
    from chatwright.generate.engine import Engine, Messages
    from chatwright.generate.load import load_engine
    from chatwright.generate.remote import RemoteEngine, open_remote
    from chatwright.generate.request import Request
    from chatwright.generate.responses import ResponseCache

_HOMES = {
    "CachedEngine": ".cached_engine",
    "Engine": ".engine",
    "Messages": ".engine",
    "RemoteEngine": ".remote",
    "Request": ".request",
    "ResponseCache": ".responses",
    "load_engine": ".load",
    "open_remote": ".remote",
}

__all__ = [
    "CachedEngine",
    "Completion",
    "Constraint",
    "Engine",
    "FinishReason",
    "Messages",
    "Piece",
    "RemoteEngine",
    "Request",
    "ResponseCache",
    "SamplingParams",
    "load_engine",
    "open_remote",
]

__getattr__ = lazy_names(__name__, _HOMES)
