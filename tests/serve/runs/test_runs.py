"""Answers of the page: asked, written, kept as a tree, stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from run_client import Page, ended
from run_script import (
    LONG,
    QUESTION,
    QUESTION_ZH,
    answers_to,
    is_title,
    page_script,
    sealer_of,
    turns,
)
from sqlalchemy import func, select

from chat_server import ScriptedEngine, until
from chatwright.records import Message
from chatwright.serve.access import LOCAL_PERSON
from chatwright.serve.history.store import Turn, own_chat, title_of
from chatwright.serve.store.tables import (
    Chat,
    ChatMessage,
    Run,
)


def test_an_answer_is_told_and_kept_with_its_sources(page: Page, service: Any) -> None:
    service_text = "The gate opens for three hours [1]."
    page_script(service).text = service_text
    told = page.ask(text="How long is the gate open at spring tide?")
    heard = page.hear(told["run_id"])
    assert [e.number for e in heard] == list(range(1, len(heard) + 1))
    assert heard[0].kind == "start" and heard[0].data["context"] == 4000
    assert heard[0].data["model"] == "harbour" and heard[0].data["retrieved"]
    done = ended(heard)
    assert done["text"] == service_text and done["status"] == "done"
    assert done["finish_reason"] == "stop"
    assert [c["number"] for c in done["citations"]] == [1]
    assert done["citations"][0] == heard[0].data["retrieved"][0]
    assert done["usage"]["completion_tokens"] == 7

    kept = turns(service, told["conversation_id"])
    question, answer = kept[told["question_id"]], kept[told["answer_id"]]
    assert (question.parent_id, question.role, question.status) == (None, "user", "done")
    assert (answer.parent_id, answer.role, answer.status) == (question.id, "assistant", "done")
    assert answer.text == service_text and answer.model == "harbour"
    assert answer.content.citations == done["citations"]
    assert answer.completion_tokens == 7
    with service.store.begin() as session:
        chat = own_chat(session, LOCAL_PERSON, told["conversation_id"])
        assert chat.current_leaf == told["answer_id"]
        assert session.scalar(select(func.count()).select_from(Run)) == 0


def test_the_next_question_goes_below_and_the_model_sees_what_was_said(
    page: Page, engine: ScriptedEngine
) -> None:
    first, _ = page.answer(text="When is spring tide?")
    second, _ = page.answer(
        text="And neap tide?",
        conversation_id=first["conversation_id"],
        parent_id=first["answer_id"],
    )
    assert second["conversation_id"] == first["conversation_id"]
    said = [(m.role, m.content) for m in answers_to(engine)[-1]]
    assert ("user", "When is spring tide?") in said and ("assistant", "Three hours.") in said
    assert said[-1][0] == "user" and said[-1][1].endswith("And neap tide?")


@pytest.mark.parametrize(
    ("question", "proposal", "title"),
    [
        (QUESTION, '"Harbour gate hours."', "Harbour gate hours"),
        (QUESTION, "I am glad to help!", QUESTION),
        ("gate? " + "x" * 300, "no " * 40, None),
        (QUESTION_ZH, "标题: 大潮闸门", "大潮闸门"),
        (QUESTION_ZH, "Spring tide", QUESTION_ZH),
    ],
)  # fmt: skip
def test_a_conversation_gets_its_title(
    page: Page, service: Any, question: str, proposal: str, title: str | None
) -> None:
    page_script(service).title = proposal
    told = page.ask(text=question)
    heard = page.hear(told["run_id"])
    titles = [e.data["title"] for e in heard if e.kind == "title"]
    assert len(titles) == 1 and len(titles[0]) <= 62
    if title is not None:
        assert titles == [title]
    with service.store.begin() as session:
        chat = own_chat(session, LOCAL_PERSON, told["conversation_id"])
        assert title_of(sealer_of(service, session), chat) == titles[0]
        assert chat.title_by == "model"
    again = page.ask(
        text="more?", conversation_id=told["conversation_id"], parent_id=told["answer_id"]
    )
    assert not [e for e in page.hear(again["run_id"]) if e.kind == "title"]


def test_a_slow_title_holds_no_answer_up(page: Page, service: Any, engine: ScriptedEngine) -> None:
    plain = engine.stream

    def stream(messages: Sequence[Message], *rest: Any, **more: Any) -> Any:
        if is_title(messages):
            time.sleep(0.5)
        return plain(messages, *rest, **more)

    engine.stream = stream  # type: ignore[method-assign]
    try:
        begun = time.monotonic()
        told = page.ask(text="When does the harbour gate open?")
        kinds = []
        for event in page.follow(told["run_id"]):
            kinds.append(event.kind)
            if event.kind == "done":
                assert time.monotonic() - begun < 0.4
        assert kinds.index("done") < kinds.index("title")
    finally:
        del engine.stream  # type: ignore[method-assign]


def test_regenerate_and_edit_make_siblings(page: Page, service: Any) -> None:
    script = page_script(service)
    first, _ = page.answer(text="When is spring tide?")
    script.text = "At new moon."
    second, done = page.answer(action="regenerate", message_id=first["answer_id"])
    assert done["text"] == "At new moon."
    assert second["question_id"] == first["question_id"]
    third, _ = page.answer(action="regenerate", message_id=first["question_id"])
    fourth, _ = page.answer(action="edit", message_id=first["question_id"], text="When is neap?")
    kept = turns(service, first["conversation_id"])
    assert [t.parent_id for t in (kept[second["answer_id"]], kept[third["answer_id"]])] == [
        first["question_id"]
    ] * 2
    assert kept[first["answer_id"]].text == "Three hours."
    edited = kept[fourth["question_id"]]
    assert edited.text == "When is neap?" and edited.parent_id is None
    assert kept[fourth["answer_id"]].parent_id == edited.id
    assert len(kept) == 6  # nothing was overwritten
    with service.store.begin() as session:
        chat = own_chat(session, LOCAL_PERSON, first["conversation_id"])
        assert chat.current_leaf == fourth["answer_id"]


def test_another_answer_is_sampled_where_the_same_would_come_again(
    page: Page, engine: ScriptedEngine
) -> None:
    first, _ = page.answer(text="When is spring tide?")
    assert engine.params[0].temperature == 0  # the assistant's own
    page.answer(action="regenerate", message_id=first["answer_id"])
    assert engine.params[-1].temperature > 0
    page.answer(action="regenerate", message_id=first["answer_id"], params={"temperature": 0})
    assert engine.params[-1].temperature == 0


def test_compare_makes_two_answers_with_different_seeds(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    told = page.ask(action="compare", text="Which tide is larger?", params={"seed": 7})
    left, right = page.hear(told["run_id"]), page.hear(told["other"]["run_id"])
    assert ended(left)["text"] == ended(right)["text"] == "Three hours."
    kept = turns(service, told["conversation_id"])
    pair = [kept[told["answer_id"]], kept[told["other"]["answer_id"]]]
    assert [t.parent_id for t in pair] == [told["question_id"]] * 2
    assert pair[0].created_at < pair[1].created_at
    used = [p for p in engine.params if p.seed is not None]
    assert sorted(p.seed or 0 for p in used) == [7, 8]
    assert all(p.temperature > 0 for p in used)
    assert sum(e.kind == "title" for e in [*left, *right]) == 1


def test_continue_goes_on_with_the_text(page: Page, service: Any, engine: ScriptedEngine) -> None:
    script = page_script(service)
    script.text = "one two three four five six"
    first, done = page.answer(text="Count with the tide, please", params={"max_tokens": 3})
    assert (done["text"], done["finish_reason"]) == ("one two three", "length")
    script.text = " four five six"
    second, done = page.answer(action="continue", message_id=first["answer_id"])
    assert second["answer_id"] == first["answer_id"]
    assert done["text"] == "one two three four five six"
    asked = answers_to(engine)[-1]
    assert [m.content for m in asked if m.role == "assistant"] == ["one two three"]
    kept = turns(service, first["conversation_id"])
    assert len(kept) == 2
    answer = kept[first["answer_id"]]
    assert answer.text == done["text"] and answer.status == "done"
    assert answer.content.retrieved == done["retrieved"] != []  # those it was begun with


def test_stop_keeps_what_there_is(page: Page, service: Any, engine: ScriptedEngine) -> None:
    engine.seconds = 0.01
    page_script(service).text = LONG
    told = page.ask(text="Tell me all about the tide")
    heard = []
    for event in page.follow(told["run_id"]):
        heard.append(event)
        if len(heard) == 4:
            assert page.stop(told["run_id"]) == 204
    done = ended(heard)
    assert done["status"] == done["finish_reason"] == "stopped"
    assert LONG.startswith(done["text"]) and 0 < len(done["text"]) < len(LONG) / 2
    kept = turns(service, told["conversation_id"])[told["answer_id"]]
    assert (kept.status, kept.text) == ("stopped", done["text"])
    until(lambda: engine.active == 0)
    assert page.stop(told["run_id"]) == 204  # once more does no harm
    engine.seconds = 0
    _, done = page.answer(action="continue", message_id=told["answer_id"])
    assert done["text"].startswith(kept.text)


def test_the_answer_is_written_down_while_it_grows(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    engine.seconds = 0.02
    page_script(service).text = LONG
    told = page.ask(text="Tell me all about the tide")

    def kept() -> Turn:
        return turns(service, told["conversation_id"])[told["answer_id"]]

    until(lambda: kept().text != "", seconds=2.5)
    assert kept().status == "writing" and LONG.startswith(kept().text)
    (row,) = page.runs()
    assert row["answer_id"] == told["answer_id"] and row["run_id"] == told["run_id"]
    assert page.refused(action="continue", message_id=told["answer_id"])[0] == 409
    page.stop(told["run_id"])
    page.hear(told["run_id"])


def test_a_conversation_deleted_meanwhile_ends_its_run(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    engine.seconds = 0.02
    page_script(service).text = LONG
    told = page.ask(text="Tell me all about the tide")
    with service.store.begin() as session:
        session.delete(session.get(Chat, told["conversation_id"]))
    heard = page.hear(told["run_id"])
    assert ended(heard)["status"] == "stopped"
    with service.store.begin() as session:
        assert session.get(ChatMessage, told["answer_id"]) is None


def test_what_is_being_deleted_is_told_to_its_runs(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    engine.seconds = 0.02
    page_script(service).text = LONG
    told = page.ask(text="Tell me all about the tide")
    loop = next(iter(service.runs._tasks)).get_loop()
    loop.call_soon_threadsafe(
        partial(service.runs.stop_all, conversation_id=told["conversation_id"])
    )
    assert ended(page.hear(told["run_id"]))["status"] == "stopped"
    kept = turns(service, told["conversation_id"])[told["answer_id"]]
    assert kept.status == "writing"  # nothing more was written: it is going anyway


def test_temporary_leaves_nothing_in_the_database(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    def rows() -> list[int]:
        tables = (Chat, ChatMessage, Run)
        with service.store.begin() as session:
            return [session.scalar(select(func.count()).select_from(t)) or 0 for t in tables]

    before = rows()
    engine.seconds = 0.01
    messages = [
        {"role": "user", "content": "My secret tide?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Tell me more"},
    ]
    page_script(service).text = LONG[:400]
    told = page.ask(temporary=True, messages=messages)
    assert told["conversation_id"] is told["question_id"] is told["answer_id"] is None
    assert page.runs()[0]["run_id"] == told["run_id"]
    heard = page.hear(told["run_id"])
    assert ended(heard)["text"] == LONG[:400].strip()
    assert not [e for e in heard if e.kind == "title"]
    time.sleep(0.9)  # as long as a save would take
    assert rows() == before
    asked = answers_to(engine)[-1]
    assert [m.role for m in asked if m.role != "system"] == ["user", "assistant", "user"]
    again = [*messages, {"role": "assistant", "content": "one two"}]
    page_script(service).text = " three"
    _, done = page.answer(temporary=True, messages=again, action="continue")
    assert done["text"] == "one two three"
