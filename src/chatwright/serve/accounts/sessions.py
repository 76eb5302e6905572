"""Sessions of browsers: an opaque token in a cookie, of which the database has the hash."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from chatwright.serve.access import SCOPES, Identity, Role
from chatwright.serve.ids import new_id, token, token_hash
from chatwright.serve.parameters import iso
from chatwright.serve.store.tables import Person, SignIn, now

IDLE = timedelta(days=30)
LONGEST = timedelta(days=90)
COOKIE_SECONDS = int(LONGEST.total_seconds())
_MOST = 50  # sessions of one person at a time; the longest unused ends
_NOTED_EVERY = timedelta(minutes=1)


def start_session(session: Session, person: Person, *, address: str, agent: str) -> str:
    """A new session of `person`; returns its token, which is kept nowhere."""
    at = now()
    secret = token()
    live = list(session.scalars(_live(person.id, at).order_by(SignIn.last_seen_at)))
    for old in live[: max(0, len(live) - _MOST + 1)]:
        old.revoked_at = at
    session.add(
        SignIn(
            id=new_id("ses"),
            token_hash=token_hash(secret),
            person_id=person.id,
            created_at=at,
            last_seen_at=at,
            expires_at=at + IDLE,
            address=address[:64],
            agent=agent[:200].encode("utf-8", "replace").decode(),
        )
    )
    person.last_seen_at = at
    return secret


def find_session(session: Session, hashed: str) -> tuple[Identity, datetime, bool] | None:
    """Whose session a token is of, when it ends, and whether its use is due to be noted; None for
    one that never was, has ended or was revoked, or whose owner is disabled.
    """
    row = session.execute(
        select(SignIn, Person)
        .join(Person, Person.id == SignIn.person_id)
        .where(SignIn.token_hash == hashed)
    ).first()
    if row is None:
        return None
    kept, person = row
    at = now()
    if kept.revoked_at is not None or kept.expires_at <= at or person.status != "active":
        return None
    return (
        session_identity(person, kept.id), kept.expires_at, at - kept.last_seen_at > _NOTED_EVERY
    )  # fmt: skip


def session_identity(person: Person, session_id: str) -> Identity:
    """A session may all that its owner's role may."""
    return Identity(
        person.id, person.name, Role(person.role), "session", frozenset(SCOPES), session_id
    )


def note_session(session: Session, session_id: str, address: str) -> None:
    """It was used: it holds for another thirty days, up to ninety in all."""
    at = now()
    kept = session.get(SignIn, session_id)
    if kept is None:
        return
    kept.last_seen_at = at
    kept.expires_at = min(at + IDLE, kept.created_at + LONGEST)
    kept.address = address[:64]
    session.execute(update(Person).where(Person.id == kept.person_id).values(last_seen_at=at))


def revoke_session(session: Session, person_id: str, session_id: str) -> bool:
    """End one session of this person; whether there was one."""
    ended = session.execute(
        update(SignIn)
        .where(SignIn.id == session_id, SignIn.person_id == person_id, SignIn.revoked_at.is_(None))
        .values(revoked_at=now())
    )
    return bool(getattr(ended, "rowcount", 0))


def revoke_sessions(session: Session, person_id: str, *, but: str = "") -> int:
    """End all sessions of this person, except perhaps one. How many."""
    ended = session.execute(
        update(SignIn)
        .where(SignIn.person_id == person_id, SignIn.id != but, SignIn.revoked_at.is_(None))
        .values(revoked_at=now())
    )
    return int(getattr(ended, "rowcount", 0))


def list_sessions(session: Session, person_id: str, current: str) -> list[dict[str, Any]]:
    """The sessions of a person that hold, the last used first."""
    live = session.scalars(_live(person_id, now()).order_by(SignIn.last_seen_at.desc()))
    return [
        {
            "id": one.id,
            "created_at": iso(one.created_at),
            "last_seen_at": iso(one.last_seen_at),
            "expires_at": iso(one.expires_at),
            "address": one.address,
            "agent": one.agent,
            "current": one.id == current,
        }
        for one in live
    ]


def _live(person_id: str, at: datetime) -> Any:
    return select(SignIn).where(
        SignIn.person_id == person_id, SignIn.revoked_at.is_(None), SignIn.expires_at > at
    )
