"""Parquet datasets that know their parents, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from chatwright.errors import DataError
from chatwright.records.atomic import atomic_folder, disk_errors
from chatwright.records.ids import file_digest
from chatwright.records.schema import ROW_TYPES, LedgerEntry, Row
from chatwright.version import __version__

_FORMAT = "chatwright.dataset"
_ROWS_PER_PART = 50_000
_ROWS_PER_BATCH = 1_000
# Of one row group: whoever reads a few of its rows holds all of it in memory.
_CHARACTERS_PER_BATCH = 16_000_000
_BYTES_HELD = 128 << 20  # what `slice` reads at once and keeps


@dataclass(frozen=True, slots=True)
class Parent:
    """A dataset or checkpoint that something was made from; `path` is relative to the child."""

    name: str
    fingerprint: str
    path: str


@dataclass(slots=True)
class DatasetInfo:
    """What `dataset.json` says."""

    kind: str
    fingerprint: str
    rows: int
    parts: list[dict[str, Any]]
    stage: str
    settings: dict[str, Any]
    parents: list[Parent] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    ledger_rows: int = 0
    chatwright: str = __version__
    created_at: str = ""

    @property
    def content_digest(self) -> str:
        """Digests of the parts, joined: equal for equal bytes, whenever they were made."""
        return "-".join(part["digest"] for part in self.parts)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read one of our own JSON files, or say which file is broken and what to do."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no {what} here", where=str(path)) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"the {what} cannot be read: {error}",
            where=str(path),
            hint="remove the folder and build it again",
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"the {what} is not a JSON object", where=str(path))
    return value


class Ledger:
    """The ledger beside a dataset: every input row, and every rule that acted on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def table(self, row_id: str | None = None) -> pa.Table:
        """All lines, or those of one row, as an Arrow table."""
        parts = sorted(self._folder.glob("part-*.parquet"))
        if not parts:
            return LedgerEntry.schema.empty_table()
        dataset = pads.dataset([str(p) for p in parts], schema=LedgerEntry.schema)
        return dataset.to_table(filter=None if row_id is None else pc.field("row_id") == row_id)

    def __len__(self) -> int:
        return sum(pq.ParquetFile(p).metadata.num_rows for p in self._folder.glob("part-*.parquet"))

    def __iter__(self) -> Iterator[LedgerEntry]:
        for part in sorted(self._folder.glob("part-*.parquet")):
            for batch in pq.ParquetFile(part).iter_batches(_ROWS_PER_BATCH):
                for values in batch.to_pylist():
                    yield LedgerEntry(**values)

    def for_row(self, row_id: str) -> list[LedgerEntry]:
        """The lines of one row, in the order in which they were written."""
        return [LedgerEntry(**values) for values in self.table(row_id).to_pylist()]


