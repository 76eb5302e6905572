"""The service over a real PostgreSQL: what SQLite is asked everywhere else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

import postgresql_server
from chat_server import HTTP, ScriptedEngine, running, scripted
from chatwright.serve import create_app
from chatwright.serve.access import Identity, Role
from chatwright.serve.audit import Audit, Verified, verify
from chatwright.serve.operations.backup import back_up, restore
from chatwright.serve.store import Store, open_store
from chatwright.serve.store.tables import Table

MASTER = bytes(range(32))
WHY_NOT = postgresql_server.why_not()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgresql_server.postgresql() as one:
        yield one


@pytest.fixture(scope="module")
def store(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    one = open_store(url, folder=tmp_path_factory.mktemp("keys"), master=MASTER)
    yield one
    one.close()


@pytest.fixture(scope="module")
def address(store: Store, knowledge: Path) -> Iterator[str]:
    registry, _ = scripted(ScriptedEngine(lambda _: "The gate opens [1]. 三个小时。"), knowledge)
    with running(create_app(registry, store=store)) as one:
        yield one


def test_the_migrations_make_what_the_tables_say(store: Store) -> None:
    assert store.dialect == "postgresql"
    with store.engine.connect() as connection:
        different = compare_metadata(MigrationContext.configure(connection), Table.metadata)
    told = [str(one) for one in different if "message_terms" not in str(one)]
    assert told == []


def test_a_chat_its_history_and_search(address: str) -> None:
    page = f"{address}/v1/chatwright"
    asked = HTTP.post(f"{page}/answers", json={"action": "ask", "text": "闸门 opens when, Zoë?"})
    assert asked.status_code == 201, asked.text
    run = asked.json()
    events = HTTP.get(f"{page}/runs/{run['run_id']}/events").text
    assert "event: done" in events
    chat = HTTP.get(f"{page}/conversations/{run['conversation_id']}").json()
    assert [m["role"] for m in chat["messages"]] == ["user", "assistant"]
    for query in ("opens", "闸门", "zoë", "三个小时"):
        found = HTTP.get(f"{page}/search", params={"q": query}).json()["data"]
        assert found and found[0]["conversation_id"] == run["conversation_id"], query
    assert HTTP.get(f"{page}/search", params={"q": "nowhere"}).json()["data"] == []
    answer = chat["messages"][1]["id"]
    told = HTTP.put(
        f"{page}/messages/{answer}/feedback",
        json={"rating": "up", "reasons": [], "comment": "fine", "better": ""},
    )
    assert told.is_success, told.text
    folder = HTTP.post(f"{page}/folders", json={"name": "Sea"}).json()
    changed = HTTP.patch(
        f"{page}/conversations/{run['conversation_id']}",
        json={"folder_id": folder["id"], "pinned": True},
    )
    assert changed.is_success, changed.text
    assert HTTP.get(f"{page}/admin/usage").json()["data"] is not None
    assert HTTP.delete(f"{page}/conversations/{run['conversation_id']}").is_success
    assert HTTP.get(f"{page}/search", params={"q": "闸门"}).json()["data"] == []


def test_content_is_sealed_here_too(address: str, store: Store) -> None:
    page = f"{address}/v1/chatwright"
    HTTP.post(f"{page}/memories", json={"text": "Zanzibar-4711"})
    with store.reading() as session:
        for table in Table.metadata.sorted_tables:
            for row in session.execute(text(f'SELECT * FROM "{table.name}"')):
                assert "Zanzibar" not in str(row)
                assert b"Zanzibar" not in b"".join(v for v in row if isinstance(v, bytes))


def test_the_audit_log_is_one_chain_whoever_writes(store: Store) -> None:
    audit, who = Audit(store), Identity("usr_local", "", Role.admin, "local")

    def write() -> None:
        for _ in range(10):
            with store.begin() as session:
                audit.record(session, who, "export", target="x")

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = verify(store)
    assert isinstance(found, Verified), found
    assert found.lines >= 60
    with pytest.raises(Exception, match="audit"), store.begin() as session:
        session.execute(text("UPDATE audit SET action = 'nothing'"))
    assert isinstance(verify(store), Verified)


def test_from_here_to_sqlite(store: Store, tmp_path: Path, address: str) -> None:
    HTTP.post(f"{address}/v1/chatwright/answers", json={"action": "ask", "text": "A whale?"})
    copy = tmp_path / "copy.jsonl.zst"
    back_up(store, copy)
    other = open_store(None, folder=tmp_path, master=MASTER)
    restore(other, copy)
    assert isinstance(verify(other), Verified)
    other.close()
