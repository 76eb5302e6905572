"""Files of one person in the database: attachments of chats, and those of `/v1/files`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chatwright.records import content_id
from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.ids import new_id
from chatwright.serve.knowledge.contents import keyed_id
from chatwright.serve.knowledge.limits import KnowledgeLimits
from chatwright.serve.knowledge.multipart import Upload
from chatwright.serve.store import Keyring
from chatwright.serve.store.tables import StoredFile

ATTACHMENT = "attachment"
PURPOSES = ("fine-tune", "assistants", "batch", "user_data")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a stored file without its body."""

    id: str
    name: str
    size: int
    purpose: str
    created_at: int  # unix seconds

    def to_json(self) -> dict[str, Any]:
        """OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": self.created_at,
            "expires_at": None,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


def store_file(
    session: Session,
    keys: Keyring,
    who: Identity,
    upload: Upload,
    *,
    purpose: str,
    limits: KnowledgeLimits,
    text: str | None = None,
) -> FileFacts:
    """Seal a file under its owner's key. Raises `ApiError` 413 where they have too much."""
    name, data = upload.name, upload.data
    count, size = session.execute(
        select(func.count(), func.coalesce(func.sum(StoredFile.size), 0)).where(
            StoredFile.person_id == who.person_id
        )
    ).one()
    if count >= limits.files or int(size) + len(data) > limits.file_bytes:
        raise ApiError(
            413,
            f"you may keep {limits.files} files of {limits.file_bytes >> 20} MB together; delete "
            "some first",
            code="storage_full",
        )
    sealer = keys.sealer(session, who.person_id)
    row_id = new_id("att" if purpose == ATTACHMENT else "file")
    digest = content_id(f"person:{who.person_id}", data)
    row = StoredFile(
        id=row_id,
        person_id=who.person_id,
        purpose=purpose,
        sealed_name=sealer.seal(name, context=f"files.name:{row_id}"),
        sealed_body=sealer.seal(data, context=f"files.body:{row_id}"),
        sealed_text=None if text is None else sealer.seal(text, context=f"files.text:{row_id}"),
        size=len(data),
        content_id=keyed_id("", sealer, digest)[1:],
    )
    session.add(row)
    session.flush()
    return _facts(name, row)


def get_file(session: Session, keys: Keyring, who: Identity, file_id: str) -> FileFacts:
    """A file of `/v1/files`. Raises `ApiError` 404."""
    row = _own(session, who, file_id, attachment=False)
    sealer = keys.sealer(session, who.person_id)
    return _facts(sealer.open_text(row.sealed_name, context=f"files.name:{row.id}"), row)


def list_files(
    session: Session,
    keys: Keyring,
    who: Identity,
    *,
    purpose: str | None = None,
    after: str | None = None,
    limit: int = 100,
    order: Literal["asc", "desc"] = "desc",
) -> tuple[list[FileFacts], bool]:
    """A page of the caller's files of `/v1/files`, and whether there are more.

    Raises `ApiError` 404 where `after` is none of them.
    """
    mine = [StoredFile.person_id == who.person_id, StoredFile.purpose != ATTACHMENT]
    if purpose is not None:
        mine.append(StoredFile.purpose == purpose)
    columns = (
        StoredFile.id,
        StoredFile.sealed_name,
        StoredFile.size,
        StoredFile.purpose,
        StoredFile.created_at,
    )  # never the bodies
    query = select(*columns).where(*mine)
    if after is not None:
        last = _own(session, who, after, attachment=False)
        at, row_id = last.created_at, last.id
        later, same = StoredFile.created_at > at, StoredFile.created_at == at
        further = later | (same & (StoredFile.id > row_id))
        if order == "desc":
            further = (StoredFile.created_at < at) | (same & (StoredFile.id < row_id))
        query = query.where(further)
    keys_of_order = (StoredFile.created_at, StoredFile.id)
    query = query.order_by(*(k.desc() if order == "desc" else k.asc() for k in keys_of_order))
    rows: Sequence[Any] = session.execute(query.limit(limit + 1)).all()
    sealer = keys.sealer(session, who.person_id) if rows else None
    found = [
        _facts(sealer.open_text(row.sealed_name, context=f"files.name:{row.id}"), row)
        for row in rows[:limit]
        if sealer is not None
    ]
    return found, len(rows) > limit


def delete_file(session: Session, who: Identity, file_id: str, *, attachment: bool = False) -> None:
    """It and its text go. Raises `ApiError` 404."""
    session.delete(_own(session, who, file_id, attachment=attachment))
    session.flush()


def open_file(session: Session, keys: Keyring, who: Identity, file_id: str) -> bytes:
    """The bytes of a file of `/v1/files`. Raises `ApiError` 404."""
    row = _own(session, who, file_id, attachment=False)
    sealer = keys.sealer(session, who.person_id)
    return sealer.open(row.sealed_body, context=f"files.body:{row.id}")


def attachment_text(
    session: Session, keys: Keyring, who: Identity, file_id: str
) -> tuple[str, str]:
    """Name and text of an attachment. Raises `ApiError` 404."""
    row = _own(session, who, file_id, attachment=True)
    sealer = keys.sealer(session, who.person_id)
    name = sealer.open_text(row.sealed_name, context=f"files.name:{row.id}")
    if row.sealed_text is None:
        return name, ""
    return name, sealer.open_text(row.sealed_text, context=f"files.text:{row.id}")


def _own(session: Session, who: Identity, file_id: str, *, attachment: bool) -> StoredFile:
    row = session.get(StoredFile, file_id) if len(file_id) <= 64 else None
    if (
        row is None
        or row.person_id != who.person_id
        or (row.purpose == ATTACHMENT) is not attachment
    ):
        raise not_found("file")
    return row


def _facts(name: str, row: Any) -> FileFacts:
    return FileFacts(row.id, name, row.size, row.purpose, int(row.created_at.timestamp()))
