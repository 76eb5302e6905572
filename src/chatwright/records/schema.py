"""What flows through the house: documents, conversations, preferences and ledger lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa

from chatwright.errors import DataError
from chatwright.records.ids import canonical_json
from chatwright.records.message import Message

Action = Literal["keep", "drop", "edit", "merge"]

_TIME = pa.timestamp("s", tz="UTC")
_PROVENANCE = [
    pa.field("uri", pa.string()),
    pa.field("source", pa.string()),
    pa.field("license", pa.string()),
    pa.field("language", pa.string()),
    pa.field("collected_at", _TIME),
    pa.field("parents", pa.list_(pa.string())),
    pa.field("meta", pa.string()),  # JSON: Arrow has no open-ended mapping
]
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


class _Row:
    """To and from the plain values that Arrow stores."""

    schema: ClassVar[pa.Schema]
    kind: ClassVar[str]

    def to_arrow(self) -> dict[str, Any]:
        out = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        out["meta"] = canonical_json(out["meta"])
        for name in ("messages", "prompt"):
            if isinstance(out.get(name), list):
                out[name] = [{"role": m.role, "content": m.content} for m in out[name]]
        return out

    @classmethod
    def from_arrow(cls, values: dict[str, Any]) -> Self:
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        row = {key: value for key, value in values.items() if key in known}
        row["meta"] = json.loads(row.get("meta") or "{}")
        row["parents"] = list(row.get("parents") or [])
        for name in ("messages", "prompt"):
            if isinstance(row.get(name), list):
                row[name] = [Message(m["role"], m["content"]) for m in row[name]]
        try:
            return cls(**row)
        except TypeError as error:
            raise DataError(f"a {cls.kind} row lacks a column: {error}") from error


@dataclass(slots=True)
class Document(_Row):
    """A page, file or passage.

    `id` is `content_id(source, original bytes)`; a derived row (a chunk, a rewritten page) lists
    the ids it came from in `parents`. `source` names where it was collected from
    (`pypi:sqlalchemy==2.0.36`), `uri` the page itself. `collected_at` is when the source was
    captured (archive member time, WARC-Date, file time), so that the same input gives the same
    bytes. `meta` holds JSON values; common keys: `media_type`, `title`, `headings`.
    """

    kind: ClassVar[str] = "document"
    schema: ClassVar[pa.Schema] = pa.schema(
        [pa.field("id", pa.string()), pa.field("text", pa.string()), *_PROVENANCE]
    )

    id: str
    text: str
    uri: str
    source: str
    license: str | None = None
    language: str | None = None
    collected_at: datetime | None = None
    parents: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Conversation(_Row):
    """Messages in order, with the same provenance as a document and whether its people agreed.

    `consent`: True, False, or None where no person took part (derived from pages).
    """

    kind: ClassVar[str] = "conversation"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("id", pa.string()),
            pa.field("messages", _MESSAGES),
            *_PROVENANCE,
            pa.field("consent", pa.bool_()),
        ]
    )

    id: str
    messages: list[Message]
    uri: str
    source: str
    license: str | None = None
    language: str | None = None
    collected_at: datetime | None = None
    parents: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    consent: bool | None = None


@dataclass(slots=True)
class Preference(_Row):
    """One prompt with a chosen and a rejected answer, and who judged (`judge`)."""

    kind: ClassVar[str] = "preference"
    schema: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("id", pa.string()),
            pa.field("prompt", _MESSAGES),
            pa.field("chosen", pa.string()),
            pa.field("rejected", pa.string()),
            pa.field("judge", pa.string()),
            *_PROVENANCE,
            pa.field("consent", pa.bool_()),
        ]
    )

    id: str
    prompt: list[Message]
    chosen: str
    rejected: str
    judge: str
    uri: str
    source: str
    license: str | None = None
    language: str | None = None
    collected_at: datetime | None = None
    parents: list[str] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    consent: bool | None = None


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line of a ledger: what a rule did to a row.

    `value` is what was measured and `bound` what was asked (`min 50`, `max 0.1`); `detail` holds
    what is not a number (an error's text, a language code). `other_id` is the row that this one
    was merged into or duplicates. `uri` is kept beside the id because a row that could not even be
    read has no document to look it up in.
    """

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("row_id", pa.string()),
            pa.field("uri", pa.string()),
            pa.field("stage", pa.string()),
            pa.field("action", pa.string()),
            pa.field("rule", pa.string()),
            pa.field("value", pa.float64()),
            pa.field("bound", pa.string()),
            pa.field("other_id", pa.string()),
            pa.field("detail", pa.string()),
        ]
    )

    row_id: str
    uri: str
    stage: str
    action: Action
    rule: str
    value: float | None = None
    bound: str | None = None
    other_id: str | None = None
    detail: str | None = None

    def to_arrow(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


Row = Document | Conversation | Preference
ROW_TYPES: dict[str, type[Row]] = {cls.kind: cls for cls in (Document, Conversation, Preference)}


def utc_from_timestamp(seconds: float) -> datetime:
    """Whole seconds in UTC: the resolution that datasets keep."""
    return datetime.fromtimestamp(int(seconds), tz=UTC)
