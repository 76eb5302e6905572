"""ChatGPT's `conversations.json`: written so that others open it, read with all branches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from chatwright.collect.chatgpt import branch_of
from chatwright.serve.history.content import TEXT_CHARACTERS, Content
from chatwright.serve.history.native import BadConversation, Parcel, plain_moment
from chatwright.serve.history.store import MESSAGES, TITLE_CHARACTERS, Turn
from chatwright.serve.history.tree import children_of, newest_leaf
from chatwright.serve.store.tables import now

_NODES = 20_000
_ROOT = "client-created-root"


def dump_chatgpt(parcel: Parcel) -> dict[str, Any]:
    """A conversation as ChatGPT exports one. Sources, notes and feedback have no place there."""
    children = children_of({turn.id: turn.parent_id for turn in parcel.turns})
    mapping: dict[str, Any] = {
        _ROOT: {"id": _ROOT, "message": None, "parent": None, "children": children.get(None, [])}
    }
    for turn in parcel.turns:
        mapping[turn.id] = {
            "id": turn.id,
            "message": _message(turn),
            "parent": turn.parent_id or _ROOT,
            "children": children.get(turn.id, []),
        }
    return {
        "title": parcel.title,
        "create_time": parcel.created_at.timestamp(),
        "update_time": parcel.updated_at.timestamp(),
        "mapping": mapping,
        "moderation_results": [],
        "current_node": parcel.current_leaf or _ROOT,
        "conversation_id": parcel.id,
        "is_archived": parcel.archived,
        "default_model_slug": parcel.model,
        "id": parcel.id,
    }


def _message(turn: Turn) -> dict[str, Any]:
    return {
        "id": turn.id,
        "author": {"role": turn.role, "name": None, "metadata": {}},
        "create_time": turn.created_at.timestamp(),
        "update_time": None,
        "content": {"content_type": "text", "parts": [turn.text]},
        "status": "finished_successfully"
        if turn.status == "done"
        else "finished_partial_completion",
        "end_turn": True,
        "weight": 1.0,
        "metadata": {"model_slug": turn.model} if turn.model else {},
        "recipient": "all",
    }


def load_chatgpt(value: Mapping[str, Any]) -> Parcel:
    """A conversation of such an export, all branches. Raises `BadConversation`.

    Nodes without text (hidden ones, reasoning, pictures) are left out; what follows them follows
    the one before them.
    """
    nodes = value["mapping"]
    if not isinstance(nodes, Mapping):
        raise BadConversation("its tree is no object")
    if len(nodes) > _NODES:
        raise BadConversation(f"its tree has more than {_NODES} nodes")
    order = _walk(nodes)
    began = plain_moment(value.get("create_time")) or now()
    turns: list[Turn] = []
    kept: dict[str, str | None] = {}  # node → the nearest message on the way back, itself included
    last: dict[str | None, datetime] = {None: began}
    for name, parent in order:
        above = kept.get(parent) if parent is not None else None
        said = branch_of({"mapping": {name: {**nodes[name], "parent": None}}, "current_node": name})
        if isinstance(said, str) or not said.messages:
            kept[name] = above
            continue
        if len(turns) == MESSAGES:
            raise BadConversation(f"it has more than {MESSAGES} messages")
        message = said.messages[0]
        if len(message.content) > TEXT_CHARACTERS:
            raise BadConversation(f"a message has more than {TEXT_CHARACTERS} characters")
        facts = said.turns[0]
        # Versions are in order of their time: each is later than the one before, and its parent.
        floor = last.get(above, began) + timedelta(microseconds=1)
        at = max(plain_moment(facts.get("at")) or floor, floor) if turns else (
            plain_moment(facts.get("at")) or began
        )  # fmt: skip
        last[above] = last[name] = at
        model = facts.get("model")
        turns.append(
            Turn(
                id=name,
                parent_id=above,
                role=message.role,
                content=Content(message.content),
                model=model if isinstance(model, str) and message.role == "assistant" else None,
                model_fingerprint=None,
                status="done",
                prompt_tokens=None,
                completion_tokens=None,
                created_at=at,
            )
        )
        kept[name] = name
    if not turns:
        raise BadConversation("it holds no message with text")
    current = value.get("current_node")
    leaf = kept.get(current) if isinstance(current, str) else None
    title = value.get("title")
    model = value.get("default_model_slug")
    return Parcel(
        title=title[:TITLE_CHARACTERS] if isinstance(title, str) else "",
        turns=turns,
        current_leaf=leaf or newest_leaf({turn.id: turn.parent_id for turn in turns}),
        created_at=began,
        updated_at=plain_moment(value.get("update_time")) or turns[-1].created_at,
        model=model[:300] if isinstance(model, str) and "\x00" not in model else None,
        archived=value.get("is_archived") is True,
    )


def _walk(nodes: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """(node, parent) from the roots on, children in their order; each node once, so that no circle
    is followed.
    """
    parents: dict[str, str | None] = {}
    for key, node in nodes.items():
        if not isinstance(node, Mapping):
            raise BadConversation("a node of its tree is no object")
        parent = node.get("parent")
        parents[key] = parent if isinstance(parent, str) and parent in nodes else None
    children = children_of(parents)
    for name, below in children.items():
        told = nodes[name].get("children") if name is not None else None
        if isinstance(told, list):
            place = {one: number for number, one in enumerate(told) if isinstance(one, str)}
            below.sort(key=lambda one: place.get(one, len(place)))
    order: list[tuple[str, str | None]] = []
    waiting = list(reversed(children.get(None, [])))
    while waiting:
        here = waiting.pop()
        order.append((here, parents[here]))
        waiting += reversed(children.get(here, []))
    return order
