"""From any result back to everything that it was made from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from chatwright.errors import DataError
from chatwright.records import Parent, read_json

ResultKind = Literal["dataset", "model", "evaluation", "report", "assistant", "missing"]

_BY_FILE: tuple[tuple[str, ResultKind], ...] = (
    ("dataset.json", "dataset"),
    ("evaluation.json", "evaluation"),
    ("report.html", "report"),
    ("lineage.json", "model"),
)


@dataclass(slots=True)
class Result:
    """One result on disk. `info` is what its own description says (`dataset.json`, …)."""

    name: str
    kind: ResultKind
    path: Path
    fingerprint: str
    parents: list[Parent] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        """The folder that the parents' relative paths start from."""
        return self.path.parent if self.path.suffix == ".json" else self.path

    def parent_path(self, parent: Parent) -> Path:
        return Path(os.path.normpath(self.base / parent.path))


def read_result(path: Path, name: str | None = None) -> Result:
    """Read what a folder (or an assistant's file) says about itself.

    Raises `DataError` where there is no result, or its description is broken.
    """
    if path.suffix == ".json" and path.is_file():
        return _result(name or path.stem, "assistant", path, read_json(path, "assistant"))
    for file, kind in _BY_FILE:
        if not (path / file).is_file():
            continue
        description = "lineage.json" if kind == "report" else file
        return _result(name or path.name, kind, path, read_json(path / description, kind))
    raise DataError(
        "there is no dataset, model, evaluation or report here",
        where=str(path),
        hint="build the recipe first",
    )


def walk(paths: Iterable[tuple[str, Path]]) -> list[Result]:
    """The named results and all that they were made from, parents before children.

    A parent that is not there any more appears as `missing`: the chain shows its gap instead of
    hiding it.
    """
    found: dict[Path, Result] = {}

    def visit(name: str, path: Path, parent: Parent | None) -> None:
        place = Path(os.path.normpath(path.absolute()))
        if place in found:
            return
        try:
            result = read_result(place, name)
        except DataError:
            if parent is None:
                raise
            found[place] = Result(name, "missing", place, parent.fingerprint)
            return
        for above in result.parents:
            visit(above.name, result.parent_path(above), above)
        found[place] = result

    for name, path in paths:
        visit(name, path, None)
    return list(found.values())


def _result(name: str, kind: ResultKind, path: Path, info: dict[str, Any]) -> Result:
    try:
        parents = [
            Parent(str(p["name"]), str(p.get("fingerprint", "")), str(p["path"]))
            for p in info.get("parents", [])
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"its list of parents is broken: {error}", where=str(path)) from error
    stage = info.get("stage")
    shown = stage if isinstance(stage, str) and stage else name
    return Result(shown, kind, path, str(info.get("fingerprint", "")), parents, info)
