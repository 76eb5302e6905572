"""Collections in the database: what is sealed, under whose key, and who may read and change it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chatwright.assist.documents import Cut, Parsed
from chatwright.records import content_id
from chatwright.serve.access import Identity, Role
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.ids import new_id
from chatwright.serve.knowledge.limits import KnowledgeLimits
from chatwright.serve.knowledge.multipart import Upload
from chatwright.serve.knowledge.shapes import (
    CollectionReply,
    FileReply,
    PassageInPlace,
    PassageReply,
)
from chatwright.serve.store import Keyring, Sealer
from chatwright.serve.store.tables import Collection, CollectionFile, StoredPassage

# Of a name in an address only what would end or change it is written as %XX: Chinese stays.
_UNSAFE = "%#?/\\"


def collection_source(collection_id: str) -> str:
    """The `source` of a collection's rows, as `records.Document` has it."""
    return f"collection:{collection_id}"


def passage_uri(collection_id: str, name: str) -> str:
    """`collection:<id>/<file name>`: what a citation names, and the page opens."""
    safe = "".join(quote(c, safe="") if c in _UNSAFE else c for c in name)
    return f"{collection_source(collection_id)}/{safe}"


def keyed_id(prefix: str, sealer: Sealer, digest: str) -> str:
    """An id that is the same for the same content under one key, and says nothing to others.

    A plain hash in the database would let who holds a copy of it try out what a short document
    says; the content's own id (`records.content_id`) is sealed with the text.
    """
    return f"{prefix}_{sealer.term(f'0:{digest}')}{sealer.term(f'1:{digest}')}"


def visible(session: Session, who: Identity, collection_id: str) -> Collection:
    """A collection that the caller may read. Raises `ApiError` 404, whether it is there or not."""
    row = session.get(Collection, collection_id) if len(collection_id) <= 64 else None
    if row is None or not (row.shared or row.person_id == who.person_id):
        raise not_found("collection")
    return row


def may_change(who: Identity, row: Collection) -> bool:
    """The owner may, and for a shared one an administrator."""
    return row.person_id == who.person_id or (row.shared and who.role.covers(Role.admin))


def changeable(session: Session, who: Identity, collection_id: str) -> Collection:
    """A collection that the caller may change. Raises `ApiError` 404 or 403."""
    row = visible(session, who, collection_id)
    if not may_change(who, row):
        raise ApiError(
            403, "only its owner and administrators may change this", code="not_the_owner"
        )
    return row


def list_collections(session: Session, keys: Keyring, who: Identity) -> list[CollectionReply]:
    """All that the caller may read: their own first, each part by age."""
    rows = session.scalars(
        select(Collection)
        .where(or_(Collection.person_id == who.person_id, Collection.shared))
        .order_by(Collection.created_at, Collection.id)
    ).all()
    counts = _counts(session, [row.id for row in rows])
    rows = sorted(rows, key=lambda row: row.person_id != who.person_id)
    return [_reply(session, keys, who, row, counts) for row in rows]


def collection_reply(
    session: Session, keys: Keyring, who: Identity, row: Collection
) -> CollectionReply:
    """A collection as this caller sees it."""
    return _reply(session, keys, who, row, _counts(session, [row.id]))


def create(
    session: Session,
    keys: Keyring,
    who: Identity,
    *,
    name: str,
    shared: bool,
    limits: KnowledgeLimits,
) -> CollectionReply:
    """A new collection with a key of its own."""
    has = session.scalar(
        select(func.count()).select_from(Collection).where(Collection.person_id == who.person_id)
    )
    if (has or 0) >= limits.collections:
        raise ApiError(
            400, f"you have {limits.collections} collections already", code="too_many_collections"
        )
    row_id = new_id("col")
    sealer = keys.sealer(session, row_id)
    sealed = sealer.seal(name, context=f"collections.name:{row_id}")
    row = Collection(id=row_id, person_id=who.person_id, shared=shared, sealed_name=sealed)
    session.add(row)
    session.flush()
    return collection_reply(session, keys, who, row)


def change(
    session: Session,
    keys: Keyring,
    who: Identity,
    collection_id: str,
    *,
    name: str | None,
    shared: bool | None,
) -> CollectionReply:
    """Rename it, share it, or stop sharing it; the last two only its owner."""
    row = changeable(session, who, collection_id)
    if shared is not None and shared != row.shared:
        if row.person_id != who.person_id:
            raise ApiError(403, "only its owner may share it or not", code="not_the_owner")
        row.shared = shared
    if name is not None:
        sealer = keys.sealer(session, row.id)
        row.sealed_name = sealer.seal(name, context=f"collections.name:{row.id}")
    session.flush()
    return collection_reply(session, keys, who, row)


