"""The article that a page's linked data (schema.org JSON-LD) holds, for pages made by scripts."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from chatwright.curate.markdown import plain_text
from chatwright.curate.markup import tidy

_KEY = b'"articleBody"'
_SCRIPT = re.compile(rb"<script[^<>]{0,300}application/ld\+json[^<>]{0,300}>", re.I)
_END = re.compile(rb"</script", re.I)
_MAX_SCRIPTS = 50
_MAX_BYTES = 2_000_000
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})\b[^<>]{0,2000}>")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_BLOCKS = frozenset(
    [
        "p",
        "div",
        "br",
        "li",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "ul",
        "ol",
        "section",
    ]
)


def article_body(html: bytes) -> str:
    """The longest `articleBody` of a page in UTF-8; "" without one.

    Blank lines stand between its paragraphs.
    """
    if _KEY not in html:
        return ""
    bodies: list[str] = []
    for count, script in enumerate(_SCRIPT.finditer(html)):
        if count >= _MAX_SCRIPTS:
            break
        end = _END.search(html, script.end())
        data = html[script.end() : end.start() if end else len(html)]
        if _KEY in data and len(data) <= _MAX_BYTES:
            bodies += _bodies(data)
    return _paragraphs(max(bodies, key=len, default=""))


def _bodies(data: bytes) -> list[str]:
    try:
        # Strict JSON has no newlines in strings; what publishers write has.
        value = json.loads(data.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return []
    found: list[str] = []
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(body := value.get("articleBody"), str):
                found.append(body)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found


def _paragraphs(body: str) -> str:
    text = _TAG.sub(lambda tag: "\n" if tag[2].lower() in _BLOCKS else "", unescape(body))
    lines = (tidy(_CONTROL.sub("", line)) for line in text.splitlines())
    return "\n\n".join(plain_text(line) for line in lines if line)
