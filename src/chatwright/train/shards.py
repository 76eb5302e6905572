"""Token files on disk: shards that are written whole and memory-mapped, read as one.

A token file is a folder: `shard-00000/ …`, `offsets.bin` (int64: where each row begins, and the
end), `text_bytes.bin` (int64 per row) and `index.json`, which is written last. A shard holds
`tokens.bin` (uint16 or uint32, its rows end to end), `mask.bin` (uint8, one where a token carries
loss; fine-tuning only), `rows.arrow` (id, uri, length and bytes of text of each row) and
`shard.json`. Nothing of it is read into memory but what a batch takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from chatwright.errors import DataError
from chatwright.records import LedgerEntry, read_json

INDEX_FORMAT = "chatwright.tokens.2"
SHARD_FORMAT = "chatwright.token-shard.1"
ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("uri", pa.string()),
        ("tokens", pa.int64()),
        ("text_bytes", pa.int64()),
    ]
)
_NAMES_AT_ONCE = 4096


class JoinedArray:
    """One-dimensional arrays of one type laid end to end: read like one, never copied as a whole.

    Takes an index or a slice without a step; a slice within one part is a view of it.
    """

    __slots__ = ("_ends", "_parts", "dtype")

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(p) for p in self._parts])
        self.dtype: np.dtype[Any] = self._parts[0].dtype

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, key: int) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> np.ndarray: ...
    def __getitem__(self, key: int | slice) -> int | np.ndarray:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise ValueError("a joined array is read without a step")
            return self._between(start, max(start, stop))
        at = key + len(self) if key < 0 else key
        if not 0 <= at < len(self):
            raise IndexError(key)
        return int(self._between(at, at + 1)[0])

    def _between(self, start: int, stop: int) -> np.ndarray:
        found = []
        part = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            begin = int(self._ends[part]) - len(self._parts[part])
            found.append(self._parts[part][start - begin : stop - begin])
            start, part = int(self._ends[part]), part + 1
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.zeros(0, self.dtype)

    def __iter__(self) -> Iterator[Any]:
        for part in self._parts:
            yield from part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(self._parts).astype(dtype or self.dtype, copy=False)

    def tolist(self) -> list[int]:
        """All values: for small arrays."""
        return np.asarray(self).tolist()  # type: ignore[no-any-return]


TokenArray = np.ndarray | JoinedArray


class Names(Sequence[str]):
    """A column of strings that stays in the file it was mapped from."""

    __slots__ = ("_column",)

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            return list(self._column[key].to_pylist())
        return str(self._column[int(key)].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _NAMES_AT_ONCE):
            yield from self._column.slice(start, _NAMES_AT_ONCE).to_pylist()


@dataclass(frozen=True, slots=True)
class TokenFile:
    """An open token file; the arrays are memory-mapped and read-only."""

    path: Path
    tokens: TokenArray
    mask: TokenArray | None
    offsets: np.ndarray
    row_ids: Sequence[str]
    uris: Sequence[str]
    text_bytes: np.ndarray
    ledger: list[LedgerEntry]

    def __len__(self) -> int:
        return len(self.row_ids)

    @classmethod
    def open(cls, path: Path) -> TokenFile:
        """Open a token file. Raises `DataError` where a part is missing or has a wrong size."""
        with reading(path, INDEX_FORMAT, "token file") as index:
            shards = [Shard.open(path / name) for name in index["shards"]]
            rows = int(index["rows"])
            if not shards or sum(len(s.rows) for s in shards) != rows:
                raise ValueError(f"the shards do not hold the {rows} rows of the index")
            names = pa.concat_tables([s.rows for s in shards])
            masks = [s.mask for s in shards if s.mask is not None]
            return cls(
                path=path,
                tokens=_joined([s.tokens for s in shards]),
                mask=_joined(masks) if masks else None,
                offsets=map_array(path / "offsets.bin", "int64", rows + 1),
                row_ids=Names(names["id"]),
                uris=Names(names["uri"]),
                text_bytes=map_array(path / "text_bytes.bin", "int64", rows),
                ledger=[entry for s in shards for entry in s.ledger],
            )

    def row_at(self, position: int) -> int:
        """The row that the token at `position` belongs to."""
        return int(np.searchsorted(self.offsets, position, side="right")) - 1


@dataclass(frozen=True, slots=True)
class Shard:
    """A whole shard. `rows_in` rows of the dataset went in, those that were left out included."""

    tokens: np.ndarray
    mask: np.ndarray | None
    rows: pa.Table
    rows_in: int
    content: str
    ledger: list[LedgerEntry]

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Map a shard's files. Raises `ValueError`, `KeyError`, `DataError` or an Arrow error."""
        said = read_json(path / "shard.json", "token shard")
        if said.get("format") != SHARD_FORMAT:
            raise ValueError(f"{path.name} is not a shard of this version")
        count = int(said["tokens"])
        with pa.memory_map(str(path / "rows.arrow")) as file:
            rows = pa.ipc.open_file(file).read_all()
        if len(rows) != said["rows"]:
            raise ValueError(f"{path.name}/rows.arrow has {len(rows)} rows, not {said['rows']}")
        mask = map_array(path / "mask.bin", "uint8", count) if said["mask"] else None
        return cls(
            tokens=map_array(path / "tokens.bin", said["dtype"], count),
            mask=mask,
            rows=rows,
            rows_in=int(said["rows_in"]),
            content=said["content"],
            ledger=[LedgerEntry(**entry) for entry in said["ledger"]],
        )


def write_index(folder: Path, names: Sequence[str], shards: Sequence[Shard]) -> None:
    """Write what spans the shards, `index.json` last: without it the folder is not whole."""
    lengths = [s.rows["tokens"].to_numpy() for s in shards]
    offsets = np.zeros(sum(map(len, lengths)) + 1, "int64")
    np.cumsum(np.concatenate(lengths), out=offsets[1:])
    offsets.tofile(folder / "offsets.bin")
    with (folder / "text_bytes.bin").open("wb") as file:
        for shard in shards:
            shard.rows["text_bytes"].to_numpy().tofile(file)
    index = {
        "format": INDEX_FORMAT,
        "shards": list(names),
        "rows": len(offsets) - 1,
        "tokens": int(offsets[-1]),
    }
    (folder / "index.json").write_text(json.dumps(index) + "\n", encoding="utf-8")


@contextmanager
def reading(path: Path, form: str, what: str) -> Iterator[dict[str, Any]]:
    """The `index.json` of the folder `path`, which must say the format `form`.

    Raises `DataError` that names the `what` where it says another, and where what is read within
    is missing or broken.
    """
    index = read_json(path / "index.json", "token index")
    if index.get("format") != form:
        raise DataError(f"not a {what} of this version", where=str(path))
    try:
        yield index
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"the {what} cannot be read: {error}",
            where=str(path),
            hint="run it again: what is damaged is made again from the dataset",
        ) from error


def map_array(file: Path, dtype: str, count: int) -> np.ndarray:
    """The numbers of a file, mapped. Raises `ValueError` where its size is not `count` of them."""
    size = np.dtype(dtype).itemsize
    if file.stat().st_size != count * size:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes, not {count} × {size}")
    return np.memmap(file, dtype, mode="r", shape=(count,)) if count else np.zeros(0, dtype)


def _joined(parts: Sequence[np.ndarray]) -> TokenArray:
    return parts[0] if len(parts) == 1 else JoinedArray(parts)
