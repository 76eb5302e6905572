"""Personal data, found and taken out: forms, checksums, context words, recognisers of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.curate.privacy.kinds import Found, Redacted, Span
    from chatwright.curate.privacy.recognisers import Recogniser
    from chatwright.curate.privacy.redactor import Redactor, redact
    from chatwright.curate.privacy.settings import PrivacySettings
    from chatwright.curate.privacy.step import key_check, make_step

__all__ = [
    "Found",
    "PrivacySettings",
    "Recogniser",
    "Redacted",
    "Redactor",
    "Span",
    "key_check",
    "make_step",
    "redact",
]

_HOMES = {
    "Found": ".kinds",
    "PrivacySettings": ".settings",
    "Recogniser": ".recognisers",
    "Redacted": ".kinds",
    "Redactor": ".redactor",
    "Span": ".kinds",
    "key_check": ".step",
    "make_step": ".step",
    "redact": ".redactor",
}

__getattr__ = lazy_names(__name__, _HOMES)
