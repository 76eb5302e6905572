"""What the engine of these tests says, and what was kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chat_server import ScriptedEngine
from chatwright.records import Message
from chatwright.serve.access import LOCAL_PERSON
from chatwright.serve.history.store import Turn, read_turns

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


def turns(service: Any, conversation: str) -> dict[str, Turn]:
    with service.store.begin() as session:
        sealer = service.store.keys.sealer(session, LOCAL_PERSON)
        return {turn.id: turn for turn in read_turns(session, sealer, conversation)}


def sealer_of(service: Any, session: Any) -> Any:
    return service.store.keys.sealer(session, LOCAL_PERSON)


def answers_to(engine: ScriptedEngine) -> list[list[Message]]:
    return [messages for messages in engine.asked if not is_title(messages)]


def page_script(service: Any) -> Script:
    script = service.registry._load("harbour").engine.answer
    assert isinstance(script, Script)
    return script
