"""From raw pages to a corpus that can be accounted for row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.curate.explain import Explanation, why
    from chatwright.curate.extract import Extracted, extract_text

__all__ = ["Explanation", "Extracted", "extract_text", "why"]

_HOMES = {
    "Explanation": ".explain",
    "Extracted": ".extract",
    "extract_text": ".extract",
    "why": ".explain",
}

__getattr__ = lazy_names(__name__, _HOMES)
