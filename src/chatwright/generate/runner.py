"""What the scheduler asks of whatever computes: the contract between requests and arithmetic.

A runner owns weights and a paged KV cache: `n_blocks` blocks of `block_size` positions each. A
sequence's keys and values lie in the blocks that its table names, in order; the scheduler decides
which, so blocks can be shared between sequences (prefix reuse, several answers to one prompt,
beams). `TorchRunner` computes with PyTorch on any device and is the oracle; `NativeRunner` computes
with our compiled kernels on a CPU and needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """The tokens of one sequence that one step computes: `tokens[0]` gets position `start`.

    Positions before `start` are in the cache already. `blocks` is the sequence's table: position p
    lies in `blocks[p // block_size]`; it covers `start + len(tokens)` positions at least, and no
    block that is written to is shared. Logits are returned after each of the last `outputs`
    tokens (0: none). With `states`, the final normalised hidden states of all `tokens` come back.
    """

    tokens: Sequence[int]
    start: int
    blocks: Sequence[int]
    outputs: int = 1
    states: bool = False


class Logits(Protocol):
    """Float32 logits of a step, R rows: the runs' outputs one after another. Valid until the next.

    `likeliest` [R] is the argmax of each row (the lowest of equals) and `finite` [R] whether the
    largest logit is a number; `row(i)` [V] is a writable array that the caller may change.
    """

    def __len__(self) -> int: ...

    @property
    def likeliest(self) -> Ints: ...

    @property
    def finite(self) -> NDArray[np.bool_]: ...

    def row(self, index: int) -> Floats: ...


@dataclass(frozen=True, slots=True)
class StepResult:
    """Logits, and for each run that asked for `states` its hidden states [tokens, C], else None."""

    logits: Logits
    states: list[Floats | None]


class Runner(Protocol):
    """Computes steps. One thread at a time calls it.

    `vocab_size` is the width of a row of logits, `context` the most positions that one sequence may
    have, `bytes_per_block` what one block takes once it has been written to (keys and values of all
    layers): memory is taken from the system only then.
    """

    vocab_size: int
    context: int
    block_size: int
    n_blocks: int
    bytes_per_block: int

    def step(self, runs: Sequence[Run]) -> StepResult:
        """Write the runs' keys and values into the cache and return what they asked for.

        Each token attends to the tokens of its own sequence up to itself. Raises `MemoryError` or
        `RuntimeError` where the computation itself cannot go on.
        """
        ...

    def copy(self, source: int, target: int) -> None:
        """Copy a whole block: before a shared block is written to."""
        ...

    def shift(self, blocks: Sequence[int], by: int) -> None:
        """Turn the keys in `blocks` back by `by` positions (RoPE turns by differences only).

        What came before them was dropped: the tokens move to lower positions and go on being
        attended to, as in llama.cpp's context shift and StreamingLLM (Xiao et al. 2023).
        """
        ...

    def clear(self, blocks: Sequence[int]) -> None:
        """Zero blocks that may hold NaN: multiplied by the weight 0 it would still be NaN."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts for people: backend, weight and cache types, memory in bytes, threads."""
        ...

    def close(self) -> None:
        """Give the memory back. May be called again."""
        ...
