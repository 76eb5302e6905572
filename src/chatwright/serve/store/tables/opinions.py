"""What people and moderation say of a text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from chatwright.serve.store.tables.base import ID, Table, now, of_person


class Feedback(Table):
    """What somebody said of an answer: a thumb with reasons, a comment, a better answer."""

    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("person_id", "message_id"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = of_person()
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
    person_id: Mapped[str] = of_person()
    left_id: Mapped[str] = mapped_column(
        ID, ForeignKey("messages.id", ondelete="CASCADE"), index=True
    )
    right_id: Mapped[str] = mapped_column(
        ID, ForeignKey("messages.id", ondelete="CASCADE"), index=True
    )
    choice: Mapped[str] = mapped_column(String(10))  # left · right · tie · both_bad
    created_at: Mapped[datetime] = mapped_column(default=now)


class Moderated(Table):
    """A text that moderation found something in, and what came of an appeal."""

    __tablename__ = "moderated"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = of_person()
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
