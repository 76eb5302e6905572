"""What the assistant keeps in mind about a person, who can see and change all of it."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from chatwright.serve.errors import ApiError
from chatwright.serve.history.store import own_row
from chatwright.serve.ids import new_id
from chatwright.serve.parameters import iso
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Memory

MEMORIES = 200  # of one person


def list_memories(session: Session, sealer: Sealer, person_id: str) -> list[dict[str, Any]]:
    """All memories of a person, the oldest first."""
    rows = session.scalars(
        select(Memory).where(Memory.person_id == person_id).order_by(Memory.created_at, Memory.id)
    )
    return [_json(sealer, row) for row in rows]


def add_memory(
    session: Session,
    sealer: Sealer,
    person_id: str,
    text: str,
    *,
    by: Literal["person", "model"] = "person",
) -> dict[str, Any]:
    """Keep a text in mind; one that is there already is not kept twice.

    Raises `ApiError` 400 for one too many.
    """
    known = list_memories(session, sealer, person_id)
    for one in known:
        if one["text"] == text:
            return one
    if len(known) >= MEMORIES:
        raise ApiError(400, f"there are {MEMORIES} memories already", code="too_many")
    row = Memory(id=new_id("mem"), person_id=person_id, by=by, sealed_text=b"")
    row.sealed_text = sealer.seal(text, context=_cell(row.id))
    session.add(row)
    session.flush()
    return _json(sealer, row)


def change_memory(
    session: Session, sealer: Sealer, person_id: str, memory_id: str, text: str
) -> dict[str, Any]:
    """Put another text in its place; it then is the person's own. Raises `ApiError` 404."""
    row = _own(session, person_id, memory_id)
    row.sealed_text = sealer.seal(text, context=_cell(row.id))
    row.by = "person"
    return _json(sealer, row)


def delete_memory(session: Session, person_id: str, memory_id: str) -> None:
    """Forget one. Raises `ApiError` 404."""
    session.delete(_own(session, person_id, memory_id))


def delete_memories(session: Session, person_id: str) -> int:
    """Forget all; returns how many there were."""
    count = session.scalar(select(func.count()).where(Memory.person_id == person_id)) or 0
    session.execute(delete(Memory).where(Memory.person_id == person_id))
    return count


def _own(session: Session, person_id: str, memory_id: str) -> Memory:
    return own_row(session, Memory, person_id, memory_id, "memory")


def _cell(memory_id: str) -> str:
    return f"memories.text:{memory_id}"


def _json(sealer: Sealer, row: Memory) -> dict[str, Any]:
    return {
        "id": row.id,
        "text": sealer.open_text(row.sealed_text, context=_cell(row.id)),
        "by": row.by,
        "created_at": iso(row.created_at),
    }
