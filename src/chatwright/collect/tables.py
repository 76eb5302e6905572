"""Rows of JSON Lines, JSON arrays, CSV and Parquet, streamed; broken ones become `Lost`."""

from __future__ import annotations

import codecs
import csv
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from chatwright.collect.decode import decode
from chatwright.collect.found import Found, Limits, Lost, Values
from chatwright.records import canonical_json
from chatwright.sources.streams import Forgiving, read_bounded

_HEAD = 1 << 18  # bytes that settle a CSV file's encoding
_ARRAY = 1 << 30  # bytes of a JSON array: it is read as a whole
_BATCH = 256  # rows of Parquet at a time: rows may be long


def read_jsonl(stream: Forgiving, limits: Limits) -> Iterator[Found]:
    """One row per line; empty lines are passed over, as every reader of the format does."""
    lines = io.BufferedReader(stream, 1 << 16)
    number = 0
    while line := lines.readline(limits.max_bytes + 1):
        number += 1
        suffix = f"#row={number}"
        if len(line) > limits.max_bytes and not line.endswith(b"\n"):
            size = len(line)
            while rest := lines.readline(1 << 20):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            yield Lost("too-large", size, f"max {limits.max_bytes}", "bytes of one line", suffix)
            continue
        if stream.broken is not None and not line.endswith(b"\n"):
            break  # half a line: the line about the file's missing rest speaks for it
        if line.strip():
            yield _json_row(line.strip(), suffix)
    if stream.broken is not None:
        yield broken_off(stream, f"rows after {max(0, number - 1)}")


def _json_row(line: bytes, suffix: str) -> Found:
    decoded = decode(line.removeprefix(codecs.BOM_UTF8))
    if isinstance(decoded, str):
        return Lost("not-text", detail=decoded, suffix=suffix, content=line)
    try:
        values = json.loads(decoded.text)
    except (ValueError, RecursionError) as error:
        detail = str(error)[:300] or type(error).__name__
        return Lost("bad-json", detail=detail, suffix=suffix, content=line)
    if not isinstance(values, dict):
        detail = f"a row is an object, and this is {_json_kind(values)}"
        return Lost("bad-json", detail=detail, suffix=suffix, content=line)
    return Values(line, values, suffix, decoded.replaced)


def _json_kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def read_json(stream: Forgiving, limits: Limits) -> Iterator[Found]:
    """The rows of one JSON array of objects, read as a whole (up to 1 GiB)."""
    data = read_bounded(stream, _ARRAY)
    if data is None:
        yield Lost("too-large", _ARRAY + 1, f"max {_ARRAY}", "a JSON array; JSON Lines can stream")
        return
    if stream.broken is not None:
        yield broken_off(stream, "the whole array")
        return
    decoded = decode(data)
    if isinstance(decoded, str):
        yield Lost("not-text", detail=decoded, content=data)
        return
    try:
        rows = json.loads(decoded.text)
    except (ValueError, RecursionError) as error:
        yield Lost("bad-json", detail=str(error)[:300] or type(error).__name__, content=data)
        return
    if not isinstance(rows, list):
        detail = f"rows come in an array, and this is {_json_kind(rows)} or an object"
        yield Lost("bad-json", detail=detail, content=data)
        return
    for number, row in enumerate(rows, start=1):
        suffix = f"#row={number}"
        content = _canonical(row)
        if not isinstance(row, dict):
            detail = f"a row is an object, and this is {_json_kind(row)}"
            yield Lost("bad-json", detail=detail, suffix=suffix, content=content)
        elif len(content) > limits.max_bytes:
            yield Lost("too-large", len(content), f"max {limits.max_bytes}", suffix=suffix)
        else:
            yield Values(content, row, suffix, decoded.replaced)


