"""API keys of programs: shown once, kept as hashes, bounded by scopes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from chatwright.serve.access import Identity, Role
from chatwright.serve.errors import ApiError
from chatwright.serve.ids import new_id, token, token_hash
from chatwright.serve.parameters import iso
from chatwright.serve.store.tables import ApiKey, Person, now

START = "cw-"
_SHOWN = 8  # characters by which its owner tells it from others; 48 of 256 bits at most
_MOST = 100
_NOTED_EVERY = timedelta(minutes=1)


def create_key(
    session: Session, person_id: str, *, name: str, scopes: list[str], days: int | None
) -> dict[str, Any]:
    """A new key; the only time that it is told. Raises `ApiError` 409 where there are too many."""
    live = select(func.count()).where(ApiKey.person_id == person_id, ApiKey.revoked_at.is_(None))
    if (session.scalar(live) or 0) >= _MOST:
        raise ApiError(409, f"there are {_MOST} keys already; revoke one", code="too_many_keys")
    secret = START + token()
    key = ApiKey(
        id=new_id("key"),
        person_id=person_id,
        name=name,
        start=secret[: len(START) + _SHOWN],
        key_hash=token_hash(secret),
        scopes=scopes,
        expires_at=None if days is None else now() + timedelta(days=days),
    )
    session.add(key)
    session.flush()
    return {**key_view(key), "key": secret}


def key_view(key: ApiKey) -> dict[str, Any]:
    """A key as its owner sees it later."""
    return {
        "id": key.id,
        "name": key.name,
        "start": key.start,
        "scopes": key.scopes,
        "created_at": iso(key.created_at),
        "last_used_at": iso(key.last_used_at),
        "expires_at": iso(key.expires_at),
    }


def list_keys(session: Session, person_id: str) -> list[dict[str, Any]]:
    """The keys that were not revoked, the newest first."""
    wanted = select(ApiKey).where(ApiKey.person_id == person_id, ApiKey.revoked_at.is_(None))
    return [key_view(key) for key in session.scalars(wanted.order_by(ApiKey.created_at.desc()))]


def revoke_key(session: Session, person_id: str, key_id: str) -> bool:
    """End a key of this person; whether there was one."""
    ended = session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.person_id == person_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now())
    )
    return bool(getattr(ended, "rowcount", 0))


def find_key(session: Session, hashed: str) -> tuple[Identity, datetime | None, bool] | None:
    """Whose key this is, when it ends, and whether its use is due to be noted; None for one that
    never was, has ended or was revoked, or whose owner is disabled.
    """
    row = session.execute(
        select(ApiKey, Person)
        .join(Person, Person.id == ApiKey.person_id)
        .where(ApiKey.key_hash == hashed)
    ).first()
    if row is None:
        return None
    key, person = row
    at = now()
    ended = key.expires_at is not None and key.expires_at <= at
    if key.revoked_at is not None or ended or person.status != "active":
        return None
    due = key.last_used_at is None or at - key.last_used_at > _NOTED_EVERY
    who = Identity(
        person.id, person.name, Role(person.role), "key", frozenset(key.scopes), key.id
    )  # fmt: skip
    return who, key.expires_at, due


def note_key(session: Session, key_id: str) -> None:
    """It was used."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now()))
