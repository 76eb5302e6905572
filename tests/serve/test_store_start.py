"""Opening the service's database: keys, folders, and what a deletion leaves behind."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from chatwright.errors import DataError, UsageError
from chatwright.serve.access import LOCAL_PERSON
from chatwright.serve.errors import as_api_error
from chatwright.serve.history.store import create_chat
from chatwright.serve.operations.backup import back_up, is_empty, restore
from chatwright.serve.service import make_local_person
from chatwright.serve.starting import chats_kept_apart
from chatwright.serve.store import Store, open_store
from chatwright.serve.store.tables import Key, Person

MASTER = bytes(range(32))


def with_person(store: Store, person_id: str = "usr_1") -> Store:
    with store.begin() as session:
        session.add(Person(id=person_id, email="ada@example.org", name="Ada", role="admin"))
        session.flush()
        store.keys.sealer(session, person_id)
    return store


def test_a_missing_key_is_said_and_no_other_is_made(tmp_path: Path) -> None:
    with_person(open_store(None, folder=tmp_path)).close()
    kept = (tmp_path / "chat.key").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="master key of this database is not here"):
        open_store(None, folder=tmp_path)
    assert not (tmp_path / "chat.key").exists()
    kept.rename(tmp_path / "chat.key")
    open_store(None, folder=tmp_path).close()


def test_another_key_is_refused_at_the_start_and_when_restoring(tmp_path: Path) -> None:
    store = with_person(open_store(None, folder=tmp_path, master=MASTER))
    copy = tmp_path / "copy.zst"
    back_up(store, copy)
    store.close()
    with pytest.raises(DataError, match="not the one"):
        open_store(None, folder=tmp_path, master=MASTER[::-1])
    other = open_store(None, folder=tmp_path / "two", master=MASTER[::-1])
    with pytest.raises(DataError, match="not the one"):
        restore(other, copy)
    assert is_empty(other)
    other.close()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="nothing can be written here"):
        open_store(None, folder=file)
    with pytest.raises(UsageError, match="nothing can be written here"):
        open_store(f"sqlite:///{tmp_path}/none/chat.db", folder=tmp_path)
    store = open_store(None, folder=tmp_path, master=MASTER)
    with pytest.raises(UsageError, match="no such folder"):
        back_up(store, tmp_path / "none" / "copy.zst")
    store.close()


def test_nothing_is_left_of_a_destroyed_key(tmp_path: Path) -> None:
    store = with_person(open_store(None, folder=tmp_path, master=MASTER))
    with store.reading() as session:
        row = session.get(Key, "usr_1")
        assert row is not None
        wrapped = row.wrapped
    files = [tmp_path / "chat.db", tmp_path / "chat.db-wal"]
    assert any(wrapped in file.read_bytes() for file in files)
    with store.begin() as session:
        store.keys.destroy(session, "usr_1")
        person = session.get(Person, "usr_1")
        session.delete(person)
    assert not any(wrapped in file.read_bytes() for file in files)
    assert not any(b"ada@example.org" in file.read_bytes() for file in files)
    store.close()


def test_chats_of_the_other_way_to_run_are_said(tmp_path: Path) -> None:
    store = open_store(None, folder=tmp_path, master=MASTER)
    make_local_person(store)
    assert chats_kept_apart(store, accounts=True) is None
    assert chats_kept_apart(store, accounts=False) is None
    with store.begin() as session:
        create_chat(session, store.keys.sealer(session, LOCAL_PERSON), LOCAL_PERSON, title="Tides")
    with_person(store)
    assert (chats_kept_apart(store, accounts=True) or "").startswith("1 chat made with")
    assert "People have accounts" in (chats_kept_apart(store, accounts=False) or "")
    store.close()


def test_a_full_disk_and_a_busy_database_have_their_own_answers() -> None:
    def told(number: int) -> tuple[int, str | None]:
        inner = sqlite3.OperationalError("words of the database")
        inner.sqlite_errorcode = number  # type: ignore[misc]
        error = as_api_error(OperationalError("INSERT", {}, inner))
        assert "words" not in error.message
        return error.status, error.code

    assert told(sqlite3.SQLITE_FULL) == (507, "disk_full")
    assert told(sqlite3.SQLITE_BUSY) == (503, "database_busy")
    assert told(sqlite3.SQLITE_CANTOPEN) == (503, "database_unavailable")
    assert as_api_error(OSError(errno.ENOSPC, "full")).code == "disk_full"
    assert as_api_error(OSError(errno.ENOENT, "gone")).status == 500
