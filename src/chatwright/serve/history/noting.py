"""Lines of the audit log about history."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from chatwright.serve.access import Identity
from chatwright.serve.service import Service


def note(
    service: Service,
    session: Session,
    who: Identity,
    action: str,
    target: str = "",
    *,
    address: str = "",
    **details: Any,
) -> None:
    """Record an act in the transaction in which it is done; details never hold content."""
    if service.audit is not None:
        service.audit.record(session, who, action, target=target, address=address, details=details)
