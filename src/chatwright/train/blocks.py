"""How a model's blocks run while it is trained: fused, with dropout, or computed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from chatwright.model.transformer import Block, Transformer
from chatwright.train.fused import fused_blocks


@contextmanager
def training_blocks(
    model: Transformer, *, dropout: float = 0.0, checkpoint: bool = False, compile: bool = False
) -> Iterator[None]:
    """Within, `model` runs as it is trained; afterwards it is what it was.

    Without dropout the blocks are the fused ones (`train/fused.py`), or with `compile` those of
    `torch.compile` (`train/compiled.py`); `checkpoint` keeps of each block only its input.
    """
    with ExitStack() as stack:
        if dropout:
            stack.enter_context(dropout_in(model, dropout))
        if compile:
            from chatwright.train.compiled import compiled_blocks

            stack.enter_context(compiled_blocks(model))
        elif not dropout:
            stack.enter_context(fused_blocks(model))
        if checkpoint:
            stack.enter_context(checkpointed_blocks(model))
        yield


@contextmanager
def dropout_in(model: Transformer, rate: float) -> Iterator[None]:
    """Within, zero a share `rate` of three things while the model is in training mode.

    The embeddings, and what attention and MLP add to the residual stream, as in GPT-2 (Radford et
    al. 2019); what stays is divided by 1 − `rate`. Drawn from torch's default generator.
    """

    def drop(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return F.dropout(output, rate, module.training)

    modules: list[nn.Module] = [model.embed_tokens]
    for block in model.layers:
        assert isinstance(block, Block)
        modules += [block.self_attn, block.mlp]
    handles = [module.register_forward_hook(drop) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def checkpointed_blocks(model: Transformer) -> Iterator[None]:
    """Within, a block keeps its input only and computes the rest again in the backward pass.

    Chen et al. 2016. About a third more time for memory that grows with one block instead of with
    all. The gradients are the same to the bit: dropout draws again what it drew.
    """
    before = [(block, vars(block).get("forward")) for block in model.layers]
    for block in model.layers:
        block.forward = _again(block.forward)
    try:
        yield
    finally:
        for block, forward in before:
            if forward is None:
                del block.forward
            else:
                block.forward = forward


def _again(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*args: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*args)
        return checkpoint(forward, *args, use_reentrant=False)  # type: ignore[no-any-return]

    return run
