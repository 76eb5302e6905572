"""Folders and tags: what a person puts their conversations in order with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chatwright.serve.errors import ApiError
from chatwright.serve.history.store import own_row
from chatwright.serve.ids import new_id
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Folder, Tag

LABELS = 500  # folders, and tags, of one person

LabelKind = type[Folder] | type[Tag]


def own_folder(session: Session, person_id: str, folder_id: str) -> Folder:
    """A person's folder. Raises `ApiError` 404."""
    return own_row(session, Folder, person_id, folder_id, "folder")


def own_tags(session: Session, person_id: str, ids: list[str]) -> list[Tag]:
    """A person's tags. Raises `ApiError` 404."""
    return [own_row(session, Tag, person_id, one, "tag") for one in ids]


def list_labels(
    session: Session, sealer: Sealer, kind: LabelKind, person_id: str
) -> list[dict[str, Any]]:
    """All folders or tags of a person, in the order in which they were made."""
    rows: Iterable[Any] = session.scalars(
        select(kind).where(kind.person_id == person_id).order_by(kind.created_at, kind.id)
    )
    return [_json(sealer, row) for row in rows]


def make_label(
    session: Session, sealer: Sealer, kind: LabelKind, person_id: str, name: str
) -> dict[str, Any]:
    """A new folder or tag. Raises `ApiError` 400 for one too many."""
    count = session.scalar(select(func.count()).where(kind.person_id == person_id)) or 0
    if count >= LABELS:
        raise ApiError(400, f"there are {LABELS} already", code="too_many")
    row = kind(id=new_id("fld" if kind is Folder else "tag"), person_id=person_id, sealed_name=b"")
    row.sealed_name = sealer.seal(name, context=_cell(row))
    session.add(row)
    session.flush()
    return _json(sealer, row)


def rename_label(
    session: Session,
    sealer: Sealer,
    kind: LabelKind,
    person_id: str,
    label_id: str,
    *,
    name: str,
) -> dict[str, Any]:
    """Give a folder or tag another name. Raises `ApiError` 404."""
    row = _own(session, kind, person_id, label_id)
    row.sealed_name = sealer.seal(name, context=_cell(row))
    return _json(sealer, row)


def delete_label(session: Session, kind: LabelKind, person_id: str, label_id: str) -> None:
    """Delete a folder or tag; the conversations in it stay. Raises `ApiError` 404."""
    session.delete(_own(session, kind, person_id, label_id))


def _own(session: Session, kind: LabelKind, person_id: str, label_id: str) -> Folder | Tag:
    if kind is Folder:
        return own_folder(session, person_id, label_id)
    return own_row(session, Tag, person_id, label_id, "tag")


def name_of(sealer: Sealer, row: Folder | Tag) -> str:
    """The name of a folder or tag."""
    return sealer.open_text(row.sealed_name, context=_cell(row))


def _cell(row: Folder | Tag) -> str:
    return f"{row.__tablename__}.name:{row.id}"


def _json(sealer: Sealer, row: Folder | Tag) -> dict[str, Any]:
    return {"id": row.id, "name": name_of(sealer, row)}
