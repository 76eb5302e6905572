"""Chats from rows: OpenAI `messages`, ShareGPT, Alpaca, ChatGPT's and Claude's exports, our own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chatwright.collect.chatgpt import branch_of, is_tree
from chatwright.collect.found import clean_text
from chatwright.collect.permission import consent_of
from chatwright.records import Message
from chatwright.records.message import Role

__all__ = [
    "USED",
    "Chat",
    "chat_of",
    "consent_of",
    "messages_from_history",
    "messages_from_turns",
    "messages_of",
    "text_of",
]

_TURNS = ("messages", "conversations", "conversation", "chat_messages")
USED = {*_TURNS, "instruction", "input", "output", "history", "system", "consent", "prompt",
        "response", "question", "answer", "query", "mapping", "turns"}  # fmt: skip
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
# What a file says of a message, and what a turn of `meta["turns"]` calls it
# (docs/guides/conversations.md).
_SAID = ("content", "value", "text")
_FACTS = {
    "at": "at", "timestamp": "at", "create_time": "at", "created_at": "at", "seconds": "seconds",
    "first_token_seconds": "first_token_seconds", "feedback": "feedback", "reasons": "reasons",
    "stopped": "stopped", "regenerated": "regenerated", "edited": "edited", "model": "model",
    "weight": "weight", "name": "name", "tool_call_id": "tool_call_id",
}  # fmt: skip
_MAX_FACT = 2_000  # characters of one fact as JSON


@dataclass(slots=True)
class Chat:
    """The messages of a row; `turns` runs parallel where something is known of them.

    `left_out` counts what was no text, by kind.
    """

    messages: list[Message]
    turns: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def meta(self) -> dict[str, Any]:
        """What the row's `meta` gets of it."""
        meta: dict[str, Any] = {}
        if any(self.turns):
            meta["turns"] = self.turns
        if self.left_out:
            meta["left_out"] = dict(sorted(self.left_out.items()))
        return meta


def chat_of(row: Mapping[str, Any]) -> Chat | str:
    """The conversation of a row, or the reason (a short phrase) why there is none.

    A conversation needs something said by a user and an answer that is not empty.
    """
    if is_tree(row):
        branch = branch_of(row)
        if isinstance(branch, str):
            return branch
        chat = Chat(branch.messages, branch.turns, branch.left_out)
    else:
        found = _plain(row)
        if isinstance(found, str):
            return found
        chat = found
    roles = {message.role for message in chat.messages}
    if "user" not in roles:
        return "no user turn"
    if "assistant" not in roles:
        return "no assistant turn"
    return chat


def messages_of(row: Mapping[str, Any]) -> list[Message] | str:
    """The messages of `chat_of`."""
    chat = chat_of(row)
    return chat if isinstance(chat, str) else chat.messages


def _plain(row: Mapping[str, Any]) -> Chat | str:
    turns = next((row[k] for k in _TURNS if row.get(k)), None)
    messages = _from_pair(row) if turns is None else messages_from_turns(turns)
    if isinstance(messages, str):
        return messages
    facts = [_facts(turn) for turn in turns] if turns is not None else []
    about = row.get("meta")
    given = row.get("turns") or (about.get("turns") if isinstance(about, Mapping) else None)
    if not any(facts) and isinstance(given, list) and len(given) == len(messages):
        facts = [_facts(turn) for turn in given]
    system = row.get("system")
    if (
        isinstance(system, str)
        and system.strip()
        and (not messages or messages[0].role != "system")
    ):
        messages.insert(0, Message("system", clean_text(system)))
        facts = [{}, *facts] if facts else []
    return Chat(messages, facts)


def _facts(turn: Any) -> dict[str, Any]:
    """What is known of a turn beside its role and content."""
    facts: dict[str, Any] = {}
    for name, value in turn.items() if isinstance(turn, Mapping) else ():
        if name in _FACTS and isinstance(value, (str, int, float, bool, list)):
            try:
                text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            except (ValueError, TypeError, RecursionError):
                continue
            if len(text) <= _MAX_FACT:
                facts.setdefault(_FACTS[name], json.loads(clean_text(text)))
    return facts


def messages_from_turns(turns: Any) -> list[Message] | str:
    """Messages of a list of turns (`role` and `content`, or `from` and `value`), or why not."""
    if not isinstance(turns, list):
        return "the turns are not a list"
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, Mapping):
            return f"turn {number} is not an object"
        label = turn.get("role", turn.get("from", turn.get("sender")))
        role = _ROLES.get(str(label).strip().lower())
        if role is None:
            return f"turn {number} has the unknown role {str(label)[:40]!r}"
        given = [turn[name] for name in _SAID if turn.get(name) is not None]
        content = next((t for t in map(text_of, given) if t is not None), None)
        if content is None and isinstance(turn.get("refusal"), str):
            content = clean_text(turn["refusal"])
        calls = _calls(turn) if role == "assistant" else ""
        if content is None and not calls:
            return f"turn {number} has no text"
        said = "\n".join(part for part in (content, calls) if part)
        if not said.strip():
            return f"turn {number} is empty"
        messages.append(Message(role, said))
    return messages


def _calls(turn: Mapping[str, Any]) -> str:
    """OpenAI's `tool_calls` (and `function_call`) as text: `{"name", "arguments"}`, one a line.

    It is how the function-calling data sets write a call, and what a model can be trained to say.
    """
    calls = turn.get("tool_calls")
    found = [c.get("function") for c in calls if isinstance(c, Mapping)] if isinstance(
        calls, list) else []  # fmt: skip
    found.append(turn.get("function_call"))
    lines = []
    for call in found:
        if isinstance(call, Mapping) and isinstance(call.get("name"), str):
            plain = {"name": call["name"], "arguments": _arguments(call.get("arguments"))}
            try:
                lines.append(clean_text(json.dumps(plain, ensure_ascii=False, allow_nan=False)))
            except (ValueError, TypeError, RecursionError):
                continue
    return "\n".join(lines)


def _arguments(value: Any) -> Any:
    """Arguments come as JSON within a string; what is no JSON stays the string that it is."""
    if not isinstance(value, str):
        return {} if value is None else value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


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
