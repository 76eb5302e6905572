"""People: made, told of, changed and deleted, and never without an administrator."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chatwright.serve.access import LOCAL_PERSON, Role
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.history import index
from chatwright.serve.ids import new_id
from chatwright.serve.knowledge.contents import release_person
from chatwright.serve.parameters import iso
from chatwright.serve.store import Keyring
from chatwright.serve.store.tables import Invitation, Person

NAME_LENGTH = 200
EMAIL_LENGTH = 254
_EMAIL = re.compile(r"[^\s@<>()\[\]\\,;:\"]{1,64}@[^\s@<>()\[\]\\,;:\"]{1,190}")
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def clean_email(email: str) -> str:
    """An address as it is kept: lower case. Raises `ApiError` 400 for what is none."""
    text = unicodedata.normalize("NFKC", email).strip().lower()
    if len(text) > EMAIL_LENGTH or not _EMAIL.fullmatch(text) or _UNSHOWN.search(text):
        raise ApiError(400, "email: this is no e-mail address", param="email", code="invalid_value")
    return text


def clean_name(name: str) -> str:
    """A name as it is kept. Raises `ApiError` 400 for an empty one."""
    text = _UNSHOWN.sub("", unicodedata.normalize("NFC", name)).strip()
    if not text or len(text) > NAME_LENGTH:
        raise ApiError(
            400, f"name: between 1 and {NAME_LENGTH} characters", param="name", code="invalid_value"
        )
    return text


def create_person(
    session: Session,
    keys: Keyring,
    *,
    name: str,
    email: str,
    role: Role,
    password_hash: str | None,
) -> Person:
    """A new account with its key. Raises `ApiError` 409 where the address has one."""
    person = Person(
        id=new_id("usr"), email=email, name=name, role=role.value, password_hash=password_hash
    )
    try:
        with session.begin_nested():
            session.add(person)
    except IntegrityError as error:
        raise ApiError(
            409, "there is an account with this address", param="email", code="email_taken"
        ) from error
    keys.sealer(session, person.id)
    return person


def own_view(session: Session, keys: Keyring, person: Person) -> dict[str, Any]:
    """`Person` as the page knows it: one's own account."""
    instructions = ""
    if person.sealed_instructions is not None:
        sealer = keys.sealer(session, person.id)
        instructions = sealer.open_text(person.sealed_instructions, context=_cell(person.id))
    return {
        "id": person.id,
        "name": person.name,
        "email": person.email,
        "role": person.role,
        "language": person.language,
        "theme": person.theme,
        "memory_enabled": person.memory_enabled,
        "training_consent": person.training_consent,
        "instructions": instructions,
        "totp_enabled": person.totp_enabled,
        "has_password": person.password_hash is not None,
        "created_at": iso(person.created_at),
    }


def set_instructions(session: Session, keys: Keyring, person: Person, text: str) -> None:
    """Keep the instructions for all chats, sealed."""
    if text:
        sealer = keys.sealer(session, person.id)
        person.sealed_instructions = sealer.seal(text, context=_cell(person.id))
    else:
        person.sealed_instructions = None


def _cell(person_id: str) -> str:
    return f"people.sealed_instructions:{person_id}"


def admin_view(person: Person) -> dict[str, Any]:
    """An account as administrators see it: nothing of what its owner wrote."""
    return {
        "id": person.id,
        "name": person.name,
        "email": person.email,
        "role": person.role,
        "status": person.status,
        "daily_tokens": person.daily_tokens,
        "totp_enabled": person.totp_enabled,
        "created_at": iso(person.created_at),
        "last_seen_at": iso(person.last_seen_at),
    }


def find_people(session: Session, query: str, limit: int, offset: int) -> list[Person]:
    """Accounts whose name or address holds `query`, by address."""
    wanted = select(Person).where(Person.id != LOCAL_PERSON)
    if query:
        escaped = re.sub(r"([\\%_])", r"\\\1", query.lower())
        wanted = wanted.where(
            or_(
                Person.email.like(f"%{escaped}%", escape="\\"),
                Person.name.ilike(f"%{escaped}%", escape="\\"),
            )
        )
    return list(session.scalars(wanted.order_by(Person.email).limit(limit).offset(offset)))


def person_of(session: Session, person_id: str) -> Person:
    """Raises `ApiError` 404 where there is none."""
    person = None if person_id == LOCAL_PERSON else session.get(Person, person_id)
    if person is None:
        raise not_found("account", code="person_not_found")
    return person


def has_admin(session: Session) -> bool:
    """Whether anybody administers this server; the person of a server without accounts is none."""
    return session.scalar(_admins().limit(1)) is not None


def keep_an_admin(session: Session, person_id: str) -> None:
    """Called before somebody stops being an active administrator. Raises `ApiError` 409 where no
    other one is left.
    """
    # Locked on PostgreSQL, or two who demote each other at once would leave none.
    ids = set(session.scalars(_admins().order_by(Person.id).with_for_update()))
    if person_id in ids and len(ids) == 1:
        raise ApiError(
            409, "this is the last administrator; make somebody else one first", code="last_admin"
        )


def _admins() -> Any:
    return select(Person.id).where(
        Person.role == Role.admin.value, Person.status == "active", Person.id != LOCAL_PERSON
    )


def delete_person(session: Session, keys: Keyring, person: Person) -> list[str]:
    """Delete an account and all that belongs to it, and destroy its key: what was sealed under it
    can no longer be read in a backup either.

    Collections that they shared with everybody stay, in an administrator's hands. Returns the ids
    of those that are gone, for what is in memory of them (`Collections.forget`).
    """
    keep_an_admin(session, person.id)
    heir = session.scalar(_admins().where(Person.id != person.id).order_by(Person.id).limit(1))
    gone = release_person(session, keys, person.id, heir)
    session.execute(
        delete(Invitation).where(
            or_(
                Invitation.used_by == person.id,  # it may hold their address
                (Invitation.created_by == person.id) & Invitation.used_at.is_(None),
            )
        )
    )
    keys.destroy(session, person.id)
    session.execute(delete(Person).where(Person.id == person.id))  # all other rows go with it
    session.expunge(person)
    index.sweep(session)
    return gone
