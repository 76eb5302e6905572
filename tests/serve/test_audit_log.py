from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from chatwright.serve.access import Identity, Role
from chatwright.serve.audit import Audit, Broken, Verified, verify
from chatwright.serve.audit.chain import GENESIS, Mark
from chatwright.serve.store import Store, memory_store, open_store
from chatwright.serve.store.tables import AuditEntry, now

WHO = Identity("usr_1", "Ada", Role.admin, "key", frozenset(), "key_1")


@pytest.fixture
def store() -> Any:
    made = memory_store()
    yield made
    made.close()


def write(store: Store, lines: int = 5) -> Audit:
    audit = Audit(store)
    for number in range(lines):
        with store.begin() as session:
            audit.record(session, WHO, "sign_in", target=f"t{number}", address="10.0.0.1")
    return audit


def lines_of(store: Store) -> list[AuditEntry]:
    with store.begin() as session:
        return list(session.scalars(select(AuditEntry).order_by(AuditEntry.sequence)))


def tamper(store: Store, *statements: str) -> None:
    """As somebody with the database in hand: without the triggers."""
    with store.begin() as session:
        names = session.scalars(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'")
        )
        for name in list(names):
            session.execute(text(f"DROP TRIGGER {name}"))
        for statement in statements:
            session.execute(text(statement))


def test_each_line_holds_the_hash_of_the_one_before(store: Store) -> None:
    write(store)
    before = GENESIS
    for number, line in enumerate(lines_of(store), 1):
        assert line.sequence == number and line.previous == before
        # By hand, from what the documentation says.
        told = json.dumps(
            {"sequence": number, "at": line.at, "actor": "usr_1", "action": "sign_in",
             "target": f"t{number - 1}", "address": "10.0.0.1", "details": '{"key":"key_1"}'},
            sort_keys=True, separators=(",", ":"),
        )  # fmt: skip
        assert line.hash == hashlib.sha256(f"{before}\n{told}".encode()).hexdigest()
        before = line.hash
    assert verify(store) == Verified(5, 1, 5, before)


def test_a_line_belongs_to_its_transaction(store: Store) -> None:
    audit = write(store, 1)
    with pytest.raises(RuntimeError), store.begin() as session:
        audit.record(session, WHO, "sign_in")
        raise RuntimeError
    with store.begin() as session:
        audit.record(session, WHO, "one")
        with pytest.raises(RuntimeError), session.begin_nested():
            audit.record(session, WHO, "undone")
            raise RuntimeError
        with session.begin_nested():
            audit.record(session, None, "two")
        audit.record(session, "usr_2", "three")
    assert [line.action for line in lines_of(store)] == ["sign_in", "one", "two", "three"]
    assert [line.actor for line in lines_of(store)][1:] == ["usr_1", "", "usr_2"]
    assert isinstance(verify(store), Verified)
    with pytest.raises(ValueError, match="does not name"), store.begin() as session:
        audit.record(session, WHO, "Sign in\n")


def test_lines_cannot_be_forged_through_what_is_told(store: Store) -> None:
    audit = Audit(store)
    with store.begin() as session:
        audit.record(
            session, "usr\r\n2 admin", "export", target="x\n\u2028y\x00" + "z" * 500,
            address="1\n2" * 100, details={"a": "line\nbreak \ud800", "b": float("inf")},
        )  # fmt: skip
        audit.record(session, WHO, "export", details={"much": "x" * 5000})
    first, second = lines_of(store)
    assert len(first.target) == 200 and len(first.address) == 64
    for value in (first.actor, first.target, first.address, first.details):
        assert value.isprintable()
    assert json.loads(second.details)["left_out"] > 5000
    assert isinstance(verify(store), Verified)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'x' WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence = 5",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT sequence, at, 'x', action, target, address, details, "
        "previous, hash FROM audit WHERE sequence = 2",
    ],
)
def test_the_database_refuses_changes(store: Store, statement: str) -> None:
    write(store)
    refused = False
    try:
        with store.begin() as session:
            session.execute(text(statement))
    except DatabaseError:
        refused = True
    # SQLite runs no delete trigger for a replaced row: then at least it shows.
    assert refused or isinstance(verify(store), Broken)


@pytest.mark.parametrize("column", ["at", "actor", "action", "target", "address", "details"])
def test_a_changed_line_shows(store: Store, column: str) -> None:
    write(store)
    tamper(store, f"UPDATE audit SET {column} = {column} || 'x' WHERE sequence = 3")
    found = verify(store)
    assert isinstance(found, Broken) and found.sequence == 3


@pytest.mark.parametrize(
    ("statements", "sequence"),
    [
        (["DELETE FROM audit WHERE sequence = 3"], 3),
        (["DELETE FROM audit WHERE sequence = 1"], 1),
        (["DELETE FROM audit WHERE sequence >= 4"], 4),  # the end cut off
        (["DELETE FROM audit"], 1),
        (["DELETE FROM audit WHERE sequence = 5",
          "UPDATE server_values SET value = json_set(value, '$.sequence', 4)"], 0),
        (["DELETE FROM server_values WHERE name = 'audit_head'"], 5),
        (["UPDATE server_values SET value = '{}' WHERE name = 'audit_head'"], 0),
        (["UPDATE server_values SET name = 'audit_checkpoint' WHERE name = 'audit_head'"], 0),
        (["UPDATE audit SET sequence = 50 WHERE sequence = 2",
          "UPDATE audit SET sequence = 2 WHERE sequence = 3",
          "UPDATE audit SET sequence = 3 WHERE sequence = 50"], 2),
    ],
)  # fmt: skip
def test_missing_lines_and_a_forged_head_show(
    store: Store, statements: list[str], sequence: int
) -> None:
    write(store)
    tamper(store, *statements)
    found = verify(store)
    assert isinstance(found, Broken) and found.sequence == sequence
    write(store, 2)  # and it does not heal when it goes on
    assert isinstance(verify(store), Broken)