def read_csv(stream: Forgiving, limits: Limits, delimiter: str) -> Iterator[Found]:
    """Rows under a header line; the encoding is settled by the file's beginning."""
    head = _read_head(stream)
    if not head.strip():
        if stream.broken is not None:
            yield broken_off(stream, "the whole file")
        else:
            yield Lost("empty", 0.0, "min 1", "bytes")
        return
    # A character that the head's end cuts in two would look like broken text.
    decoded = decode(head[: head.rfind(b"\n") + 1] if len(head) == _HEAD else head)
    if isinstance(decoded, str):
        yield Lost("not-text", detail=decoded)
        return
    joined = io.BufferedReader(_Joined(head, stream), 1 << 16)
    text = io.TextIOWrapper(joined, decoded.encoding, "replace", newline="")
    # Nothing but this setting of the whole process bounds a field; ours is the larger of the two.
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_bytes))
    rows = csv.reader(text, delimiter=delimiter, strict=False)
    try:
        header = [name.strip("\ufeff \t") for name in next(rows, [])]
    except csv.Error as error:
        yield Lost("bad-csv", detail=str(error))
        return
    yield from _csv_rows(rows, header, stream, limits)


def _csv_rows(rows: Any, header: list[str], stream: Forgiving, limits: Limits) -> Iterator[Found]:
    number = 0
    pending: Found | None = None  # the last row may be half of one: it waits for the next
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            if pending is not None:
                yield pending
            detail = f"after row {number}: {error}; the rest of the file was not read"
            yield Lost("bad-csv", detail=detail, suffix="#rest")
            return
        if row is None:
            break
        if not row:
            continue
        if pending is not None:
            yield pending
        number += 1
        pending = _csv_row(header, row, f"#row={number}", limits)
    if stream.broken is not None:
        yield broken_off(stream, f"rows after {max(0, number - 1)}")
    elif pending is not None:
        yield pending


def _csv_row(header: list[str], row: list[str], suffix: str, limits: Limits) -> Found:
    content = _canonical(row)
    if len(row) > len(header):
        detail = f"{len(row)} cells under {len(header)} names"
        return Lost("bad-csv", len(row), f"max {len(header)}", detail, suffix, content=content)
    if len(content) > limits.max_bytes:
        return Lost("too-large", len(content), f"max {limits.max_bytes}", "bytes", suffix)
    characters = sum(map(len, row))
    broken = sum(cell.count("\ufffd") for cell in row)
    return Values(
        content, dict(zip(header, row, strict=False)), suffix, broken / max(1, characters)
    )


def read_parquet(
    handle: IO[bytes], compressed: Forgiving | None, limits: Limits
) -> Iterator[Found]:
    """Rows of a Parquet file; one that is compressed as a whole is unpacked to a temporary file."""
    with tempfile.TemporaryFile() as spool:
        if compressed is not None:
            shutil.copyfileobj(compressed, spool)
            if compressed.broken is not None:
                yield broken_off(compressed, "the whole file")
                return
            handle = cast(IO[bytes], spool)
        number = 0
        try:
            file = pq.ParquetFile(handle)
            for batch in file.iter_batches(_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    suffix = f"#row={number}"
                    content = _canonical(values)
                    if len(content) > limits.max_bytes:
                        bound = f"max {limits.max_bytes}"
                        yield Lost("too-large", len(content), bound, "bytes", suffix)
                    else:
                        yield Values(content, values, suffix)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            detail = f"after row {number}: {str(error).splitlines()[0][:300]}"
            yield Lost("unreadable", detail=detail, suffix="#rest" if number else "")


def broken_off(stream: Forgiving, missing: str) -> Lost:
    """The ledger's word for a compressed file that ends too early or is damaged."""
    return Lost(
        "truncated", stream.count, None, f"{stream.broken}; missing: {missing}", suffix="#rest"
    )


def _canonical(row: Any) -> bytes:
    try:
        return canonical_json(row).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b""


def _read_head(stream: Forgiving) -> bytes:
    head = bytearray()
    while len(head) < _HEAD and (block := stream.read(_HEAD - len(head))):
        head += block
    return bytes(head)


class _Joined(io.RawIOBase):
    """Some bytes, and then the rest of a stream."""

    def __init__(self, head: bytes, rest: Forgiving) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._head:
            return self._rest.readinto(buffer)
        count = min(len(buffer), len(self._head))
        buffer[:count] = self._head[:count]
        self._head = self._head[count:]
        return count
