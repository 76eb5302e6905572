"""Writes `NNNN.sql`: a database of the newest schema with a few rows of each kind, as text.

Run once for each schema that is released, and never again for that one:

    python tests/serve/schemas/make.py 0001

Everything random is seeded and the time stands still, so the same code gives the same bytes. The
master key is `bytes(range(32))`.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MASTER = bytes(range(32))
PERSON = "usr_1"
THEN = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
TEXT = "Where is the airship? 飞艇在哪里?"
HERE = Path(__file__).parent


def main(revision: str) -> None:
    """Fill a database and write it down."""
    with tempfile.TemporaryDirectory() as name, _nothing_random():
        from chatwright.serve.store import open_store

        store = open_store(None, folder=Path(name), master=MASTER)
        fill(store)
        store.close()
        connection = sqlite3.connect(Path(name) / "chat.db")
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        assert found == revision, f"the newest schema is {found}"
        (HERE / f"{revision}.sql").write_text(dump(connection), encoding="utf-8")
        connection.close()


def fill(store: Any) -> None:
    """A person with a conversation that can be found, and a row in every other table."""
    from sqlalchemy import LargeBinary, select, update

    from chatwright.serve.access import Identity, Role
    from chatwright.serve.audit import Audit
    from chatwright.serve.history.store import add_message, create_chat
    from chatwright.serve.store.tables import Key, Person, Table

    with store.begin() as session:
        session.add(
            Person(id=PERSON, email="anna@x.org", name="Anna", role="admin", created_at=THEN)
        )
        session.flush()
        sealer = store.keys.sealer(session, PERSON)
        chat = create_chat(
            session, sealer, PERSON, title="Zeppelin", created_at=THEN, updated_at=THEN
        )
        asked = add_message(
            session, sealer, chat, parent_id=None, role="user", content=TEXT, created_at=THEN
        )
        answer = add_message(
            session, sealer, chat, parent_id=asked, role="assistant", content="In its hall.",
            model="m", created_at=THEN,
        )  # fmt: skip
        Audit(store).record(session, Identity(PERSON, "", Role.admin, "session"), "export")
        known = {"people": PERSON, "conversations": chat.id, "messages": answer}
    with store.begin() as session:
        session.execute(update(Key).values(created_at=THEN))
        for table in Table.metadata.sorted_tables:
            if session.execute(select(table)).first() is not None:
                continue
            row: dict[str, Any] = {}
            for column in table.columns:
                key = next(iter(column.foreign_keys), None)
                if key is not None:
                    row[column.name] = known[key.column.table.name]
                elif isinstance(column.type, LargeBinary):
                    context = f"{table.name}.{column.name.removeprefix('sealed_')}:{table.name}_1"
                    row[column.name] = sealer.seal(TEXT, context=context)
                else:
                    row[column.name] = _value(table.name, column)
            session.execute(table.insert().values(row))
            known[table.name] = f"{table.name}_1"


def _value(table: str, column: Any) -> Any:
    from sqlalchemy import JSON, Boolean, Integer, String

    from chatwright.serve.store.tables import Moment

    kind = column.type
    if isinstance(kind, Moment):
        return THEN
    if isinstance(kind, JSON):
        return ["a"] if column.name in ("reasons", "categories", "scopes") else {"a": 1}
    if isinstance(kind, String):
        return (f"{table}_1" if column.primary_key else "x")[: kind.length]
    assert isinstance(kind, Boolean | Integer), column
    return isinstance(kind, Boolean) or 1


def dump(connection: sqlite3.Connection) -> str:
    """SQL that makes the database anew; FTS5's own tables follow from its virtual one."""
    master = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    objects = connection.execute(f"{master} ORDER BY rowid").fetchall()
    virtual = [name for _, name, _, sql in objects if sql.startswith("CREATE VIRTUAL")]
    shadow = [name for _, name, _, _ in objects if any(name.startswith(f"{v}_") for v in virtual)]
    lines = ["PRAGMA foreign_keys=OFF;", "BEGIN;"]
    later = []
    for kind, name, owner, sql in objects:
        if name in shadow or owner in shadow:
            continue
        (later if kind == "trigger" else lines).append(f"{sql};")
        if kind == "table":
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{name}")')]
            columns = ["rowid", *columns] if name in virtual else columns
            quoted = " || ', ' || ".join(f'quote("{column}")' for column in columns)
            names = ", ".join(f'"{column}"' for column in columns)
            for (values,) in connection.execute(f'SELECT {quoted} FROM "{name}" ORDER BY 1'):
                lines.append(f'INSERT INTO "{name}" ({names}) VALUES ({values});')
    return "\n".join([*lines, *later, "COMMIT;", ""])


@contextmanager
def _nothing_random() -> Iterator[None]:
    """`os.urandom` from a seed, and one moment for all times."""
    import secrets

    from chatwright.serve.audit import log

    class Still(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return THEN

    source = random.Random(4711)
    kept = os.urandom, secrets.token_hex, log.now, log.datetime
    os.urandom = source.randbytes
    secrets.token_hex = lambda count=32: source.randbytes(count or 32).hex()
    log.now, log.datetime = lambda: THEN, Still  # type: ignore[misc]
    try:
        yield
    finally:
        os.urandom, secrets.token_hex, log.now, log.datetime = kept  # type: ignore[misc]


if __name__ == "__main__":
    main(sys.argv[1])
