"""From raw pages to a corpus that can be accounted for row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.curate.explain import Explanation, why
    from chatwright.curate.extract import Extracted, extract_text
    from chatwright.curate.privacy.kinds import Redacted
    from chatwright.curate.privacy.redactor import redact

__all__ = ["Explanation", "Extracted", "Redacted", "extract_text", "redact", "why"]

_HOMES = {
    "Explanation": ".explain",
    "Extracted": ".extract",
    "Redacted": ".privacy.kinds",
    "extract_text": ".extract",
    "redact": ".privacy.redactor",
    "why": ".explain",
}

__getattr__ = lazy_names(__name__, _HOMES)
