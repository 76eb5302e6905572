"""Sentences counted: who is named in them, together with what, and how sure the counts are.

The rows are drawn anew by the Poisson bootstrap (Hanley and MacGibbon 2006; Chamandy et al. 2012):
in each replicate a row counts Poisson(1) times. So it streams, and sentences of one row, which are
no independent witnesses, come and go together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.balance.texts import row_text
from chatwright.curate.bias.lexicon import Code, Lexicon, sentences
from chatwright.records import Row

REPLICATES = 200
_BATCH = 256

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Counts:
    """One language's counts; the last axis of the replicated ones is that of the plain counts.

    `sentences`: how many there are. `mentions` [targets]: each word that names a target. `named`
    [targets]: sentences that name it; `rows` [targets]: rows that do. `together` [groups,
    attributes]: sentences that name both. The `_again` arrays hold the same for each replicate.
    """

    lexicon: Lexicon
    sentences: float = 0.0
    mentions: Floats = field(default_factory=lambda: np.zeros(0))
    rows: Floats = field(default_factory=lambda: np.zeros(0))
    named: Floats = field(default_factory=lambda: np.zeros(0))
    together: Floats = field(default_factory=lambda: np.zeros(0))
    sentences_again: Floats = field(default_factory=lambda: np.zeros(0))
    mentions_again: Floats = field(default_factory=lambda: np.zeros(0))
    named_again: Floats = field(default_factory=lambda: np.zeros(0))
    together_again: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(slots=True)
class Counted:
    """What a pass over rows gave: counts by language, rows in all, and rows of other languages."""

    languages: dict[Code, Counts]
    rows: int = 0
    other_rows: int = 0


def count(
    rows: Iterable[Row],
    lexicons: Mapping[Code, Lexicon],
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Counted:
    """Count the sentences of all rows.

    A sentence is English or Chinese as its letters say. Rows whose `language` names another one
    are counted in `other_rows` and not read.
    """
    tables = {code: _Table(lexicon, replicates) for code, lexicon in lexicons.items()}
    found = Counted({code: Counts(lexicon) for code, lexicon in lexicons.items()})
    waiting: list[dict[Code, Counter[int]]] = []

    def flush() -> None:
        # One stream of random numbers, drawn row by row: batches change nothing.
        weights = random.poisson(1.0, (len(waiting), replicates)).astype(np.float64)
        for code, table in tables.items():
            table.add([row.get(code) for row in waiting], weights)
        waiting.clear()

    random = np.random.default_rng(seed)
    for row in rows:
        found.rows += 1
        if not _is_ours(row.language):
            found.other_rows += 1
            continue
        waiting.append(_row_counts(row_text(row), tables))
        if len(waiting) == _BATCH:
            flush()
    flush()
    for code, table in tables.items():
        table.into(found.languages[code])
    return found


def _is_ours(language: str | None) -> bool:
    if language is None:
        return True
    code = language.lower().replace("_", "-").partition("-")[0]
    return code in ("en", "eng", "zh", "zho", "cmn", "und", "unknown", "")


class _Table:
    """Sums over rows: a column for sentences, mentions, named and together of one language."""

    def __init__(self, lexicon: Lexicon, replicates: int) -> None:
        self.lexicon = lexicon
        self.targets = len(lexicon.targets)
        self.groups = lexicon.groups
        attributes = self.targets - self.groups
        self.width = 1 + 2 * self.targets + self.groups * attributes
        self.plain = np.zeros(self.width)
        self.rows = np.zeros(self.targets)
        self.again = np.zeros((replicates, self.width))

    def column(self, group: int, attribute: int) -> int:
        """Where a group together with an attribute (a target's number) is counted."""
        attributes = self.targets - self.groups
        return 1 + 2 * self.targets + group * attributes + attribute - self.groups

    def add(self, rows: list[Counter[int] | None], weights: Floats) -> None:
        found = np.zeros((len(rows), self.width))
        for place, row in enumerate(rows):
            if row:
                found[place, list(row.keys())] = list(row.values())
        self.plain += found.sum(axis=0)
        named = found[:, 1 + self.targets : 1 + 2 * self.targets]
        self.rows += (named > 0).sum(axis=0)
        used = np.flatnonzero(found.any(axis=0))
        self.again[:, used] += weights.T @ found[:, used]

    def into(self, out: Counts) -> None:
        t, g = self.targets, self.groups
        out.rows = self.rows
        out.sentences, out.sentences_again = float(self.plain[0]), self.again[:, 0]
        out.mentions, out.mentions_again = self.plain[1 : 1 + t], self.again[:, 1 : 1 + t]
        out.named, out.named_again = self.plain[1 + t : 1 + 2 * t], self.again[:, 1 + t : 1 + 2 * t]
        out.together = self.plain[1 + 2 * t :].reshape(g, t - g)
        out.together_again = self.again[:, 1 + 2 * t :].reshape(-1, g, t - g)


def _row_counts(text: str, tables: Mapping[Code, _Table]) -> dict[Code, Counter[int]]:
    """Language → column → count, for one row."""
    out: dict[Code, Counter[int]] = {}
    for code, sentence in sentences(text):
        table = tables.get(code)
        if table is None:
            continue
        row = out.setdefault(code, Counter())
        row[0] += 1
        named: set[int] = set()
        for target in table.lexicon.find(sentence):
            row[1 + target] += 1
            named.add(target)
        for target in named:
            row[1 + table.targets + target] += 1
            if target < table.groups:
                row.update(table.column(target, a) for a in named if a >= table.groups)
    return out