def delete(session: Session, keys: Keyring, who: Identity, collection_id: str) -> None:
    """Everything in it goes, and its key: no copy of the database can be read any more."""
    row = changeable(session, who, collection_id)
    session.delete(row)
    session.flush()
    keys.destroy(session, collection_id)


def release_person(
    session: Session, keys: Keyring, person_id: str, heir_id: str | None = None
) -> list[str]:
    """Before a person is deleted: their collections go with their keys; ids of those are returned.

    With an `heir_id` (an administrator) shared ones pass to that person.
    """
    if heir_id is not None:
        session.execute(
            update(Collection)
            .where(Collection.person_id == person_id, Collection.shared)
            .values(person_id=heir_id)
        )
    gone = session.scalars(select(Collection).where(Collection.person_id == person_id)).all()
    for row in gone:
        session.delete(row)
    session.flush()
    for row in gone:
        keys.destroy(session, row.id)
    return [row.id for row in gone]


def list_files(
    session: Session, keys: Keyring, who: Identity, collection_id: str
) -> list[FileReply]:
    """Its files, the oldest first."""
    row = visible(session, who, collection_id)
    sealer = keys.sealer(session, row.id)
    files = session.scalars(
        select(CollectionFile)
        .where(CollectionFile.collection_id == row.id)
        .order_by(CollectionFile.created_at, CollectionFile.id)
    )
    return [file_reply(sealer, file) for file in files]


def file_reply(sealer: Sealer, file: CollectionFile, notes: Sequence[str] = ()) -> FileReply:
    """A file of a collection, opened."""
    return FileReply(
        id=file.id,
        name=_file_name(sealer, file),
        size=file.size,
        status=file.status,  # type: ignore[arg-type]
        problem=file.problem,
        passages=file.passages,
        notes=list(notes),
        created_at=file.created_at,
    )


def check_room(
    session: Session, who: Identity, collection_id: str, limits: KnowledgeLimits
) -> None:
    """Before a file is read: may it be added? Raises `ApiError` 403, 404, or 400 for a full one."""
    row = changeable(session, who, collection_id)
    files, _ = _counts(session, [row.id]).get(row.id, (0, 0))
    if files >= limits.documents:
        raise ApiError(
            400, f"a collection holds {limits.documents} files at most", code="collection_full"
        )


def add_file(
    session: Session,
    keys: Keyring,
    who: Identity,
    collection_id: str,
    *,
    upload: Upload,
    parsed: Parsed,
    cuts: Sequence[Cut],
    limits: KnowledgeLimits,
    vectors: bool,
) -> FileReply:
    """Seal a file's passages. With `vectors` it is pending until those are there.

    Raises `ApiError` 409 where the same content is in the collection already.
    """
    name, data = upload.name, upload.data
    check_room(session, who, collection_id, limits)
    row = visible(session, who, collection_id)
    _, passages = _counts(session, [row.id]).get(row.id, (0, 0))
    if passages + len(cuts) > limits.passages:
        raise ApiError(
            400,
            f"a collection holds {limits.passages} passages at most; this file has {len(cuts)}",
            param="file",
            code="collection_full",
        )
    sealer = keys.sealer(session, row.id)
    digest = content_id(collection_source(row.id), data)
    file_id = keyed_id("cfl", sealer, digest)
    known = session.get(CollectionFile, file_id)
    if known is not None:
        raise ApiError(
            409,
            f"{name}: the same content is here already, as {_file_name(sealer, known)}",
            param="file",
            code="file_exists",
        )
    file = CollectionFile(
        id=file_id,
        collection_id=row.id,
        sealed_name=sealer.seal(name, context=f"collection_files.name:{file_id}"),
        content_id=file_id.partition("_")[2],
        size=len(data),
        status="pending" if vectors and cuts else "ready",
        passages=len(cuts),
    )
    session.add(file)
    try:
        session.flush()
    except IntegrityError as error:  # uploaded twice at once
        raise ApiError(409, f"{name}: it is being added already", code="file_exists") from error
    for cut in cuts:
        passage_id = keyed_id("psg", sealer, cut.id)
        content = {
            "text": cut.text,
            "title": cut.title,
            "headings": list(cut.headings),
            "page": cut.page,
            "last_page": cut.last_page,
            "content_id": cut.id,
            "parents": [cut.parent],
        }
        session.add(
            StoredPassage(
                id=passage_id,
                collection_id=row.id,
                file_id=file_id,
                position=cut.position,
                sealed_content=sealer.seal(
                    json.dumps(content, ensure_ascii=False),
                    context=f"passages.content:{passage_id}",
                ),
            )
        )
    bump(session, row.id)
    session.flush()
    return file_reply(sealer, file, parsed.notes)


