"""A runner over a toy "model" whose every number depends on all that the tables name.

Each cell of the cache holds what a token became (which depends on all cells before it, as the keys
and values of a deep model do) and its position. So a wrong table, a stale block, a missing copy or
a wrong shift shows as wrong tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.generate.runner import Floats, Ints, Run, StepResult

Words = NDArray[np.uint64]

_A, _B, _C = (
    np.array([n], np.uint64) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def mix(x: Words) -> Words:
    """A number that looks unlike `x` (the finaliser of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * _B
    x = (x ^ (x >> np.uint64(27))) * _C
    return x ^ (x >> np.uint64(31))


def attend(cells: Words, positions: Ints, at: int) -> Words:
    """What a token at position `at` gathers from cells at `positions`; only differences count."""
    if len(cells) == 0:
        return np.zeros(1, np.uint64)
    return mix(cells + _A * (at - positions).astype(np.uint64)).sum(dtype=np.uint64)[None]


def become(token: int, gathered: Words) -> Words:
    return mix(mix(np.array([token + 1], np.uint64) * _A) ^ gathered)


def row_of(cell: Words, vocab_size: int) -> Floats:
    """Logits [V] after a token: between -4 and 4, each token's its own."""
    words = mix(cell + np.arange(1, vocab_size + 1, dtype=np.uint64) * _C)
    return ((words >> np.uint64(40)).astype(np.float32) / np.float32(2**24) - 0.5) * 8


class Toy:
    """The same model without blocks or steps: the oracle."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def row(self, tokens: Sequence[int]) -> Floats:
        cells = np.zeros(0, np.uint64)
        for at, token in enumerate(tokens):
            cell = become(token, attend(cells, np.arange(at), at))
            cells = np.concatenate([cells, cell])
        return row_of(cells[-1:], self.vocab_size)

    def greedy(
        self, prompt: Sequence[int], n: int, *, context: int = 10**9, block: int = 0, sinks: int = 0
    ) -> list[int]:
        """n tokens after `prompt`. With `block`, the window slides as `Memory.slide` says."""
        cells, made, token = np.zeros(0, np.uint64), [], -1
        todo = list(prompt)
        while len(made) < n:
            for token in todo:
                if len(cells) == context:
                    if not block:
                        return made
                    first = -(-sinks // block)
                    count = max(1, (len(cells) // block - first) // 4)
                    gone = slice(first * block, (first + count) * block)
                    cells = np.delete(cells, gone)
                at = len(cells)
                cells = np.concatenate([cells, become(token, attend(cells, np.arange(at), at))])
            made.append(int(row_of(cells[-1:], self.vocab_size).argmax()))
            todo = made[-1:]
        return made


class FakeLogits:
    def __init__(self, rows: Floats) -> None:
        self._rows = rows
        self.likeliest: Ints = rows.argmax(-1) if len(rows) else np.zeros(0, np.int64)
        self.finite = np.isfinite(rows.max(-1)) if len(rows) else np.zeros(0, bool)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Floats:
        return self._rows[index]


class FakeRunner:
    """`poison` is a token that becomes NaN, and with it everything that could look at it."""

    def __init__(
        self,
        vocab_size: int,
        *,
        n_blocks: int,
        context: int = 160,
        block_size: int = 4,
        poison: int | None = None,
    ) -> None:
        self.vocab_size = vocab_size
        self.context = context
        self.block_size = block_size
        self.n_blocks = n_blocks
        self.bytes_per_block = 1024
        self.poison = poison
        self.steps: list[list[Run]] = []
        self.closed = False
        self.before_step: Callable[[Sequence[Run]], None] = lambda runs: None
        rubbish = np.arange(1, n_blocks * block_size + 1, dtype=np.uint64)
        self.cells: Words = mix(rubbish).reshape(n_blocks, block_size)
        self.places: Ints = np.full((n_blocks, block_size), 77)
        self.nan = np.zeros((n_blocks, block_size), bool)

    def step(self, runs: Sequence[Run]) -> StepResult:
        self.before_step(runs)
        self.steps.append(list(runs))
        assert runs
        rows: list[Floats] = []
        states: list[Floats | None] = []
        for run in runs:
            outs, nans = self._compute(run)
            if run.states:
                states.append(np.stack([row_of(out, 8) for out in outs]))
                if any(nans):
                    states[-1][:] = np.nan  # type: ignore[index]
            else:
                states.append(None)
            for i in range(len(outs) - run.outputs, len(outs)):
                row = row_of(outs[i], self.vocab_size)
                rows.append(np.full_like(row, np.nan) if nans[i] else row)
        logits = np.stack(rows) if rows else np.zeros((0, self.vocab_size), np.float32)
        return StepResult(FakeLogits(logits), states)

    def _compute(self, run: Run) -> tuple[list[Words], list[bool]]:
        size, table = self.block_size, np.array(run.blocks)
        end = run.start + len(run.tokens)
        assert 0 < end <= self.context and end <= len(table) * size, "a run leaves its table"
        assert len(set(run.blocks)) == len(run.blocks), "a table names a block twice"
        outs, nans = [], []
        for at, token in enumerate(run.tokens, start=run.start):
            before = np.arange(at)
            blocks = table[before // size], before % size
            cell = become(token, attend(self.cells[blocks], self.places[blocks], at))
            place = table[at // size], at % size
            self.cells[place], self.places[place] = cell[0], at
            self.nan[place] = token == self.poison
            outs.append(cell)
            # Weights of 0 do not help against NaN: what lies after the end counts too.
            nans.append(bool(self.nan[table].any()))
            if nans[-1]:
                self.nan[place] = True
        return outs, nans

    def copy(self, source: int, target: int) -> None:
        for cache in (self.cells, self.places, self.nan):
            cache[target] = cache[source]

    def shift(self, blocks: Sequence[int], by: int) -> None:
        assert len(set(blocks)) == len(blocks)
        self.places[list(blocks)] -= by

    def clear(self, blocks: Sequence[int]) -> None:
        self.nan[list(blocks)] = False

    def describe(self) -> dict[str, Any]:
        return {"backend": "fake"}

    def close(self) -> None:
        self.closed = True
