"""Conversations, their messages, and what is arranged around them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from chatwright.serve.store.tables.base import COUNTER, ID, Table, now, of_person


class Folder(Table):
    """A folder of conversations."""

    __tablename__ = "folders"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = of_person()
    sealed_name: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Tag(Table):
    """A label that any number of conversations may have."""

    __tablename__ = "tags"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = of_person()
    sealed_name: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=now)


class ConversationTag(Table):
    """Which conversation has which tag."""

    __tablename__ = "conversation_tags"
    conversation_id: Mapped[str] = mapped_column(
        ID, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    tag_id: Mapped[str] = mapped_column(
        ID, ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Chat(Table):
    """A conversation: a tree of messages, and the leaf that its owner looks at."""

    __tablename__ = "conversations"
    __table_args__ = (Index("ix_conversations_list", "person_id", "archived", "updated_at"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = of_person()
    sealed_title: Mapped[bytes | None]
    title_by: Mapped[str] = mapped_column(String(10), default="none")  # none · model · person
    folder_id: Mapped[str | None] = mapped_column(
        ID, ForeignKey("folders.id", ondelete="SET NULL"), index=True
    )
    model: Mapped[str | None] = mapped_column(String(300))
    sealed_settings: Mapped[bytes | None]  # JSON: instructions, params, persona, collections, tools
    current_leaf: Mapped[str | None] = mapped_column(ID)
    pinned: Mapped[bool] = mapped_column(default=False)
    archived: Mapped[bool] = mapped_column(default=False)
    imported_from: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class ChatMessage(Table):
    """One turn. `sealed_content` is JSON: text, and what came with it (citations, tool calls …)."""

    __tablename__ = "messages"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(
        ID, ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    person_id: Mapped[str] = of_person()
    parent_id: Mapped[str | None] = mapped_column(ID, index=True)
    role: Mapped[str] = mapped_column(String(20))
    sealed_content: Mapped[bytes]
    model: Mapped[str | None] = mapped_column(String(300))
    model_fingerprint: Mapped[str | None] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(10), default="done")
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class SearchTerms(Table):
    """What can be searched: a message, or (without one) a conversation's title.

    `number` is the row's number in the index of blind terms: on SQLite the rowid of the FTS5 table
    `message_search`, on PostgreSQL this table's own array column with a GIN index (`schema.py`).
    """

    __tablename__ = "message_terms"
    number: Mapped[int] = mapped_column(COUNTER, primary_key=True)
    person_id: Mapped[str] = of_person()
    conversation_id: Mapped[str] = mapped_column(
        ID, ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    message_id: Mapped[str | None] = mapped_column(
        ID, ForeignKey("messages.id", ondelete="CASCADE"), unique=True
    )


class Share(Table):
    """A link to a conversation as it was then. The copy is sealed under its owner's key."""

    __tablename__ = "shares"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[str] = of_person()
    conversation_id: Mapped[str] = mapped_column(
        ID, ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    sealed_copy: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]


class Persona(Table):
    """Instructions under a name: `sealed_content` is JSON (name, instructions, model, params).

    One that is shared with everybody has a key of its own; others lie under their owner's.
    """

    __tablename__ = "personas"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = of_person()
    shared: Mapped[bool] = mapped_column(default=False, index=True)
    sealed_content: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=now)