def delete_file(session: Session, who: Identity, collection_id: str, file_id: str) -> None:
    """The file and its passages. Raises `ApiError` 404 or 403."""
    row = changeable(session, who, collection_id)
    file = _file(session, row.id, file_id)
    session.delete(file)
    bump(session, row.id)
    session.flush()


def bump(session: Session, collection_id: str) -> None:
    """Its passages are others now: every worker builds its index anew."""
    session.execute(
        update(Collection)
        .where(Collection.id == collection_id)
        .values(version=Collection.version + 1)
    )


def passage_in_place(
    session: Session, keys: Keyring, who: Identity, collection_id: str, passage_id: str
) -> PassageInPlace:
    """A passage with its neighbours. Raises `ApiError` 404."""
    row = visible(session, who, collection_id)
    found = session.get(StoredPassage, passage_id) if len(passage_id) <= 64 else None
    if found is None or found.collection_id != row.id:
        raise not_found("passage")
    file = _file(session, row.id, found.file_id)
    sealer = keys.sealer(session, row.id)
    around = session.scalars(
        select(StoredPassage).where(
            StoredPassage.file_id == file.id,
            StoredPassage.position.in_([found.position - 1, found.position + 1]),
        )
    )
    name = _file_name(sealer, file)
    near = {one.position: one for one in around}
    before, after = near.get(found.position - 1), near.get(found.position + 1)
    return PassageInPlace(
        passage=passage_reply(sealer, name, found),
        file=file_reply(sealer, file),
        before=None if before is None else passage_reply(sealer, name, before),
        after=None if after is None else passage_reply(sealer, name, after),
    )


def passage_reply(sealer: Sealer, name: str, row: StoredPassage) -> PassageReply:
    """A passage of the file of that name, opened."""
    content = open_content(sealer, row)
    return PassageReply(
        id=row.id,
        title=content["title"],
        uri=passage_uri(row.collection_id, name),
        text=content["text"],
        headings=content["headings"],
        page=content["page"],
        last_page=content["last_page"],
        position=row.position,
    )


def passages_of(session: Session, collection_id: str) -> Iterable[StoredPassage]:
    """All passages of a collection, by content and not by time of upload.

    So the same files give the same order, whoever uploaded them when.
    """
    return session.scalars(
        select(StoredPassage)
        .where(StoredPassage.collection_id == collection_id)
        .order_by(StoredPassage.file_id, StoredPassage.position)
    )


def open_content(sealer: Sealer, row: StoredPassage) -> dict[str, Any]:
    """A passage's content: text, title, headings, page, last_page, content_id, parents."""
    opened = sealer.open_text(row.sealed_content, context=f"passages.content:{row.id}")
    content: dict[str, Any] = json.loads(opened)
    return content


def files_by_id(
    session: Session, sealer: Sealer, collection_id: str
) -> dict[str, tuple[str, bool]]:
    """File id → its name, and whether all its passages have their vectors."""
    files = session.scalars(
        select(CollectionFile).where(CollectionFile.collection_id == collection_id)
    )
    return {file.id: (_file_name(sealer, file), file.status == "ready") for file in files}


def _file(session: Session, collection_id: str, file_id: str) -> CollectionFile:
    file = session.get(CollectionFile, file_id) if len(file_id) <= 64 else None
    if file is None or file.collection_id != collection_id:
        raise not_found("file")
    return file


def _file_name(sealer: Sealer, file: CollectionFile) -> str:
    return sealer.open_text(file.sealed_name, context=f"collection_files.name:{file.id}")


def _counts(session: Session, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Collection → its files and passages."""
    rows = session.execute(
        select(
            CollectionFile.collection_id,
            func.count(),
            func.coalesce(func.sum(CollectionFile.passages), 0),
        )
        .where(CollectionFile.collection_id.in_(ids))
        .group_by(CollectionFile.collection_id)
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in rows}


def _reply(
    session: Session,
    keys: Keyring,
    who: Identity,
    row: Collection,
    counts: dict[str, tuple[int, int]],
) -> CollectionReply:
    sealer = keys.sealer(session, row.id)
    files, passages = counts.get(row.id, (0, 0))
    return CollectionReply(
        id=row.id,
        name=sealer.open_text(row.sealed_name, context=f"collections.name:{row.id}"),
        shared=row.shared,
        mine=row.person_id == who.person_id,
        editable=may_change(who, row),
        files=files,
        passages=passages,
        created_at=row.created_at,
    )
