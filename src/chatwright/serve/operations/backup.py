"""A copy of the whole database in one file, and a database out of it.

The copy is of no one database's form: what was in SQLite can be put back into PostgreSQL. It is a
zstd stream of JSON lines: a head, then each table's name and its rows, then the number of rows and
a digest over all before it. Content stays sealed: without the master key, which is not in it, the
copy can be kept anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, LargeBinary, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chatwright.errors import DataError, UsageError
from chatwright.progress import Progress
from chatwright.records.atomic import disk_errors
from chatwright.serve.store import Store
from chatwright.serve.store.tables import Moment, Table, now
from chatwright.version import __version__

FORMAT = "chatwright.backup"
_AT_ONCE = 500
_LONGEST_LINE = 256 << 20
_TERMS = "message_terms"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def back_up(store: Store, path: Path, progress: Progress | None = None) -> dict[str, int]:
    """Write `path` (`….jsonl.zst`); the rows of each table. The server may go on meanwhile: all is
    read in one transaction. Raises `UsageError` where the file exists.
    """
    if path.exists():
        raise UsageError("this file exists already", where=str(path), hint="choose another name")
    if not path.parent.is_dir():
        raise UsageError("there is no such folder", where=str(path.parent))
    counts: dict[str, int] = {}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with disk_errors(path):
        try:
            with os.fdopen(os.open(partial, _NEW, 0o600), "wb") as file:
                _write(store, file, counts)
                os.fsync(file.fileno())
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    return counts


def _write(store: Store, file: BinaryIO, counts: dict[str, int]) -> None:
    import zstandard

    with (
        zstandard.ZstdCompressor(level=6).stream_writer(file, closefd=False) as out,
        store.engine.connect() as plain,
    ):
        digest = hashlib.blake2b(digest_size=32)
        isolation = {"isolation_level": "REPEATABLE READ"}
        reading: dict[str, Any] = (
            {"chatwright_reading": True} if store.dialect == "sqlite" else isolation
        )
        connection = plain.execution_options(**reading)
        for line in _lines(connection, store.dialect, counts):
            data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
            digest.update(data)
            out.write(data)
        end = {"rows": sum(counts.values()), "digest": digest.hexdigest()}
        out.write(json.dumps(end).encode() + b"\n")


def restore(store: Store, path: Path) -> dict[str, int]:
    """Fill an empty database with a copy; the rows of each table.

    All of it in one transaction: a file that is cut off or changed leaves the database empty.
    Raises `UsageError` for a database with people in it, `DataError` for a file that is damaged, of
    another schema or of a database with another master key.
    """
    tables = {table.name: table for table in Table.metadata.sorted_tables}
    counts: dict[str, int] = {}
    with store.engine.begin() as connection:
        if connection.scalar(select(func.count()).select_from(tables["people"])):
            raise UsageError(
                "this database is in use: it has people",
                where=store.engine.url.render_as_string(hide_password=True),
                hint="restore into an empty one, then start the server with it",
            )
        for table in reversed(Table.metadata.sorted_tables):
            connection.execute(table.delete())
        name, rows = "", []  # type: ignore[var-annotated]
        for line in _read(path, _schema(connection)):
            if "table" in line:
                _put(connection, store.dialect, tables, name, rows)
                name, rows = str(line["table"]), []
                if name not in tables:
                    raise DataError(f"it holds an unknown table {name[:80]!r}", where=str(path))
                counts[name] = 0
            else:
                rows.append(line["row"])
                counts[name] += 1
                if len(rows) >= _AT_ONCE:
                    _put(connection, store.dialect, tables, name, rows)
                    rows = []
        _put(connection, store.dialect, tables, name, rows)
        if store.dialect == "postgresql":  # which counts on by itself from where it was
            connection.exec_driver_sql(
                "SELECT setval(pg_get_serial_sequence('message_terms', 'number'), "
                "(SELECT coalesce(max(number), 0) + 1 FROM message_terms), false)"
            )
        store.keys.check(Session(connection))
    return counts


def _schema(connection: Connection) -> str:
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def _lines(
    connection: Connection, dialect: str, counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    yield {
        "format": FORMAT,
        "version": 1,
        "made_by": __version__,
        "made_at": now().isoformat(),
        "schema": _schema(connection),
    }
    for table in Table.metadata.sorted_tables:
        yield {"table": table.name}
        counts[table.name] = 0
        found = connection.execution_options(yield_per=_AT_ONCE).execute(select(table))
        for row in found:
            counts[table.name] += 1
            values = {name: _plain(value) for name, value in row._mapping.items()}
            if table.name == _TERMS:
                values["terms"] = _terms(connection, dialect, row.number)
            yield {"row": values}


def _terms(connection: Connection, dialect: str, number: int) -> str:
    if dialect == "postgresql":
        asked = text("SELECT terms FROM message_terms WHERE number = :n")
        return " ".join(connection.scalar(asked, {"n": number}) or ())
    asked = text("SELECT terms FROM message_search WHERE rowid = :n")
    return str(connection.scalar(asked, {"n": number}) or "")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value


def _put(
    connection: Connection,
    dialect: str,
    tables: dict[str, Any],
    name: str,
    rows: list[dict[str, Any]],
) -> None:
    if not rows:
        return
    table = tables[name]
    try:
        terms = [row.pop("terms", "") for row in rows] if name == _TERMS else []
        values = [_typed(table, row) for row in rows]
        connection.execute(table.insert(), values)
        for row, told in zip(values, terms, strict=False):
            if dialect == "postgresql":
                put = "UPDATE message_terms SET terms = :terms WHERE number = :n"
                connection.execute(text(put), {"terms": told.split(), "n": row["number"]})
            else:
                put = "INSERT INTO message_search (rowid, terms) VALUES (:n, :terms)"
                connection.execute(text(put), {"terms": told, "n": row["number"]})
    except (IntegrityError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"a row of the table {name} cannot be used ({type(error).__name__})") from (
            error
        )


def _typed(table: Any, row: dict[str, Any]) -> dict[str, Any]:
    if set(row) != {column.name for column in table.columns}:
        raise KeyError(table.name)
    typed: dict[str, Any] = {}
    for column in table.columns:
        value = row[column.name]
        if value is not None and isinstance(column.type, LargeBinary):
            value = base64.b64decode(value["b64"], validate=True)
        elif value is not None and isinstance(column.type, Moment):
            value = datetime.fromisoformat(value)
        typed[column.name] = value
    return typed


def _read(path: Path, schema: str) -> Iterator[dict[str, Any]]:
    """The lines between head and end, checked. The digest is known only at the end: whoever reads
    does so in a transaction.
    """
    import zstandard

    damaged = DataError(
        "this is no whole backup of Chatwright's", where=str(path),
        hint="it was cut off or changed; take another copy",
    )  # fmt: skip
    digest = hashlib.blake2b(digest_size=32)
    rows, end = 0, None
    try:
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file) as stream,
        ):
            for number, data in enumerate(_split(stream, damaged)):
                line = json.loads(data)
                if not isinstance(line, dict) or end is not None:
                    raise damaged
                if "digest" in line:
                    end = line
                    continue
                digest.update(data)
                if number == 0:
                    _check_head(line, schema, path, damaged)
                    continue
                rows += "row" in line
                yield line
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror}", where=str(path)) from error
    except (zstandard.ZstdError, ValueError, UnicodeDecodeError) as error:
        raise damaged from error
    if end is None or end != {"rows": rows, "digest": digest.hexdigest()}:
        raise damaged


def _check_head(line: dict[str, Any], schema: str, path: Path, damaged: DataError) -> None:
    if line.get("format") != FORMAT or line.get("version") != 1:
        raise damaged
    if line.get("schema") != schema:
        raise DataError(
            f"this copy is of schema {line.get('schema')}, and this Chatwright's is {schema}",
            where=str(path),
            hint="restore it with the version that made it "
            f"({line.get('made_by')}), then start this one: it brings the database up to date",
        )


def _split(stream: Any, damaged: DataError) -> Iterator[bytes]:
    held = b""
    while part := stream.read(1 << 20):
        held += part
        *whole, held = held.split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(held) > _LONGEST_LINE:
            raise damaged
    if held:
        raise damaged


def is_empty(store: Store) -> bool:
    """Whether nobody has an account in this database yet."""
    with store.reading() as session:
        there = inspect(session.connection()).has_table("people")
        return not there or not session.scalar(text("SELECT count(*) FROM people"))
