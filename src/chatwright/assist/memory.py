"""What somebody asks the assistant to keep in mind, read out of their own words.

A small model cannot be trusted to decide what is worth keeping, and a document must never be able
to plant a memory: only the person's own message is read, and only a plain request counts.
"""

from __future__ import annotations

import re

LONGEST = 500  # characters of a memory

_LATIN = re.compile(
    r"^\s*(?:please\s+|could you\s+|can you\s+)?"
    r"(?:remember|keep in mind|don['\u2019]?t forget|note)(?:\s+that\s+|\s+this:?\s+|\s*:\s*)"
    r"(?P<what>\S.{1,500}?)\s*[.!?]?\s*$",
    re.I | re.S,
)
_CHINESE = re.compile(
    r"^\s*(?:请|麻烦)?(?:你)?(?:帮我)?(?:记住|记得|记一下|别忘了)(?:这点|一下)?[\s,:\uff0c\uff1a]*"
    r"(?P<what>\S.{1,500}?)\s*[.!\u3002\uff01]?\s*$",
    re.S,
)
_QUESTION = re.compile(r"[?\uff1f]\s*$|[吗嘛么]\s*$")


def asked_to_remember(text: str) -> str | None:
    """What a message asks to keep in mind, in its own words; None where it asks for no such thing.

    >>> asked_to_remember("Remember that I am allergic to nuts.")
    'I am allergic to nuts'
    """
    if len(text) > LONGEST + 100 or _QUESTION.search(text):
        return None
    found = _LATIN.match(text) or _CHINESE.match(text)
    return " ".join(found["what"].split())[:LONGEST] if found else None