class Dataset:
    """A folder of Parquet parts, its `dataset.json` and its ledger, read-only.

    >>> dataset = Dataset.open("chatwright-workspace/datasets/quickstart/curate")
    >>> len(dataset), dataset.parents, next(iter(dataset.rows))
    """

    def __init__(self, path: Path, info: DatasetInfo) -> None:
        self.path = path
        self.info = info

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open a dataset folder. Raises `DataError` where it is missing, broken or half there."""
        folder = Path(path)
        file = folder / "dataset.json"
        if not file.exists():
            raise DataError(
                "no dataset here (dataset.json is missing)",
                where=str(folder),
                hint="`chatwright datasets` lists what there is",
            )
        raw = read_json(file, "dataset description")
        if raw.pop("format", None) != _FORMAT or raw.get("kind") not in ROW_TYPES:
            raise DataError("not a Chatwright dataset of a known kind", where=str(file))
        try:
            raw["parents"] = [Parent(**parent) for parent in raw.get("parents", [])]
            info = DatasetInfo(**raw)
        except TypeError as error:
            raise DataError(f"unexpected content: {error}", where=str(file)) from error
        for part in info.parts:
            if not (folder / part["file"]).exists():
                raise DataError(
                    "a part of the dataset is missing",
                    where=str(folder / part["file"]),
                    hint="remove the folder and build it again",
                )
        return cls(folder, info)

    def __len__(self) -> int:
        return self.info.rows

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {self.info.kind}, {len(self)} rows)"

    @property
    def fingerprint(self) -> str:
        return self.info.fingerprint

    @property
    def parents(self) -> list[Parent]:
        return self.info.parents

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.path / "ledger")

    @property
    def row_type(self) -> type[Row]:
        return ROW_TYPES[self.info.kind]

    @property
    def rows(self) -> Iterator[Any]:
        """The rows in order, streamed: `Document`, `Conversation` or `Preference` objects."""
        for batch in self.batches():
            yield from batch

    def __iter__(self) -> Iterator[Any]:
        return self.rows

    def batches(self, size: int = _ROWS_PER_BATCH) -> Iterator[list[Any]]:
        """Rows in lists of at most `size`."""
        for part in self.info.parts:
            path = self.path / part["file"]
            try:
                for batch in pq.ParquetFile(path).iter_batches(size):
                    yield [self.row_type.from_arrow(values) for values in batch.to_pylist()]
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"a part of the dataset cannot be read: {error}",
                    where=str(path),
                    hint="remove the folder and build it again",
                ) from error

    def slice(self, start: int, stop: int, size: int = 64) -> Iterator[list[Any]]:
        """Rows from position `start` up to `stop`, in lists of at most `size`.

        Only the row groups that hold them are read, and the last one is kept for the next call.
        """
        at = 0
        for part in self.info.parts:
            path = self.path / part["file"]
            if (rows := part.get("rows")) is not None and at + rows <= start:
                at += rows
                continue
            try:
                with pq.ParquetFile(path) as file:
                    for group in range(file.num_row_groups):
                        length = file.metadata.row_group(group).num_rows
                        if at < stop and at + length > start:
                            first, last = max(0, start - at), min(length, stop - at)
                            for table in self._of_group(file, part, group, size):
                                some = table.slice(first, max(0, last - first)).to_pylist()
                                first, last = max(0, first - len(table)), last - len(table)
                                if some:
                                    yield [self.row_type.from_arrow(values) for values in some]
                                if last <= 0:
                                    break
                        at += length
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"a part of the dataset cannot be read: {error}",
                    where=str(path),
                    hint="remove the folder and build it again",
                ) from error
            if at >= stop:
                return

    def _of_group(
        self, file: pq.ParquetFile, part: dict[str, Any], group: int, size: int
    ) -> Iterator[pa.Table | pa.RecordBatch]:
        """A row group in parts of `size` rows; read as it comes where it is a large one."""
        if file.metadata.row_group(group).total_byte_size > _BYTES_HELD:
            yield from file.iter_batches(size, row_groups=[group])
            return
        table = _row_group(self.path / part["file"], part["digest"], group)
        for begin in range(0, len(table), size):
            yield table.slice(begin, size)

    def table(self, columns: Sequence[str] | None = None, filter: Any = None) -> pa.Table:
        """The rows, or some columns of them, as one Arrow table."""
        files = [str(self.path / part["file"]) for part in self.info.parts]
        if not files:
            empty = self.row_type.schema.empty_table()
            return empty.select(list(columns)) if columns else empty
        dataset = pads.dataset(files, schema=self.row_type.schema)
        return dataset.to_table(columns=list(columns) if columns else None, filter=filter)

    def find(self, id_or_uri: str) -> list[Any]:
        """Rows whose id or uri is `id_or_uri`."""
        match = (pc.field("id") == id_or_uri) | (pc.field("uri") == id_or_uri)
        return [self.row_type.from_arrow(v) for v in self.table(filter=match).to_pylist()]


@lru_cache(maxsize=1)
def _row_group(path: Path, digest: str, group: int) -> pa.Table:
    """A row group of a part; the one read last is not read again for its next rows."""
    with pq.ParquetFile(path) as file:
        return file.read_row_group(group)


class _Parts:
    """Writes rows of one schema into numbered, compressed Parquet parts."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._pending: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._in_tables = 0
        self._writer: pq.ParquetWriter | None = None
        self._in_part = 0
        self._characters = 0
        self.files: list[str] = []
        self.lengths: list[int] = []
        self.rows = 0

    def write(self, values: dict[str, Any]) -> None:
        self._pending.append(values)
        self._characters += len(values.get("text") or "")
        if len(self._pending) >= _ROWS_PER_BATCH or self._characters >= _CHARACTERS_PER_BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what waits as a row group."""
        if self._pending:
            self._tables.append(pa.Table.from_pylist(self._pending, schema=self._schema))
            self._pending = []
        if self._tables:
            table, self._tables = pa.concat_tables(self._tables), []
            self._characters = self._in_tables = 0
            self._write(table)

    def write_table(self, table: pa.Table) -> None:
        """Rows as Arrow holds them, after those written before; small tables become one group."""
        if self._pending:
            self.flush()
        if not len(table):
            return
        # A table that was in a file before has its times in milliseconds.
        self._tables.append(table.cast(self._schema))
        self._in_tables += len(table)
        self._characters += table.nbytes
        if self._in_tables >= _ROWS_PER_BATCH or self._characters >= _CHARACTERS_PER_BATCH:
            self.flush()

    def _write(self, table: pa.Table) -> None:
        self.rows += len(table)
        if self._writer is None or self._in_part >= _ROWS_PER_PART:
            self.close()
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"part-{len(self.files):05d}.parquet"
            self._writer = pq.ParquetWriter(self._folder / name, self._schema, compression="zstd")
            self.files.append(name)
            self.lengths.append(0)
            self._in_part = 0
        assert self._writer is not None
        self._writer.write_table(table)
        self._in_part += len(table)
        self.lengths[-1] += len(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class DatasetWriter:
    """Takes rows and ledger lines; made by `write_dataset`.

    `folder` is the temporary folder: an index, say, may be put beside the rows. `counts` goes into
    `dataset.json`.
    """

    def __init__(self, folder: Path, row_type: type[Row]) -> None:
        self.folder = folder
        self.counts: dict[str, Any] = {}
        self._rows = _Parts(folder, row_type.schema)
        self._ledger = _Parts(folder / "ledger", LedgerEntry.schema)

    def write(self, row: Row) -> None:
        self._rows.write(row.to_arrow())

    def log(self, entry: LedgerEntry) -> None:
        self._ledger.write(entry.to_arrow())

    def write_tables(self, rows: pa.Table | None, ledger: pa.Table | None) -> None:
        """Rows and ledger lines that are in Arrow's form already: what a shard's worker wrote."""
        if rows is not None:
            self._rows.write_table(rows)
        if ledger is not None:
            self._ledger.write_table(ledger)

    def close(self) -> None:
        self._rows.close()
        self._ledger.close()

    def finish(self, info: DatasetInfo) -> None:
        """Flush everything and write `dataset.json` from `info` and what was written."""
        self._rows.flush()
        self._ledger.flush()
        self.close()
        info.rows = self._rows.rows
        info.ledger_rows = self._ledger.rows
        info.counts = self.counts
        info.parts = [
            {"file": name, "digest": file_digest(self.folder / name), "rows": length}
            for name, length in zip(self._rows.files, self._rows.lengths, strict=True)
        ]
        info.created_at = datetime.now(UTC).isoformat(timespec="seconds")
        (self.folder / "dataset.json").write_text(
            json.dumps({"format": _FORMAT, **asdict(info)}, indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )


@contextmanager
def write_dataset(
    path: Path,
    row_type: type[Row],
    *,
    stage: str,
    fingerprint: str,
    settings: dict[str, Any],
    parents: Sequence[Parent] = (),
) -> Iterator[DatasetWriter]:
    """Write a dataset under a temporary name; it appears at `path` when the block ends well.

    >>> with write_dataset(path, Document, stage="collect", fingerprint=f, settings={}) as out:
    ...     out.write(document)
    ...     out.log(LedgerEntry(document.id, document.uri, "collect", "keep", "read"))

    After an error or a kill, what stood at `path` before stands there still. Raises `DataError`
    when the disk is full.
    """
    info = DatasetInfo(
        kind=row_type.kind,
        fingerprint=fingerprint,
        rows=0,
        parts=[],
        stage=stage,
        settings=settings,
        parents=list(parents),
    )
    with disk_errors(path), atomic_folder(path) as folder:
        writer = DatasetWriter(folder, row_type)
        try:
            yield writer
            writer.finish(info)
        finally:
            writer.close()
