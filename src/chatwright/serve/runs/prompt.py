"""What the model is asked: the turns so far, instructions, attachments, memories."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatwright.assist.summary import Summary
from chatwright.assist.tools.protocol import ToolCall, called, result
from chatwright.generate.params import Piece, SamplingParams
from chatwright.records import Message
from chatwright.records.grounding import Passage

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_ATTACHED_SHARE = 0.5  # of the context window, for all files of the question together
_CUT = 64  # tokens within which a shortened file comes to its bound
MOST_MEMORIES = 50


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that came with a question: its name, and its text."""

    id: str
    name: str
    size: int
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the conversation as it is kept."""

    role: str
    text: str
    attachments: tuple[Attached, ...] = ()
    tool_calls: tuple[dict[str, Any], ...] = ()
    summary: Summary | None = None  # of what was said before, made for this answer


@dataclass(frozen=True, slots=True)
class Instructions:
    """Who has told the assistant what, each possibly nothing."""

    persona: str = ""
    chat: str = ""
    person: str = ""
    memories: tuple[str, ...] = field(default=())


class Found:
    """Passages that were found already, for an `Assistant` in the place of its knowledge."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = list(passages)

    def search(self, query: str, k: int) -> list[tuple[Passage, float]]:
        return [(passage, 0.0) for passage in self._passages]


def system_messages(told: Instructions, question: str) -> list[Message]:
    """What stands before the conversation, one message for each who told something."""
    chinese = _HAN.search(question) is not None
    about, kept = (
        (
            "对方关于自己和期望的回答方式的说明\uff1a",
            "你记住的关于对方的事\uff1a",
        )
        if chinese
        else (
            "What the person says about themselves and the answers they want:",
            "What you keep in mind about the person:",
        )
    )
    texts = [told.persona.strip(), told.chat.strip()]
    if told.person.strip():
        texts.append(f"{about}\n{told.person.strip()}")
    if told.memories:
        listed = "\n".join(f"- {' '.join(one.split())}" for one in told.memories[:MOST_MEMORIES])
        texts.append(f"{kept}\n{listed}")
    return [Message("system", text) for text in texts if text]


def conversation(turns: Sequence[Turn]) -> list[Message]:
    """The turns as messages; what tools an answer called comes before what it then said."""
    messages: list[Message] = []
    for turn in turns:
        if turn.role == "user":
            text = with_files(turn.text, turn.attachments)
            if messages and messages[-1].role == "user":  # it was never answered
                text = f"{messages.pop().content}\n\n{text}"
            messages.append(Message("user", text))
        elif turn.role == "assistant":
            for call in turn.tool_calls:
                messages += call_messages(call)
            if turn.text.strip():
                messages.append(Message("assistant", turn.text))
    return messages


def call_messages(call: dict[str, Any]) -> list[Message]:
    """A call and what came of it, as the model wrote and read it."""
    given = call.get("arguments")
    arguments = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)
    told = called("", [ToolCall(str(call.get("id")), str(call.get("name")), arguments)])
    return [told, result(call_result(call))]


def call_result(call: dict[str, Any]) -> str:
    """What a call gave, or what went wrong, as JSON."""
    if call.get("error"):
        return json.dumps({"error": call["error"]}, ensure_ascii=False)
    given = call.get("result")
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def outcome(given: str) -> dict[str, Any]:
    """What a tool has given, or what went wrong with it, for the page and the model."""
    try:
        value = json.loads(given)
    except ValueError:
        return {"result": given}
    if isinstance(value, dict) and set(value) == {"error"}:
        return {"error": str(value["error"])}
    return {"result": value}


def with_files(text: str, files: Sequence[Attached]) -> str:
    """A question and the files that came with it."""
    parts = [f"[{' '.join(file.name.split())}]\n{file.text.strip()}" for file in files]
    return "\n\n".join([*parts, text])


def shortened(
    files: Sequence[Attached], context: int, count: Callable[[str], int]
) -> tuple[list[Attached], list[str]]:
    """The files as far as they fit into their share of the window, and a note for each that is
    cut. `count` gives a text's tokens.
    """
    from dataclasses import replace

    room = int(context * _ATTACHED_SHARE)
    kept: list[Attached] = []
    notes: list[str] = []
    for number, file in enumerate(files):
        share = room // (len(files) - number)
        text, size = file.text, count(file.text)
        while size > share and len(text) > 1:
            text = text[: max(1, int(len(text) * min(0.95, share / size)))]
            size = count(text)
            if share - _CUT <= size <= share:
                break
        if len(text) < len(file.text):
            percent = 100 * len(text) // len(file.text)
            notes.append(
                f"Of the file {file.name} only the first {percent} % fit into the model's context "
                "window."
            )
        room -= min(size, share)
        kept.append(replace(file, text=text))
    return kept, notes


def continued(
    engine: Any, messages: Sequence[Message], prefix: str, params: SamplingParams, tenant: str
) -> Iterator[Piece]:
    """The engine's stream that goes on after `prefix`, the beginning of the assistant's turn.

    Where the engine takes token ids, the turn is opened as for a new answer and the prefix put
    behind it, as if the model had just written it. Other servers are asked in words to go on.
    """
    if hasattr(engine, "complete") and _takes_ids(engine):
        ids = engine.tokenizer.chat(list(messages), add_generation_prompt=True)
        if isinstance(ids, list):  # not only their number
            ids = [*ids, *engine.tokenizer.encode(prefix)]
            pieces: Iterator[Piece] = engine.complete(ids, params, tenant=tenant)
            return pieces
    ask = (
        "从中断处接着写\uff0c不要重复前面的内容\u3002"
        if _HAN.search(prefix)
        else "Go on exactly where you stopped. Repeat nothing."
    )
    asked = [*messages, Message("assistant", prefix), Message("user", ask)]
    told: Iterator[Piece] = engine.stream(asked, params, tenant=tenant)
    return told


def _takes_ids(engine: Any) -> bool:
    """An engine of ours does; of another server, its adapter knows."""
    server = getattr(engine, "server", None)
    return server is None or bool(getattr(server, "takes_token_ids", False))
