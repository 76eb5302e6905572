"""Whether a model was trained on what it is asked: test items found in its training data.

An item is found where a run of 13 of its words stands in a training row (Brown et al. 2020,
appendix C); an item of fewer words where all of it does. Words are compared in lower case and
without punctuation; a Han character is a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.evaluate.tasks.schema import Item, Task
from chatwright.evaluate.text import rouge_tokens
from chatwright.progress import Progress
from chatwright.records import Dataset
from chatwright.records.results import Result, walk

WORDS = 13
# Fewer words than these ("Question: dresser") stand in half of all books and tell nothing.
_LEAST_WORDS = 8
_BASE = np.uint64(1_000_003)

Hashes = NDArray[np.uint64]


@dataclass(slots=True)
class Contamination:
    """What was found of some tasks' items in a model's training data.

    `datasets` names what was searched; where it is empty nothing could be, and `reason` says why.
    `found`: task → ids of the items found. `short`: task → how many items have too few words.
    """

    datasets: list[str] = field(default_factory=list)
    rows: int = 0
    reason: str = ""
    found: dict[str, set[str]] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)


def training_data(model: Path) -> tuple[list[Result], str]:
    """The datasets that a checkpoint was trained on, and what is not known about it.

    Only the datasets nearest to a training count: the pages that questions were made from are no
    training data themselves.
    """
    if not (model.is_dir() and (model / "lineage.json").exists()):
        return [], "its training data is not known here (it was not trained with Chatwright)"
    chain = walk([(model.name, model)])
    by_path = {result.path: result for result in chain}
    found: dict[Path, Result] = {}
    missing = False
    for result in chain:
        if result.kind != "model":
            continue
        for parent in result.parents:
            above = by_path.get(result.parent_path(parent))
            if above is None or above.kind == "missing":
                missing = True
            elif above.kind == "dataset":
                found[above.path] = above
    base = chain[-1].info.get("settings", {}).get("model")
    unknown = []
    if missing:
        unknown.append("a dataset that it was trained on is gone")
    if isinstance(base, str) and base not in {result.name for result in chain}:
        unknown.append(f"what {base} was trained on is not known here")
    return list(found.values()), "; ".join(unknown)


def search(model: Path, tasks: Sequence[Task], progress: Progress) -> Contamination:
    """Look for the tasks' items in the rows that the model was trained on."""
    datasets, reason = training_data(model)
    out = Contamination(reason=reason)
    if not datasets:
        return out
    wanted: dict[int, dict[int, list[tuple[str, str]]]] = {}
    for task in tasks:
        out.found[task.name] = set()
        out.short[task.name] = 0
        for item in task.items:
            words = rouge_tokens(item_text(item))
            if len(words) < _LEAST_WORDS:
                out.short[task.name] += 1
                continue
            size = min(WORDS, len(words))
            for value in run_hashes(words, size).tolist():
                wanted.setdefault(size, {}).setdefault(value, []).append((task.name, item.id))
    known = {size: np.array(sorted(found), dtype=np.uint64) for size, found in wanted.items()}
    for result in datasets:
        dataset = Dataset.open(result.path)
        out.datasets.append(result.name)
        with progress.task(f"looking for test items in {result.name}", len(dataset)) as bar:
            for row in dataset.rows:
                out.rows += 1
                bar.advance()
                words = rouge_tokens(row_text(row))
                for size, hashes in known.items():
                    hits = np.intersect1d(run_hashes(words, size), hashes)
                    for value in hits.tolist():
                        for task_name, item_id in wanted[size][value]:
                            out.found[task_name].add(item_id)
    return out


def notes(found: Contamination, tasks: Sequence[Task]) -> dict[str, dict[str, Any]]:
    """Task → what to print beside its score."""
    out: dict[str, dict[str, Any]] = {}
    for task in tasks:
        if not found.datasets:
            text = f"contamination not checked: {found.reason}"
            out[task.name] = {
                "contamination": {"checked": False, "reason": found.reason},
                "text": text,
            }
            continue
        hits = found.found.get(task.name, set())
        count = len(task.items)
        where = ", ".join(found.datasets)
        text = f"{len(hits)} of {count} items found in {where} ({found.rows:,} training rows)"
        if found.reason:
            text += f"; {found.reason}"
        out[task.name] = {
            "contamination": {
                "checked": True,
                "datasets": found.datasets,
                "rows": found.rows,
                "contaminated": len(hits),
                "share": len(hits) / count if count else 0.0,
                "too_short": found.short.get(task.name, 0),
                "reason": found.reason,
                "items": sorted(hits),
            },
            "text": text,
        }
    return out


def item_text(item: Item) -> str:
    """The question and its right answer: what must not have been learned by heart."""
    return " ".join(item.options[item.gold or 0])


def row_text(row: Any) -> str:
    """All of a row's words."""
    if hasattr(row, "text"):
        return str(row.text)
    if hasattr(row, "messages"):
        return "\n".join(message.content for message in row.messages)
    return "\n".join([*(m.content for m in row.prompt), row.chosen, row.rejected])


def run_hashes(words: Sequence[str], size: int) -> Hashes:
    """A hash of each run of `size` words; none where there are fewer."""
    if len(words) < size:
        return np.empty(0, dtype=np.uint64)
    values = np.fromiter(map(_word_hash, words), dtype=np.uint64, count=len(words))
    windows = np.lib.stride_tricks.sliding_window_view(values, size)
    powers = np.ones(size, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(size - 2, -1, -1):
            powers[place] = powers[place + 1] * _BASE
        return np.asarray((windows * powers).sum(axis=1, dtype=np.uint64))


@lru_cache(maxsize=1 << 20)
def _word_hash(word: str) -> int:
    """The same number on every machine and in every process (Python's own `hash` is salted)."""
    value = 0xCBF29CE484222325  # FNV-1a
    for byte in word.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
