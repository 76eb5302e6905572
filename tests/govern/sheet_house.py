"""Datasets with known contents for the data sheet's tests: collected pages and what is left."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chatwright.records import (
    Conversation,
    Document,
    LedgerEntry,
    Message,
    Parent,
    write_dataset,
)

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}$x$"
PHONE, EMAIL = "13812345678", "zhangwei@163.com"
RULES = (("word_count", "min 50, max 100000"), ("terminal_line_ratio", "min 0.12"))
LANGUAGES = ("en", "zh", "de", None)


def pages(folder: Path, count: int = 300, seed: int = 1) -> tuple[Path, Path]:
    """A collected and a curated dataset; what is in them depends on the seed alone."""
    rng = random.Random(seed)
    collected, curated = folder / "collected", folder / "cur'at[e]d"
    rows = [_page(rng, number) for number in range(count)]
    with write_dataset(collected, Document, stage="collected", fingerprint="c", settings={}) as out:
        for row in rows:
            out.write(row)
            out.log(_line(row, "collected", "keep", "read", float(len(row.text))))
        out.log(LedgerEntry("x", "https://no.test/", "collected", "drop", "opt-out"))
        out.counts = {"kept": count, "unlicensed": sum(r.license is None for r in rows)}
    parents = [Parent("collected", "c", os.path.relpath(collected, curated))]
    settings = {"preset": "fineweb", "privacy": {"mode": "tag"}, "safety": {"adult": {"max": 0.5}}}
    with write_dataset(
        curated, Document, stage="curated", fingerprint="k" * 32, settings=settings, parents=parents
    ) as out:
        kept: list[Document] = []
        for row in rows:
            _judge(rng, row, kept, out)
        out.counts = {"in": count, "kept": len(kept), "dropped": count - len(kept)}
    return collected, curated


def _page(rng: random.Random, number: int) -> Document:
    text = rng.choice(
        (
            f"Call {PHONE} or write to {EMAIL}. {HOSTILE} A page about gardens, {number}.",
            f"\u6211\u7684\u90ae\u7bb1\u662f{EMAIL}\uff0c\u7535\u8bdd{PHONE}\u3002"
            f"\u82b1\u56ed\u5f88\u7f8e\u3002{number}",
        )
    )
    site = rng.choice(("a.test", "B.test:8080", "c.test"))
    uri = f"https://{site}/{number}?mail={EMAIL}" if number % 7 else f"file:/pages/{number}"
    when = datetime(2024, 1 + number % 12, 1, tzinfo=UTC) if number % 5 else None
    license_ = rng.choice(("CC-BY-4.0", "MIT", None))
    return Document(
        f"id{number:05d}", text, uri, f"source {number % 3} {HOSTILE}", license_, None, when
    )


def _line(
    row: Document, stage: str, action: Any, rule: str, value: float | None, **more: Any
) -> Any:
    return LedgerEntry(row.id, row.uri, stage, action, rule, value, **more)


def _judge(rng: random.Random, row: Document, kept: list[Document], out: Any) -> None:
    fate = rng.random()
    if fate < 0.2:
        rule, bound = rng.choice(RULES)
        value = rng.random() * (50 if rule == "word_count" else 0.12)
        out.log(_line(row, "curated", "drop", rule, value, bound=bound, detail=f"also {EMAIL}"))
    elif fate < 0.35 and kept:
        rule = rng.choice(("near-duplicate", "duplicate-document"))
        other = rng.choice(kept[:8]).id
        out.log(_line(row, "curated", "drop", rule, 0.9, other_id=other))
    elif fate < 0.4:
        out.log(_line(row, "curated", "drop", "pii-private-key", 1.0, bound="max 0"))
    else:
        if rng.random() < 0.5:
            found = rng.randrange(1, 5)
            out.log(
                _line(row, "curated", "edit", "pii-email", found, detail="replaced by its type")
            )
        row.language = rng.choice(LANGUAGES)
        measures = {
            "word_count": float(rng.randrange(50, 90_000)),
            "terminal_line_ratio": round(0.12 + 0.88 * rng.random(), 4),
            "mean_word_length": round(3 + 7 * rng.random(), 4),
        }
        row.meta = {"measures": measures, "scores": {"adult": round(0.5 * rng.random(), 4)}}
        kept.append(row)
        out.write(row)
        out.log(_line(row, "curated", "keep", "curated", measures["word_count"]))


def chats(folder: Path) -> Path:
    """Five conversations, three of them with consent."""
    path = folder / "chats"
    with write_dataset(path, Conversation, stage="chats", fingerprint="h", settings={}) as out:
        for number in range(5):
            said = [Message("user", "\u4f60\u597d"), Message("assistant", "hello")]
            consent = True if number < 3 else None
            out.write(Conversation(f"c{number}", said, f"chat:{number}", "mine", consent=consent))
    return path
