"""Evaluations on disk: found by name, and read with their answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright.errors import DataError
from chatwright.evaluate.results import Evaluation
from chatwright.records import atomic_folder, canonical_json, disk_errors, read_json

DESCRIPTION, ANSWERS = "evaluation.json", "answers.jsonl"


@dataclass(frozen=True, slots=True)
class Stored:
    """An evaluation on disk, its answers read; `info` is all that `evaluation.json` holds."""

    path: Path
    evaluation: Evaluation
    info: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        return [model.name for model in self.evaluation.models]


def find_evaluation(name: str, runs: Path) -> Path | None:
    """The folder of a result: by path, by path of its `evaluation.json`, or by name in `runs`."""
    for path in (Path(name), runs / name):
        if path.name == DESCRIPTION and path.is_file():
            return path.parent
        if (path / DESCRIPTION).is_file():
            return path
    return None


def find_reference(text: str, runs: Path) -> tuple[Path, str | None] | None:
    """What `RESULT` or `RESULT:LABEL` names: the result's folder, and the model in it if one is."""
    path = find_evaluation(text, runs)
    if path is not None:
        return path, None
    name, colon, label = text.rpartition(":")
    path = find_evaluation(name, runs) if colon and name else None
    return None if path is None else (path, label)


def list_evaluations(runs: Path) -> list[str]:
    """The names of the results in a workspace's `runs` folder."""
    found = (p.parent.relative_to(runs) for p in runs.rglob(DESCRIPTION))
    return sorted(p.as_posix() for p in found if not any(q.startswith(".") for q in p.parts))


def read_evaluation(path: Path) -> Stored:
    """Read a result's folder. Raises `DataError` naming the file, and the line, that is broken."""
    file = path / DESCRIPTION
    info = read_json(file, "evaluation")
    evaluation = Evaluation.from_json(info, str(file))
    evaluation.answers = list(read_answers(path / ANSWERS))
    return Stored(path, evaluation, info)


def read_answers(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of `answers.jsonl`; none where there is no such file."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the answers cannot be read: {error}", where=str(file)) from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            value = json.loads(line)
            if not isinstance(value, dict) or not isinstance(value.get("id"), str):
                raise ValueError("it is not an object with an `id`")
        except ValueError as error:
            raise DataError(
                f"a line is not JSON: line {number}: {error}",
                where=str(file),
                hint="evaluate again",
            ) from error
        yield value


def write_evaluation(
    path: Path, evaluation: Evaluation, lineage: Mapping[str, Any] | None = None
) -> None:
    """Write a result's folder, whole or not at all: `evaluation.json` and `answers.jsonl`."""
    described = {**(lineage or {}), **evaluation.to_json()}
    with disk_errors(path), atomic_folder(path) as folder:
        lines = "".join(canonical_json(line) + "\n" for line in evaluation.answers)
        (folder / ANSWERS).write_text(lines, encoding="utf-8")
        text = json.dumps(described, ensure_ascii=False, indent=1)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
