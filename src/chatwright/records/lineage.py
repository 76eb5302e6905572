"""Walking from a row back to the page that it was collected from, and forward to what it became.

A row that is only edited keeps its id from dataset to dataset; a row that was made from others (a
chunk, a question) has an id of its own and names them in `parents`. Both kinds of step are walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from chatwright.errors import DataError
from chatwright.records.dataset import Dataset

if TYPE_CHECKING:
    from chatwright.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Step:
    """One row in one dataset. `depth` counts `parents` steps from the row that was asked about."""

    dataset: Path
    row_id: str
    uri: str
    depth: int


def parent_datasets(dataset: Dataset) -> list[Dataset]:
    """The datasets that this one was made from, as far as they are still there; nearest first."""
    found: dict[Path, Dataset] = {}
    waiting = [dataset]
    while waiting:
        here = waiting.pop(0)
        for parent in here.parents:
            path = (here.path / parent.path).resolve()
            if path not in found and (path / "dataset.json").exists():
                found[path] = Dataset.open(path)
                waiting.append(found[path])
    return list(found.values())


def ancestors(dataset: Dataset, row_id: str) -> list[Step]:
    """Where a row came from: itself in `dataset` first, the collected page last.

    The row may stand in `dataset` or, where curation dropped it, only in one before it. An id that
    none of them knows gives [].
    """
    depths = {row_id: 0}
    steps: list[Step] = []
    for place in [dataset, *parent_datasets(dataset)]:
        table = _links(place)
        wanted = table.filter(pc.is_in(table["id"], pa.array(list(depths), pa.string())))
        for values in wanted.to_pylist():
            depth = depths[values["id"]]
            steps.append(Step(place.path, values["id"], values["uri"], depth))
            for parent in values["parents"] or []:
                depths.setdefault(parent, depth + 1)
    return steps


def descendants(
    workspace: Workspace, row_id: str, *, within: Iterable[Path] | None = None
) -> list[Step]:
    """Every row of the workspace's datasets that is this row or was made from it, by dataset.

    `within` narrows the search to some datasets' folders. A dataset that cannot be opened is left
    out: `chatwright datasets` reports it.
    """
    paths = list(within) if within is not None else _all_datasets(workspace)
    tables = list(_open_links(paths))
    depths = {row_id: 0}
    steps: dict[tuple[Path, str], Step] = {}
    while True:
        known = len(depths)
        for path, table in tables:
            for values in _touching(table, list(depths)):
                made_from = [depths[p] + 1 for p in values["parents"] or [] if p in depths]
                depth = depths.setdefault(values["id"], min(made_from, default=0))
                steps.setdefault(
                    (path, values["id"]), Step(path, values["id"], values["uri"], depth)
                )
        if len(depths) == known:
            return sorted(steps.values(), key=lambda s: (s.depth, str(s.dataset), s.row_id))


def _all_datasets(workspace: Workspace) -> list[Path]:
    return [workspace.datasets / name for name in workspace.list_datasets()]


def _open_links(paths: Iterable[Path]) -> Iterator[tuple[Path, pa.Table]]:
    for path in paths:
        try:
            yield path, _links(Dataset.open(path))
        except (DataError, OSError, pa.ArrowException):
            continue


def _links(dataset: Dataset) -> pa.Table:
    return dataset.table(["id", "uri", "parents"])


def _touching(table: pa.Table, ids: list[str]) -> list[dict[str, Any]]:
    """Rows whose id is one of `ids` or that have one of them as a parent."""
    wanted = pa.array(ids, pa.string())
    parents = table["parents"].combine_chunks()
    flat = pc.list_flatten(parents)
    owners = pc.list_parent_indices(parents).filter(pc.is_in(flat, wanted))
    by_parent = pc.is_in(pa.array(range(len(table)), pa.int64()), owners.cast(pa.int64()))
    matching = table.filter(pc.or_(pc.is_in(table["id"], wanted), by_parent))
    return list(matching.to_pylist())
