"""What reading a file gives: items, each with its text or its values, and what was lost."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MAX_VALUE = 2_000  # characters of one column's value in `meta`
_MAX_COLUMNS = 16_000  # of all of them together


@dataclass(slots=True)
class Page:
    """A page as bytes: its text is still to be decoded.

    `suffix` goes after the file's own uri (`#row=3`), unless `uri` says the page's own (WARC).
    `headers` are those of the HTTP answer, None for what is no capture of the web; `digest` is the
    payload's, as the archive states it.
    """

    content: bytes
    media_type: str
    charset: str | None = None
    uri: str | None = None
    suffix: str = ""
    time: dt.datetime | None = None
    truncated: str | None = None
    headers: tuple[tuple[str, str], ...] | None = None
    digest: str | None = None


@dataclass(slots=True)
class Values:
    """A row of a table: `content` is what its id is made from."""

    content: bytes
    values: Mapping[str, Any]
    suffix: str
    replaced: float = 0.0


@dataclass(slots=True)
class Lost:
    """An item, or the rest of a file, that gives no row, with the ledger line's words for why.

    `revisit_of` is set for a record that says that a page was the same as before: the digest of its
    payload, '' where the record does not state it.
    """

    rule: str
    value: float | None = None
    bound: str | None = None
    detail: str | None = None
    suffix: str = ""
    uri: str | None = None
    content: bytes | None = None
    revisit_of: str | None = None


Found = Page | Values | Lost


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what is read: bytes of one page or row."""

    max_bytes: int = 20_000_000


def clean_text(text: str) -> str:
    r"""Text without lone surrogates (JSON's `\ud800` makes them), which UTF-8 cannot hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@dataclass(slots=True)
class _Room:
    left: int = _MAX_COLUMNS
    left_out: list[str] = field(default_factory=list)


def columns_as_meta(values: Mapping[str, Any], used: set[str]) -> dict[str, Any]:
    """The other columns of a row, as far as they are small and JSON can hold them.

    A column that does not fit is named in `columns_left_out`: nothing vanishes without a word.
    """
    meta: dict[str, Any] = {}
    room = _Room()
    for name, value in values.items():
        if name in used or value is None:
            continue
        kept = _as_json(value)
        size = len(json.dumps(kept, ensure_ascii=False)) if kept is not None else 0
        if kept is None or size > _MAX_VALUE or size > room.left:
            room.left_out.append(clean_text(str(name))[:80])
            continue
        room.left -= size
        meta[clean_text(str(name))] = kept
    if room.left_out:
        meta["columns_left_out"] = room.left_out[:50]
    return meta


def _as_json(value: Any) -> Any:  # noqa: PLR0911
    """A value as JSON holds it, or None where it cannot (bytes, NaN, too deep)."""
    if isinstance(value, str):
        return clean_text(value[: _MAX_VALUE + 1])
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    if isinstance(value, (list, dict)):
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return None
        return json.loads(clean_text(text)) if len(text) <= _MAX_VALUE else None
    return None
