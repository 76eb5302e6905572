"""A dataset as a source: its rows as they are, as far as their people and licences allow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from chatwright.collect.entries import local_path
from chatwright.collect.found import Lost
from chatwright.collect.licenses import normalised
from chatwright.collect.output import Output
from chatwright.collect.permission import refused
from chatwright.collect.settings import DATASET, CollectSettings, SourceSettings
from chatwright.errors import DataError
from chatwright.progress import Task
from chatwright.records import Dataset, Parent, Row
from chatwright.stage import StageContext
from chatwright.workspace import Workspace


def is_dataset(source: str) -> bool:
    """Whether a source is a dataset: `dataset:NAME`, or a folder that is one."""
    if source.startswith(DATASET):
        return True
    path = local_path(source)
    return path is not None and (path / "dataset.json").is_file()


def open_dataset(source: str, workspace: Workspace, inputs: dict[str, Path]) -> Dataset:
    """The dataset of a source: a stage's result above, one of the workspace, or a folder."""
    if source.startswith(DATASET):
        name = source.removeprefix(DATASET)
        return Dataset.open(inputs[name] if name in inputs else workspace.dataset(name))
    path = local_path(source)
    assert path is not None
    return Dataset.open(path)


def parent_of(source: str, dataset: Dataset, context: StageContext) -> Parent:
    """How the collection's `dataset.json` names a dataset that it was made from."""
    path = os.path.relpath(dataset.path.absolute(), context.output.absolute())
    return Parent(source.removeprefix(DATASET), dataset.fingerprint, path)


def read_dataset(
    source: SourceSettings,
    settings: CollectSettings,
    dataset: Dataset,
    row_type: type[Row],
    out: Output,
    *,
    mixed: bool,
    task: Task,
) -> dict[str, Any]:
    """Write the rows of a dataset into `out`; returns the counts. A row keeps its id.

    Raises `DataError` for rows of another kind, and for `include` and `exclude`, which choose
    files.
    """
    if dataset.row_type is not row_type:
        raise DataError(
            f"it holds {dataset.info.kind} rows, and this collects {settings.rows}",
            where=source.source,
        )
    if source.include or source.exclude:
        raise DataError("include and exclude choose files; a dataset has none", where=source.source)
    counts = {"kept": 0, "unlicensed": 0}
    lost: dict[str, int] = {}
    written = 0
    for row in dataset.rows:
        task.advance()
        wanted_id = row.id
        row.id, other = out.own_id(wanted_id, source.source, row.uri)
        found = _closed(row, source, settings)
        if found is not None:
            lost[found.rule] = lost.get(found.rule, 0) + 1
            out.log(row.id, row.uri, "drop", found, other)
            continue
        row.license = normalised(row.license) or normalised(source.license)
        row.language = row.language or source.language
        if source.terms:
            row.meta.setdefault("terms", source.terms)
        unknown = row.license is None
        counts["unlicensed"] += unknown
        out.unlicensed += unknown
        if unknown and settings.unknown_license == "drop":
            lost["unknown-license"] = lost.get("unknown-license", 0) + 1
            out.log(row.id, row.uri, "drop", Lost("unknown-license", None, "a licence"), other)
            continue
        apart = unknown and settings.unknown_license == "apart" and mixed
        detail = f"from {source.source}"
        kept = Lost("read" if other is None else "same-content", detail=detail)
        out.keep(row, [], kept, other, apart)
        counts["kept"] += not apart
        if apart:
            lost["unknown-license"] = lost.get("unknown-license", 0) + 1
        written += 1
        if source.limit is not None and written >= source.limit:
            break
    summary: dict[str, Any] = {
        "source": source.source,
        "rows": len(dataset),
        "kept": counts["kept"],
        "dropped": dict(sorted(lost.items())),
        "fingerprint": dataset.fingerprint,
    }
    if counts["unlicensed"]:
        summary["unlicensed"] = counts["unlicensed"]
    if source.limit is not None and written >= source.limit:
        summary["stopped_at_limit"] = source.limit
    return summary


def _closed(row: Any, source: SourceSettings, settings: CollectSettings) -> Lost | None:
    consent = getattr(row, "consent", None)
    return refused({"meta": row.meta}, consent, source.consent == "required")


def states_licenses(dataset: Dataset) -> bool:
    """Whether every row of a dataset has a known licence."""
    names = dataset.table(["license"]).column("license").unique().to_pylist()
    return all(normalised(name) for name in names)
