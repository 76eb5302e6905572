"""What is inside a message's `sealed_content`: its text, and what came with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from chatwright.errors import DataError

# Characters of a message's text, and bytes of all that is sealed with it.
TEXT_CHARACTERS = 400_000
CONTENT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """One turn as it was said, and how it came about. All of it is sealed.

    `citations` and `retrieved` are passages with their `number`; `notes` what the page tells beside
    an answer (what was left out of a prompt, say); `attachments` `{id, name, size}`; `tool_calls`
    `{id, name, arguments, result}`; `moderation` what was found in the text, or None;
    `finish_reason` why the answer ended; `details` what else the run wants to remember (JSON).
    """

    text: str = ""
    citations: list[dict[str, Any]] = field(default_factory=list)
    retrieved: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    attachments: list[dict[str, Any]] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    moderation: dict[str, Any] | None = None
    finish_reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


_FIELDS = tuple(f.name for f in fields(Content))


def pack(content: Content) -> bytes:
    """JSON of what is not empty. Raises `DataError` for what is larger than `CONTENT_BYTES`."""
    values = {name: value for name, value in asdict(content).items() if value}
    packed = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
    if len(packed) > CONTENT_BYTES:
        raise DataError(f"a message with all that came with it has more than {CONTENT_BYTES} bytes")
    return packed


def unpack(packed: bytes) -> Content:
    """The content that `pack` made. A field that this version does not know is left out."""
    try:
        values = json.loads(packed.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise DataError("the content of a message cannot be read") from error
    if not isinstance(values, dict):
        raise DataError("the content of a message cannot be read")
    return Content(**{name: values[name] for name in _FIELDS if name in values})
