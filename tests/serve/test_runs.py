"""Answers of the page: asked, written, kept as a tree, stopped, made of every part."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from run_client import Page, ended, in_threads, page_of, text_of
from sqlalchemy import delete, func, select

from chat_server import ScriptedEngine, until
from chatwright.records import Message
from chatwright.records.grounding import Passage
from chatwright.serve.access import LOCAL, LOCAL_PERSON
from chatwright.serve.history.memories import list_memories
from chatwright.serve.history.store import Turn, own_chat, read_turns, title_of
from chatwright.serve.store.tables import (
    Chat,
    ChatMessage,
    Memory,
    Person,
    Persona,
    Run,
    ServerValue,
    StoredFile,
)

LONG = "The gate opens for three hours at spring tide. " * 40


QUESTION = "When does the harbour gate open?"
QUESTION_ZH = "大潮的时候闸门开放多久"


def is_title(messages: Sequence[Message]) -> bool:
    said = messages[-1].content
    return "Write only the title" in said or "只写标题" in said


@dataclass
class Script:
    """What the engine says next; asked for a title it gives one."""

    text: str = "Three hours."
    title: str = "Harbour gate hours"
    replies: list[str] = field(default_factory=list)

    def __call__(self, messages: Sequence[Message]) -> str:
        if is_title(messages):
            return self.title
        return self.replies.pop(0) if self.replies else self.text


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def engine(script: Script) -> ScriptedEngine:
    return ScriptedEngine(script)


@pytest.fixture(scope="module")
def served(engine: ScriptedEngine, knowledge: Path) -> Iterator[tuple[Page, Any]]:
    with page_of(engine, knowledge) as both:
        yield both


@pytest.fixture
def page(served: tuple[Page, Any], script: Script, engine: ScriptedEngine) -> Iterator[Page]:
    script.__init__()  # type: ignore[misc]
    engine.seconds = 0
    engine.asked.clear()
    engine.params.clear()
    yield served[0]
    service = served[1]
    service.moderator = service.tools = service.collections = None
    until(lambda: not served[0].runs())


@pytest.fixture
def service(served: tuple[Page, Any]) -> Any:
    return served[1]


def turns(service: Any, conversation: str) -> dict[str, Turn]:
    with service.store.begin() as session:
        sealer = service.store.keys.sealer(session, LOCAL_PERSON)
        return {turn.id: turn for turn in read_turns(session, sealer, conversation)}


def sealer_of(service: Any, session: Any) -> Any:
    return service.store.keys.sealer(session, LOCAL_PERSON)


def answers_to(engine: ScriptedEngine) -> list[list[Message]]:
    return [messages for messages in engine.asked if not is_title(messages)]


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


def page_script(service: Any) -> Script:
    script = service.registry._load("harbour").engine.answer
    assert isinstance(script, Script)
    return script


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


def test_who_told_the_assistant_what(page: Page, service: Any, engine: ScriptedEngine) -> None:
    with service.store.begin() as session:
        sealer = sealer_of(service, session)
        person = session.get(Person, LOCAL_PERSON)
        person.sealed_instructions = sealer.seal(
            "I sail a small boat.", context=f"people.sealed_instructions:{LOCAL_PERSON}"
        )
        content = (
            '{"name": "Pirate", "instructions": "Talk like a pirate.", "params": {"top_k": 5}}'
        )
        session.add(
            Persona(
                id="per_1",
                person_id=LOCAL_PERSON,
                sealed_content=sealer.seal(content, context="personas.content:per_1"),
            )
        )
        session.add(
            Memory(
                id="mem_1",
                person_id=LOCAL_PERSON,
                sealed_text=sealer.seal("Her boat is 8 m long.", context="memories.text:mem_1"),
            )
        )
    try:
        page.answer(text="Mooring fee?", persona_id="per_1", instructions="Be brief.")
        system = answers_to(engine)[-1][0]
        assert system.role == "system"
        for told in ("Talk like a pirate.", "Be brief.", "I sail a small boat.", "8 m long"):
            assert told in system.content
        assert engine.params[0].top_k == 5
        page.answer(text="Mooring fee?", memory=False)
        assert "8 m long" not in answers_to(engine)[-1][0].content
        with service.store.begin() as session:
            session.get(Person, LOCAL_PERSON).memory_enabled = False
        page.answer(text="Mooring fee?")
        assert "8 m long" not in answers_to(engine)[-1][0].content
    finally:
        with service.store.begin() as session:
            person = session.get(Person, LOCAL_PERSON)
            person.sealed_instructions, person.memory_enabled = None, True
            session.delete(session.get(Memory, "mem_1"))


def test_a_long_chat_is_summed_up_and_the_summary_grows(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    script = page_script(service)
    engine.context = 400
    script.text = "a fact about the sea " * 12
    told, parent, summaries = {}, None, []
    try:
        for number in range(8):
            where = {"conversation_id": told["conversation_id"]} if told else {}
            told = page.ask(text=f"Question {number}?", parent_id=parent, **where)
            heard = page.hear(told["run_id"])
            assert ended(heard)["status"] == "done", ended(heard)
            parent = told["answer_id"]
            summaries += [e.data for e in heard if e.kind == "summary"]
    finally:
        engine.context = 4000
    assert len(summaries) >= 2
    counts = [one["messages"] for one in summaries]
    assert counts == sorted(counts) and counts[0] >= 2
    last = answers_to(engine)[-1]
    assert last[0].role == "system" and "a fact about the sea" in last[0].content
    assert not any("Question 0?" in m.content for m in last[1:])
    assert last[-1].content.endswith("Question 7?")
    assert last[1].role == "user"


def test_what_it_is_asked_to_remember_it_keeps(page: Page, service: Any) -> None:
    def kept() -> list[str]:
        with service.store.begin() as session:
            sealer = sealer_of(service, session)
            return [m["text"] for m in list_memories(session, sealer, LOCAL_PERSON)]

    _, done = page.answer(text="Remember that my boat is called Lotte.")
    assert kept() == ["my boat is called Lotte"]
    assert any("Lotte" in note for note in done["notes"])
    page.answer(text="Remember that my dog is called Max.", memory=False)
    page.answer(temporary=True, messages=[{"role": "user", "content": "Remember that I sail."}])
    assert kept() == ["my boat is called Lotte"]
    with service.store.begin() as session:
        session.execute(delete(Memory))


def test_attachments_are_read_and_cut_to_fit(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    with service.store.begin() as session:
        sealer = sealer_of(service, session)
        for name, text in (("short", "The mast is blue."), ("long", "word " * 9000)):
            session.add(
                StoredFile(
                    id=f"file_{name}",
                    person_id=LOCAL_PERSON,
                    purpose="attachment",
                    sealed_name=sealer.seal(f"{name}.txt", context=f"files.name:file_{name}"),
                    sealed_body=b"",
                    sealed_text=sealer.seal(text, context=f"files.text:file_{name}"),
                    size=len(text),
                    content_id="c",
                )
            )
    told, _ = page.answer(text="Which colour?", attachments=["file_short"])
    assert "[short.txt]\nThe mast is blue." in answers_to(engine)[-1][-1].content
    question = turns(service, told["conversation_id"])[told["question_id"]]
    assert question.content.attachments == [{"id": "file_short", "name": "short.txt", "size": 17}]
    _, done = page.answer(action="edit", message_id=told["question_id"], text="What colour?")
    assert "The mast is blue." in answers_to(engine)[-1][-1].content  # it came along
    _, done = page.answer(text="How many?", attachments=["file_long"])
    assert any("long.txt" in note for note in done["notes"])
    assert page.refused(text="Which?", attachments=["file_none"]) == (404, "file_not_found")


@dataclass(frozen=True)
class Tool:
    name: str
    description: str = "tells the time"
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object"})


class Toolbox:
    def __init__(self) -> None:
        self.called: list[tuple[str, str, dict[str, Any]]] = []

    def definitions(self, identity: Any) -> list[Tool]:
        return [Tool("clock"), Tool("broken")]

    async def call(self, identity: Any, name: str, arguments: dict[str, Any]) -> str:
        self.called.append((identity.person_id, name, arguments))
        if name == "broken":
            raise RuntimeError("/home/secret")
        return '{"time": "12:00"}'


def call(name: str, arguments: str = "{}") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def test_tools_are_called_and_the_model_goes_on(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    service.tools = toolbox = Toolbox()
    script = page_script(service)
    clock = call("clock", '{"zone": "UTC"}')
    script.replies = [f"I look. {clock}", call("broken"), "It is noon."]
    told = page.ask(text="What time is high tide?", tools=["clock", "broken"])
    heard = page.hear(told["run_id"])
    done = ended(heard)
    assert done["text"] == "I look.\n\nIt is noon."
    tools = [e.data for e in heard if e.kind == "tool"]
    assert [(t["name"], "result" in t, "error" in t) for t in tools] == [
        ("clock", False, False),
        ("clock", True, False),
        ("broken", False, False),
        ("broken", False, True),
    ]
    assert tools[1]["result"] == {"time": "12:00"} and tools[1]["id"] == tools[0]["id"]
    assert "secret" not in str(tools)
    assert toolbox.called[0] == (LOCAL_PERSON, "clock", {"zone": "UTC"})
    assert "12:00" in answers_to(engine)[1][-1].content
    assert "<tool_call>" not in text_of(heard)
    kept = turns(service, told["conversation_id"])[told["answer_id"]]
    assert [c["name"] for c in kept.content.tool_calls] == ["clock", "broken"]
    # The next question still knows what the tool said.
    page.answer(
        text="And then?", conversation_id=told["conversation_id"], parent_id=told["answer_id"]
    )
    assert any("12:00" in m.content for m in answers_to(engine)[-1])


def test_tool_rounds_have_an_end(page: Page, service: Any) -> None:
    service.tools = toolbox = Toolbox()
    page_script(service).text = call("clock")
    _, done = page.answer(text="What time is it?", tools=["clock"])
    assert len(toolbox.called) == 4
    assert done["status"] == "done"
    assert page.refused(text="What time?", tools=["rm"]) == (400, "tool_not_found")


@dataclass(frozen=True)
class Said:
    flagged: bool
    blocked: bool
    categories: list[str]
    scores: dict[str, float] = field(default_factory=dict)
    event_id: str | None = "mod_1"


class Strict:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    async def check(self, texts: Sequence[str], *, direction: str, **more: Any) -> Said:
        assert more["identity"] == LOCAL
        self.seen.append((direction, texts[0]))
        bad = "BOMB" in texts[0]
        return Said(bad, bad, ["weapons"] if bad else [])


def test_a_question_that_moderation_blocks_is_not_answered(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    service.moderator = strict = Strict()
    told = page.ask(action="compare", text="How do I make a BOMB?")
    for run in (told["run_id"], told["other"]["run_id"]):
        heard = page.hear(run)
        event = next(e.data for e in heard if e.kind == "moderation")
        assert event["direction"] == "input" and event["blocked"] and event["event_id"] == "mod_1"
        assert event["categories"] == ["weapons"] and event["reason"]
        assert ended(heard)["text"] == "" and ended(heard)["finish_reason"] == "content_filter"
    assert not answers_to(engine)
    assert len(strict.seen) == 1  # one event for the question, not one for each answer
    kept = turns(service, told["conversation_id"])[told["answer_id"]]
    assert kept.content.moderation is not None and kept.status == "done"


def test_a_stretch_that_moderation_blocks_is_withdrawn(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    service.moderator = Strict()
    engine.seconds = 0.002
    good = "The tide is a slow thing that comes and goes twice a day for all. "
    page_script(service).text = good * 3 + "You take the BOMB and do it like that, friend. " + LONG
    told = page.ask(text="Tell me of the tide")
    heard = page.hear(told["run_id"])
    done = ended(heard)
    assert done["finish_reason"] == "content_filter"
    assert "BOMB" not in done["text"] and done["text"].startswith(good.strip())
    assert any(e.kind == "moderation" and e.data["direction"] == "output" for e in heard)
    # Who comes later never sees it, and what is kept has not got it either.
    later = page.hear(told["run_id"])
    assert "BOMB" not in "".join(e.data["text"] for e in later if e.kind == "text")
    kept = turns(service, told["conversation_id"])[told["answer_id"]]
    assert kept.text == done["text"]
    until(lambda: engine.active == 0)


class Documents:
    async def search(
        self, identity: Any, ids: Sequence[str], query: str, k: int
    ) -> list[tuple[Passage, float]]:
        assert identity == LOCAL and list(ids) == ["col_1"] and "fee" in query
        return [(Passage("p_1", "Price list", "prices.pdf", "The fee is 99 euros."), 0.9)]


def test_collections_are_searched_and_cited(
    page: Page, service: Any, engine: ScriptedEngine
) -> None:
    service.collections = Documents()
    page_script(service).text = "It is 99 euros [1]."
    _, done = page.answer(text="What is the mooring fee?", collections=["col_1"])
    assert done["citations"] == [
        {
            "number": 1,
            "id": "p_1",
            "title": "Price list",
            "uri": "prices.pdf",
            "text": "The fee is 99 euros.",
            "collection_id": "col_1",
        }
    ]
    assert len(done["retrieved"]) > 1  # the assistant's own knowledge too
    assert "The fee is 99 euros." in answers_to(engine)[-1][-1].content


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
