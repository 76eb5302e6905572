"""A dataset cut into shards: the unit of work that is done whole or not at all, and done again."""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chatwright.records import Conversation, Dataset, LedgerEntry, Row

_FEWEST, _MOST, _WANTED = 64, 1_000, 128
# Rows that are worked on together: as many as these, or fewer where they are long.
_ROWS_AT_ONCE, _CHARACTERS_AT_ONCE = 256, 4_000_000

POSITION = pa.field("position", pa.int64())
LEDGER = pa.schema([*LedgerEntry.schema, POSITION])
_LINE = LedgerEntry.schema.names
_PARTIAL = ".partial"
_SUMMARY = b"chatwright.summary"


@dataclass(frozen=True, slots=True)
class Shards:
    """Which rows of a dataset are which shard. Depends on the dataset and on nothing else."""

    path: Path
    rows: int
    size: int

    @classmethod
    def of(cls, dataset: Dataset) -> Shards:
        """Enough shards to share out, none so small that its files cost more than its rows."""
        size = min(_MOST, max(_FEWEST, len(dataset) // _WANTED))
        return cls(dataset.path, len(dataset), size)

    def __len__(self) -> int:
        return (self.rows + self.size - 1) // self.size

    def positions(self, shard: int) -> range:
        """Which rows of the dataset it has."""
        return range(shard * self.size, min(self.rows, (shard + 1) * self.size))

    def batches(self, shard: int) -> Iterator[list[tuple[int, Any]]]:
        """A shard's rows, each with its position in the dataset, in lists of bounded size."""
        position, stop = self.positions(shard).start, self.positions(shard).stop
        batch: list[tuple[int, Any]] = []
        characters = 0
        for rows in Dataset.open(self.path).slice(position, stop):
            for row in rows:
                batch.append((position, row))
                position += 1
                characters += _length(row)
                if len(batch) >= _ROWS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
                    yield batch
                    batch, characters = [], 0
        if batch:
            yield batch


def _length(row: Any) -> int:
    if isinstance(row, Conversation):
        return sum(len(message.content) for message in row.messages)
    return len(getattr(row, "text", ""))


@dataclass(slots=True)
class ShardFiles:
    """What a pass made of one shard, in `folder`: rows, ledger lines, and what the pass says.

    Both are read in parts of bounded size, in the order of the input.
    """

    folder: Path

    @property
    def done(self) -> bool:
        """Whether they are there, and whole: they are not synced, and a machine may lose power."""
        if not self.folder.exists():
            return False
        try:
            for path in self.folder.glob("*.parquet"):
                pq.read_metadata(path)
            self.summary()
        except (pa.ArrowException, OSError, TypeError, KeyError):
            shutil.rmtree(self.folder)
            return False
        return True

    def rows(self) -> Iterator[pa.Table]:
        return _parts(self.folder / "rows.parquet")

    def ledger(self) -> Iterator[pa.Table]:
        return _parts(self.folder / "ledger.parquet")

    def summary(self) -> dict[str, Any]:
        about = pq.read_metadata(self.folder / "ledger.parquet").metadata
        value: dict[str, Any] = json.loads(about[_SUMMARY])
        return value


def _parts(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


@dataclass(slots=True)
class ShardWriter:
    """Takes what a pass makes of one shard, in the order of the input; made by `shard_writer`.

    `summary` is what the pass says of the shard (JSON values).
    """

    folder: Path
    row_type: type[Row]
    summary: dict[str, Any] = field(default_factory=dict)
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _ledger: list[dict[str, Any]] = field(default_factory=list)
    _characters: int = 0
    _writers: dict[str, pq.ParquetWriter] = field(default_factory=dict)

    @property
    def row_schema(self) -> pa.Schema:
        return pa.schema([*self.row_type.schema, POSITION])

    def keep(self, values: dict[str, Any], lines: Sequence[dict[str, Any]]) -> None:
        """A row and its lines, as Arrow takes them, each with its `position`."""
        self._rows.append(values)
        self._characters += len(str(values.get("text") or values.get("messages") or ""))
        self.log(lines)
        if len(self._rows) >= _ROWS_AT_ONCE or self._characters >= _CHARACTERS_AT_ONCE:
            self._flush()

    def log(self, lines: Sequence[dict[str, Any]]) -> None:
        """Lines alone: of a row that is dropped."""
        self._ledger.extend(lines)

    def write(self, name: str, table: pa.Table) -> None:
        """Rows of one of the shard's files, after those that it has."""
        writer = self._writers.get(name)
        if writer is None:
            path = self.folder / f"{name}.parquet"
            writer = pq.ParquetWriter(path, table.schema, compression="lz4")
            self._writers[name] = writer
        if len(table):
            writer.write_table(table)

    def _flush(self) -> None:
        self.write("rows", pa.Table.from_pylist(self._rows, self.row_schema))
        self.write("ledger", pa.Table.from_pylist(self._ledger, LEDGER))
        self._rows, self._ledger, self._characters = [], [], 0

    def finish(self) -> None:
        """The rest, and the summary."""
        self._flush()
        text = json.dumps(self.summary, ensure_ascii=False)
        self._writers["ledger"].add_key_value_metadata({_SUMMARY: text.encode()})
        self.close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


@contextmanager
def shard_writer(folder: Path, row_type: type[Row]) -> Iterator[ShardWriter]:
    """Write a shard's files; they appear in `folder` when the block ends well, all or none."""
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}{_PARTIAL}")
    partial.mkdir(parents=True)
    out = ShardWriter(partial, row_type)
    try:
        yield out
        out.finish()
        try:
            partial.rename(folder)
        except OSError as error:
            # Another machine has done it as well, and has written the same.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        out.close()
        shutil.rmtree(partial, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Take away what writers of shards in `folder` left when they were killed."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        shutil.rmtree(partial, ignore_errors=True)


def ledger_values(position: int, lines: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    """A row's lines as Arrow takes them."""
    return [
        {**{name: getattr(line, name) for name in _LINE}, "position": position} for line in lines
    ]


def count_rules(ledger: pa.Table) -> Counter[str]:
    """How many lines each rule left, as `action rule`."""
    pairs = ledger.group_by(["action", "rule"]).aggregate([([], "count_all")]).to_pylist()
    return Counter({f"{pair['action']} {pair['rule']}": pair["count_all"] for pair in pairs})
