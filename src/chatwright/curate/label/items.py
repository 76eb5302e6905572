"""Rows of a dataset as items to be labelled, in a hidden order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chatwright.curate.label.shapes import Item, plain
from chatwright.errors import DataError, UsageError
from chatwright.records import Conversation, Dataset, Document, Row, content_id

LONGEST_TEXT = 20_000
_LONGEST_GOLD_FILE = 64 << 20  # bytes


def keyed(key: str, *parts: object) -> int:
    """A number below 2⁶⁴ of a secret key and what it is for: orders, ids and draws."""
    text = "\x1f".join(map(str, parts))
    digest = hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), key=key.encode()[:64], digest_size=8
    )
    return int.from_bytes(digest.digest(), "big")


def shown_text(row: Row) -> str:
    """What a labeller reads of a row; long ones are cut, saying so."""
    if isinstance(row, Document):
        title = str(row.meta.get("title") or "").strip()
        text = f"{title}\n\n{row.text}" if title and not row.text.startswith(title) else row.text
    elif isinstance(row, Conversation):
        text = "\n\n".join(f"{m.role}: {m.content}" for m in row.messages)
    else:
        raise UsageError(
            "preferences are compared, not labelled",
            hint="`chatwright arena` has people compare answers",
        )
    if len(text) > LONGEST_TEXT:
        text = f"{text[:LONGEST_TEXT]}\n\n[\u2026 {len(text) - LONGEST_TEXT:,} characters more]"
    return text.encode("utf-8", "replace").decode()


def value_of(row: Row, column: str) -> str:
    """What a row says in `language`, `source` or `meta.KEY`; empty where it says nothing."""
    if not column.startswith("meta."):
        return plain(getattr(row, column, None))
    value: Any = row.meta
    for key in column.split(".")[1:]:
        value = value.get(key) if isinstance(value, dict) else None
    return plain(value)


def read_items(
    dataset: Dataset,
    labels: Sequence[str],
    *,
    key: str,
    seed: int,
    limit: int | None = None,
    gold_column: str | None = None,
    gold_file: Path | None = None,
) -> tuple[list[Item], int]:
    """The items of a dataset in their hidden order, and how many rows were left out.

    `limit` draws that many rows by `seed`, gold ones aside. Rows whose people did not consent are
    left out. Gold items are the rows of `gold_column` that hold one of the labels, and those of
    `gold_file`: JSONL of `label` with `id` (a row's id or uri) or `text`.
    """
    gold = _read_gold(gold_file, labels) if gold_file is not None else {}
    known = set(labels)
    found: list[tuple[int, Row, str | None]] = []
    left_out = 0
    used: set[str] = set()
    for row in dataset.rows:
        if getattr(row, "consent", None) is False:
            left_out += 1
            continue
        label = gold.get(row.id) or gold.get(row.uri)
        used |= {row.id, row.uri} & gold.keys()
        if label is None and gold_column is not None:
            said = value_of(row, gold_column)
            label = said if said in known else None
        found.append((keyed("", "draw", seed, row.id), row, label))
    plain_rows = sorted((e for e in found if e[2] is None), key=lambda e: (e[0], e[1].id))
    chosen = plain_rows if limit is None else plain_rows[:limit]
    left_out += len(plain_rows) - len(chosen)
    items = [
        Item(0, row.id, row.uri, row.language, shown_text(row), label)
        for _, row, label in [*chosen, *(e for e in found if e[2] is not None)]
    ]
    for text, label in gold.items():
        if text in used or not text.startswith("\n"):  # an id or uri that no row has
            continue
        items.append(
            Item(0, content_id("gold", text), "gold", None, text[1:][:LONGEST_TEXT], label)
        )
    missing = [name for name in gold if not name.startswith("\n") and name not in used]
    if missing:
        raise DataError(
            f"no row of the dataset has the id or uri {missing[0]!r} of the gold file",
            where=str(gold_file),
            hint="a line has `label`, and `id` or `text`",
        )
    unique = {item.row_id: item for item in items}
    order = sorted(
        unique.values(), key=lambda item: (keyed(key, "order", item.row_id), item.row_id)
    )
    return [
        Item(number, i.row_id, i.uri, i.language, i.text, i.gold) for number, i in enumerate(order)
    ], left_out


def _read_gold(file: Path, labels: Sequence[str]) -> dict[str, str]:
    """A row's id or uri, or a line break and the text itself → its label."""
    import json

    out: dict[str, str] = {}
    try:
        if file.stat().st_size > _LONGEST_GOLD_FILE:
            raise DataError("the gold file is too large", where=str(file))
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the gold file cannot be read: {error}", where=str(file)) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: Mapping[str, Any] = json.loads(line)
            label = plain(row["label"])
            name = plain(row.get("id")) or "\n" + str(row["text"])
            if label not in labels:
                raise ValueError(f"{label!r} is none of the labels")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"this is no gold item: {error}",
                where=f"{file}, line {number}",
                hint='a line is like {"id": "\u2026", "label": "good"}',
            ) from error
        out[name] = label
    return out
