"""What an evaluation has found so far, kept on disk so that a killed one goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chatwright.records import canonical_json, disk_errors

FILE = "answers.partial.jsonl"


class Journal:
    """Results by (model, kind, item), appended to a file line by line.

    Lines carry `fingerprint`; those of another one are ignored, and so is a last line that a kill
    cut in half. With no `folder` results live in memory only.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self._path = folder / FILE if folder else None
        self._fingerprint = fingerprint
        self._found: dict[tuple[str, str, str], dict[str, Any]] = {}
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._read()

    def get(self, model: str, kind: str, item: str) -> dict[str, Any] | None:
        return self._found.get((model, kind, item))

    def has_all(self, model: str, kind: str, items: Iterable[str]) -> bool:
        return all((model, kind, item) in self._found for item in items)

    def add(self, model: str, kind: str, results: Mapping[str, dict[str, Any]]) -> None:
        """Record one batch: item → result. The lines are on disk when this returns."""
        lines = []
        for item, result in results.items():
            self._found[model, kind, item] = result
            record = {
                "fingerprint": self._fingerprint,
                "model": model,
                "kind": kind,
                "item": item,
                "result": result,
            }
            lines.append(canonical_json(record) + "\n")
        if self._path is None:
            return
        with disk_errors(self._path), self._path.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        assert self._path is not None
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, torn = raw.rpartition(b"\n")
        for line in whole.split(b"\n"):
            try:
                record = json.loads(line)
                if record["fingerprint"] == self._fingerprint:
                    key = (record["model"], record["kind"], record["item"])
                    self._found[key] = record["result"]
            except (ValueError, KeyError, TypeError):
                continue  # not ours, or damaged: that item is simply answered again
        if torn:  # new lines must not be glued to the half one
            with disk_errors(self._path), self._path.open("r+b") as file:
                file.truncate(len(raw) - len(torn))
