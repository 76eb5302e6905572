"""A person's conversations: listed by pages, opened, changed, deleted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.history import index
from chatwright.serve.history.labels import own_folder, own_tags
from chatwright.serve.history.shapes import ConversationPatch, message_json
from chatwright.serve.history.store import (
    own_chat,
    read_turns,
    set_settings,
    set_title,
    settings_of,
    title_of,
)
from chatwright.serve.parameters import iso
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import (
    Chat,
    ChatMessage,
    Collection,
    ConversationTag,
    Feedback,
    Moderated,
    Persona,
    StoredFile,
)

PINNED = 100
LISTED = 100  # conversations of one page, at most
_ATTACHMENT = "attachment"  # the purpose of a file that came with a message
_CURSOR = re.compile(r"(\d{1,18})\.(cnv_[0-9a-f]{32})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def list_chats(
    session: Session,
    sealer: Sealer,
    person_id: str,
    *,
    archived: bool = False,
    folder: str | None = None,
    tag: str | None = None,
    cursor: str | None = None,
    limit: int = 30,
) -> dict[str, Any]:
    """`{"data": […], "next": cursor or None}`: the last changed first.

    The first page begins with all that are pinned. `folder` "none": those in no folder.
    Raises `ApiError` 400 for a cursor that is none, 404 for a folder or tag that is not theirs.
    """
    query = select(Chat).where(Chat.person_id == person_id, Chat.archived == archived)
    if folder == "none":
        query = query.where(Chat.folder_id.is_(None))
    elif folder is not None:
        query = query.where(Chat.folder_id == own_folder(session, person_id, folder).id)
    if tag is not None:
        wanted = own_tags(session, person_id, [tag])[0].id
        query = query.join(ConversationTag, ConversationTag.conversation_id == Chat.id).where(
            ConversationTag.tag_id == wanted
        )
    newest_first = query.order_by(Chat.updated_at.desc(), Chat.id.desc())
    pinned: Sequence[Chat] = []
    if cursor is None:
        pinned = session.scalars(newest_first.where(Chat.pinned)).all()
    else:
        at, last = _read_cursor(cursor)
        newest_first = newest_first.where(
            or_(Chat.updated_at < at, and_(Chat.updated_at == at, Chat.id < last))
        )
    rest = session.scalars(newest_first.where(~Chat.pinned).limit(limit + 1)).all()
    more = len(rest) > limit
    rest = rest[:limit]
    data = [*pinned, *rest]
    tags = tags_of(session, [chat.id for chat in data])
    return {
        "data": [chat_json(sealer, chat, tags.get(chat.id, [])) for chat in data],
        "next": _cursor(rest[-1]) if more else None,
    }


def chat_json(sealer: Sealer, chat: Chat, tags: list[str]) -> dict[str, Any]:
    """A conversation for the page, without its messages."""
    return {
        "id": chat.id,
        "title": title_of(sealer, chat) or "",
        "model": chat.model,
        "folder_id": chat.folder_id,
        "tags": tags,
        "pinned": chat.pinned,
        "archived": chat.archived,
        "created_at": iso(chat.created_at),
        "updated_at": iso(chat.updated_at),
    }


def open_chat(
    session: Session, sealer: Sealer, person_id: str, conversation_id: str
) -> dict[str, Any]:
    """A conversation with its messages, its current leaf and its settings."""
    chat = own_chat(session, person_id, conversation_id)
    feedback = feedback_of(session, sealer, person_id, chat.id)
    turns = read_turns(session, sealer, chat.id)
    return {
        **chat_json(sealer, chat, tags_of(session, [chat.id]).get(chat.id, [])),
        "messages": [message_json(turn, feedback.get(turn.id)) for turn in turns],
        "current_leaf": chat.current_leaf,
        "settings": settings_of(sealer, chat),
    }


def change_chat(
    session: Session,
    sealer: Sealer,
    person_id: str,
    conversation_id: str,
    change: ConversationPatch,
) -> dict[str, Any]:
    """Change what was sent; returns the conversation. Its place in the list stays.

    Raises `ApiError` 404 for ids that are not theirs, 400 for too many pinned.
    """
    chat = own_chat(session, person_id, conversation_id)
    told = change.model_fields_set
    if change.title is not None:
        set_title(session, sealer, chat, change.title, by="person")
    if "model" in told:
        chat.model = change.model
    if "folder_id" in told:
        chat.folder_id = (
            own_folder(session, person_id, change.folder_id).id if change.folder_id else None
        )
    if change.tags is not None:
        set_tags(session, person_id, chat.id, change.tags)
    if change.pinned is not None:
        pin(session, chat, change.pinned)
    if change.archived is not None:
        chat.archived = change.archived
    if change.current_leaf is not None:
        leaf = session.get(ChatMessage, change.current_leaf)
        if leaf is None or leaf.conversation_id != chat.id:
            raise not_found("message")
        chat.current_leaf = leaf.id
    if change.settings is not None:
        settings = change.settings.model_dump(exclude_none=True)
        check_references(session, person_id, settings)
        set_settings(sealer, chat, settings)
    session.flush()
    return chat_json(sealer, chat, tags_of(session, [chat.id]).get(chat.id, []))


def check_references(session: Session, person_id: str, settings: dict[str, Any]) -> None:
    """Raise `ApiError` 404 for a persona or collection that this person may not use."""
    persona = settings.get("persona_id")
    if persona is not None:
        found = session.get(Persona, persona)
        if found is None or not (found.shared or found.person_id == person_id):
            raise not_found("persona")
    for one in settings.get("collections", []):
        collection = session.get(Collection, one)
        if collection is None or not (collection.shared or collection.person_id == person_id):
            raise not_found("collection")


def delete_chat(session: Session, sealer: Sealer, person_id: str, conversation_id: str) -> None:
    """Delete a conversation: messages, feedback, shares, search terms, and the files that were
    attached to it. Raises `ApiError` 404.
    """
    chat = own_chat(session, person_id, conversation_id)
    attached = {
        str(one.get("id"))
        for turn in read_turns(session, sealer, chat.id)
        for one in turn.content.attachments
    }
    _delete(session, person_id, [chat.id])
    if attached:
        session.execute(
            delete(StoredFile).where(
                StoredFile.person_id == person_id,
                StoredFile.purpose == _ATTACHMENT,
                StoredFile.id.in_(attached),
            )
        )


def delete_all(session: Session, person_id: str) -> int:
    """Delete every conversation of a person, and all attachments; returns how many there were."""
    ids = list(session.scalars(select(Chat.id).where(Chat.person_id == person_id)))
    _delete(session, person_id, ids)
    session.execute(
        delete(StoredFile).where(
            StoredFile.person_id == person_id, StoredFile.purpose == _ATTACHMENT
        )
    )
    return len(ids)


def _delete(session: Session, person_id: str, ids: list[str]) -> None:
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        # What moderation kept of their texts goes too; that something was found stays counted.
        session.execute(
            update(Moderated)
            .where(Moderated.person_id == person_id, Moderated.conversation_id.in_(some))
            .values(sealed_text=None)
        )
        session.execute(delete(Chat).where(Chat.id.in_(some), Chat.person_id == person_id))
    index.sweep(session)


def tags_of(session: Session, ids: list[str]) -> dict[str, list[str]]:
    """The tags of conversations, by conversation."""
    found: dict[str, list[str]] = {}
    for start in range(0, len(ids), 500):
        rows = session.execute(
            select(ConversationTag.conversation_id, ConversationTag.tag_id)
            .where(ConversationTag.conversation_id.in_(ids[start : start + 500]))
            .order_by(ConversationTag.tag_id)
        )
        for row in rows:
            found.setdefault(row[0], []).append(row[1])
    return found


def set_tags(session: Session, person_id: str, conversation_id: str, tags: Iterable[str]) -> None:
    """Put these tags in place of those that it had. Raises `ApiError` 404."""
    wanted = own_tags(session, person_id, list(dict.fromkeys(tags)))
    session.execute(
        delete(ConversationTag).where(ConversationTag.conversation_id == conversation_id)
    )
    session.add_all(ConversationTag(conversation_id=conversation_id, tag_id=t.id) for t in wanted)


def feedback_of(
    session: Session, sealer: Sealer, person_id: str, conversation_id: str
) -> dict[str, dict[str, Any]]:
    """What a person said of a conversation's answers, by message."""
    rows = session.scalars(
        select(Feedback)
        .join(ChatMessage, ChatMessage.id == Feedback.message_id)
        .where(ChatMessage.conversation_id == conversation_id, Feedback.person_id == person_id)
    )
    return {row.message_id: feedback_json(sealer, row) for row in rows}


