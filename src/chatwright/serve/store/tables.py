"""Every table of the service. What people wrote is in `sealed_…` columns, under their own key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ID = String(64)
# SQLite counts up by itself only in a column that is INTEGER to the letter.
_COUNTER = BigInteger().with_variant(Integer, "sqlite")


class Moment(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite keeps none of the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class Table(DeclarativeBase):
    """What all tables have in common: how their constraints are named, for migrations."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Moment,
        dict[str, Any]: JSON,
        list[str]: JSON,
        bytes: LargeBinary,
    }


def _person(*, nullable: bool = False) -> Mapped[Any]:
    """The person that a row belongs to: it goes when they go."""
    return mapped_column(
        ID, ForeignKey("people.id", ondelete="CASCADE"), index=True, nullable=nullable
    )


class Key(Table):
    """The key of a person or a collection, itself sealed under the master key."""

    __tablename__ = "keys"
    owner_id: Mapped[str] = mapped_column(ID, primary_key=True)
    wrapped: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=now)


class ServerValue(Table):
    """Settings of the server, and what it remembers of itself."""

    __tablename__ = "server_values"
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[dict[str, Any]]


class Person(Table):
    """Somebody with an account. `email` is in lower case; `instructions` hold for all chats."""

    __tablename__ = "people"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str | None] = mapped_column(String(300))
    role: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20), default="active")  # active · disabled
    language: Mapped[str | None] = mapped_column(String(10))
    theme: Mapped[str | None] = mapped_column(String(10))
    sealed_instructions: Mapped[bytes | None]
    memory_enabled: Mapped[bool] = mapped_column(default=True)
    training_consent: Mapped[bool] = mapped_column(default=False)
    consent_at: Mapped[datetime | None]
    daily_tokens: Mapped[int | None] = mapped_column(BigInteger)
    sealed_totp: Mapped[bytes | None]
    totp_enabled: Mapped[bool] = mapped_column(default=False)
    totp_last_step: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime | None]


class RecoveryCode(Table):
    """A code that stands in once for a lost second factor."""

    __tablename__ = "recovery_codes"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    code_hash: Mapped[str] = mapped_column(String(300))
    used_at: Mapped[datetime | None]


