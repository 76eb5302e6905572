"""Chats from rows: OpenAI `messages`, ShareGPT `conversations`, Alpaca instruction and output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatwright.collect.found import clean_text
from chatwright.records import Message
from chatwright.records.message import Role

USED = {"messages", "conversations", "conversation", "instruction", "input", "output", "history",
        "system", "consent", "prompt", "response", "question", "answer", "query"}  # fmt: skip
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}
_PAIRS = (
    *(("instruction", "output"), ("instruction", "response"), ("prompt", "response")),
    *(("question", "answer"), ("query", "response")),
)


def messages_of(row: Mapping[str, Any]) -> list[Message] | str:
    """The messages of a row, or the reason (a short phrase) why there are none.

    A conversation needs something said by a user and an answer that is not empty.
    """
    turns = next(
        (row[k] for k in ("messages", "conversations", "conversation") if row.get(k)), None
    )
    messages = messages_from_turns(turns) if turns is not None else _from_pair(row)
    if isinstance(messages, str):
        return messages
    system = row.get("system")
    if (
        isinstance(system, str)
        and system.strip()
        and (not messages or messages[0].role != "system")
    ):
        messages.insert(0, Message("system", clean_text(system)))
    roles = {message.role for message in messages}
    if "user" not in roles:
        return "no user turn"
    if "assistant" not in roles:
        return "no assistant turn"
    return messages


def messages_from_turns(turns: Any) -> list[Message] | str:
    """Messages of a list of turns (`role` and `content`, or `from` and `value`), or why not."""
    if not isinstance(turns, list):
        return "the turns are not a list"
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, Mapping):
            return f"turn {number} is not an object"
        label = turn.get("role", turn.get("from"))
        role = _ROLES.get(str(label).strip().lower())
        if role is None:
            return f"turn {number} has the unknown role {str(label)[:40]!r}"
        content = text_of(turn.get("content", turn.get("value")))
        if content is None:
            return f"turn {number} has no text"
        if not content.strip():
            return f"turn {number} is empty"
        messages.append(Message(role, content))
    return messages


def text_of(value: Any) -> str | None:
    """A turn's text; of OpenAI's list of parts, the text parts."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        parts = [p.get("text") for p in value if isinstance(p, Mapping) and p.get("type") == "text"]
        if parts and len(parts) == len(value) and all(isinstance(p, str) for p in parts):
            return clean_text("\n".join(str(p) for p in parts))
    return None


def _from_pair(row: Mapping[str, Any]) -> list[Message] | str:
    for question, answer in _PAIRS:
        asked, said = row.get(question), row.get(answer)
        if isinstance(asked, str) and isinstance(said, str):
            break
    else:
        return "none of messages, conversations, instruction and output"
    more = row.get("input")
    if isinstance(more, str) and more.strip():
        asked = f"{asked}\n\n{more}"
    messages = messages_from_history(row.get("history"))
    if not asked.strip() or not said.strip():
        return "the question or the answer is empty"
    return [*messages, Message("user", clean_text(asked)), Message("assistant", clean_text(said))]


def messages_from_history(history: Any) -> list[Message]:
    """Messages of `[[question, answer], …]`; a pair of another form is left out."""
    messages: list[Message] = []
    for pair in history if isinstance(history, list) else []:
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair):
            messages += [
                Message("user", clean_text(pair[0])),
                Message("assistant", clean_text(pair[1])),
            ]
    return messages


def consent_of(row: Mapping[str, Any]) -> bool | None:
    """What the row's `consent` column says: True, False, or None where it says nothing clear."""
    value = row.get("consent")
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, str)):
        said = str(value).strip().lower()
        if said in ("1", "true", "yes", "是", "同意"):
            return True
        if said in ("0", "false", "no", "否", "不同意"):
            return False
    return None
