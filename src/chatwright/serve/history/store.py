"""Conversations in the database: written, read and changed, one function each, in a transaction.

What others call (runs above all), all over a `Session` of `store.begin()`:

    create_chat(session, sealer, person_id, *, title, title_by, model, folder_id, settings) -> Chat
    own_chat(session, person_id, conversation_id) -> Chat                  404 for anybody else's
    own_message(session, person_id, message_id) -> ChatMessage             404 for anybody else's
    add_message(session, sealer, chat, *, parent_id, role, content, model, model_fingerprint,
                status, prompt_tokens, completion_tokens, created_at, current) -> id
    update_message(session, sealer, message_id, *, content, status, …) -> bool  False: it is gone
    read_path(session, sealer, conversation_id, leaf) -> list[Turn]        from the first to `leaf`
    read_turns(session, sealer, conversation_id) -> list[Turn]             all, in order
    title_of(sealer, chat) -> str | None
    set_title(session, sealer, chat, title, *, by) ; settings_of(sealer, chat) -> dict
    set_settings(sealer, chat, settings) ; touch(chat)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chatwright.records.message import Message, Role
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.history import index
from chatwright.serve.history.content import TEXT_CHARACTERS, Content, pack, unpack
from chatwright.serve.history.tree import path_to
from chatwright.serve.ids import new_id
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Chat, ChatMessage, Folder, Memory, Tag, now

Status = Literal["writing", "done", "stopped", "failed"]
TitleBy = Literal["none", "model", "person"]
Row = TypeVar("Row", Chat, ChatMessage, Memory, Folder, Tag)

MESSAGES = 10_000  # of one conversation, all branches together
CHATS = 100_000  # of one person
TITLE_CHARACTERS = 200
_AT_ONCE = 500  # ids in one query


@dataclass(frozen=True, slots=True)
class Turn:
    """A message as it was opened."""

    id: str
    parent_id: str | None
    role: Role
    content: Content
    model: str | None
    model_fingerprint: str | None
    status: Status
    prompt_tokens: int | None
    completion_tokens: int | None
    created_at: datetime

    @property
    def text(self) -> str:
        return self.content.text

    def message(self) -> Message:
        """What the model is shown of it."""
        return Message(self.role, self.content.text)


def own_row(session: Session, table: type[Row], person_id: str, row_id: str, what: str) -> Row:
    """A row of this person's. Raises `ApiError` 404 for `what` is not there or is another's."""
    query = select(table).where(table.id == row_id, table.person_id == person_id)
    row = session.scalars(query).first()
    if row is None:
        raise not_found(what)
    return row


def own_chat(session: Session, person_id: str, conversation_id: str) -> Chat:
    """A person's conversation. Raises `ApiError` 404."""
    return own_row(session, Chat, person_id, conversation_id, "conversation")


def own_message(session: Session, person_id: str, message_id: str) -> ChatMessage:
    """A person's message. Raises `ApiError` 404."""
    return own_row(session, ChatMessage, person_id, message_id, "message")


def create_chat(
    session: Session,
    sealer: Sealer,
    person_id: str,
    *,
    title: str | None = None,
    title_by: TitleBy = "person",
    model: str | None = None,
    folder_id: str | None = None,
    settings: dict[str, Any] | None = None,
    imported_from: str | None = None,
    created_at: datetime | None = None,
    updated_at: datetime | None = None,
) -> Chat:
    """A new conversation without messages. Raises `ApiError` 400 for one too many."""
    count = session.scalar(select(func.count()).where(Chat.person_id == person_id)) or 0
    if count >= CHATS:
        raise ApiError(
            400, f"there are {CHATS} conversations already: delete some", code="too_many"
        )
    at = created_at or now()
    chat = Chat(
        id=new_id("cnv"),
        person_id=person_id,
        model=model,
        folder_id=folder_id,
        imported_from=imported_from,
        title_by="none",
        pinned=False,
        archived=False,
        created_at=at,
        updated_at=updated_at or at,
    )
    session.add(chat)
    session.flush()
    if title is not None:
        set_title(session, sealer, chat, title, by=title_by)
    if settings:
        set_settings(sealer, chat, settings)
    return chat


def add_message(
    session: Session,
    sealer: Sealer,
    chat: Chat,
    *,
    parent_id: str | None,
    role: Role,
    content: Content | str,
    model: str | None = None,
    model_fingerprint: str | None = None,
    status: Status = "done",
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
    created_at: datetime | None = None,
    current: bool = True,
) -> str:
    """Put a message under `parent_id` (None: it begins the conversation); returns its id.

    A message of the same parent is another version of it. `current` makes it the leaf that is
    looked at. One that is still being written is indexed for search when it is done.
    Raises `ApiError`: 404 for a parent that is not in this conversation, 400 for too many messages
    or a text too long.
    """
    assert chat in session, "a conversation of another transaction"
    if parent_id is not None:
        parent = session.get(ChatMessage, parent_id)
        if parent is None or parent.conversation_id != chat.id:
            raise not_found("message")
    count = session.scalar(select(func.count()).where(ChatMessage.conversation_id == chat.id)) or 0
    if count >= MESSAGES:
        raise ApiError(
            400, f"this conversation has {MESSAGES} messages: begin another", code="too_many"
        )
    content = _checked(content)
    message_id = new_id("msg")
    at = created_at or now()
    session.add(
        ChatMessage(
            id=message_id,
            conversation_id=chat.id,
            person_id=chat.person_id,
            parent_id=parent_id,
            role=role,
            sealed_content=sealer.seal(pack(content), context=_cell(message_id)),
            model=model,
            model_fingerprint=model_fingerprint,
            status=status,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            created_at=at,
        )
    )
    if current:
        chat.current_leaf = message_id
        chat.updated_at = max(chat.updated_at, at)
    session.flush()
    if status != "writing":
        index.put(
            session,
            sealer,
            person_id=chat.person_id,
            conversation_id=chat.id,
            message_id=message_id,
            said=content.text,
            fresh=True,
        )
    return message_id


