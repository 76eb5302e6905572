"""A study's files: `study.json`, `items.jsonl`, and `answers.jsonl` that only ever grows."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatwright.errors import DataError
from chatwright.evaluate.arena.shapes import FORMS, Answer, Description, Item, ModelEntry, Sampling
from chatwright.records import Message, canonical_json, disk_errors, read_json, write_atomic

STUDY, ITEMS, ANSWERS, VOTES = "study.json", "items.jsonl", "answers.jsonl", "votes.db"
_FORMAT = "chatwright.arena"
_AGAIN = "restore the folder from a backup, or start a new study"


def write_description(folder: Path, description: Description) -> None:
    """Write `study.json`, for its owner's eyes only."""
    text = json.dumps({"format": _FORMAT, **asdict(description)}, ensure_ascii=False, indent=1)
    write_atomic(folder / STUDY, text + "\n")
    # The key orders what judges see; who can read it could work out the sides.
    (folder / STUDY).chmod(0o600)


def read_description(folder: Path) -> Description:
    """Read `study.json`. Raises `DataError` naming the file and what is wrong with it."""
    file = folder / STUDY
    raw = read_json(file, "study")
    if raw.pop("format", None) != _FORMAT:
        raise DataError("not a study of Chatwright", where=str(file))
    try:
        raw["models"] = tuple(ModelEntry(**entry) for entry in raw["models"])
        raw["forms"] = tuple(raw["forms"])
        raw["sampling"] = Sampling(**raw["sampling"])
        found = Description(**raw)
        if not set(found.forms) <= set(FORMS) or not isinstance(found.key, str) or not found.key:
            raise ValueError("unknown forms or no key")
        if not isinstance(found.guidelines, Mapping) or not 0 <= found.overlap <= 1:
            raise ValueError("guidelines or overlap")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the study has unexpected content: {error}", where=str(file), hint=_AGAIN
        ) from error
    return found


def write_items(folder: Path, items: Iterable[Item]) -> None:
    """Write `items.jsonl`."""
    write_atomic(folder / ITEMS, "".join(canonical_json(asdict(item)) + "\n" for item in items))


def read_items(folder: Path) -> tuple[Item, ...]:
    """Read `items.jsonl`. Raises `DataError` naming the line that is damaged."""
    file = folder / ITEMS
    try:
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the prompts cannot be read: {error}", where=str(file), hint=_AGAIN
        ) from error
    found: dict[str, Item] = {}
    for number, line in enumerate(lines, start=1):
        try:
            raw = json.loads(line)
            raw["messages"] = tuple(Message(**m) for m in raw["messages"])
            raw["parents"] = tuple(raw["parents"])
            item = Item(**raw)
            found[item.id] = item
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"this prompt is damaged: {error!r}", where=f"{file}, line {number}", hint=_AGAIN
            ) from error
    return tuple(found.values())


class Answers:
    """`answers.jsonl`: read as it grows, by any process; written by one at a time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ANSWERS
        self._lock = threading.Lock()
        self._read = 0
        self._line = 0
        self._found: dict[tuple[str, str], Answer] = {}

    def all(self) -> dict[tuple[str, str], Answer]:
        """By (model, item), what is on disk now. Do not change it."""
        with self._lock:
            self._catch_up()
            return self._found

    def add(self, answers: Iterable[Answer]) -> None:
        """Append; the lines are on disk when this returns. The caller holds the study's lock."""
        data = "".join(canonical_json(asdict(answer)) + "\n" for answer in answers).encode(
            "utf-8", "replace"
        )
        with disk_errors(self._path), self._path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def mend(self) -> None:
        """Cut off a last line that a kill left half-written. The caller holds the study's lock."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return
        whole = raw.rfind(b"\n") + 1
        if whole != len(raw):
            with disk_errors(self._path), self._path.open("r+b") as file:
                file.truncate(whole)

    def _catch_up(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            return
        whole, newline, _ = new.rpartition(b"\n")  # the rest may be a line that is being written
        if not newline:
            return
        fresh = dict(self._found)  # readers in other threads keep the one they hold
        for line in whole.split(b"\n"):
            self._line += 1
            answer = self._answer(line)
            fresh[answer.model, answer.item] = answer
        self._found = fresh
        self._read += len(whole) + 1

    def _answer(self, line: bytes) -> Answer:
        try:
            raw: dict[str, Any] = json.loads(line)
            raw["notes"] = tuple(raw.get("notes") or ())
            answer = Answer(**raw)
            if not isinstance(answer.model, str) or not isinstance(answer.item, str):
                raise TypeError("model and item must be text")
            if answer.text is not None and not isinstance(answer.text, str):
                raise TypeError("an answer must be text")
        except (ValueError, TypeError) as error:
            raise DataError(
                f"this answer is damaged: {error!r}",
                where=f"{self._path}, line {self._line}",
                hint="remove the line and generate again: that answer is then made anew",
            ) from error
        return answer
