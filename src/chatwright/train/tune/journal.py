"""The trials of a search on disk: one line when each begins, one when it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from chatwright.errors import DataError, UsageError
from chatwright.records import disk_errors, write_atomic

TrialState = Literal["running", "complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a search.

    `number` counts from 1. `values` are the settings that it was given; `params` the same as Optuna
    knows them, before rounding, and `optuna` what its pruner remembers. `measured` maps each tenth
    of the training (1 … 9) to the metric there, `result` is the metric at the end (of a pruned
    trial: where it was stopped). `same_as` is an earlier trial with the same values, whose result
    it takes.
    """

    number: int
    state: TrialState
    values: dict[str, Any]
    params: dict[str, Any] = field(default_factory=dict)
    measured: dict[int, float] = field(default_factory=dict)
    result: float | None = None
    reason: str | None = None
    same_as: int | None = None
    seconds: float = 0.0
    optuna: dict[str, Any] = field(default_factory=dict)


class Journal:
    """`trials.jsonl`: what is searched, then the trials; only ever added to.

    Opened again, it must be for the same search: `described` tells what is searched, how and on
    what. Raises `UsageError` where that differs, naming what. A line that a kill cut short is
    dropped: its trial is still running, and goes on.
    """

    def __init__(self, path: Path, described: Mapping[str, Any]) -> None:
        self.path = path
        self.trials: list[Trial] = []
        wanted = json.loads(json.dumps(described))
        lines = _read(path)
        if lines:
            found = lines[0].get("search")
            if not isinstance(found, dict):
                raise DataError("this is no journal of a search", where=str(path))
            changed = [key for key in wanted if found.get(key) != wanted[key]]
            if changed:
                raise UsageError(
                    f"an earlier search of this stage differs in: {', '.join(changed)}",
                    where=str(path),
                    hint="give the same options to go on with it, or --fresh to forget it",
                )
        for line in lines[1:]:
            self._keep(_trial(line, path))
        kept = [{"search": wanted}, *lines[1:]]
        with disk_errors(path):
            write_atomic(path, "".join(_line(line) for line in kept))

    def add(self, trial: Trial) -> None:
        """Write the trial as it is now, in place of what was known of it."""
        self._keep(trial)
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_line(asdict(trial)))
            file.flush()
            os.fsync(file.fileno())

    def _keep(self, trial: Trial) -> None:
        if trial.number == len(self.trials) + 1:
            self.trials.append(trial)
        else:
            self.trials[trial.number - 1] = trial


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines: list[dict[str, Any]] = []
    for number, part in enumerate(texts := text.splitlines()):
        try:
            line = json.loads(part)
        except ValueError as error:
            if number == len(texts) - 1:
                break
            raise DataError(
                "this line is not JSON",
                where=f"{path}:{number + 1}",
                hint="mend it, or begin again with --fresh",
            ) from error
        lines.append(line if isinstance(line, dict) else {})
    return lines


def _trial(line: dict[str, Any], path: Path) -> Trial:
    try:
        measured = {int(tenth): value for tenth, value in line["measured"].items()}
        return Trial(**{**line, "measured": measured})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"this line is no trial: {json.dumps(line)[:80]}",
            where=str(path),
            hint="begin again with --fresh",
        ) from error
