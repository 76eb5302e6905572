"""The first administrator, and everybody after: one-time links, sign-up, invitations."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from chatwright.serve.access import Role
from chatwright.serve.accounts.people import create_person, has_admin
from chatwright.serve.errors import ApiError
from chatwright.serve.ids import new_id, token, token_hash
from chatwright.serve.parameters import iso
from chatwright.serve.service import Service
from chatwright.serve.store import Keyring, Store
from chatwright.serve.store.tables import Invitation, Person, ServerValue, now

_NAME = "setup"


def first_start_link(service: Service, base_url: str) -> str | None:
    """The link that makes the administrator, for the command to print; None where there is one.

    Each start makes a new one, since only the hash of the last is known: that then holds no more.
    """
    if not service.options.accounts:
        return None
    secret = make_setup_token(service.store)
    return None if secret is None else f"{base_url.rstrip('/')}/setup#{secret}"


def make_setup_token(store: Store) -> str | None:
    """A new one-time token, or None where there is an administrator."""
    with store.begin() as session:
        if has_admin(session):
            return None
        secret = token()
        session.merge(ServerValue(name=_NAME, value={"token_hash": token_hash(secret)}))
        return secret


def use_setup_token(
    session: Session, keys: Keyring, secret: str, *, name: str, email: str, password_hash: str
) -> Person:
    """Make the administrator. Raises `ApiError` 409 where there is one, 403 for a wrong token."""
    if has_admin(session):
        raise ApiError(409, "this server has an administrator", code="already_set_up")
    wanted = select(ServerValue).where(ServerValue.name == _NAME).with_for_update()
    kept = session.scalar(wanted)
    stored = str(kept.value.get("token_hash", "")) if kept is not None else ""
    if kept is None or not hmac.compare_digest(stored, token_hash(secret)):
        raise ApiError(
            403, "this link does not hold; the server prints one when it starts",
            param="token", code="invalid_token",
        )  # fmt: skip
    session.delete(kept)
    session.flush()
    return create_person(
        session, keys, name=name, email=email, role=Role.admin, password_hash=password_hash
    )


def create_invitation(
    session: Session, *, by: str | None, role: Role, email: str | None, days: int
) -> tuple[Invitation, str]:
    """An invitation, and the token of its link, which is told only now."""
    secret = token()
    made = Invitation(
        id=new_id("inv"),
        token_hash=token_hash(secret),
        role=role.value,
        email=email,
        created_by=by,
        expires_at=now() + timedelta(days=days),
    )
    session.add(made)
    session.flush()
    return made, secret


def use_invitation(
    session: Session, keys: Keyring, secret: str, *, name: str, email: str, password_hash: str
) -> Person:
    """Make the account that somebody was invited to. Raises `ApiError` 403."""
    at = now()
    found = session.scalar(
        select(Invitation)
        .where(
            Invitation.token_hash == token_hash(secret),
            Invitation.used_at.is_(None),
            Invitation.expires_at > at,
        )
        .with_for_update()
    )
    if found is None:
        raise _no_invitation()
    if found.email is not None and found.email != email:
        raise ApiError(
            403, "this invitation is for another address", param="email", code="invalid_invitation"
        )
    person = create_person(
        session, keys, name=name, email=email, role=Role(found.role), password_hash=password_hash
    )
    taken = session.execute(
        update(Invitation)
        .where(Invitation.id == found.id, Invitation.used_at.is_(None))
        .values(used_at=at, used_by=person.id)
    )
    if not getattr(taken, "rowcount", 0):
        raise _no_invitation()
    return person


def _no_invitation() -> ApiError:
    return ApiError(
        403, "this invitation does not hold: it was used, has ended or never was",
        param="invitation", code="invalid_invitation",
    )  # fmt: skip


def invitation_view(made: Invitation) -> dict[str, Any]:
    """An invitation as administrators see it later."""
    return {
        "id": made.id,
        "role": made.role,
        "email": made.email,
        "created_by": made.created_by,
        "created_at": iso(made.created_at),
        "expires_at": iso(made.expires_at),
        "used_at": iso(made.used_at),
    }


def list_invitations(session: Session) -> list[dict[str, Any]]:
    """The invitations that can be used still, and those used in the last 30 days."""
    at = now()
    wanted = select(Invitation).where(
        (Invitation.used_at.is_(None) & (Invitation.expires_at > at))
        | (Invitation.used_at > at - timedelta(days=30))
    )
    newest = wanted.order_by(Invitation.created_at.desc()).limit(500)
    return [invitation_view(one) for one in session.scalars(newest)]


def delete_invitation(session: Session, invitation_id: str) -> bool:
    """Take an invitation back; whether there was one."""
    gone = session.execute(delete(Invitation).where(Invitation.id == invitation_id))
    return bool(getattr(gone, "rowcount", 0))
