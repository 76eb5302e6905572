"""Who has an account, and how they come in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from chatwright.serve.store.tables.base import ID, Table, now, of_person


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
    person_id: Mapped[str] = of_person()
    code_hash: Mapped[str] = mapped_column(String(300))
    used_at: Mapped[datetime | None]


class OutsideIdentity(Table):
    """Who somebody is at an OpenID Connect provider."""

    __tablename__ = "outside_identities"
    issuer: Mapped[str] = mapped_column(String(500), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    person_id: Mapped[str] = of_person()
    created_at: Mapped[datetime] = mapped_column(default=now)


class SignIn(Table):
    """A session of a browser: its token's hash, and until when it holds."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[str] = of_person()
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
    person_id: Mapped[str] = of_person()
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


class Memory(Table):
    """Something that the assistant keeps in mind about a person, who can see and change it."""

    __tablename__ = "memories"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = of_person()
    sealed_text: Mapped[bytes]
    by: Mapped[str] = mapped_column(String(10), default="person")  # person · model
    created_at: Mapped[datetime] = mapped_column(default=now)