class OutsideIdentity(Table):
    """Who somebody is at an OpenID Connect provider."""

    __tablename__ = "outside_identities"
    issuer: Mapped[str] = mapped_column(String(500), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    person_id: Mapped[str] = _person()
    created_at: Mapped[datetime] = mapped_column(default=now)


class SignIn(Table):
    """A session of a browser: its token's hash, and until when it holds."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[str] = _person()
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    address: Mapped[str] = mapped_column(String(64), default="")
    agent: Mapped[str] = mapped_column(String(200), default="")


class ApiKey(Table):
    """A key of a program. `start` is shown so that its owner knows which one it is."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    name: Mapped[str] = mapped_column(String(200))
    start: Mapped[str] = mapped_column(String(20))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Invitation(Table):
    """A link that lets one person make an account."""

    __tablename__ = "invitations"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    email: Mapped[str | None] = mapped_column(String(320))
    created_by: Mapped[str | None] = mapped_column(ID)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[str | None] = mapped_column(ID)


class Attempt(Table):
    """Something that may happen only so often: a failed sign-in, a request. `bucket` says what."""

    __tablename__ = "attempts"
    bucket: Mapped[str] = mapped_column(String(200), primary_key=True)
    window: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    count: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Folder(Table):
    """A folder of conversations."""

    __tablename__ = "folders"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    sealed_name: Mapped[bytes]
    position: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Tag(Table):
    """A label that any number of conversations may have."""

    __tablename__ = "tags"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
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
    person_id: Mapped[str] = _person()
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
    person_id: Mapped[str] = _person()
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
    number: Mapped[int] = mapped_column(_COUNTER, primary_key=True)
    person_id: Mapped[str] = _person()
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
    person_id: Mapped[str] = _person()
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
    person_id: Mapped[str] = _person()
    shared: Mapped[bool] = mapped_column(default=False, index=True)
    sealed_content: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Memory(Table):
    """Something that the assistant keeps in mind about a person, who can see and change it."""

    __tablename__ = "memories"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    sealed_text: Mapped[bytes]
    by: Mapped[str] = mapped_column(String(10), default="person")  # person · model
    created_at: Mapped[datetime] = mapped_column(default=now)


class Feedback(Table):
    """What somebody said of an answer: a thumb with reasons, a comment, a better answer."""

    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("person_id", "message_id"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    message_id: Mapped[str] = mapped_column(
        ID, ForeignKey("messages.id", ondelete="CASCADE"), index=True
    )
    rating: Mapped[str | None] = mapped_column(String(10))  # up · down
    reasons: Mapped[list[str]]
    sealed_comment: Mapped[bytes | None]
    sealed_better: Mapped[bytes | None]
    model: Mapped[str | None] = mapped_column(String(300))
    language: Mapped[str | None] = mapped_column(String(10))  # of the answer: en · zh · other
    created_at: Mapped[datetime] = mapped_column(default=now)


class SideBySide(Table):
    """Which of two answers to one question somebody preferred."""

    __tablename__ = "side_by_side"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    left_id: Mapped[str] = mapped_column(
        ID, ForeignKey("messages.id", ondelete="CASCADE"), index=True
    )
    right_id: Mapped[str] = mapped_column(
        ID, ForeignKey("messages.id", ondelete="CASCADE"), index=True
    )
    choice: Mapped[str] = mapped_column(String(10))  # left · right · tie · both_bad
    created_at: Mapped[datetime] = mapped_column(default=now)


class AuditEntry(Table):
    """One line of the audit log; each holds the hash of the one before it."""

    __tablename__ = "audit"
    sequence: Mapped[int] = mapped_column(_COUNTER, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(40))  # as hashed: ISO 8601 to the microsecond
    actor: Mapped[str] = mapped_column(String(64), default="")
    action: Mapped[str] = mapped_column(String(60), index=True)
    target: Mapped[str] = mapped_column(String(200), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    details: Mapped[str] = mapped_column(String(2000), default="{}")  # as hashed: canonical JSON
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class Run(Table):
    """An answer under way. Its worker tells by `alive_at` that it is still at it."""

    __tablename__ = "runs"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    conversation_id: Mapped[str | None] = mapped_column(
        ID, ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    message_id: Mapped[str | None] = mapped_column(ID)
    worker: Mapped[str] = mapped_column(String(100))
    status: Mapped[str] = mapped_column(String(10), default="running")
    stop_asked: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    alive_at: Mapped[datetime] = mapped_column(default=now)


class RunEvent(Table):
    """Events of a run, for a reader that comes to another worker or comes back. Sealed."""

    __tablename__ = "run_events"
    run_id: Mapped[str] = mapped_column(
        ID, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    sealed_data: Mapped[bytes]


class Usage(Table):
    """What a person used of a model on a day (UTC, ISO)."""

    __tablename__ = "usage"
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    person_id: Mapped[str] = mapped_column(
        ID, ForeignKey("people.id", ondelete="CASCADE"), primary_key=True
    )
    model: Mapped[str] = mapped_column(String(300), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger, default=0)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    completion_tokens: Mapped[int] = mapped_column(BigInteger, default=0)


class StoredFile(Table):
    """A file that somebody uploaded: an attachment, or one for the API. Its body is sealed."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    purpose: Mapped[str] = mapped_column(String(40))
    sealed_name: Mapped[bytes]
    sealed_body: Mapped[bytes]
    sealed_text: Mapped[bytes | None]
    size: Mapped[int] = mapped_column(BigInteger)
    content_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Collection(Table):
    """Documents to answer from, of one person or shared by all. Sealed under its own key."""

    __tablename__ = "collections"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    shared: Mapped[bool] = mapped_column(default=False, index=True)
    sealed_name: Mapped[bytes]
    version: Mapped[int] = mapped_column(default=0)  # rises with every change of its passages
    created_at: Mapped[datetime] = mapped_column(default=now)


class CollectionFile(Table):
    """A document of a collection, and what became of it."""

    __tablename__ = "collection_files"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    collection_id: Mapped[str] = mapped_column(
        ID, ForeignKey("collections.id", ondelete="CASCADE"), index=True
    )
    sealed_name: Mapped[bytes]
    content_id: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(10), default="pending")  # pending · ready · failed
    problem: Mapped[str | None] = mapped_column(String(500))
    passages: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)


class StoredPassage(Table):
    """A chunk of a collection's file: `sealed_content` is JSON (text, heading, page)."""

    __tablename__ = "passages"
    __table_args__ = (UniqueConstraint("file_id", "position"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    collection_id: Mapped[str] = mapped_column(
        ID, ForeignKey("collections.id", ondelete="CASCADE"), index=True
    )
    file_id: Mapped[str] = mapped_column(
        ID, ForeignKey("collection_files.id", ondelete="CASCADE"), index=True
    )
    position: Mapped[int]
    sealed_content: Mapped[bytes]
    sealed_vector: Mapped[bytes | None]  # float16, little endian


class Moderated(Table):
    """A text that moderation found something in, and what came of an appeal."""

    __tablename__ = "moderated"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    conversation_id: Mapped[str | None] = mapped_column(ID)
    message_id: Mapped[str | None] = mapped_column(ID)
    direction: Mapped[str] = mapped_column(String(10))  # input · output
    blocked: Mapped[bool]
    categories: Mapped[list[str]]
    scores: Mapped[dict[str, Any]]
    sealed_text: Mapped[bytes | None]
    appeal: Mapped[str] = mapped_column(String(10), default="none")  # none · open · upheld · lifted
    sealed_appeal: Mapped[bytes | None]
    sealed_note: Mapped[bytes | None]
    decided_by: Mapped[str | None] = mapped_column(ID)
    created_at: Mapped[datetime] = mapped_column(default=now)
    decided_at: Mapped[datetime | None]


class Job(Table):
    """Work in the background: a fine-tuning of `/v1/fine_tuning/jobs`."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = _person()
    kind: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(20), default="queued")
    settings: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(String(2000))
    worker: Mapped[str | None] = mapped_column(String(100))
    cancel_asked: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    alive_at: Mapped[datetime | None]


class JobEvent(Table):
    """What a job told of itself."""

    __tablename__ = "job_events"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    job_id: Mapped[str] = mapped_column(ID, ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    level: Mapped[str] = mapped_column(String(10), default="info")
    kind: Mapped[str] = mapped_column(String(20), default="message")
    message: Mapped[str] = mapped_column(String(2000))
    data: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