def test_a_whole_chain_made_anew_shows_by_the_head(store: Store) -> None:
    """Hashes alone hold no secret: who rewrites them all is found out by the signed head."""
    write(store)
    other = memory_store()
    write(other, 4)
    rows = lines_of(other)
    tamper(store, "DELETE FROM audit")
    with store.begin() as session:
        for row in rows:
            session.merge(row)
    found = verify(store)
    assert isinstance(found, Broken) and "missing" in found.why
    with store.begin() as session:  # one more line than the head knows of
        session.execute(text("DELETE FROM audit"))
    other.close()


def test_a_database_that_was_put_back_shows_by_a_noted_line(tmp_path: Path) -> None:
    master = bytes(range(32))
    early, late = (
        open_store(f"sqlite:///{tmp_path / name}", folder=tmp_path, master=master)
        for name in ("early.db", "late.db")
    )
    write(early, 2)
    write(late, 4)
    whole = verify(late)
    assert isinstance(whole, Verified)
    noted = Mark(whole.last, whole.hash)
    assert verify(late, expected=noted) == whole
    write(late, 1)
    assert isinstance(verify(late, expected=noted), Verified)
    assert isinstance(verify(early), Verified)
    assert isinstance(verify(early, expected=noted), Broken)
    # Another master key did not sign this head.
    late.close()
    stranger = open_store(f"sqlite:///{tmp_path / 'late.db'}", folder=tmp_path, master=master[::-1])
    found = verify(stranger)
    assert isinstance(found, Broken) and found.sequence == 0
    for one in (early, stranger):
        one.close()


def test_many_writers_make_one_chain(tmp_path: Path) -> None:
    master = bytes(range(32))
    stores = [open_store(None, folder=tmp_path, master=master) for _ in range(2)]
    failed: list[BaseException] = []

    def work(store: Store) -> None:
        try:
            write(store, 20)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    found = verify(stores[0])
    assert isinstance(found, Verified) and found.lines == 80
    for store in stores:
        store.close()


def test_old_lines_go_behind_a_checkpoint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    at = now()
    times = iter([at - timedelta(days=n) for n in (90, 60, 30, 1)])
    monkeypatch.setattr("chatwright.serve.audit.log.now", lambda: next(times))
    audit = write(store, 4)

    def retain(days: int) -> int:
        with store.begin() as session:
            return audit.retain(session, at - timedelta(days=days))

    assert retain(100) == 0
    assert retain(40) == 2
    assert verify(store) == Verified(2, 3, 4, lines_of(store)[-1].hash)
    with pytest.raises(DatabaseError), store.begin() as session:
        session.execute(text("DELETE FROM audit WHERE sequence = 3"))
    assert retain(0) == 1  # the newest line stays
    monkeypatch.undo()
    write(store, 1)
    assert isinstance(verify(store), Verified)
    tamper(store, "DELETE FROM server_values WHERE name = 'audit_checkpoint'")
    assert isinstance(verify(store), Broken)


def test_details_hold_no_content_by_the_routes_own_account(house_: Any) -> None:
    """Whatever the other tests have done so far on this server: no address, no name, no secret."""
    _, admin = house_.member("admin", name="Zebulon")
    admin.patch("/me", {"name": "Zebedee", "instructions": "be brief about zebras"})
    admin.post("/me/keys", {"name": "zebra key"})
    house_.browser().sign_in("zebra@example.org", "zebra password")
    admin.patch("/admin/settings", {"sign_up": "invitation"})
    admin.post("/admin/invitations", {"email": "zebra@example.org"})
    lines = admin.get("/admin/audit?limit=200").json()
    told = json.dumps([{**line, "actor_name": ""} for line in lines["data"]])
    assert "zeb" not in told.lower() and "@" not in told
    with house_.store.begin() as session:
        assert isinstance(session, Session)
    assert isinstance(verify(house_.store), Verified)


def test_the_command_verifies(tmp_path: Path, run_command: Callable[..., Any]) -> None:
    store = open_store(None, folder=tmp_path)
    write(store, 3)
    done = run_command("audit", "verify", "--workspace", str(tmp_path))
    assert done.exit_code == 0 and "3 lines" in done.output
    told = json.loads(run_command("audit", "verify", "--json", "-w", str(tmp_path)).output)
    assert told["whole"] is True and told["last"] == 3
    noted = f"{told['last']}:{told['hash']}"
    assert run_command("audit", "verify", "-w", str(tmp_path), "--expect", noted).exit_code == 0
    other = f"3:{'0' * 64}"
    assert run_command("audit", "verify", "-w", str(tmp_path), "--expect", other).exit_code == 1
    assert run_command("audit", "verify", "-w", str(tmp_path), "--expect", "x").exit_code == 2
    tamper(store, "DELETE FROM audit WHERE sequence = 2")
    done = run_command("audit", "verify", "-w", str(tmp_path))
    assert done.exit_code == 1 and "line 2" in done.output
    empty = run_command("audit", "verify", "-w", str(tmp_path / "none"))
    assert empty.exit_code == 2 and not (tmp_path / "none").exists()
    store.close()
