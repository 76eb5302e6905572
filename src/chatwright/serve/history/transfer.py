"""Conversations out of the database and into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chatwright.errors import DataError
from chatwright.serve.errors import ApiError
from chatwright.serve.feedback.store import put_imported
from chatwright.serve.history.chatgpt_form import dump_chatgpt
from chatwright.serve.history.conversations import (
    check_references,
    feedback_of,
    pin,
    set_tags,
    tags_of,
)
from chatwright.serve.history.imports import Report, read_import
from chatwright.serve.history.labels import LABELS, LabelKind, list_labels, make_label, name_of
from chatwright.serve.history.markdown import to_markdown
from chatwright.serve.history.native import Parcel, dump
from chatwright.serve.history.store import (
    Turn,
    add_message,
    create_chat,
    own_chat,
    read_path,
    read_turns,
    settings_of,
    title_of,
)
from chatwright.serve.store import Store
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Chat, Folder, Tag

_MESSAGES_AT_ONCE = 300  # in one transaction of an import: others write in between


def pack_chat(session: Session, sealer: Sealer, person_id: str, conversation_id: str) -> Parcel:
    """A person's conversation with everything in it. Raises `ApiError` 404."""
    chat = own_chat(session, person_id, conversation_id)
    tags = tags_of(session, [chat.id]).get(chat.id, [])
    folder = session.get(Folder, chat.folder_id) if chat.folder_id else None
    rows = session.scalars(select(Tag).where(Tag.id.in_(tags)))
    return Parcel(
        id=chat.id,
        title=title_of(sealer, chat) or "",
        title_by=chat.title_by,
        turns=read_turns(session, sealer, chat.id),
        current_leaf=chat.current_leaf,
        created_at=chat.created_at,
        updated_at=chat.updated_at,
        model=chat.model,
        folder=name_of(sealer, folder) if folder is not None else None,
        tags=sorted(name_of(sealer, row) for row in rows),
        pinned=chat.pinned,
        archived=chat.archived,
        settings=settings_of(sealer, chat),
        feedback=feedback_of(session, sealer, person_id, chat.id),
    )


def export_chat(
    session: Session,
    sealer: Sealer,
    person_id: str,
    conversation_id: str,
    *,
    form: str,
    leaf: str | None = None,
    language: str = "en",
) -> tuple[str, str]:
    """(title, file) of a conversation as `markdown` (the branch that ends at `leaf`, else the one
    that is looked at), `json` (ours) or `chatgpt`. Raises `ApiError` 404.
    """
    if form == "markdown":
        chat = own_chat(session, person_id, conversation_id)
        end = leaf or chat.current_leaf
        turns: list[Turn] = read_path(session, sealer, chat.id, end) if end else []
        title = title_of(sealer, chat) or ""
        return title, to_markdown(title, chat.created_at, turns, language=language)
    parcel = pack_chat(session, sealer, person_id, conversation_id)
    if form == "chatgpt":
        return parcel.title, json.dumps([dump_chatgpt(parcel)], ensure_ascii=False)
    text = "".join(_file(iter([json.dumps(dump(parcel), ensure_ascii=False)])))
    return parcel.title, text


def export_all(store: Store, person_id: str) -> Iterator[str]:
    """Every conversation of a person as one file of our form, piece by piece; each is read in a
    transaction of its own, so that a slow reader holds none open. One that cannot be opened is
    named by its id, and the others follow.
    """
    with store.reading() as session:
        ids = list(
            session.scalars(
                select(Chat.id)
                .where(Chat.person_id == person_id)
                .order_by(Chat.created_at, Chat.id)
            )
        )
    return _file(_all(store, person_id, ids))


def _all(store: Store, person_id: str, ids: list[str]) -> Iterator[str]:
    for one in ids:
        try:
            with store.reading() as session:
                sealer = store.keys.sealer(session, person_id)
                value = dump(pack_chat(session, sealer, person_id, one))
        except ApiError:
            continue  # deleted in the meantime
        except DataError:
            value = {"id": one, "problem": "this conversation is damaged and cannot be opened"}
        yield json.dumps(value, ensure_ascii=False)


