"""What an answer is made of: personas, memory, summaries, attachments, tools, moderation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from run_client import Page, ended, text_of
from run_script import LONG, answers_to, page_script, sealer_of, turns
from sqlalchemy import delete

from chat_server import ScriptedEngine, until
from chatwright.records.grounding import Passage
from chatwright.serve.access import LOCAL, LOCAL_PERSON
from chatwright.serve.history.memories import list_memories
from chatwright.serve.store.tables import (
    Memory,
    Person,
    Persona,
    StoredFile,
)


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
