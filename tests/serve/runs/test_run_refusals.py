"""What is not answered, and how that is told."""

from __future__ import annotations

from typing import Any

import pytest
from run_client import Page, ended, in_threads
from run_script import LONG, page_script, turns
from sqlalchemy import func, select

from chat_server import ScriptedEngine, until
from chatwright.serve.access import LOCAL
from chatwright.serve.store.tables import (
    Chat,
    ChatMessage,
    Person,
    ServerValue,
)


def test_an_engine_that_fails_is_told_without_secrets(page: Page, service: Any) -> None:
    page_script(service).text = "It is CRASH"
    told = page.ask(text="What is it?")
    heard = page.hear(told["run_id"])
    failed = ended(heard)
    assert "secret" not in failed["message"] and failed["code"]
    kept = turns(service, told["conversation_id"])[told["answer_id"]]
    assert (kept.status, kept.text) == ("failed", "It is")
    page_script(service).text = "Here I am."
    _, done = page.answer(text="Still there?")
    assert done["status"] == "done"


@pytest.mark.parametrize(
    "body",
    [
        {"text": ""},
        {"text": "x", "action": "sing"},
        {"text": "x", "unknown": 1},
        {"text": "x" * 200_001},
        {"text": "x", "params": {"temperature": -1}},
        {"text": "x", "params": {"top_k": 2**63}},
        {"text": "x", "params": {"max_tokens": 10**9}},
        {"text": "x", "params": {"max_tokens": True}},
        {"text": "x", "params": {"seed": -1}},
        {"text": "x", "attachments": ["a"] * 11},
        {"text": "x", "tools": ["a" * 65]},
        {"text": "x", "collections": ["../etc"]},
        {"text": "x", "models": ["harbour", "harbour"]},
        {"text": "x", "message_id": "msg_1"},
        {"text": "x", "parent_id": "msg_1"},
        {"action": "regenerate"},
        {"action": "continue", "message_id": "msg_1", "text": "x"},
        {"text": "x", "messages": [{"role": "user", "content": "x"}]},
        {"temporary": True, "text": "x"},
        {"temporary": True, "messages": []},
        {"temporary": True, "messages": [{"role": "system", "content": "x"}]},
        {"temporary": True, "messages": [{"role": "assistant", "content": "x"}]},
        {"temporary": True, "messages": [{"role": "user", "content": "x"}], "action": "continue"},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_at_once(page: Page, body: dict[str, Any]) -> None:
    assert page.refused(**body)[0] == 400


def test_numbers_that_are_none_are_refused(page: Page) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = f'{{"text": "x", "params": {{"temperature": {number}}}}}'
        reply = page.http.post(
            "/answers", content=body, headers={"content-type": "application/json"}
        )
        assert reply.status_code == 400


def test_what_is_not_there_is_not_found(page: Page) -> None:
    first, _ = page.answer(text="Tide?")
    here = first["conversation_id"]
    for body in (
        {"text": "x", "conversation_id": "cnv_none"},
        {"text": "x", "conversation_id": here, "parent_id": "msg_none"},
        {"action": "regenerate", "message_id": "msg_none"},
        {"action": "continue", "message_id": "msg_none"},
        {"action": "edit", "message_id": "msg_none", "text": "x"},
        {"text": "x", "persona_id": "per_none"},
        {"text": "x", "model": "none"},
    ):
        assert page.refused(**body)[0] == 404, body
    other, _ = page.answer(text="Another?")
    mixed = {"conversation_id": here, "parent_id": other["answer_id"]}
    assert page.refused(text="x", **mixed)[0] == 404
    assert page.stop("run_none") == 404
    assert page.http.get("/runs/run_none/events").status_code == 404


def test_somebody_elses_are_not_found_either(page: Page, service: Any) -> None:
    told, _ = page.answer(text="Tide?")
    with service.store.begin() as session:
        session.add(Person(id="usr_other", email="o@example.org", name="O", role="user"))
        session.flush()
        for table, name in ((Chat, "conversation_id"), (ChatMessage, "answer_id")):
            session.get(table, told[name]).person_id = "usr_other"
    run = service.runs._runs[told["run_id"]]
    object.__setattr__(run.plan, "who", type(LOCAL)("usr_other", "O", LOCAL.role, "session"))
    assert page.stop(told["run_id"]) == 404
    assert page.http.get(f"/runs/{told['run_id']}/events").status_code == 404
    assert page.refused(action="regenerate", message_id=told["answer_id"])[0] == 404
    assert page.refused(text="x", conversation_id=told["conversation_id"])[0] == 404


def test_too_many_at_once_are_refused_and_nothing_is_written(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    engine.seconds = 0.05
    page_script(service).text = LONG
    messages = [{"role": "user", "content": "tide"}]
    begun = [page.ask(temporary=True, messages=messages)["run_id"] for _ in range(16)]
    with service.store.begin() as session:
        before = session.scalar(select(func.count()).select_from(ChatMessage))
    assert page.refused(text="One more?") == (429, "too_many_runs")
    with service.store.begin() as session:
        assert session.scalar(select(func.count()).select_from(ChatMessage)) == before
    assert set(in_threads(16, lambda n: page.stop(begun[n]))) == {204}
    until(lambda: engine.active == 0)
    until(lambda: not page.runs())
    assert service.slots.taken == 0


def test_the_models_of_the_page(page: Page, service: Any) -> None:
    page.answer(text="Tide?")
    (row,) = page.http.get("/models").json()["data"]
    assert row["id"] == "harbour" and row["default"] and row["grounded"] and not row["vision"]
    assert row["context"] == 4000 and len(row["examples"]) == 3
    with service.store.begin() as session:
        if session.get(ServerValue, "settings") is None:
            session.add(ServerValue(name="settings", value={"default_model": "gone"}))
    (row,) = page.http.get("/models").json()["data"]
    assert row["default"]  # a model that is no more is no default
