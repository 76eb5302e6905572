"""From a citation back to the page it was taken from, and through every dataset in between."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from chatwright.errors import DataError
from chatwright.records import Dataset, Document

_DEEPEST = 20
_LEDGER_LINES = 50
_CONTENT = ("text", "messages", "prompt", "chosen", "rejected")


def trace(knowledge: Path, passage_id: str) -> dict[str, Any] | None:
    """Where a passage came from; None where the knowledge base holds no such passage.

    `passage` is the chunk, `page` what is known of the page it was cut from, and `steps` the
    datasets on the way, nearest first: for each its stage, fingerprint, the rows that the passage
    came through, and the ledger lines about them. A dataset that is no longer on this machine ends
    its branch and is told as missing. Raises `DataError` where the knowledge base is broken.
    """
    dataset = Dataset.open(knowledge)
    chunks = [row for row in dataset.find(passage_id) if row.id == passage_id]
    if not chunks or not isinstance(chunks[0], Document):
        return None
    steps: list[dict[str, Any]] = []
    pages: list[dict[str, Any]] = []  # the same page as each dataset knows it, nearest first
    seen: set[Path] = set()
    pending: list[tuple[Path, str, set[str]]] = [(knowledge, dataset.fingerprint, {passage_id})]
    while pending and len(steps) < _DEEPEST:
        path, fingerprint, ids = pending.pop(0)
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        try:
            here = Dataset.open(path)
            rows = _rows(here, ids)
        except DataError:
            steps.append({"stage": path.name, "fingerprint": fingerprint, "missing": True})
            continue
        further = ids.union(*(row["parents"] or [] for row in rows))
        steps.append(_step(here, rows, further))
        if path != knowledge:
            pages.extend(rows[:1])
        pending.extend((path / p.path, p.fingerprint, further) for p in here.parents)
    return {"passage": _passage(chunks[0]), "page": _page(pages, chunks[0]), "steps": steps}


def _rows(dataset: Dataset, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Rows without their text: pages are large, and only facts about them are told."""
    columns = [f.name for f in dataset.row_type.schema if f.name not in _CONTENT]
    found: list[dict[str, Any]] = dataset.table(
        columns, filter=pc.field("id").isin(sorted(ids))
    ).to_pylist()
    return found


def _step(dataset: Dataset, rows: list[dict[str, Any]], ids: set[str]) -> dict[str, Any]:
    lines = [line for row_id in sorted(ids) for line in dataset.ledger.for_row(row_id)]
    return {
        "stage": dataset.info.stage,
        "dataset": dataset.path.name,
        "fingerprint": dataset.fingerprint,
        "created_at": dataset.info.created_at,
        "rows": len(dataset),
        "row_ids": [row["id"] for row in rows],
        "ledger": [asdict(line) for line in lines[:_LEDGER_LINES]],
        "missing": False,
    }


def _passage(chunk: Document) -> dict[str, Any]:
    return {
        "id": chunk.id,
        "title": chunk.meta.get("title") or "",
        "uri": chunk.uri,
        "text": chunk.text,
        "language": chunk.language,
    }


def _page(pages: list[dict[str, Any]], chunk: Document) -> dict[str, Any]:
    """Each fact from the oldest row that has it: title and language are found out on the way."""
    oldest_first = [*reversed(pages), chunk.to_arrow()]

    def fact(name: str) -> Any:
        return next((row[name] for row in oldest_first if row[name]), None)

    titles = (json.loads(row["meta"] or "{}").get("title") for row in reversed(pages))
    collected_at = fact("collected_at")
    return {
        "id": oldest_first[0]["id"] if pages else next(iter(chunk.parents), chunk.id),
        "title": next((title for title in titles if title), ""),
        "uri": fact("uri"),
        "source": fact("source"),
        "license": fact("license"),
        "language": fact("language"),
        "collected_at": collected_at.isoformat() if collected_at else None,
    }
