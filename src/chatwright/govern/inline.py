"""Text from outside inside our Markdown: nothing in it may become markup."""

from __future__ import annotations

import json
import re
from typing import Any


def inline(text: str) -> str:
    """Text from outside as one line of Markdown in which nothing is markup."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>()#!|~&])", r"\\\1", flat)


def code(value: Any) -> str:
    """A value between backquotes: none inside, on one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.replace("`", "'").replace("|", "¦").split())
