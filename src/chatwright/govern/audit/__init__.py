"""What a model gives away of its training data, and whom it treats otherwise than others.

Names are imported when they are first used: settings alone do not pay for torch.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.govern.audit.canaries import Canary, make_canaries
    from chatwright.govern.audit.results import Audit
    from chatwright.govern.audit.runner import AuditOptions, audit_model

_HOMES = {
    "Audit": ".results",
    "AuditOptions": ".runner",
    "Canary": ".canaries",
    "audit_model": ".runner",
    "make_canaries": ".canaries",
}

__all__ = ["Audit", "AuditOptions", "Canary", "audit_model", "make_canaries"]

__getattr__ = lazy_names(__name__, _HOMES)
