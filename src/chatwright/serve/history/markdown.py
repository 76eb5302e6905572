"""A conversation as Markdown: one branch, to read and to keep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from chatwright.serve.history.store import Turn

_SPEAKERS = {
    "en": {"user": "You", "assistant": "Assistant", "tool": "Tool", "system": "Instructions"},
    "zh": {
        "user": "\u6211",
        "assistant": "\u52a9\u624b",
        "tool": "\u5de5\u5177",
        "system": "\u6307\u4ee4",
    },
}
_SOURCES = {"en": "Sources", "zh": "\u6765\u6e90"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|])")


def to_markdown(
    title: str, created_at: datetime, turns: Sequence[Turn], *, language: str = "en"
) -> str:
    """The turns of one branch under headings; what the answers cite is listed after each.

    What was said is Markdown already and stays as it is; the title is made harmless.
    """
    tongue = "zh" if language.startswith("zh") else "en"
    lines = [f"# {_escaped(title) or 'Chatwright'}", "", f"*{created_at:%Y-%m-%d %H:%M} UTC*", ""]
    for turn in turns:
        speaker = _SPEAKERS[tongue][turn.role]
        model = f" ({_escaped(turn.model)})" if turn.model and turn.role == "assistant" else ""
        lines += [f"## {speaker}{model}", "", turn.text.strip(), ""]
        cited = [
            f"{_number(one.get('number'))}. {_escaped(str(one.get('title') or ''))}"
            f" <{_address(str(one.get('uri') or ''))}>"
            for one in turn.content.citations
        ]
        if cited:
            lines += [f"**{_SOURCES[tongue]}**", "", *cited, ""]
    return "\n".join(lines).rstrip() + "\n"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _address(uri: str) -> str:
    return re.sub(r"[<>\s]", "", uri)
