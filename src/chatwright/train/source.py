"""Where the batches of each step come from: rows on disk, or answers that the model makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from chatwright.records import LedgerEntry
from chatwright.train.packing import Batch


class Source(Protocol):
    """The batches of training, by step.

    `step` gives the micro-batches of a step (0-based), each of at most `tokens_at_once` tokens or
    one longer sequence. Steps are asked for in order, beginning anywhere: what a source has to
    remember for that beyond the number of the step is its `state`, which every checkpoint keeps.
    `ledger` names the rows that were left out or cut. A `static` source is a function of the step
    alone, the same in every process.
    """

    ledger: list[LedgerEntry]
    static: bool

    def step(self, step: int, tokens_at_once: int) -> list[Batch]: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, tensors: Mapping[str, Tensor]) -> None: ...

    def metrics(self) -> dict[str, float]:
        """What the source has to say about the step that was asked for last."""
        ...


@runtime_checkable
class HeldOut(Protocol):
    """A source that is gone through once, for validation."""

    def once(self, tokens: int, tokens_at_once: int) -> tuple[list[Batch], int | None]:
        """About `tokens` tokens in the data's own order; and their text's bytes, where known."""
        ...


class Static:
    """The part of a `Source` that rows on disk do not need: nothing is remembered."""

    static = True

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing to put back."""

    def metrics(self) -> dict[str, float]:
        return {}