def update_message(
    session: Session,
    sealer: Sealer,
    message_id: str,
    *,
    content: Content | str | None = None,
    status: Status | None = None,
    model: str | None = None,
    model_fingerprint: str | None = None,
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
) -> bool:
    """Change what is given of a message; whose it is, the caller has checked.

    Returns False where the message is gone: deleted while it was being written.
    """
    message = session.get(ChatMessage, message_id)
    if message is None:
        return False
    before = message.status
    if content is not None:
        content = _checked(content)
        message.sealed_content = sealer.seal(pack(content), context=_cell(message_id))
    for name, value in (
        ("status", status),
        ("model", model),
        ("model_fingerprint", model_fingerprint),
        ("prompt_tokens", prompt_tokens),
        ("completion_tokens", completion_tokens),
    ):
        if value is not None:
            setattr(message, name, value)
    session.flush()
    ended = before == "writing" and message.status != "writing"
    if ended or (content is not None and message.status != "writing"):
        said = content or _opened(sealer, message)
        index.put(
            session,
            sealer,
            person_id=message.person_id,
            conversation_id=message.conversation_id,
            message_id=message_id,
            said=said.text,
        )
    return True


def read_path(session: Session, sealer: Sealer, conversation_id: str, leaf: str) -> list[Turn]:
    """The messages from the first to `leaf`. Raises `ApiError` 404 for a leaf that is not in this
    conversation, and `DataError` for one that cannot be opened.
    """
    rows = session.execute(
        select(ChatMessage.id, ChatMessage.parent_id).where(
            ChatMessage.conversation_id == conversation_id
        )
    )
    try:
        path = path_to(leaf, {row[0]: row[1] for row in rows})
    except KeyError as error:
        raise not_found("message") from error
    found = {message.id: message for message in _by_ids(session, path)}
    return [_turn(sealer, found[one]) for one in path]


def read_turns(session: Session, sealer: Sealer, conversation_id: str) -> list[Turn]:
    """All messages of a conversation, in the order in which they were said."""
    rows = session.scalars(
        select(ChatMessage)
        .where(ChatMessage.conversation_id == conversation_id)
        .order_by(ChatMessage.created_at, ChatMessage.id)
    )
    return [_turn(sealer, message) for message in rows]


def read_message(sealer: Sealer, message: ChatMessage) -> Turn:
    """A row as it is opened."""
    return _turn(sealer, message)


def title_of(sealer: Sealer, chat: Chat) -> str | None:
    """A conversation's title, or None while it has none."""
    if chat.sealed_title is None:
        return None
    return sealer.open_text(chat.sealed_title, context=f"conversations.title:{chat.id}")


def set_title(
    session: Session, sealer: Sealer, chat: Chat, title: str, *, by: TitleBy = "person"
) -> None:
    """Give a conversation its title, on one line; a model's never replaces a person's."""
    assert chat in session, "a conversation of another transaction"
    if by == "model" and chat.title_by == "person":
        return
    plain = " ".join(title.split())[:TITLE_CHARACTERS]
    chat.sealed_title = (
        sealer.seal(plain, context=f"conversations.title:{chat.id}") if plain else None
    )
    chat.title_by = by if plain else "none"
    session.flush()
    index.put(
        session,
        sealer,
        person_id=chat.person_id,
        conversation_id=chat.id,
        message_id=None,
        said=plain,
    )


def settings_of(sealer: Sealer, chat: Chat) -> dict[str, Any]:
    """A conversation's own settings (see `shapes.ChatSettings`)."""
    if chat.sealed_settings is None:
        return {}
    opened = sealer.open_text(chat.sealed_settings, context=f"conversations.settings:{chat.id}")
    settings: dict[str, Any] = json.loads(opened)
    return settings


def set_settings(sealer: Sealer, chat: Chat, settings: dict[str, Any]) -> None:
    """Put settings in place of those that there were."""
    chat.sealed_settings = sealer.seal(
        json.dumps(settings, ensure_ascii=False), context=f"conversations.settings:{chat.id}"
    )


def touch(chat: Chat) -> None:
    """Something was said in it just now: it goes to the head of the list."""
    chat.updated_at = now()


def _checked(content: Content | str) -> Content:
    made = Content(content) if isinstance(content, str) else content
    if len(made.text) > TEXT_CHARACTERS:
        raise ApiError(
            400, f"a message has at most {TEXT_CHARACTERS} characters", code="message_too_long"
        )
    return made


def _by_ids(session: Session, ids: list[str]) -> Iterable[ChatMessage]:
    for start in range(0, len(ids), _AT_ONCE):
        yield from session.scalars(
            select(ChatMessage).where(ChatMessage.id.in_(ids[start : start + _AT_ONCE]))
        )


def _cell(message_id: str) -> str:
    return f"messages.content:{message_id}"


def _opened(sealer: Sealer, message: ChatMessage) -> Content:
    return unpack(sealer.open(message.sealed_content, context=_cell(message.id)))


def _turn(sealer: Sealer, message: ChatMessage) -> Turn:
    return Turn(
        id=message.id,
        parent_id=message.parent_id,
        role=message.role,  # type: ignore[arg-type]  # written by `add_message`
        content=_opened(sealer, message),
        model=message.model,
        model_fingerprint=message.model_fingerprint,
        status=message.status,  # type: ignore[arg-type]
        prompt_tokens=message.prompt_tokens,
        completion_tokens=message.completion_tokens,
        created_at=message.created_at,
    )
