"""Embeddings: hidden states of a text, pooled to one vector, computed by the engine's own steps."""

from __future__ import annotations

from collections.abc import Sequence as Items
from typing import Literal, get_args

import numpy as np

from chatwright.errors import ChatwrightError, ModelError, UsageError
from chatwright.generate.group import Group, Pool, Rows, Sequence, Vocabulary
from chatwright.generate.params import FinishReason, SamplingParams
from chatwright.generate.runner import Floats

Pooling = Literal["mean", "last"]


class EmbeddingGroup(Group):
    """A text whose final hidden states are wanted, and no answer.

    `pooling` "mean" is the mean over all tokens and "last" the last token's state, which has seen
    all others. `events` gets the vector [C], or an exception.
    """

    wants_states = True

    def __init__(
        self, tokens: Items[int], vocabulary: Vocabulary, *, pooling: Pooling, tenant: str = ""
    ) -> None:
        if pooling not in get_args(Pooling):
            raise UsageError(
                f"pooling is {pooling!r}", where="pooling", hint="use 'mean' or 'last'"
            )
        super().__init__(tokens, SamplingParams(), vocabulary, limit=0, tenant=tenant)
        self._pooling = pooling
        self._sum: np.ndarray | float = 0.0

    def advance(self, rows: list[Rows], pool: Pool) -> None:
        raise AssertionError("an embedding has no logits")

    def take_states(self, sequence: Sequence, states: Floats) -> None:
        if sequence.computed == len(states):
            self._sum = 0.0  # from the beginning, perhaps not for the first time
        if self._pooling == "mean":
            self._sum = self._sum + states.sum(axis=0, dtype=np.float64)
        if sequence.computed < len(sequence.tokens):
            return
        vector = states[-1] if self._pooling == "last" else self._sum / len(sequence.tokens)
        if not np.isfinite(vector).all():
            raise ModelError(
                f"the model's states after {len(sequence.tokens)} tokens are NaN or infinite",
                hint="the weights are damaged, or training diverged; load another checkpoint, or "
                "use float32",
            )
        self.events.put(np.array(vector, np.float32))
        self.finish()

    def end(self, reason: FinishReason) -> None:
        self.fail(ChatwrightError(f"the embedding was not finished: {reason}"))

    def result(self) -> Floats:
        """Wait for the vector [C]. Raises what went wrong."""
        event: Floats | Exception = self.events.get()
        if isinstance(event, Exception):
            raise event
        return event


def normalised(vectors: Floats) -> Floats:
    """`vectors` [n, C] of length 1 each (a vector of zeros stays)."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Floats = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled
