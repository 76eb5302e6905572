"""Conversations in: a dataset of them, or a JSONL file of chat messages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from chatwright.errors import DataError
from chatwright.evaluate.conversations.facts import ConversationFacts, read_facts
from chatwright.evaluate.results import Skipped
from chatwright.records import Conversation, Dataset, Message, content_id
from chatwright.records.message import Role

_ROLES = frozenset(get_args(Role))
_OF_TURN = {  # keys of a message in a file → keys of a turn
    "at": "at",
    "timestamp": "at",
    "create_time": "at",
    "created_at": "at",
    "seconds": "seconds",
    "first_token_seconds": "first_token_seconds",
    "feedback": "feedback",
    "reasons": "reasons",
    "stopped": "stopped",
    "regenerated": "regenerated",
    "edited": "edited",
    "model": "model",
}
_OF_CONVERSATION = ("model", "intent", "user", "resolved", "abandoned", "turns")
_UNUSABLE = "the row cannot be read"
_EMPTY = "no message of a person"
_NO_CONSENT = {
    False: "consent refused",
    None: "consent not stated",
}


@dataclass(slots=True)
class Reading:
    """Counts what came in; filled while `consented` is read to its end.

    `left_out` counts rows by reason: without consent, or unusable; the latter are also listed in
    `skipped`, each with its own reason. Rows without consent are counted and nothing else.
    """

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)


def read_conversations(path: Path) -> Iterator[Conversation | Skipped]:
    """Rows of a conversation dataset (a folder) or of a JSONL file, in order.

    A line of a file is `{"messages": [{"role", "content", …}], "consent": true, …}` as in OpenAI's
    chat format; `content` may be a list of parts, of which the texts are taken. A message may hold
    the keys of a turn (`at`, also as `timestamp`, `create_time` or `created_at`; `feedback`, …),
    the row those of a conversation, `language` and `id`. Broken lines come as `Skipped`. Raises
    `DataError` where the path holds no conversations.
    """
    if path.is_file():
        yield from _from_file(path)
        return
    dataset = Dataset.open(path)
    if dataset.info.kind != Conversation.kind:
        raise DataError(
            f"this is a dataset of {dataset.info.kind}s, not of conversations",
            where=str(path),
            hint="`chatwright datasets` shows the kind of each",
        )
    yield from dataset.rows


def consented(
    rows: Iterable[Conversation | Skipped], reading: Reading
) -> Iterator[tuple[Conversation, ConversationFacts]]:
    """The rows whose people agreed, with their facts; all others are counted in `reading`.

    Consent is looked at first: of a row without it, nothing but its number is used.
    """
    for row in rows:
        reading.rows += 1
        if isinstance(row, Skipped):
            _skip(reading, row.id, row.reason, _UNUSABLE)
            continue
        if row.consent is not True:
            reading.left_out[_NO_CONSENT[row.consent]] += 1
            continue
        try:
            facts = read_facts(row)
        except DataError as error:
            _skip(reading, row.id, f"{error.where}: {error.message}", _UNUSABLE)
            continue
        if not any(m.role == "user" and m.content.strip() for m in row.messages):
            _skip(reading, row.id, _EMPTY, _EMPTY)
            continue
        yield row, facts


def _skip(reading: Reading, row_id: str, reason: str, kind: str) -> None:
    reading.left_out[kind] += 1
    reading.skipped.append(Skipped(row_id, reason))


def _from_file(path: Path) -> Iterator[Conversation | Skipped]:
    found = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            where = f"{path.name}:{number}"
            try:
                value = json.loads(raw.decode("utf-8-sig"))
            except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
                yield Skipped(where, f"not a line of JSON: {error}")
                continue
            row = _row(value, path, where)
            found += isinstance(row, Conversation)
            yield row
    if not found:
        raise DataError(
            "no line of this file is a conversation",
            where=str(path),
            hint='a line is {"messages": [{"role": "user", "content": "…"}, …], "consent": true}',
        )


def _row(value: Any, path: Path, where: str) -> Conversation | Skipped:
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return Skipped(where, "no list of `messages`")
    consent = value.get("consent")
    if consent is not None and not isinstance(consent, bool):
        return Skipped(where, f"`consent` must be true or false, not {consent!r:.40}")
    messages, turns = [], []
    for place, message in enumerate(value["messages"]):
        try:
            messages.append(_message(message))
        except ValueError as error:
            return Skipped(where, f"messages[{place}]: {error}")
        turns.append({new: message[old] for old, new in _OF_TURN.items() if old in message})
    meta = {key: value[key] for key in _OF_CONVERSATION if value.get(key) is not None}
    meta.setdefault("turns", turns)
    language, given = value.get("language"), value.get("id")
    source = f"file:{path.name}"
    return Conversation(
        id=str(given) if given is not None else content_id(source, json.dumps(value)),
        messages=messages,
        uri=f"{source}#{where.rpartition(':')[2]}",
        source=source,
        language=language if isinstance(language, str) and language else None,
        meta=meta,
        consent=consent,
    )


def _message(value: Any) -> Message:
    if not isinstance(value, dict):
        raise ValueError("not an object")
    role = value.get("role")
    if isinstance(role, str):
        role = {"developer": "system", "function": "tool"}.get(role, role)
    if not isinstance(role, str) or role not in _ROLES:
        raise ValueError(f"unknown role {role!r:.40}")
    content = value.get("content")
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, dict)]
        content = "\n".join(p for p in parts if isinstance(p, str))
    if content is None:
        content = ""  # a call of a tool
    if not isinstance(content, str):
        raise ValueError("`content` is neither a text nor a list of parts")
    return Message(cast(Role, role), content)