def feedback_json(sealer: Sealer, row: Feedback) -> dict[str, Any]:
    """Feedback for the page."""
    comment = better = None
    if row.sealed_comment is not None:
        comment = sealer.open_text(row.sealed_comment, context=f"feedback.comment:{row.id}")
    if row.sealed_better is not None:
        better = sealer.open_text(row.sealed_better, context=f"feedback.better:{row.id}")
    return {
        "rating": row.rating,
        "reasons": row.reasons,
        "comment": comment or "",
        "better": better,
    }


def pin(session: Session, chat: Chat, pinned: bool) -> None:
    """Pin a conversation or let it go. Raises `ApiError` 400 for one too many."""
    if pinned and not chat.pinned:
        count = session.scalar(
            select(func.count()).where(Chat.person_id == chat.person_id, Chat.pinned)
        )
        if (count or 0) >= PINNED:
            raise ApiError(400, f"at most {PINNED} conversations can be pinned", code="too_many")
    chat.pinned = pinned


def _cursor(chat: Chat) -> str:
    return f"{(chat.updated_at - _EPOCH) // timedelta(microseconds=1)}.{chat.id}"


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    found = _CURSOR.fullmatch(cursor)
    try:
        assert found is not None
        return _EPOCH + timedelta(microseconds=int(found[1])), found[2]
    except (AssertionError, OverflowError) as error:
        raise ApiError(400, "this is no cursor", param="cursor", code="invalid_value") from error
