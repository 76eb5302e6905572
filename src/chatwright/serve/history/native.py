"""Our own JSON form of conversations: everything that is known of them, and back again exactly.

`{"format": "chatwright.conversations", "version": 1, "conversations": [{id, title, title_by, model,
folder, tags, pinned, archived, settings, current_leaf, created_at, updated_at, messages: [{id,
parent_id, role, text, …, feedback}]}]}`. Folders and tags are named, not numbered. Ids only say
what belongs together: reading makes new ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from chatwright.serve.history.content import TEXT_CHARACTERS, Content, pack
from chatwright.serve.history.shapes import ChatSettings
from chatwright.serve.history.store import MESSAGES, TITLE_CHARACTERS, Turn
from chatwright.serve.history.tree import problem_of
from chatwright.serve.parameters import iso

FORMAT = "chatwright.conversations"
VERSION = 1
ROLES = ("system", "user", "assistant", "tool")
_STATUSES = ("done", "stopped", "failed")
_CONTENT = tuple(f.name for f in fields(Content))
_OLDEST = datetime(1990, 1, 1, tzinfo=UTC)
_NEWEST = datetime(2200, 1, 1, tzinfo=UTC)


class BadConversation(Exception):  # noqa: N818 (told in the report of an import)
    """Why a conversation is not taken, in a few words that hold nothing of its text."""


@dataclass(slots=True)
class Parcel:
    """A conversation outside the database: what an export holds and an import brings.

    The turns' ids are those of where it came from; parents come before what follows them.
    """

    title: str
    turns: list[Turn]
    current_leaf: str | None
    created_at: datetime
    updated_at: datetime
    title_by: str = "person"
    model: str | None = None
    folder: str | None = None
    tags: list[str] = field(default_factory=list)
    pinned: bool = False
    archived: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    feedback: dict[str, dict[str, Any]] = field(default_factory=dict)
    id: str = ""


def dump(parcel: Parcel) -> dict[str, Any]:
    """A conversation in our form."""
    return {
        "id": parcel.id,
        "title": parcel.title,
        "title_by": parcel.title_by,
        "model": parcel.model,
        "folder": parcel.folder,
        "tags": parcel.tags,
        "pinned": parcel.pinned,
        "archived": parcel.archived,
        "settings": parcel.settings,
        "current_leaf": parcel.current_leaf,
        "created_at": iso(parcel.created_at),
        "updated_at": iso(parcel.updated_at),
        "messages": [_message(turn, parcel.feedback.get(turn.id)) for turn in parcel.turns],
    }


def _message(turn: Turn, feedback: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": turn.id,
        "parent_id": turn.parent_id,
        "role": turn.role,
        **{name: getattr(turn.content, name) for name in _CONTENT},
        "model": turn.model,
        "model_fingerprint": turn.model_fingerprint,
        "status": turn.status,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "created_at": iso(turn.created_at),
        "feedback": feedback,
    }


def load(value: Any) -> Parcel:
    """A conversation of our form. Raises `BadConversation`."""
    told = _object(value, "a conversation")
    messages = told.get("messages")
    if not isinstance(messages, list):
        raise BadConversation("its messages are no list")
    if len(messages) > MESSAGES:
        raise BadConversation(f"it has more than {MESSAGES} messages")
    turns = [_turn(message, number) for number, message in enumerate(messages, start=1)]
    turns = in_order(turns)
    feedback = {
        str(message["id"]): message["feedback"]
        for message in messages
        if isinstance(message.get("feedback"), dict)
    }
    leaf = _text(told, "current_leaf", 100) or None
    if leaf is not None and leaf not in {turn.id for turn in turns}:
        raise BadConversation("its current leaf is not among its messages")
    tags = told.get("tags") or []
    if not isinstance(tags, list) or len(tags) > 50 or not all(isinstance(t, str) for t in tags):
        raise BadConversation("its tags are no list of names")
    created = _moment(told.get("created_at"), "created_at")
    settings = told.get("settings") or {}
    try:
        ChatSettings.model_validate(settings)
    except ValueError as error:
        raise BadConversation("its settings are not valid") from error
    return Parcel(
        title=_text(told, "title", TITLE_CHARACTERS),
        title_by="model" if told.get("title_by") == "model" else "person",
        turns=turns,
        current_leaf=leaf,
        created_at=created,
        updated_at=_moment(told.get("updated_at"), "updated_at"),
        model=_text(told, "model", 300) or None,
        folder=_text(told, "folder", 100) or None,
        tags=[tag[:100] for tag in tags if tag.strip()],
        pinned=told.get("pinned") is True,
        archived=told.get("archived") is True,
        settings=settings,
        feedback=feedback,
    )


def in_order(turns: list[Turn]) -> list[Turn]:
    """Turns with parents before what follows them. Raises `BadConversation` where they are no tree
    with an id for each.
    """
    by_id = {turn.id: turn for turn in turns}
    if len(by_id) != len(turns):
        raise BadConversation("two of its messages have one id")
    problem = problem_of({turn.id: turn.parent_id for turn in turns})
    if problem is not None:
        raise BadConversation(problem)
    placed: dict[str, Turn] = {}
    for turn in turns:
        way = []
        here: Turn | None = turn
        while here is not None and here.id not in placed:
            way.append(here)
            here = by_id[here.parent_id] if here.parent_id is not None else None
        for one in reversed(way):
            placed[one.id] = one
    return list(placed.values())


def plain_moment(value: Any) -> datetime | None:
    """A time as seconds since 1970 or ISO 8601, or None where it is neither."""
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            at = datetime.fromtimestamp(value, tz=UTC)
        elif isinstance(value, str) and len(value) <= 40:
            at = datetime.fromisoformat(value)
        else:
            return None
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at if _OLDEST <= at < _NEWEST else None


def _turn(value: Any, number: int) -> Turn:
    where = f"message {number}"
    told = _object(value, where)
    role = told.get("role")
    if role not in ROLES:
        raise BadConversation(f"{where} has an unknown role")
    known = {name: told[name] for name in _CONTENT if told.get(name)}
    for name, kind in _KINDS.items():
        if name in known and not isinstance(known[name], kind):
            raise BadConversation(f"{where}: {name} has the wrong type")
    for name in ("citations", "retrieved", "attachments", "tool_calls"):
        if not all(isinstance(one, dict) for one in known.get(name, [])):
            raise BadConversation(f"{where}: {name} has the wrong type")
    if not all(isinstance(note, str) for note in known.get("notes", [])):
        raise BadConversation(f"{where}: notes has the wrong type")
    content = Content(**known)
    if len(content.text) > TEXT_CHARACTERS:
        raise BadConversation(f"{where} has more than {TEXT_CHARACTERS} characters")
    try:
        pack(content)
    except Exception as error:
        raise BadConversation(f"{where} is too large") from error
    status = told.get("status")
    return Turn(
        id=_text(told, "id", 100, where=where, needed=True),
        parent_id=_text(told, "parent_id", 100, where=where) or None,
        role=role,
        content=content,
        model=_text(told, "model", 300, where=where) or None,
        model_fingerprint=_text(told, "model_fingerprint", 200, where=where) or None,
        status=status if status in _STATUSES else "stopped",
        prompt_tokens=_count(told, "prompt_tokens", where),
        completion_tokens=_count(told, "completion_tokens", where),
        created_at=_moment(told.get("created_at"), f"{where}: created_at"),
    )


_KINDS: dict[str, type] = {
    "text": str,
    "citations": list,
    "retrieved": list,
    "notes": list,
    "attachments": list,
    "tool_calls": list,
    "moderation": dict,
    "finish_reason": str,
    "details": dict,
}


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadConversation(f"{what} is no object")
    return value


def _text(
    told: dict[str, Any], name: str, most: int, *, where: str = "", needed: bool = False
) -> str:
    value = told.get(name)
    label = f"{where}: {name}" if where else name
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value):
        raise BadConversation(f"{label} is no text")
    if len(value) > most or "\x00" in value:
        raise BadConversation(f"{label} is too long or holds a zero byte")
    return value


def _count(told: dict[str, Any], name: str, where: str) -> int | None:
    value = told.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise BadConversation(f"{where}: {name} is no count")
    return value


def _moment(value: Any, what: str) -> datetime:
    at = plain_moment(value) if isinstance(value, str) else None
    if at is None:
        raise BadConversation(f"{what} is no time")
    return at
