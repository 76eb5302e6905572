"""From a file that somebody brings to conversations, and to what is wrong with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from chatwright.collect.conversations import chat_of
from chatwright.serve.bodies import load_json
from chatwright.serve.errors import ApiError
from chatwright.serve.history.archive import conversations_in, is_zip
from chatwright.serve.history.chatgpt_form import load_chatgpt
from chatwright.serve.history.content import TEXT_CHARACTERS, Content
from chatwright.serve.history.native import (
    FORMAT,
    VERSION,
    BadConversation,
    Parcel,
    load,
    plain_moment,
)
from chatwright.serve.history.store import MESSAGES, TITLE_CHARACTERS, Turn
from chatwright.serve.store.tables import now

IMPORT_BYTES = 20 << 20
CONVERSATIONS = 10_000  # of one file
PROBLEMS = 100  # that are told one by one


@dataclass(slots=True)
class Report:
    """What became of a file: `problems` tells of each conversation, by its number, that was not
    taken, and why.
    """

    imported: int = 0
    messages: int = 0
    skipped: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)

    def lost(self, number: int, reason: str) -> None:
        self.skipped += 1
        if len(self.problems) < PROBLEMS:
            self.problems.append({"conversation": number, "reason": reason})

    def to_json(self) -> dict[str, Any]:
        return {
            "imported": self.imported,
            "conversations": self.imported,
            "messages": self.messages,
            "skipped": self.skipped,
            "problems": self.problems,
        }


def read_import(body: bytes) -> Iterator[tuple[str, Parcel | str]]:
    """(format, conversation or why it is none) of each conversation in a file, in its order.

    Ours, ChatGPT's (the ZIP or its `conversations.json`), and rows of ShareGPT or OpenAI messages,
    as a JSON list or one a line. Raises `ApiError` 400 or 413 for what is none of them.
    """
    rows = [row for part in _parts(body) for row in _rows(part)]
    if not rows:
        raise ApiError(400, "the file holds no conversation", code="invalid_import")
    if len(rows) > CONVERSATIONS:
        raise ApiError(
            413, f"the file holds more than {CONVERSATIONS} conversations", code="body_too_large"
        )
    return ((kind, _parcel(kind, row)) for kind, row in rows)


def _parts(body: bytes) -> list[bytes]:
    return conversations_in(body) if is_zip(body) else [body]


def _rows(body: bytes) -> list[tuple[str, Any]]:
    try:
        value = load_json(body)
    except ApiError:
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) < 2 or len(lines) > CONVERSATIONS:
            raise
        value = [_line(line) for line in lines]
        if not any(isinstance(one, dict) for one in value):
            raise
    if isinstance(value, dict) and value.get("format") == FORMAT:
        if value.get("version") != VERSION or not isinstance(value.get("conversations"), list):
            raise ApiError(
                400, f"this version of {FORMAT} is not known here", code="invalid_import"
            )
        return [("chatwright", one) for one in value["conversations"]]
    rows = value if isinstance(value, list) else [value]
    return [
        ("chatgpt" if isinstance(row, dict) and "mapping" in row else "messages", row)
        for row in rows
    ]


def _line(line: bytes) -> Any:
    try:
        return load_json(line)
    except ApiError:
        return None


def _parcel(kind: str, row: Any) -> Parcel | str:
    try:
        return _READERS[kind](row)
    except BadConversation as bad:
        return str(bad)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "it cannot be read"  # a form that nobody has thought of must not stop the others


def _plain(row: Any) -> Parcel:
    """Messages one after another: ShareGPT, OpenAI's form, question and answer."""
    if not isinstance(row, Mapping):
        raise BadConversation("it is no JSON object")
    chat = chat_of(row)
    if isinstance(chat, str):
        raise BadConversation(chat)
    if len(chat.messages) > MESSAGES:
        raise BadConversation(f"it has more than {MESSAGES} messages")
    began = plain_moment(row.get("created_at") or row.get("create_time")) or now()
    facts = chat.turns or [{}] * len(chat.messages)
    turns: list[Turn] = []
    at = began
    for number, (message, told) in enumerate(zip(chat.messages, facts, strict=True)):
        if len(message.content) > TEXT_CHARACTERS:
            raise BadConversation(f"a message has more than {TEXT_CHARACTERS} characters")
        floor = at + timedelta(microseconds=1) if turns else began
        at = max(plain_moment(told.get("at")) or floor, floor)
        model = told.get("model")
        turns.append(
            Turn(
                id=str(number),
                parent_id=str(number - 1) if number else None,
                role=message.role,
                content=Content(message.content),
                model=model[:300] if isinstance(model, str) and "\x00" not in model else None,
                model_fingerprint=None,
                status="done",
                prompt_tokens=None,
                completion_tokens=None,
                created_at=at,
            )
        )
    title = row.get("title")
    return Parcel(
        title=title[:TITLE_CHARACTERS] if isinstance(title, str) else "",
        turns=turns,
        current_leaf=turns[-1].id,
        created_at=began,
        updated_at=turns[-1].created_at,
    )


_READERS: dict[str, Callable[[Any], Parcel]] = {
    "chatwright": load,
    "chatgpt": load_chatgpt,
    "messages": _plain,
}
