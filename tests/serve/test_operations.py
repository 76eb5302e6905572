"""Metrics, logs and retention of the service."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from chat_server import HTTP, ScriptedEngine, running, scripted
from chatwright.serve import create_app
from chatwright.serve.ids import new_id
from chatwright.serve.operations.logs import set_up_logs
from chatwright.serve.operations.retention import apply_rules
from chatwright.serve.store import Store, memory_store
from chatwright.serve.store.tables import Chat, ChatMessage, Person, Usage, now

SECRET = "Xylophone-4711"


@pytest.fixture(scope="module")
def told(knowledge: Path) -> Iterator[tuple[str, io.StringIO]]:
    """A server and its log."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    set_up_logs("json", stream=stream)
    registry, _ = scripted(ScriptedEngine(lambda _: f"Yes: {SECRET}."), knowledge)
    with running(create_app(registry)) as address:
        yield address, stream
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("chatwright").setLevel(logging.NOTSET)


def ask(address: str, text: str = "When?") -> None:
    body = {"model": "harbour", "messages": [{"role": "user", "content": text}]}
    assert HTTP.post(f"{address}/v1/chat/completions", json=body).is_success


def test_metrics_count_by_route_and_name_nothing_else(told: tuple[str, io.StringIO]) -> None:
    address, _ = told
    ask(address)
    HTTP.get(f"{address}/v1/chatwright/conversations/{SECRET}")
    HTTP.get(f"{address}/nowhere/{SECRET}")
    HTTP.request("BREW", f"{address}/healthz")
    text = HTTP.get(f"{address}/metrics").text
    assert SECRET not in text
    assert re.search(
        r'chatwright_requests_total\{method="POST",route="/v1/chat/completions",status="200"\} \d',
        text,
    )
    assert 'route="none",status="404"' in text
    assert 'method="other"' in text
    assert "chatwright_request_seconds_bucket" in text
    assert re.search(r'chatwright_tokens_total\{kind="completion",model="harbour"\} [1-9]', text)


def test_a_proxy_that_is_not_known_does_not_make_everybody_local(
    told: tuple[str, io.StringIO],
) -> None:
    address, _ = told
    refused = HTTP.get(f"{address}/metrics", headers={"X-Forwarded-For": "10.0.0.1"})
    assert refused.status_code == 403


def test_ready_and_up(told: tuple[str, io.StringIO]) -> None:
    address, _ = told
    assert HTTP.get(f"{address}/readyz").json() == {"status": "ready"}
    assert HTTP.get(f"{address}/healthz").json()["status"] == "ok"


def test_log_lines_are_json_and_hold_neither_secrets_nor_texts(
    told: tuple[str, io.StringIO],
) -> None:
    address, stream = told
    ask(address, f"{SECRET} in a question\n{{'event': 'forged'}}")
    HTTP.get(f"{address}/v1/chatwright/search", params={"q": SECRET})
    HTTP.get(f"{address}/x%0aforged line/{SECRET}", headers={"Authorization": f"Bearer {SECRET}"})
    logger = logging.getLogger("chatwright.serve")
    try:
        raise ValueError(f"cannot parse {SECRET}")
    except ValueError as error:
        logger.error("an answer failed: %s", type(error).__name__, exc_info=error)
    logger.warning("two\nlines\x1b[31m\u202e")
    lines = stream.getvalue().splitlines()
    assert SECRET not in stream.getvalue()
    values = [json.loads(line) for line in lines]
    assert all("\n" not in value["event"] and "\x1b" not in value["event"] for value in values)
    requests = [value for value in values if value["event"] == "request"]
    assert {"route", "status", "ms", "request_id", "person", "timestamp"} <= set(requests[0])
    assert any("ValueError at test_operations.py" in value["event"] for value in values)


def test_retention_lets_go_of_what_is_old(store: Store) -> None:
    moment = now()
    with store.begin() as session:
        session.add(Person(id="usr_1", email="a@b.c", name="A", role="user"))
        session.flush()
        for name, age, pinned in (("old", 40, False), ("pinned", 40, True), ("new", 3, False)):
            when = moment - timedelta(days=age)
            session.add(
                Chat(id=f"cnv_{name}", person_id="usr_1", pinned=pinned, created_at=when,
                     updated_at=when)
            )  # fmt: skip
            session.flush()
            session.add(
                ChatMessage(id=new_id("msg"), conversation_id=f"cnv_{name}", person_id="usr_1",
                            role="user", sealed_content=b"x", created_at=when)
            )  # fmt: skip
        day = (moment - timedelta(days=400)).date().isoformat()
        session.add(Usage(day=day, person_id="usr_1", model="m"))
    with store.begin() as session:
        gone = apply_rules(session, {"conversations": 30, "usage": 365}, moment)
        assert (gone["conversations"], gone["usage"]) == (1, 1)
        assert set(session.scalars(select(Chat.id))) == {"cnv_pinned", "cnv_new"}
        assert session.scalar(select(func.count()).select_from(ChatMessage)) == 2
        assert apply_rules(session, {}, moment).get("conversations") is None


@pytest.fixture
def store() -> Iterator[Store]:
    one = memory_store()
    yield one
    one.close()
