"""Blocks run through `torch.compile`: one graph before attention and one after it, for all layers.

Meant for GPUs, where many small kernels become few. On a CPU the fused blocks (`train/fused.py`)
are faster, and need no compiling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from chatwright.model.transformer import Attention, Transformer


@contextmanager
def compiled_blocks(model: Transformer, backend: Any = "inductor") -> Iterator[None]:
    """Within, `model`'s blocks are compiled, for any number of tokens at once.

    Attention stays outside: it depends on how the sequences of each batch lie, and brings kernels
    of its own. It begins a new graph, so that a block has two, which all blocks share.
    """
    attend = _Attend()
    # The number of a layer is no constant of its graph: else every layer would have its own.
    with torch._dynamo.config.patch(allow_unspec_int_on_nn_module=True):
        for block in model.layers:
            block.forward = _with(
                attend, torch.compile(block.forward, dynamic=True, backend=backend)
            )
        try:
            yield
        finally:
            for block in model.layers:
                del block.forward


class _Attend:
    """An `Attention` that stays the same object while what it calls changes from batch to batch."""

    def __init__(self) -> None:
        self.now: Attention | None = None

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert self.now is not None
        return self.now(layer, q, k, v)


def _with(attend: _Attend, forward: Any) -> Any:
    def run(x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        attend.now = attention
        return forward(x, cos, sin, attend)  # type: ignore[no-any-return]

    return run
