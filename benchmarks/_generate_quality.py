"""Perplexity and multiple choice through the compiled kernels: what rounding costs."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.evaluate.kinds.options import encode_pairs
from chatwright.evaluate.likelihood import Scored, text_windows
from chatwright.evaluate.tasks import load_task, read_task_file, task_files
from chatwright.generate.native_runner import NativeRunner
from chatwright.generate.runner import Logits, Run
from chatwright.tokenizer import Tokenizer

WINDOW = 1024
# Rows of logits that are turned to probabilities at a time: float64 [64, V].
_ROWS = 64


@dataclass(frozen=True, slots=True)
class Variant:
    """How a model is computed: the file, and the types of its weights and its cache."""

    name: str
    path: Path
    weights: str
    kv_dtype: str

    def runner(self, threads: int, positions: int) -> NativeRunner:
        return NativeRunner.load(
            self.path,
            n_blocks=-(-positions // NativeRunner.block_size),
            context=min(8192, positions),
            weights=self.weights,
            kv_dtype=self.kv_dtype,
            threads=threads,
        )


def losses(logits: Logits, rows: range, targets: Sequence[int]) -> NDArray[np.float64]:
    """−ln p (nats) of one target for each row, softmax in float64."""
    out = np.empty(len(rows), np.float64)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        block = np.stack([logits.row(i) for i in part]).astype(np.float64)
        block -= block.max(axis=1, keepdims=True)
        wanted = block[np.arange(len(part)), targets[start : start + _ROWS]]
        np.exp(block, out=block)
        out[start : start + _ROWS] = np.log(block.sum(axis=1)) - wanted
    return out


def wikitext(tokenizer: Tokenizer, tokens: int | None) -> list[Scored]:
    """Windows over WikiText-2's test articles, as the task `wikitext2` cuts them, without overlap.

    As many as have `tokens` counted tokens together; all where it is None.
    """
    path = task_files()["wikitext2"]
    task = load_task(path, read_task_file(path))
    start = tokenizer.end_of_text_id
    assert start is not None
    windows: list[Scored] = []
    counted = 0
    for item in task.items:
        for window in text_windows(tokenizer.encode(item.prompt), start, window=WINDOW):
            windows.append(window)
            counted += sum(window.counted)
            if tokens is not None and counted >= tokens:
                return windows
    return windows


def perplexity(
    variant: Variant, windows: Sequence[Scored], threads: int
) -> tuple[float, NDArray[np.float64]]:
    """Perplexity per token, and −ln p (nats) of each counted token."""
    runner = variant.runner(threads, WINDOW)
    blocks = list(range(runner.n_blocks))
    found = []
    started = time.monotonic()
    for window in windows:
        tokens, count = list(window.tokens), sum(window.counted)
        logits = runner.step([Run(tokens[:-1], 0, blocks, outputs=count)]).logits
        found.append(losses(logits, range(count), tokens[-count:]))
    runner.close()
    every = np.concatenate(found)
    value = math.exp(float(every.mean()))
    said = f"{variant.name}: perplexity {value:.3f}, {len(every)} tokens"
    print(f"  {said}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return value, every


def hellaswag(tokenizer: Tokenizer, limit: int) -> Any:
    """The first `limit` items as the task `hellaswag` renders them, and their options' tokens."""
    path = task_files()["hellaswag"]
    task = load_task(path, read_task_file(path), limit=limit)
    texts = [
        [(task.before(item) + context, answer) for context, answer in item.options]
        for item in task.items
    ]
    return task.items, encode_pairs(tokenizer, texts)


def accuracy(variant: Variant, asked: Any, threads: int) -> tuple[float, list[int]]:
    """Share of items whose right option has the best log-likelihood per byte; and the choices."""
    items, rows = asked
    runner = variant.runner(threads, 16 * WINDOW)
    chosen, right = [], 0
    started = time.monotonic()
    for item, options in zip(items, rows, strict=True):
        texts = [answer.strip() for _, answer in item.options]
        scores = [
            -nll / max(1, len(text.encode()))
            for nll, text in zip(option_losses(runner, options), texts, strict=True)
        ]
        best = max(range(len(scores)), key=scores.__getitem__)
        chosen.append(best)
        right += best == item.gold
    runner.close()
    share = right / len(items)
    said = f"{variant.name}: HellaSwag {100 * share:.1f} %"
    print(f"  {said}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return share, chosen


def option_losses(
    runner: NativeRunner, options: Sequence[tuple[list[int], list[int]]]
) -> list[float]:
    """−ln p (nats) of each continuation after its context; a shared context is computed once."""
    size = runner.block_size
    wholes = [[*before, *after] for before, after in options]
    # The last token of a context is computed with each option: its logits are wanted.
    common = min(len(before) - 1 for before, _ in options)
    for whole in wholes[1:]:
        same = (i for i, (a, b) in enumerate(zip(wholes[0], whole, strict=False)) if a != b)
        common = min(common, next(same, common))
    shared = common // size
    if shared:
        runner.step([Run(wholes[0][: shared * size], 0, list(range(shared)), outputs=0)])
    free = _count_from(shared)
    runs = []
    for (_, after), whole in zip(options, wholes, strict=True):
        own = [next(free) for _ in range(-(-len(whole) // size) - shared)]
        table = [*range(shared), *own]
        runs.append(Run(whole[shared * size : -1], shared * size, table, outputs=len(after)))
    logits = runner.step(runs).logits
    out, at = [], 0
    for _, after in options:
        out.append(float(losses(logits, range(at, at + len(after)), after).sum()))
        at += len(after)
    return out


def _count_from(start: int) -> Iterator[int]:
    while True:
        yield start
        start += 1
