"""Personas: instructions, a model and its settings under a name; one's own, or shared with all.

A persona of one's own is sealed under one's own key. One that an administrator shares is sealed
under a key of its own, so that everybody's requests can open it without anybody's key.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from chatwright.serve.access import Identity, Role
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.history.shapes import PersonaIn, PersonaPatch
from chatwright.serve.ids import new_id
from chatwright.serve.parameters import iso
from chatwright.serve.store.sealing import Keyring, Sealer
from chatwright.serve.store.tables import Persona

PERSONAS = 200  # of one person


def list_personas(session: Session, keys: Keyring, person_id: str) -> list[dict[str, Any]]:
    """A person's own personas and those shared by all, in the order in which they were made."""
    rows = session.scalars(
        select(Persona)
        .where(or_(Persona.person_id == person_id, Persona.shared))
        .order_by(Persona.created_at, Persona.id)
    )
    return [persona_json(session, keys, row, person_id) for row in rows]


def usable_persona(
    session: Session, keys: Keyring, person_id: str, persona_id: str
) -> dict[str, Any]:
    """A persona that this person may use: `{id, name, instructions, model, params, shared, own}`.

    Raises `ApiError` 404.
    """
    row = session.get(Persona, persona_id)
    if row is None or not (row.shared or row.person_id == person_id):
        raise not_found("persona")
    return persona_json(session, keys, row, person_id)


def make_persona(session: Session, keys: Keyring, who: Identity, told: PersonaIn) -> dict[str, Any]:
    """A new persona. Raises `ApiError`: 403 where sharing is not theirs to do, 400 for one too
    many.
    """
    _may_share(who, told.shared)
    count = session.scalar(select(func.count()).where(Persona.person_id == who.person_id)) or 0
    if count >= PERSONAS:
        raise ApiError(400, f"there are {PERSONAS} personas already", code="too_many")
    row = Persona(id=new_id("per"), person_id=who.person_id, shared=told.shared, sealed_content=b"")
    _seal(session, keys, row, told.model_dump(exclude={"shared"}, exclude_none=True))
    session.add(row)
    session.flush()
    return persona_json(session, keys, row, who.person_id)


def change_persona(
    session: Session, keys: Keyring, who: Identity, persona_id: str, told: PersonaPatch
) -> dict[str, Any]:
    """Change what was sent of a persona. An administrator may change any that is shared, but only
    its maker can take it back. Raises `ApiError` 403 and 404.
    """
    row = _own(session, who, persona_id)
    if told.shared is False and row.shared and row.person_id != who.person_id:
        raise ApiError(403, "only its maker can take a persona back", code="role_required")
    content = _open(session, keys, row)
    _may_share(who, told.shared)
    for name in told.model_fields_set & {"name", "instructions", "model", "params"}:
        value = getattr(told, name)
        if value is None:
            if name in ("model", "params"):
                content.pop(name, None)
        else:
            content[name] = value.model_dump(exclude_none=True) if name == "params" else value
    if told.shared is not None and told.shared != row.shared:
        if not told.shared:
            keys.destroy(session, row.id)
        row.shared = told.shared
    _seal(session, keys, row, content)
    session.flush()
    return persona_json(session, keys, row, who.person_id)


def delete_persona(session: Session, keys: Keyring, who: Identity, persona_id: str) -> None:
    """Delete a persona. Raises `ApiError` 404."""
    row = _own(session, who, persona_id)
    if row.shared:
        keys.destroy(session, row.id)
    session.delete(row)


def persona_json(session: Session, keys: Keyring, row: Persona, person_id: str) -> dict[str, Any]:
    """A persona for the page; `own`: whether it may be changed by its maker."""
    content = _open(session, keys, row)
    return {
        "id": row.id,
        "name": content["name"],
        "instructions": content["instructions"],
        "model": content.get("model"),
        "params": content.get("params"),
        "shared": row.shared,
        "own": row.person_id == person_id,
        "created_at": iso(row.created_at),
    }


def _own(session: Session, who: Identity, persona_id: str) -> Persona:
    row = session.get(Persona, persona_id)
    if row is None or not (
        row.person_id == who.person_id or (row.shared and who.role.covers(Role.admin))
    ):
        raise not_found("persona")
    return row


def _may_share(who: Identity, shared: bool | None) -> None:
    if shared and not who.role.covers(Role.admin):
        raise ApiError(403, "only administrators share personas", code="role_required")


def _sealer(session: Session, keys: Keyring, row: Persona) -> Sealer:
    return keys.sealer(session, row.id if row.shared else row.person_id)


def _cell(row: Persona) -> str:
    return f"personas.content:{row.id}"


def _seal(session: Session, keys: Keyring, row: Persona, content: dict[str, Any]) -> None:
    row.sealed_content = _sealer(session, keys, row).seal(
        json.dumps(content, ensure_ascii=False), context=_cell(row)
    )


def _open(session: Session, keys: Keyring, row: Persona) -> dict[str, Any]:
    opened = _sealer(session, keys, row).open(row.sealed_content, context=_cell(row))
    content: dict[str, Any] = json.loads(opened)
    return content
