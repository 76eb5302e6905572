"""Which group of a mixture a row belongs to, and how much of it the row is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from chatwright.curate.balance.texts import row_text
from chatwright.curate.words import HAN
from chatwright.records import Row

UNKNOWN = "unknown"
COLUMNS = ("dataset", "domain", "language", "source", "license")
Unit = Literal["rows", "characters", "tokens"]

_HAN = re.compile(f"[{HAN}]")
# Byte-level BPE of 32,000 to 150,000 tokens trained on both languages comes to about these.
_CHARACTERS_PER_TOKEN = 4.2
_HAN_PER_TOKEN = 1.5


def checked_column(name: str) -> str:
    """A column that rows can be grouped by. Raises `ValueError` for another."""
    if name in COLUMNS or re.fullmatch(r"meta(\.[^.\s]+)+", name):
        return name
    raise ValueError(f"{name!r} is no column to group by; there are {', '.join(COLUMNS)}, meta.KEY")


def group_of(row: Row, columns: Sequence[str], dataset: str) -> str:
    """The row's group: the values of the columns, joined by " / "; "unknown" for one it lacks.

    `domain` is the host of the row's address without "www."; `meta.a.b` goes into mappings.
    """
    return " / ".join(_value(row, column, dataset) for column in columns)


def _value(row: Row, column: str, dataset: str) -> str:
    if column == "dataset":
        return dataset
    if column == "domain":
        return host(row.uri) or UNKNOWN
    if not column.startswith("meta."):
        return getattr(row, column) or UNKNOWN
    value: Any = row.meta
    for key in column.split(".")[1:]:
        value = value.get(key) if isinstance(value, dict) else None
    return UNKNOWN if value is None or isinstance(value, (dict, list)) else str(value)[:200]


def host(uri: str) -> str | None:
    """The host that an address names, lower case and without "www."; None where there is none."""
    try:
        name = urlsplit(uri).hostname
    except ValueError:
        return None
    return name.removeprefix("www.") if name else None


def size_of(row: Row, unit: Unit) -> float:
    """How much of a mixture the row is: 1, its characters, or about so many tokens."""
    if unit == "rows":
        return 1.0
    text = row_text(row)
    return float(len(text)) if unit == "characters" else estimated_tokens(text)


def estimated_tokens(text: str) -> float:
    """About how many tokens a text has: one for 1.5 Han characters, one for 4.2 others."""
    han = 0 if text.isascii() else len(_HAN.findall(text))
    return han / _HAN_PER_TOKEN + (len(text) - han) / _CHARACTERS_PER_TOKEN
