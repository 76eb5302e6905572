"""A queue on disk: items, and a log of what labellers were shown and said, only ever added to.

SQLite in WAL mode: several people may label at once, in several processes; each writes alone for
the moment of an answer.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from chatwright.curate.label.shapes import (
    Decision,
    Description,
    Given,
    Item,
    Kind,
    Purpose,
    Shown,
)
from chatwright.errors import DataError, UsageError
from chatwright.records import canonical_json

_VERSION = 1
_BUSY_SECONDS = 30.0
_SCHEMA = """
CREATE TABLE queue (description TEXT NOT NULL);
CREATE TABLE items (
    number INTEGER PRIMARY KEY,
    row_id TEXT NOT NULL UNIQUE,
    uri TEXT NOT NULL,
    language TEXT,
    text TEXT NOT NULL,
    gold TEXT
);
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    labeller TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('join', 'show', 'label', 'retract', 'decide', 'undecide')),
    task TEXT,
    item INTEGER,
    value TEXT NOT NULL
);
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'labels are never changed; take them back and label again'); END;
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'labels are never deleted; take them back'); END;
"""  # noqa: E501 (SQL)

Append = Callable[..., int]


@dataclass(slots=True)
class State:
    """The log as it stands: what was taken back is gone from `given`, though not from the file."""

    sequence: int = 0
    labellers: dict[str, Kind] = field(default_factory=dict)
    shown: dict[str, Shown] = field(default_factory=dict)
    given: dict[str, Given] = field(default_factory=dict)
    decisions: dict[int, Decision] = field(default_factory=dict)
    reopened: dict[str, int] = field(default_factory=dict)
    tasks_of: dict[str, list[str]] = field(default_factory=dict)

    def copy(self) -> State:
        """The same, unmoved by what is said afterwards in another thread."""
        return State(
            self.sequence,
            dict(self.labellers),
            dict(self.shown),
            dict(self.given),
            dict(self.decisions),
            dict(self.reopened),
            {name: list(tasks) for name, tasks in self.tasks_of.items()},
        )

    def apply(self, row: tuple[Any, ...]) -> None:
        """Take in one row of the log."""
        sequence, at, labeller, action, task, item, text = row
        value = json.loads(text)
        self.sequence = sequence
        if action == "join":
            self.labellers.setdefault(labeller, value["kind"])
        elif action == "show":
            seconds = datetime.fromisoformat(at).timestamp()
            purpose = cast(Purpose, value["purpose"])
            if task not in self.shown:
                self.tasks_of.setdefault(labeller, []).append(task)
            self.shown.setdefault(task, Shown(task, labeller, item, purpose, seconds))
        elif action == "label":
            shown = self.shown[task]
            self.given[task] = Given(
                task, sequence, labeller, shown.item, shown.purpose, at=at, **value
            )
        elif action == "retract":
            self.given.pop(task, None)
            self.reopened[task] = sequence
        elif action == "decide":
            self.decisions[item] = Decision(item, value["label"], labeller, sequence, at,
                                            value.get("comment", ""))  # fmt: skip
        elif action == "undecide":
            self.decisions.pop(item, None)

    def open_task(self, labeller: str) -> Shown | None:
        """What the labeller has not answered: what was taken back last, else what was seen last."""
        waiting = [
            (self.reopened.get(task, 0), place, self.shown[task])
            for place, task in enumerate(self.tasks_of.get(labeller, ()))
            if task not in self.given
        ]
        return max(waiting, key=lambda entry: entry[:2])[2] if waiting else None

    def answers_of(self, labeller: str) -> list[Given]:
        """What the labeller has said and not taken back, skips included, oldest first."""
        tasks = self.tasks_of.get(labeller, ())
        found = [self.given[task] for task in tasks if task in self.given]
        return sorted(found, key=lambda given: given.sequence)


class Store:
    """The file `labels/NAME.db`. Every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._state = State()
        self._connection: sqlite3.Connection | None = None

    def create(self, description: Description, items: Iterable[Item]) -> None:
        """Write a new queue, whole or not at all. Raises `UsageError` where there is one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}.partial")
        with self._lock, self._errors():
            connection = sqlite3.connect(partial, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                text = canonical_json(asdict(description))
                connection.execute("BEGIN")
                connection.execute("INSERT INTO queue VALUES (?)", (text,))
                connection.executemany(
                    "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)",
                    ((i.number, i.row_id, i.uri, i.language, i.text, i.gold) for i in items),
                )
                connection.execute(f"PRAGMA user_version = {_VERSION}")
                connection.execute("COMMIT")
                connection.close()  # which also folds the log into the file
                _move_new(partial, self.path, description.name)
            finally:
                connection.close()
                for ending in ("", "-wal", "-shm"):
                    Path(f"{partial}{ending}").unlink(missing_ok=True)

    def read_queue(self) -> tuple[Description, list[Item]]:
        """The description and all items. Raises `DataError` for a file that is no queue."""
        with self._lock, self._errors():
            connection = self._open()
            found = connection.execute("SELECT description FROM queue").fetchone()
            items = [
                Item(*row) for row in connection.execute("SELECT * FROM items ORDER BY number")
            ]
            try:
                values = json.loads(found[0])
                values["labels"] = tuple(values["labels"])
                return Description(**values), items
            except (TypeError, KeyError, ValueError) as error:
                raise DataError(
                    f"the queue's description does not make sense: {error!r}",
                    where=str(self.path),
                    hint="restore the file from a backup",
                ) from error

    def read(self) -> State:
        """Everything up to now, other processes' labels included: a copy."""
        with self._lock, self._errors():
            self._catch_up(self._open())
            return self._state.copy()

    @contextmanager
    def write(self) -> Iterator[tuple[State, Append]]:
        """One writer at a time, over all processes: yields the state and `append`.

        `append(labeller, action, value, task=…, item=…)` adds a row and returns its sequence. An
        error inside undoes the block's rows.
        """
        with self._lock, self._errors():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._catch_up(connection)
                yield self._state, self._append
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                self._state = State()  # what was taken in is undone; read again from the start
                raise

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _append(
        self,
        labeller: str,
        action: str,
        value: Mapping[str, Any],
        *,
        task: str | None = None,
        item: int | None = None,
    ) -> int:
        assert self._connection is not None
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = canonical_json(dict(value))
        row = self._connection.execute(
            "INSERT INTO events (at, labeller, action, task, item, value) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (at, labeller, action, task, item, text),
        )
        sequence = int(row.lastrowid or 0)
        self._state.apply((sequence, at, labeller, action, task, item, text))
        return sequence

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
            except BaseException:
                connection.close()
                raise
            if version != _VERSION:
                connection.close()
                raise DataError(
                    f"the queue is of version {version}, and this program reads {_VERSION}",
                    where=str(self.path),
                    hint="use the Chatwright that wrote it, or a newer one",
                )
            self._connection = connection
        return self._connection

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        found = connection.execute(
            "SELECT sequence, at, labeller, action, task, item, value FROM events "
            "WHERE sequence > ? ORDER BY sequence",
            (self._state.sequence,),
        )
        row: tuple[Any, ...] = ()
        try:
            for row in found:
                self._state.apply(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            sequence = row[0] if row else "?"
            raise DataError(
                f"row {sequence} of the labels does not make sense: {error!r}",
                where=str(self.path),
                hint="restore the file from a backup; nothing was changed",
            ) from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DataError(
                f"the labels could not be read or written: {error}",
                where=str(self.path),
                hint="check the disk's space and the folder's permissions, then try again; labels "
                "given before are safe",
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"the labels are damaged: {error}",
                where=str(self.path),
                hint="restore the file from a backup, or start a new queue",
            ) from error


def _move_new(partial: Path, path: Path, name: str) -> None:
    """Give a whole file its name; unlike a plain renaming, it never replaces a queue."""
    try:
        os.link(partial, path)
    except FileExistsError as error:
        raise UsageError(
            f"there is a queue called {name!r} already",
            where=str(path),
            hint="choose another name with --name, or go on with it",
        ) from error
    except OSError:  # a file system without hard links
        if path.exists():
            raise
        partial.rename(path)
