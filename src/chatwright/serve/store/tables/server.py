"""What belongs to the server itself: keys, settings, limits, the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from chatwright.serve.store.tables.base import COUNTER, ID, Table, now


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


class Attempt(Table):
    """Something that may happen only so often: a failed sign-in, a request. `bucket` says what."""

    __tablename__ = "attempts"
    bucket: Mapped[str] = mapped_column(String(200), primary_key=True)
    window: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    count: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AuditEntry(Table):
    """One line of the audit log; each holds the hash of the one before it."""

    __tablename__ = "audit"
    sequence: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(40))  # as hashed: ISO 8601 to the microsecond
    actor: Mapped[str] = mapped_column(String(64), default="")
    action: Mapped[str] = mapped_column(String(60), index=True)
    target: Mapped[str] = mapped_column(String(200), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    details: Mapped[str] = mapped_column(String(2000), default="{}")  # as hashed: canonical JSON
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))
