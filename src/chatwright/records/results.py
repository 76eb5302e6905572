"""What finished results (datasets, checkpoints, evaluations, …) say they are and were made from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from chatwright.errors import DataError
from chatwright.records.dataset import Parent, read_json
from chatwright.records.ids import file_digest, fingerprint

# Weights, configuration, tokenizer, chat template.
_MODEL_FILES = (".json", ".safetensors", ".gguf", ".jinja")
# The file of a result's folder that holds its fingerprint; an assistant is such a file itself.
_DESCRIPTIONS = (
    "dataset.json",
    "evaluation.json",
    "alignment.json",
    "audit.json",
    "bias.json",
    "lineage.json",
)


def result_fingerprint(path: Path) -> str | None:
    """The fingerprint that a finished result carries; None where there is none that can be read."""
    files = [path / name for name in _DESCRIPTIONS] if path.is_dir() else [path]
    for file in files:
        try:
            value = json.loads(file.read_text(encoding="utf-8")).get("fingerprint")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(value, str):
            return value
    return None


def content_fingerprint(path: Path) -> str | None:
    """What names the content at `path`: a result's own fingerprint, else a digest of its files.

    Of a folder that is no result of ours, the files that make a model count. None where there is
    nothing.
    """
    if path.is_dir() and (ours := result_fingerprint(path)) is not None:
        return ours
    return files_fingerprint(path)


def files_fingerprint(path: Path) -> str | None:
    """A digest of the very files of a model (or of one file), whatever they say they are.

    Other files (a card, metrics, training state) change nothing about what a model answers.
    """
    if path.is_file():
        return file_digest(path)
    if path.is_dir():
        files = [p for p in sorted(path.iterdir()) if p.suffix in _MODEL_FILES]
        texts = [f"{p.name} {file_digest(p)}" for p in files if p.name != "lineage.json"]
        return fingerprint("files", texts) if texts else None
    return None


ResultKind = Literal[
    "dataset", "model", "evaluation", "alignment", "audit", "report", "assistant", "missing"
]

_BY_FILE: tuple[tuple[str, ResultKind], ...] = (
    ("dataset.json", "dataset"),
    ("evaluation.json", "evaluation"),
    ("alignment.json", "alignment"),
    ("audit.json", "audit"),
    ("bias.json", "audit"),
    ("report.html", "report"),
    ("datasheet.html", "report"),
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


def training_chain(model: Result, models: Path | None = None) -> tuple[list[Result], str | None]:
    """A checkpoint and those that it began from, the latest first; and what is not here of them.

    A base that is no parent in the lineage (another recipe's) is looked for in `models`. The second
    is the name of the base of the last one, where there is one that has no lineage here.
    """
    chain = [model]
    while isinstance(base := training_settings(chain[-1]).get("model"), str):
        place = place_of(chain[-1], base, models)
        try:
            result = read_result(place)
        except DataError:
            return chain, base
        if result.kind != "model" or any(result.path == known.path for known in chain):
            return chain, base
        chain.append(result)
    return chain, None


def training_settings(model: Result) -> dict[str, Any]:
    """What a checkpoint was trained with; nothing where its lineage does not say."""
    settings = model.info.get("settings")
    return settings if isinstance(settings, dict) else {}


def data_names(data: Any) -> list[str]:
    """The datasets of a training's `data` setting: one, or several with or without weights."""
    parts = [data] if isinstance(data, str) else data if isinstance(data, list) else []
    names = [part.get("data") if isinstance(part, Mapping) else part for part in parts]
    return [name for name in names if isinstance(name, str)]


def place_of(result: Result, name: str, folder: Path | None = None) -> Path:
    """Where that which a result's settings name lies: a parent, else in `folder`, else a path.

    Of what is gone, where it should be.
    """
    places = [result.parent_path(parent) for parent in result.parents if parent.name == name]
    places += [*([folder / name] if folder is not None else []), Path(name)]
    there = (p for p in places if any((p / file).exists() for file in _DESCRIPTIONS))
    return next(there, places[0])


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
