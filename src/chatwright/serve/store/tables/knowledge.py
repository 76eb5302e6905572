"""Files that people upload, and collections to answer from."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from chatwright.serve.store.tables.base import ID, Table, now, of_person


class StoredFile(Table):
    """A file that somebody uploaded: an attachment, or one for the API. Its body is sealed."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    person_id: Mapped[str] = of_person()
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
    person_id: Mapped[str] = of_person()
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
