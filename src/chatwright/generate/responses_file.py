"""The response cache's SQLite file: shared by processes, bounded, and never in the way."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from chatwright.errors import UsageError

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, owner BLOB NOT NULL, value BLOB NOT NULL,
    ends REAL NOT NULL, bytes INTEGER NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON answers (used);
CREATE INDEX IF NOT EXISTS by_owner ON answers (owner);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_FOREVER = 1e18  # SQLite has no infinity
_BUSY = 5.0  # seconds that one process waits for another's write
_Result = TypeVar("_Result")


class ResponseFile:
    """Answers by key, least recently used first to go. Thread-safe, and safe between processes.

    A file that cannot be read as one of ours is renamed to `….damaged-…` and begun anew. A cache
    never stops an answer: where the disk is full, or another process holds the file for long, what
    cannot be read counts as not there, and what cannot be written is not kept.
    """

    def __init__(self, path: Path, max_entries: int, max_bytes: int) -> None:
        self.path = path
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _damaged(error):
                raise _unusable(path, error) from error
            self._set_aside()
            try:
                self._open()
            except sqlite3.Error as again:
                raise _unusable(path, again) from again
        except OSError as error:
            raise _unusable(path, error) from error

    def secret(self, own: bytes) -> bytes:
        """The secret that the file's keys are made with; `own` where it has none yet."""

        def work(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO settings VALUES ('secret', ?)", (own,))
            row = connection.execute("SELECT value FROM settings WHERE name='secret'").fetchone()
            return bytes(row[0])

        return self._try(work, own)

    def get(self, key: bytes, now: float) -> bytes | None:
        def work(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(
                "SELECT value, ends FROM answers WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                return None
            if row[1] <= now:
                connection.execute("DELETE FROM answers WHERE key = ?", (key,))
                return None
            connection.execute("UPDATE answers SET used = ? WHERE key = ?", (now, key))
            return bytes(row[0])

        return self._try(work, None)

    def put(self, key: bytes, owner: bytes, value: bytes, ends: float, size: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            now = time.time()
            connection.execute("DELETE FROM answers WHERE ends <= ?", (now,))
            connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                (key, owner, value, min(ends, _FOREVER), size, now),
            )
            entries, total = _size(connection)
            while entries > self._max_entries or total > self._max_bytes:
                oldest = connection.execute(
                    "SELECT key, bytes FROM answers WHERE key != ? ORDER BY used LIMIT 1", (key,)
                ).fetchone()
                if oldest is None:
                    break
                connection.execute("DELETE FROM answers WHERE key = ?", (oldest[0],))
                entries, total = entries - 1, total - oldest[1]

        self._try(work, None)

    def forget(self, owner: bytes) -> int:
        """Raises `UsageError` where it cannot be done: who asks to be forgotten must know."""
        return self._surely(
            lambda c: c.execute("DELETE FROM answers WHERE owner = ?", (owner,)).rowcount
        )

    def clear(self) -> None:
        """Raises `UsageError` where it cannot be done."""
        self._surely(lambda c: c.execute("DELETE FROM answers").rowcount)

    def size(self) -> tuple[int, int]:
        """Entries and bytes."""
        return self._try(_size, (0, 0))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> None:
        # Answers are private: nobody else may read the file.
        if not self.path.exists():
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for a writer
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"its version is {version}")
            if version == 0:
                connection.executescript(_TABLES)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute(
                "SELECT key, owner, value, ends, bytes, used FROM answers LIMIT 1"
            ).fetchall()
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection

    def _set_aside(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        name = f"{self.path.name}.damaged-{uuid.uuid4().hex[:8]}"
        with suppress(OSError):
            self.path.rename(self.path.with_name(name))
        for suffix in ("-wal", "-shm"):  # they belong to the file that was there
            with suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()

    def _try(self, work: Callable[[sqlite3.Connection], _Result], otherwise: _Result) -> _Result:
        try:
            return self._transaction(work)
        except (sqlite3.Error, OSError) as error:
            if _damaged(error):
                with self._lock, suppress(sqlite3.Error, OSError):
                    if not self._closed:
                        self._set_aside()
                        self._open()
            return otherwise

    def _surely(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            return self._transaction(work)
        except (sqlite3.Error, OSError) as error:
            raise UsageError(
                f"the kept answers could not be removed: {error}",
                where=str(self.path),
                hint="stop the programs that use it, and delete the file",
            ) from error

    def _transaction(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        with self._lock:
            connection = self._connection
            if connection is None:
                raise sqlite3.ProgrammingError("the cache is closed")
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            return result


def _size(connection: sqlite3.Connection) -> tuple[int, int]:
    row = connection.execute("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM answers").fetchone()
    return int(row[0]), int(row[1])


def _damaged(error: Exception) -> bool:
    """Whether the file's content is at fault, not the disk or another process."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such" in str(error)  # tables of somebody else's
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.ProgrammingError
    )


def _unusable(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"the file for kept answers cannot be used: {error}",
        where=str(path),
        hint="name another file, or none",
    )
