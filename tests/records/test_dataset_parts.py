"""Datasets of several parts: tables that are written, and stretches of rows that are read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chatwright.records import Dataset, Document, LedgerEntry, dataset, write_dataset

N_ROWS = 230


def row(number: int) -> Document:
    return Document(f"id{number}", "x" * (number % 7), f"u:{number}", "s")


def table(start: int, stop: int) -> pa.Table:
    rows = [row(n).to_arrow() for n in range(start, stop)]
    return pa.Table.from_pylist(rows, Document.schema)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Rows and tables in turn; groups of 20 rows or more, parts of 50 or more."""
    monkeypatch.setattr(dataset, "_ROWS_PER_BATCH", 20)
    monkeypatch.setattr(dataset, "_ROWS_PER_PART", 50)
    path = tmp_path / "dataset"
    with write_dataset(path, Document, stage="s", fingerprint="f", settings={}) as out:
        at = 0
        for size in (7, 1, 0, 33, 5, 64, 3):
            out.write_tables(table(at, at + size), LedgerEntry.schema.empty_table())
            at += size
            for n in range(at, at + 4):
                out.write(row(n))
            at += 4
        while at < N_ROWS:
            out.write_tables(table(at, at + 1), None)
            at += 1
    return Dataset.open(path)


def test_rows_and_tables_stand_in_the_order_they_came_in(parts: Dataset) -> None:
    assert [r.id for r in parts.rows] == [f"id{n}" for n in range(N_ROWS)]
    assert sum(part["rows"] for part in parts.info.parts) == len(parts) == N_ROWS
    assert len(parts.info.parts) > 2
    files = [pq.ParquetFile(parts.path / part["file"]) for part in parts.info.parts]
    sizes = [f.metadata.row_group(n).num_rows for f in files for n in range(f.num_row_groups)]
    assert sum(size < 20 for size in sizes) <= 8  # where a row was written between tables
    assert [f.metadata.num_rows for f in files] == [part["rows"] for part in parts.info.parts]


@pytest.mark.parametrize("held", [0, 1 << 30])
def test_a_slice_is_those_rows_and_reads_no_others(
    held: int, parts: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_BYTES_HELD", held)
    for size in (1, 9, 64):
        for start in range(0, N_ROWS + 10, 37):
            for stop in (start, start + 1, start + 30, N_ROWS, N_ROWS + 5):
                found = list(parts.slice(start, stop, size))
                ids = [r.id for some in found for r in some]
                assert ids == [f"id{n}" for n in range(start, min(stop, N_ROWS))]
                assert all(0 < len(some) <= size for some in found)
    (parts.path / parts.info.parts[0]["file"]).unlink()
    first = parts.info.parts[0]["rows"]
    assert [r.id for some in parts.slice(first, first + 2) for r in some] == [
        f"id{first}",
        f"id{first + 1}",
    ]
    for part in parts.info.parts:
        part.pop("rows")  # as versions before wrote it
    with pytest.raises(dataset.DataError):
        list(parts.slice(first, first + 2))
