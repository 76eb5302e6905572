"""Vectors of new passages, computed in the background and one small batch at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from chatwright.assist.embedder import StoppedError
from chatwright.assist.hybrid import Meaning
from chatwright.errors import ChatwrightError
from chatwright.serve.knowledge.contents import bump, open_content
from chatwright.serve.knowledge.searching import VECTOR_TYPE
from chatwright.serve.store import Store
from chatwright.serve.store.tables import CollectionFile, StoredPassage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger("chatwright.serve")

_BATCH = 8
_NICE = 10  # answering comes first
_END = ""


class PassageEmbedder(Protocol):
    """`assist.embedder.TextEmbedder`, as far as it is needed here."""

    def embed_all(
        self,
        texts: Sequence[str],
        *,
        query: bool,
        background: bool = ...,
        stop: Callable[[], bool] | None = ...,
    ) -> NDArray[np.float32]: ...

    def meaning(self, question: str) -> Meaning: ...


class Indexer:
    """Takes ids of files and makes the vectors that their passages lack.

    Each batch is a transaction of its own, so that a restart goes on where it was cut off, and a
    file that is deleted meanwhile is just done. Its thread starts with the first file.
    """

    def __init__(self, store: Store, load: Callable[[], PassageEmbedder]) -> None:
        self._store = store
        self._load = load
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, file_id: str) -> None:
        """A file that is pending."""
        self._queue.put(file_id)
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="chatwright-indexer", daemon=True
                )
                self._thread.start()

    def resume(self) -> int:
        """Take up what an earlier process left pending; how many files that are."""
        with self._store.reading() as session:
            ids = session.scalars(
                select(CollectionFile.id)
                .where(CollectionFile.status == "pending")
                .order_by(CollectionFile.created_at)
            ).all()
        for file_id in ids:
            self.add(file_id)
        return len(ids)

    def close(self) -> None:
        """Stop after the batch under way."""
        self._closed.set()
        self._queue.put(_END)
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(20)

    def _run(self) -> None:
        if hasattr(os, "setpriority"):
            with contextlib.suppress(OSError):  # of this thread alone, on Linux
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while not self._closed.is_set():
            file_id = self._queue.get()
            if file_id == _END:
                continue
            try:
                self._index(file_id)
            except StoppedError:
                return  # it stays pending, and the next process goes on with it
            except Exception as error:  # the thread must live for the next file
                if self._closed.is_set():
                    return
                log.error("a file could not be indexed: %s", type(error).__name__)
                with contextlib.suppress(Exception):
                    self._finish(file_id, "failed", f"indexing failed ({type(error).__name__})")

    def _index(self, file_id: str) -> None:
        try:
            embedder = self._load()
        except ChatwrightError as error:
            # Words still find it; that is said and not called a failure.
            self._finish(file_id, "ready", f"found by its words only: {error.message}")
            return
        while not self._closed.is_set():
            with self._store.reading() as session:
                batch = self._next(session, file_id)
            if not batch:
                self._finish(file_id, "ready", None)
                return
            texts = [text for _, text in batch]
            vectors = embedder.embed_all(
                texts, query=False, background=True, stop=self._closed.is_set
            )
            with self._store.begin() as session:
                self._write(session, [passage_id for passage_id, _ in batch], vectors)

    def _next(self, session: Session, file_id: str) -> list[tuple[str, str]]:
        rows = session.scalars(
            select(StoredPassage)
            .where(StoredPassage.file_id == file_id, StoredPassage.sealed_vector.is_(None))
            .order_by(StoredPassage.position)
            .limit(_BATCH)
        ).all()
        found: list[tuple[str, str]] = []
        for row in rows:
            sealer = self._store.keys.sealer(session, row.collection_id)
            content = open_content(sealer, row)
            # The heading says what the passage is about, often better than its own words.
            found.append((row.id, f"{content['title']}\n{content['text']}"))
        return found

    def _write(self, session: Session, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        for passage_id, vector in zip(ids, vectors, strict=True):
            row = session.get(StoredPassage, passage_id)
            if row is not None:  # else it was deleted meanwhile
                sealer = self._store.keys.sealer(session, row.collection_id)
                row.sealed_vector = sealer.seal(
                    vector.astype(VECTOR_TYPE).tobytes(), context=f"passages.vector:{passage_id}"
                )

    def _finish(self, file_id: str, status: str, problem: str | None) -> None:
        with self._store.begin() as session:
            file = session.get(CollectionFile, file_id)
            if file is None:
                return
            session.execute(
                update(CollectionFile)
                .where(CollectionFile.id == file_id)
                .values(status=status, problem=problem[:500] if problem else None)
            )
            bump(session, file.collection_id)
