"""Whether a model was trained on what it is asked: test items found in its training data.

An item is found where a run of 13 of its words stands in a training row (Brown et al. 2020,
appendix C); a text of fewer words where all of it does. Words are compared in lower case and
without punctuation; a Han character is a word. An item is looked for as the question alone, as
question and right answer, and, where it is short, as the prompt shows it; what a prompt's template
says in every item ("Answer:") proves nothing and parts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import DataError
from chatwright.evaluate.tasks.schema import Item, Task
from chatwright.evaluate.text import rouge_tokens
from chatwright.progress import Progress
from chatwright.records import Dataset
from chatwright.records.results import (
    data_names,
    place_of,
    read_result,
    training_chain,
    training_settings,
)
from chatwright.workspace import Workspace

WORDS = 13
# Fewer words than these ("Question: dresser") stand in half of all books and tell nothing.
_LEAST_WORDS = 8
_BASE = np.uint64(1_000_003)

Hashes = NDArray[np.uint64]
_NOTHING: Hashes = np.empty(0, dtype=np.uint64)


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


def training_data(
    model: Path, workspace: Workspace | None = None
) -> tuple[list[tuple[str, Dataset]], str]:
    """What a checkpoint, and those it began from, were trained on; and what of it is unknown.

    Held-out rows, and the pages that questions were made from, are no training data. Datasets and
    models that are no parents in the lineage (another recipe's) are looked for in `workspace`.
    """
    if not (model.is_dir() and (model / "lineage.json").exists()):
        return [], "its training data is not known here (it was not trained with Chatwright)"
    found: dict[Path, tuple[str, Dataset]] = {}
    unknown: list[str] = []
    chain, base = training_chain(read_result(model), workspace.models if workspace else None)
    for result in chain:
        for name in data_names(training_settings(result).get("data")):
            place = place_of(result, name, workspace.datasets if workspace else None)
            try:
                found.setdefault(place, (name, Dataset.open(place)))
            except DataError:
                unknown.append(f"{name}, which it was trained on, is gone")
    if base is not None:
        unknown.append(f"what {base} was trained on is not known here")
    if not found and not unknown:
        unknown.append("its lineage names no training data")
    return list(found.values()), "; ".join(dict.fromkeys(unknown))


def search(
    model: Path,
    tasks: Sequence[Task],
    progress: Progress,
    workspace: Workspace | None = None,
) -> Contamination:
    """Look for the tasks' items in the rows that the model was trained on."""
    datasets, reason = training_data(model, workspace)
    out = Contamination(reason=reason)
    if not datasets:
        return out
    items = [(task.name, item) for task in tasks for item in task.items]
    out.found = {task.name: set() for task in tasks}
    out.short = dict.fromkeys(out.found, 0)
    parts: dict[int, list[tuple[int, Hashes]]] = {}
    for number, (task_name, item) in enumerate(items):
        runs = item_runs(item)
        out.short[task_name] += not runs
        for size, values in runs.items():
            parts.setdefault(size, []).append((number, values))
    tables = {size: _table(found) for size, found in parts.items()}
    for name, dataset in datasets:
        out.datasets.append(name)
        with progress.task(f"looking for test items in {name}", len(dataset)) as bar:
            for row in dataset.rows:
                out.rows += 1
                bar.advance()
                hashes = _word_hashes(rouge_tokens(row_text(row)))
                for size, (sought, owners) in tables.items():
                    values = np.unique(_runs(hashes, size))
                    low, high = (
                        np.searchsorted(sought, values, side) for side in ("left", "right")
                    )
                    for hit in np.flatnonzero(high > low).tolist():
                        for number in owners[low[hit] : high[hit]].tolist():
                            task_name, item = items[number]
                            out.found[task_name].add(item.id)
    return out


def _table(found: Sequence[tuple[int, Hashes]]) -> tuple[Hashes, NDArray[np.int64]]:
    """All hashes, sorted, and the number of the item that each is of."""
    hashes = np.concatenate([values for _, values in found])
    owners = np.repeat([number for number, _ in found], [len(values) for _, values in found])
    order = np.argsort(hashes, kind="stable")
    return hashes[order], owners[order]


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


def item_runs(item: Item) -> dict[int, Hashes]:
    """The runs of words by which the item is known: length in words → hashes.

    None where all of its texts are too short to tell anything.
    """
    question, answer = item.bare
    texts = [question, f"{question} {answer}"]
    shown = " ".join(item.options[item.gold or 0])
    if len(rouge_tokens(shown)) <= WORDS:
        texts.append(shown)  # a run of a longer one might be the template's alone
    out: dict[int, Hashes] = {}
    for text in texts:
        words = rouge_tokens(text)
        if len(words) >= _LEAST_WORDS:
            size = min(WORDS, len(words))
            out[size] = np.union1d(out.get(size, _NOTHING), run_hashes(words, size))
    return out


def row_text(row: Any) -> str:
    """All of a row's words."""
    if hasattr(row, "text"):
        return str(row.text)
    if hasattr(row, "messages"):
        return "\n".join(message.content for message in row.messages)
    return "\n".join([*(m.content for m in row.prompt), row.chosen, row.rejected])


def run_hashes(words: Sequence[str], size: int) -> Hashes:
    """A hash of each run of `size` words; none where there are fewer."""
    return _runs(_word_hashes(words), size)


def _word_hashes(words: Sequence[str]) -> Hashes:
    return np.fromiter(map(_word_hash, words), dtype=np.uint64, count=len(words))


def _runs(values: Hashes, size: int) -> Hashes:
    if len(values) < size:
        return _NOTHING
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
