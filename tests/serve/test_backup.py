"""Copies of the database: whole, in one file, and back into another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import zstandard
from sqlalchemy import select
from typer.testing import CliRunner

from chatwright.errors import DataError, UsageError
from chatwright.serve.access import Identity, Role
from chatwright.serve.audit import Audit, Verified, verify
from chatwright.serve.history.search import search
from chatwright.serve.history.store import add_message, create_chat
from chatwright.serve.operations.backup import back_up, is_empty, restore
from chatwright.serve.store import Store, open_store
from chatwright.serve.store.tables import ChatMessage, Person, Table

MASTER = bytes(range(32))
ANNA = Identity("usr_anna", "Anna", Role.admin, "session")


def filled(folder: Path) -> Store:
    store = open_store(None, folder=folder, master=MASTER)
    with store.begin() as session:
        session.add(Person(id=ANNA.person_id, email="anna@x.org", name="Anna", role="admin"))
        session.flush()
        sealer = store.keys.sealer(session, ANNA.person_id)
        chat = create_chat(session, sealer, ANNA.person_id, title="Zeppelin 飞艇")
        add_message(
            session, sealer, chat, parent_id=None, role="user",
            content="Where is the airship? 飞艇在哪里",
        )  # fmt: skip
        Audit(store).record(session, ANNA, "export", target="x")
    return store


def rows(store: Store) -> dict[str, list[tuple[object, ...]]]:
    with store.reading() as session:
        return {
            table.name: sorted(map(tuple, session.execute(select(table))), key=repr)
            for table in Table.metadata.sorted_tables
        }


def test_there_and_back(tmp_path: Path) -> None:
    store = filled(tmp_path / "one")
    copy = tmp_path / "chat.jsonl.zst"
    counts = back_up(store, copy)
    assert counts["people"] == 1
    assert counts["messages"] == 1
    assert copy.stat().st_mode & 0o077 == 0
    plain = zstandard.ZstdDecompressor().stream_reader(copy.open("rb")).read()
    assert b"airship" not in plain and "飞艇".encode() not in plain and b"Zeppelin" not in plain
    other = open_store(None, folder=tmp_path / "two", master=MASTER)
    assert is_empty(other)
    assert restore(other, copy) == counts
    assert rows(other) == rows(store)
    assert isinstance(verify(other), Verified)
    with other.reading() as session:
        sealer = other.keys.sealer(session, ANNA.person_id)
        for asked in ("airship", "飞艇"):
            assert search(session, sealer, ANNA.person_id, asked)
    with pytest.raises(UsageError, match="in use"):
        restore(other, copy)
    with pytest.raises(UsageError, match="exists"):
        back_up(store, copy)


@pytest.mark.parametrize("harm", ["cut", "changed", "other", "nothing"])
def test_a_damaged_copy_leaves_the_database_empty(tmp_path: Path, harm: str) -> None:
    store = filled(tmp_path / "one")
    copy = tmp_path / "chat.jsonl.zst"
    back_up(store, copy)
    data = copy.read_bytes()
    plain = zstandard.ZstdDecompressor().stream_reader(data).read()
    if harm == "cut":
        copy.write_bytes(data[: len(data) // 2])
    elif harm == "changed":
        copy.write_bytes(zstandard.compress(plain.replace(b'"Anna"', b'"Emma"')))
    elif harm == "other":
        copy.write_bytes(zstandard.compress(b'{"format": "something"}\n'))
    else:
        copy.write_bytes(os.urandom(100))
    other = open_store(None, folder=tmp_path / "two", master=MASTER)
    with pytest.raises(DataError):
        restore(other, copy)
    assert is_empty(other)
    with other.reading() as session:
        assert session.scalar(select(ChatMessage.id)) is None


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chatwright.cli.app import app

    monkeypatch.delenv("CHATWRIGHT_MASTER_KEY", raising=False)
    first, second = tmp_path / "one", tmp_path / "two"
    filled_store = open_store(None, folder=first)  # makes chat.key
    with filled_store.begin() as session:
        session.add(Person(id="usr_1", email="a@b.c", name="A", role="admin"))
    filled_store.close()
    copy = tmp_path / "copy.jsonl.zst"
    done = CliRunner().invoke(app, ["backup", str(copy), "-w", str(first)])
    assert done.exit_code == 0, done.output
    assert "1 people" in done.output
    done = CliRunner().invoke(app, ["restore", str(copy), "-w", str(second), "--json"])
    assert done.exit_code == 0, done.output
    assert '"people": 1' in done.output
