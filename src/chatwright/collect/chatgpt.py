"""ChatGPT's export: `conversations.json`, in which each conversation is a tree of messages.

Editing a question or regenerating an answer grows a branch; the one that the person last saw ends
at `current_node`. The format is not documented; this reads what exports of 2023 to 2025 hold, and a
node of an unknown kind is counted as left out instead of guessed at.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chatwright.collect.found import clean_text
from chatwright.records import Message
from chatwright.records.message import Role

_MAX_NODES = 100_000
# References into search results, between characters of the private use area: no text.
_CITATION = re.compile("\ue200[^\ue200\ue201]{0,2000}\ue201|[\ue200-\ue206]")
_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "critic": "system",
}


@dataclass(slots=True)
class Branch:
    """The messages that the person saw, what is known of each, and what was left out by kind."""

    messages: list[Message] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def is_tree(row: Mapping[str, Any]) -> bool:
    """Whether a row is a conversation of such an export."""
    return isinstance(row.get("mapping"), Mapping)


def branch_of(row: Mapping[str, Any]) -> Branch | str:
    """The current branch of a conversation tree, or the reason (a short phrase) why there is none.

    Hidden messages, reasoning and pictures are left out and counted; custom instructions become a
    system message; a call of a tool becomes the assistant's message `{"name", "arguments"}`, and
    what the tool gave a message of the tool.
    """
    nodes: Mapping[str, Any] = row["mapping"]
    if len(nodes) > _MAX_NODES:
        return f"its tree has more than {_MAX_NODES} nodes"
    path = _path(nodes, row.get("current_node"))
    if not path:
        return "its tree has no current branch"
    branch = Branch()
    for node in path:
        message = node.get("message")
        if isinstance(message, Mapping):
            _take(message, branch)
    return branch


def _path(nodes: Mapping[str, Any], current: Any) -> list[Mapping[str, Any]]:
    """From the root to the current node; without one, along the newest children."""
    if not isinstance(nodes.get(current) if isinstance(current, str) else None, Mapping):
        current = _newest_leaf(nodes)
    path: list[Mapping[str, Any]] = []
    seen: set[str] = set()
    while isinstance(current, str) and current not in seen:
        node = nodes.get(current)
        if not isinstance(node, Mapping):
            break
        seen.add(current)
        path.append(node)
        current = node.get("parent")
    return path[::-1]


def _newest_leaf(nodes: Mapping[str, Any]) -> str | None:
    roots = [k for k, n in nodes.items() if isinstance(n, Mapping) and not _known(nodes, n)]
    current = roots[0] if roots else None
    seen: set[str] = set()
    while current is not None and current not in seen:
        seen.add(current)
        children = nodes[current].get("children")
        known = (
            [c for c in children if isinstance(c, str) and c in nodes]
            if isinstance(children, list)
            else []
        )
        children = children if isinstance(children, list) else []
        known = [c for c in children if isinstance(c, str) and isinstance(nodes.get(c), Mapping)]
        if not known:
            return current
        current = known[-1]
    return current


def _known(nodes: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether a node's parent is in the tree."""
    parent = node.get("parent")
    return isinstance(parent, str) and parent in nodes


def _take(message: Mapping[str, Any], branch: Branch) -> None:
    author = message.get("author")
    label = author.get("role") if isinstance(author, Mapping) else None
    role = _ROLES.get(str(label))
    content = message.get("content")
    about = message.get("metadata")
    about = about if isinstance(about, Mapping) else {}
    if role is None or not isinstance(content, Mapping):
        branch.left_out[f"role {str(label)[:30]}"] += 1
        return
    kind = str(content.get("content_type"))[:40]
    instructions = kind == "user_editable_context"
    hidden = about.get("is_visually_hidden_from_conversation") is True
    if (hidden or message.get("weight") == 0) and not instructions:
        branch.left_out["hidden"] += 1
        return
    text = _instructions(content) if instructions else _text(kind, content, branch)
    recipient = message.get("recipient")
    if text and role == "assistant" and recipient not in (None, "all", "assistant"):
        call = {"name": str(recipient)[:200], "arguments": text}
        text = json.dumps(call, ensure_ascii=False)
    if not text.strip():
        return
    branch.messages.append(Message("system" if instructions else role, text))
    branch.turns.append(_facts(message, about))


def _facts(message: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a turn, in the words of docs/guides/conversations.md."""
    facts: dict[str, Any] = {}
    if isinstance(message.get("create_time"), (int, float)):
        facts["at"] = message["create_time"]
    if isinstance(about.get("model_slug"), str):
        facts["model"] = about["model_slug"][:100]
    return facts


def _text(kind: str, content: Mapping[str, Any], branch: Branch) -> str:
    text: Any
    if kind in ("text", "multimodal_text"):
        parts = content.get("parts")
        found = [_part(part, branch) for part in parts] if isinstance(parts, list) else []
        text = "\n".join(part for part in found if part)
    elif kind in ("code", "execution_output", "system_error", "tether_quote"):
        text = content.get("text")
    elif kind == "tether_browsing_display":
        text = content.get("result") or content.get("summary")
    else:  # thoughts, reasoning_recap and whatever comes: nothing that was said
        branch.left_out[kind] += 1
        return ""
    if not isinstance(text, str):
        return ""
    plain, count = _CITATION.subn("", text)
    if count:
        branch.left_out["citation"] += count
    return clean_text(plain)


def _part(part: Any, branch: Branch) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        text = part.get("text")
        if part.get("content_type") in ("audio_transcription", "text") and isinstance(text, str):
            return text
        branch.left_out[str(part.get("content_type"))[:40]] += 1
    return ""


def _instructions(content: Mapping[str, Any]) -> str:
    """Custom instructions: what the person told about themselves and about good answers."""
    said = (content.get("user_profile"), content.get("user_instructions"))
    return clean_text("\n\n".join(s.strip() for s in said if isinstance(s, str) and s.strip()))