def _file(conversations: Iterator[str]) -> Iterator[str]:
    yield '{"format":"chatwright.conversations","version":1,"conversations":['
    for number, text in enumerate(conversations):
        yield ("," if number else "") + "\n" + text
    yield "\n]}\n"


def import_file(store: Store, person_id: str, body: bytes) -> Report:
    """Take the conversations of a file in. One that is bad is reported, and the rest goes on.

    Raises `ApiError` 400 or 413 for a file of no known form, or too large a one.
    """
    report = Report()
    waiting: list[tuple[int, str, Parcel]] = []
    for number, (kind, found) in enumerate(read_import(body), start=1):
        if isinstance(found, str):
            report.lost(number, found)
            continue
        waiting.append((number, kind, found))
        if sum(len(parcel.turns) for _, _, parcel in waiting) >= _MESSAGES_AT_ONCE:
            _write(store, person_id, waiting, report)
            waiting = []
    _write(store, person_id, waiting, report)
    return report


def _write(
    store: Store, person_id: str, waiting: list[tuple[int, str, Parcel]], report: Report
) -> None:
    with store.begin() as session:
        sealer = store.keys.sealer(session, person_id)
        for number, kind, parcel in waiting:
            try:
                with session.begin_nested():
                    unpack_chat(session, sealer, person_id, parcel, source=kind)
            except ApiError as error:
                report.lost(number, error.message)
                continue
            report.imported += 1
            report.messages += len(parcel.turns)


def unpack_chat(
    session: Session, sealer: Sealer, person_id: str, parcel: Parcel, *, source: str
) -> Chat:
    """Make a conversation of a parcel, with ids of its own. Raises `ApiError` 400."""
    folder = _label(session, sealer, Folder, person_id, parcel.folder) if parcel.folder else None
    chat = create_chat(
        session,
        sealer,
        person_id,
        title=parcel.title,
        title_by="model" if parcel.title_by == "model" else "person",
        model=parcel.model,
        folder_id=folder,
        settings=_own_settings(session, person_id, parcel.settings),
        imported_from=source,
        created_at=parcel.created_at,
        updated_at=parcel.updated_at,
    )
    chat.archived = parcel.archived
    with suppress(ApiError):  # no room among the pinned
        pin(session, chat, parcel.pinned)
    made: dict[str, str] = {}
    for turn in parcel.turns:
        # A file of another place is not attached here, whatever id it has.
        attached = [{**one, "id": ""} for one in turn.content.attachments]
        made[turn.id] = add_message(
            session,
            sealer,
            chat,
            parent_id=made[turn.parent_id] if turn.parent_id is not None else None,
            role=turn.role,
            content=replace(turn.content, attachments=attached),
            model=turn.model,
            model_fingerprint=turn.model_fingerprint,
            status=turn.status,
            prompt_tokens=turn.prompt_tokens,
            completion_tokens=turn.completion_tokens,
            created_at=turn.created_at,
            current=False,
        )
        if turn.role == "assistant" and turn.id in parcel.feedback:
            put_imported(session, sealer, person_id, made[turn.id], parcel.feedback[turn.id])
    chat.current_leaf = made.get(parcel.current_leaf or "")
    if parcel.tags:
        names = dict.fromkeys(parcel.tags)
        tags = [_label(session, sealer, Tag, person_id, name) for name in names]
        set_tags(session, person_id, chat.id, [tag for tag in tags if tag])
    session.flush()
    return chat


def _label(
    session: Session, sealer: Sealer, kind: LabelKind, person_id: str, name: str
) -> str | None:
    """The person's folder or tag of that name, made where there is none and room for one."""
    plain = " ".join(name.split())
    known = list_labels(session, sealer, kind, person_id)
    for one in known:
        if one["name"] == plain:
            return str(one["id"])
    if len(known) >= LABELS or not plain:
        return None
    return str(make_label(session, sealer, kind, person_id, plain)["id"])


def _own_settings(session: Session, person_id: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without what they name of another place."""
    kept = dict(settings)
    for name in ("persona_id", "collections"):
        try:
            check_references(session, person_id, {name: kept[name]} if kept.get(name) else {})
        except ApiError:
            del kept[name]
    return kept
