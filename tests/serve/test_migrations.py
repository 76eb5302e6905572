"""Upgrades: each released schema comes to the newest with nothing lost, whatever comes between."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import LargeBinary, inspect, text
from starlette.testclient import TestClient

from chat_server import ScriptedEngine, scripted, until
from chatwright.errors import DataError
from chatwright.serve import create_app
from chatwright.serve.audit import Verified, verify
from chatwright.serve.history.search import search
from chatwright.serve.store import Store, memory_store, migrate, open_store
from chatwright.serve.store.tables import Table

SCHEMAS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))
MASTER = bytes(range(32))
TEXT = "Where is the airship? 飞艇在哪里?"


def head() -> str:
    config = Config()
    config.set_main_option("script_location", migrate.MIGRATIONS.as_posix())
    found = ScriptDirectory.from_config(config).get_current_head()
    assert found is not None
    return found


def released(path: Path, folder: Path) -> Path:
    """A database of that schema, in `folder`."""
    database = folder / "chat.db"
    connection = sqlite3.connect(database)
    connection.executescript(path.read_text(encoding="utf-8"))
    connection.close()
    return database


def everything(database: Path) -> dict[str, list[dict[str, Any]]]:
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    names = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith(("message_search_", "alembic"))
    ]
    found = {
        name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}" ORDER BY 1')]
        for name in names
    }
    connection.close()
    return found


# -- what the migrations make ----------------------------------------------------------------------


def test_the_migrations_make_what_the_tables_say(tmp_path: Path) -> None:
    store = open_store(None, folder=tmp_path, master=MASTER)
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        different = compare_metadata(context, Table.metadata)
        made = objects(connection)
    beside = ("message_search", "search_gone")  # made by hand: the index, and what is to go from it
    told = [one for one in different if not getattr(one[1], "name", "").startswith(beside)]
    assert told == []
    other = memory_store()
    with other.engine.connect() as connection:
        directly = objects(connection)
    made.pop("alembic_version")
    assert made == directly
    store.close()
    other.close()


def objects(connection: Any) -> dict[str, set[str]]:
    """Every object of the schema by name, its definition as a set of clauses."""
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    return {name: {c.strip(" \t\n)") for c in re.split(r",\s*\n", sql)} for name, sql in rows}


def test_a_released_migration_takes_nothing_from_elsewhere() -> None:
    for file in (migrate.MIGRATIONS / "versions").glob("*.py"):
        assert "chatwright" not in file.read_text(encoding="utf-8"), file.name


def test_every_schema_that_was_released_is_kept() -> None:
    versions = {f.name[:4] for f in (migrate.MIGRATIONS / "versions").glob("[0-9]*.py")}
    assert {path.stem for path in SCHEMAS} == versions


# -- from each of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda p: p.stem)
def test_nothing_is_lost(path: Path, tmp_path: Path) -> None:
    database = released(path, tmp_path)
    before = everything(database)
    assert all(rows for name, rows in before.items() if name != "search_gone")
    store = open_store(None, folder=tmp_path, master=MASTER)
    with store.engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == head()
    after = everything(database)
    for name, rows in before.items():
        kept = [{key: row[key] for key in rows[0]} for row in after[name]] if rows else []
        assert kept == rows, name
    assert isinstance(verify(store), Verified)
    with store.reading() as session:
        sealer = store.keys.sealer(session, "usr_1")
        for asked in ("airship", "飞艇", "Zeppelin"):
            assert search(session, sealer, "usr_1", asked), asked
        for table in Table.metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, LargeBinary) and column.name != "wrapped":
                    _opens(session, sealer, table.name, column.name)
    _is_served(store)


def _opens(session: Any, sealer: Any, table: str, column: str) -> None:
    rows = session.execute(text(f'SELECT * FROM "{table}"')).mappings().all()
    for row in rows:
        name = str(row.get("id", f"{table}_1"))
        if row[column] is not None and name == f"{table}_1":
            context = f"{table}.{column.removeprefix('sealed_')}:{name}"
            assert sealer.open_text(row[column], context=context) == TEXT


def _is_served(store: Store) -> None:
    """The service runs on it, and the old conversation is there."""
    registry, _ = scripted(ScriptedEngine(lambda _: "Yes."), None)
    with store.begin() as session:  # the one person of a service without accounts is another
        session.execute(text("UPDATE conversations SET archived = archived"))
        found = session.execute(text("SELECT count(*) FROM messages")).scalar()
    assert found == 2
    with TestClient(create_app(registry, store=store), base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.get("/v1/chatwright/conversations").json()["data"] == []


# -- what gets in between --------------------------------------------------------------------------

NEXT = '''
"""A second schema, of these tests."""
import os, time
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "0002", "0001", None, None

def upgrade():
    with op.batch_alter_table("people") as people:
        people.add_column(sa.Column("nickname", sa.String(50)))
    op.execute("UPDATE people SET nickname = name")
    if mark := os.environ.get("MARK"):
        open(mark, "a").write("x")
        time.sleep(float(os.environ["SLOWLY"]))
    op.create_table("second", sa.Column("id", sa.Integer, primary_key=True))
'''
OPEN = """
import sys
from pathlib import Path
from chatwright.serve.store import migrate, open_store
migrate.MIGRATIONS = Path(sys.argv[1])
open_store(None, folder=Path(sys.argv[2]), master=bytes(range(32))).close()
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The migrations, and one more."""
    place = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, place, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "versions" / "0002_second.py").write_text(NEXT, encoding="utf-8")
    return place


def opening(newer: Path, folder: Path, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, str(newer), str(folder)],
        env={**os.environ, **environ},
        stderr=subprocess.PIPE,
    )


def test_killed_in_the_middle_it_is_whole(
    newer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mark = tmp_path / "w", tmp_path / "mark"
    folder.mkdir()
    database = released(SCHEMAS[0], folder)
    before = everything(database)
    process = opening(newer, folder, MARK=str(mark), SLOWLY="60")
    until(mark.exists, 30)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert everything(database) == before  # nothing of it is there
    monkeypatch.setattr(migrate, "MIGRATIONS", newer)
    store = open_store(None, folder=folder, master=MASTER)
    with store.engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "0002"
        assert "second" in inspect(connection).get_table_names()
        names = connection.execute(text("SELECT name, nickname FROM people")).all()
    assert names == [("Anna", "Anna")]
    with store.reading() as session:
        assert search(session, store.keys.sealer(session, "usr_1"), "usr_1", "airship")
    assert isinstance(verify(store), Verified)
    store.close()


def test_of_two_processes_one_does_it(newer: Path, tmp_path: Path) -> None:
    folder, mark = tmp_path / "w", tmp_path / "mark"
    folder.mkdir()
    database = released(SCHEMAS[0], folder)
    processes = [opening(newer, folder, MARK=str(mark), SLOWLY="0.5") for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert mark.read_text() == "x"  # once
    assert everything(database)["people"][0]["nickname"] == "Anna"


def test_one_that_a_newer_program_wrote_is_refused(
    newer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "w"
    monkeypatch.setattr(migrate, "MIGRATIONS", newer)
    open_store(None, folder=folder, master=MASTER).close()
    before = (folder / "chat.db").read_bytes()
    monkeypatch.undo()
    with pytest.raises(DataError, match="newer"):
        open_store(None, folder=folder, master=MASTER)
    assert (folder / "chat.db").read_bytes() == before


@pytest.mark.parametrize("what", ["other", "text", "cut"])
def test_what_is_no_database_of_ours_is_refused_and_left_alone(what: str, tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    if what == "other":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE recipes (id INTEGER)")
        connection.close()
    elif what == "text":
        path.write_bytes(b"not a database at all\n" * 500)
    else:
        open_store(None, folder=tmp_path, master=MASTER).close()
        path.write_bytes(path.read_bytes()[:20_000])
    before = path.read_bytes()
    with pytest.raises(DataError):
        open_store(None, folder=tmp_path, master=MASTER)
    if what == "text":
        assert path.read_bytes() == before
    if what == "other":
        assert list(everything(path)) == ["recipes"]


def test_another_master_key_is_refused(tmp_path: Path) -> None:
    released(SCHEMAS[0], tmp_path)
    with pytest.raises(DataError, match="master key"):
        open_store(None, folder=tmp_path, master=bytes(32))
