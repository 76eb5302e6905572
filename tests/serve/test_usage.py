"""Tokens are counted exactly, written rarely, and bound people to their day's share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from run_client import Page, in_threads, page_of
from sqlalchemy import event, func, select

from chat_server import ScriptedEngine, until
from chatwright.serve.access import LOCAL, LOCAL_PERSON, Identity, Role
from chatwright.serve.errors import ApiError
from chatwright.serve.store import Store, memory_store
from chatwright.serve.store.tables import Person, ServerValue, Usage
from chatwright.serve.usage import Meter, read_usage, today

ADA = Identity("usr_ada", "Ada", Role.user, "session")


@pytest.fixture
def store() -> Iterator[Store]:
    one = memory_store()
    with one.begin() as session:
        session.add(Person(id=ADA.person_id, email="ada@example.org", name="Ada", role="user"))
    yield one
    one.close()


def rows(store: Store) -> list[tuple[str, str, int, int, int]]:
    with store.begin() as session:
        return [
            (u.person_id, u.model, u.requests, u.prompt_tokens, u.completion_tokens)
            for u in session.scalars(select(Usage).order_by(Usage.model))
        ]


def test_many_requests_are_few_writes(store: Store) -> None:
    writes = []

    @event.listens_for(store.engine, "before_cursor_execute")
    def _seen(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO usage"):
            writes.append(statement)

    async def main() -> None:
        meter = Meter(store)
        for number in range(200):
            await meter.add(ADA, "a" if number % 2 else "b", 3, 2)
        await meter.close()
        await meter.add(ADA, "a", 1, 1)  # after what was written: added to it
        await meter.close()

    asyncio.run(main())
    assert rows(store) == [(ADA.person_id, "a", 101, 301, 201), (ADA.person_id, "b", 100, 300, 200)]
    assert len(writes) == 3


def test_what_was_used_is_written_within_two_seconds(store: Store) -> None:
    async def main() -> None:
        meter = Meter(store)
        await meter.add(ADA, "a", 1, 1)
        for _ in range(20):
            await asyncio.sleep(0.1)
            if rows(store):
                break
        assert rows(store) == [(ADA.person_id, "a", 1, 1, 1)]
        await meter.close()

    asyncio.run(main())


def test_a_database_that_is_away_loses_nothing(store: Store) -> None:
    async def main() -> None:
        meter, run = Meter(store), store.run

        async def away(*_: Any) -> Any:
            raise OSError("the database is away")

        store.run = away  # type: ignore[method-assign]
        await meter.add(ADA, "a", 5, 5)
        with pytest.raises(OSError, match="away"):
            await meter.flush()
        store.run = run  # type: ignore[method-assign]
        await meter.close()

    asyncio.run(main())
    assert rows(store) == [(ADA.person_id, "a", 1, 5, 5)]


def test_somebody_deleted_meanwhile_is_left_out(store: Store) -> None:
    async def main() -> None:
        meter = Meter(store)
        await meter.add(Identity("usr_gone", "", Role.user, "key"), "a", 5, 5)
        await meter.add(ADA, "a", 1, 1)
        await meter.close()

    asyncio.run(main())
    assert rows(store) == [(ADA.person_id, "a", 1, 1, 1)]


@pytest.mark.parametrize("whose", ["person", "server", "both"])
def test_the_days_share_is_the_persons_own_or_the_servers(store: Store, whose: str) -> None:
    with store.begin() as session:
        if whose != "server":
            session.get(Person, ADA.person_id).daily_tokens = 10  # type: ignore[union-attr]
        if whose != "person":
            most = 10 if whose == "server" else 1
            session.add(ServerValue(name="settings", value={"daily_tokens": most}))
        old = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
        session.add(Usage(day=old, person_id=ADA.person_id, model="a", requests=1,
                          prompt_tokens=1000, completion_tokens=0))  # fmt: skip

    async def main() -> None:
        meter = Meter(store)
        await meter.check(ADA)
        await meter.add(ADA, "a", 6, 3)
        await meter.check(ADA)  # 9 of 10
        await meter.add(ADA, "b", 1, 0)
        with pytest.raises(ApiError) as refused:
            await meter.check(ADA)  # at once, though nothing is written yet
        assert (refused.value.status, refused.value.code) == (429, "insufficient_quota")
        await meter.flush()
        with pytest.raises(ApiError):
            await meter.check(ADA)
        await meter.close()

    asyncio.run(main())


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Page, Any]]:
    with page_of(ScriptedEngine(lambda _: "one two three", seconds=0.001)) as both:
        yield both


def test_32_answers_at_once_are_counted_exactly(served: tuple[Page, Any]) -> None:
    page, service = served
    messages = [{"role": "user", "content": "count"}]

    def ask(_: int) -> dict[str, Any]:
        for _ in range(200):
            reply = page.http.post("/answers", json={"temporary": True, "messages": messages})
            if reply.status_code == 201:
                page.hear(reply.json()["run_id"])
                return reply.json()  # type: ignore[no-any-return]
        raise AssertionError("never had its turn")

    before = page.http.get("/admin/usage").json()["data"]
    assert before == []
    results = in_threads(32, ask)
    assert all(isinstance(one, dict) for one in results), results
    (row,) = page.http.get("/admin/usage?days=1").json()["data"]
    assert row["requests"] == 32 and row["completion_tokens"] == 96
    assert row["day"] == today() and row["person_id"] == LOCAL_PERSON and row["model"] == "harbour"
    with service.store.begin() as session:
        assert session.scalar(select(func.count()).select_from(Usage)) == 1
        assert read_usage(session, 1)[0]["requests"] == 32


def test_who_has_nothing_left_is_refused_at_once(served: tuple[Page, Any]) -> None:
    page, service = served
    with service.store.begin() as session:
        session.get(Person, LOCAL_PERSON).daily_tokens = 1
    service.meter._known.clear()
    try:
        assert page.refused(text="one more?") == (429, "insufficient_quota")
    finally:
        with service.store.begin() as session:
            session.get(Person, LOCAL_PERSON).daily_tokens = None
        service.meter._known.clear()
    until(lambda: not page.runs())
    assert LOCAL.person_id == LOCAL_PERSON


@pytest.mark.parametrize("days", ["0", "-1", "367", "x", "NaN", str(2**63)])
def test_days_are_bounded(served: tuple[Page, Any], days: str) -> None:
    assert served[0].http.get("/admin/usage", params={"days": days}).status_code == 400
