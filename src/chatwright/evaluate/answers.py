"""Answers that were given before: by model, task and item, kept for the next time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chatwright.errors import DataError
from chatwright.records import canonical_json, fingerprint

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
)
_AT_A_TIME = 500  # SQLite's oldest limit on the parameters of one statement is 999


class AnswerCache:
    """A SQLite file of answers. What is added is on disk when `add` returns.

    Keys come from `answer_key`. An answer given in another batch may differ in its last bits from
    one given anew (bfloat16 rounds differently in products of another shape); where that matters,
    start from an empty file. Without a `path` answers live in memory only. One writer at a time;
    a second process waits for it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None)
            if path is not None:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_SCHEMA)
        except sqlite3.Error as error:
            raise DataError(
                f"the answers given before cannot be read: {error}",
                where=str(path),
                hint="remove the file; the answers are then given anew",
            ) from error

    def get(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The answers that there are, by key."""
        wanted = list(keys)
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(wanted), _AT_A_TIME):
            part = wanted[start : start + _AT_A_TIME]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part)
            found |= {key: json.loads(value) for key, value in rows}
        return found

    def add(self, answers: Mapping[str, dict[str, Any]]) -> None:
        """Keep these answers; one that is there already is replaced."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)",
                [(key, canonical_json(value)) for key, value in answers.items()],
            )
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise DataError(
                f"answers could not be kept: {error}",
                where=str(self._path),
                hint="free some disk space and run again; what was answered before is kept",
            ) from error

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def answer_key(model: str, task: str, item: str) -> str:
    """The key of an answer: fingerprints of the model (weights and precision), task and item."""
    return fingerprint("answer", [model, task, item])
