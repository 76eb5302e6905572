"""What judges were shown and said: an append-only SQLite log that many processes may write."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatwright.errors import DataError
from chatwright.evaluate.arena.shapes import Form, Judge, Rating, Verdict, Vote
from chatwright.records import canonical_json

_VERSION = 1
_BUSY_SECONDS = 30.0
# The triggers hold the promise for whoever opens the file with another program, too.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    judge TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('join', 'show', 'vote', 'rate', 'retract', 'verdict')),
    task TEXT,
    value TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS entries_are_never_changed BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'votes are never changed; retract and vote again'); END;
CREATE TRIGGER IF NOT EXISTS entries_are_never_deleted BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'votes are never deleted; retract them'); END;
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one judge was shown: two models' answers, or one's to rate (`right` is then None)."""

    task: str
    judge: str
    form: Form
    item: str
    left: str
    right: str | None


@dataclass(slots=True)
class State:
    """The log as it stands: retracted votes are gone from `standing`, though not from the file."""

    sequence: int = 0
    judges: dict[str, Judge] = field(default_factory=dict)
    shown: dict[str, Shown] = field(default_factory=dict)
    standing: dict[str, Vote | Rating] = field(default_factory=dict)  # by task
    verdicts: dict[tuple[str, str, str, str], Verdict] = field(default_factory=dict)
    reopened: dict[str, int] = field(default_factory=dict)  # task → sequence of its retraction

    def copy(self) -> State:
        """The same, unmoved by what is voted afterwards in another thread."""
        return State(
            self.sequence,
            dict(self.judges),
            dict(self.shown),
            dict(self.standing),
            dict(self.verdicts),
            dict(self.reopened),
        )

    def votes(self) -> list[Vote]:
        """Votes that stand, in the order in which they were given."""
        found = [v for v in self.standing.values() if isinstance(v, Vote)]
        return sorted(found, key=lambda vote: vote.sequence)

    def ratings(self) -> list[Rating]:
        """Ratings that stand, in the order in which they were given."""
        found = [v for v in self.standing.values() if isinstance(v, Rating)]
        return sorted(found, key=lambda rating: rating.sequence)

    def open_task(self, judge: str, form: Form) -> Shown | None:
        """What the judge was shown and has not answered: what was taken back last, or seen last."""
        waiting = [
            (self.reopened.get(task, 0), place, shown)
            for place, (task, shown) in enumerate(self.shown.items())
            if shown.judge == judge and shown.form == form and task not in self.standing
        ]
        return max(waiting, key=lambda entry: entry[:2])[2] if waiting else None

    def latest(self, judge: str) -> str | None:
        """The task of the judge's last standing vote or rating."""
        mine = [(v.sequence, task) for task, v in self.standing.items() if v.judge == judge]
        return max(mine)[1] if mine else None

    def apply(self, row: tuple[Any, ...]) -> None:
        """Take in one row of the log."""
        sequence, at, judge, action, task, text = row
        value = json.loads(text)
        self.sequence = sequence
        if action == "join":
            self.judges.setdefault(judge, Judge(judge, value["kind"], value.get("fingerprint")))
        elif action == "show":
            shown = Shown(task, judge, value["form"], value["item"], value["left"], value["right"])
            self.shown.setdefault(task, shown)
        elif action == "vote":
            shown = self.shown[task]
            value["reasons"] = tuple(value["reasons"])
            vote = Vote(sequence, judge, shown.item, shown.left, shown.right or "", at=at, **value)
            self.standing[task] = vote
        elif action == "rate":
            shown = self.shown[task]
            self.standing[task] = Rating(sequence, judge, shown.item, shown.left, at=at, **value)
        elif action == "retract":
            self.standing.pop(task, None)
            self.reopened[task] = sequence
        elif action == "verdict":
            verdict = Verdict(judge=judge, **value)
            self.verdicts[judge, verdict.item, verdict.left, verdict.right] = verdict


class VoteLog:
    """The file `votes.db`. Every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._state = State()
        self._connection: sqlite3.Connection | None = None

    def read(self) -> State:
        """Everything up to now, other processes' votes included: a copy that stays as it is."""
        with self._lock, self._errors():
            if self._connection is not None or self._path.exists():  # reading leaves no file behind
                self._catch_up(self._open())
            return self._state.copy()

    @contextmanager
    def write(self) -> Iterator[tuple[State, Callable[..., int]]]:
        """One writer at a time, over all processes: yields the state and `append`.

        `append(judge, action, task, value)` adds a row and returns its sequence. An error inside
        undoes the block's rows.
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
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _append(self, judge: str, action: str, task: str | None, value: Mapping[str, Any]) -> int:
        assert self._connection is not None
        at = datetime.now(UTC).isoformat(timespec="seconds")
        text = canonical_json(dict(value))
        row = self._connection.execute(
            "INSERT INTO entries (at, judge, action, task, value) VALUES (?, ?, ?, ?, ?)",
            (at, judge, action, task, text),
        )
        sequence = int(row.lastrowid or 0)
        self._state.apply((sequence, at, judge, action, task, text))
        return sequence

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version not in (0, _VERSION):
                    raise DataError(
                        f"the votes are of version {version}, and this program reads {_VERSION}",
                        where=str(self._path),
                        hint="use the Chatwright that wrote them, or a newer one",
                    )
                if version == 0:
                    connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
                    connection.execute(f"PRAGMA user_version = {_VERSION}")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        found = connection.execute(
            "SELECT sequence, at, judge, action, task, value FROM entries WHERE sequence > ? "
            "ORDER BY sequence",
            (self._state.sequence,),
        )
        row: tuple[Any, ...] = ()
        try:
            for row in found:
                self._state.apply(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            sequence = row[0] if row else "?"
            raise DataError(
                f"row {sequence} of the votes does not make sense: {error!r}",
                where=str(self._path),
                hint="restore the file from a backup; nothing was changed",
            ) from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DataError(
                f"the votes could not be read or written: {error}",
                where=str(self._path),
                hint="check the disk's space and the folder's permissions, then try again; votes "
                "given before are safe",
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"the votes are damaged: {error}",
                where=str(self._path),
                hint="restore the file from a backup, or start a new study",
            ) from error
