"""From raw pages to a corpus that can be accounted for row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatwright.curate.explain import Explanation, why
    from chatwright.curate.extract import Extracted, extract_text

__all__ = ["Explanation", "Extracted", "extract_text", "why"]

_PLACES = {
    "Explanation": "explain",
    "Extracted": "extract",
    "extract_text": "extract",
    "why": "explain",
}


def __getattr__(name: str) -> Any:
    """Import on first use: lxml and the extractors take half a second."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
