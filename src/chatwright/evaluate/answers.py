"""Answers that were given before: by model, task and item, kept for the next time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatwright.closing import Closing
from chatwright.errors import DataError
from chatwright.records import fingerprint

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
)
_REVISION = 1  # raised when the code changes what the same question is answered with
_AT_A_TIME = 500  # SQLite's oldest limit on the parameters of one statement is 999


class AnswerCache(Closing):
    """A SQLite file of answers. What is added is on disk when `add` returns.

    Keys come from `answer_key`. An answer given in another batch may differ in its last bits from
    one given anew (bfloat16 rounds differently in products of another shape); where that matters,
    start from an empty file. Without a `path` answers live in memory only. One writer at a time;
    a second process waits for it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        with self._readable():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None)
            if path is not None:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_SCHEMA)

    def get(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The answers that there are, by key. Raises `DataError` for a damaged file."""
        wanted = list(keys)
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(wanted), _AT_A_TIME):
            part = wanted[start : start + _AT_A_TIME]
            marks = ",".join("?" * len(part))
            with self._readable():
                rows = self._db.execute(
                    f"SELECT key, value FROM answers WHERE key IN ({marks})", part
                )
                found |= {key: json.loads(value) for key, value in rows}
        return found

    def add(self, answers: Mapping[str, dict[str, Any]]) -> None:
        """Keep these answers; one that is there already is replaced."""
        # A model's text may hold half a character, which UTF-8 cannot: JSON writes it escaped.
        rows = [(key, json.dumps(value, allow_nan=False)) for key, value in answers.items()]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise DataError(
                f"answers could not be kept: {error}",
                where=str(self._path),
                hint="free some disk space and run again; what was answered before is kept",
            ) from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, OSError) as error:
            raise DataError(
                f"the answers given before cannot be read: {error}",
                where=str(self._path),
                hint="remove the file; the answers are then given anew",
            ) from error

    def close(self) -> None:
        self._db.close()


def answer_key(model: str, task: str, item: str) -> str:
    """The key of an answer: fingerprints of the model (weights and precision), task and item."""
    return fingerprint("answer", [_REVISION, model, task, item])
