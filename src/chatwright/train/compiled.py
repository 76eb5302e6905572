"""Blocks run through `torch.compile`: one graph before attention and one after it, for all layers.

Meant for GPUs, where many small kernels become few. On a CPU the fused blocks (`train/fused.py`)
are faster, and need no compiling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.model.transformer import Attention, Block, Transformer, rotate

# One graph for any number of tokens; None: one for the first number, then one for all others.
_DYNAMIC: bool | None = True
# On an H200 the blocks of depth 12 do 170 TFLOP/s as they are and twice as much compiled, and
# compiling took 20 seconds: worth it for what takes a minute otherwise.
_WORTH_IT = 1e16


def worth_compiling(device: torch.device, operations: float) -> bool:
    """Whether a run of so many floating-point operations on `device` is over sooner compiled."""
    if device.type != "cuda" or operations < _WORTH_IT:
        return False
    from torch.utils._triton import has_triton

    return has_triton()


@contextmanager
def compiled_blocks(model: Transformer, backend: Any = "inductor") -> Iterator[None]:
    """Within, `model`'s blocks are compiled, for any number of tokens at once.

    Attention stays outside: it depends on how the sequences of each batch lie, and brings kernels
    of its own. It begins a new graph, so that a block has two, which all blocks share.
    """
    attend = _Attend()
    forward = torch.compile(_block, dynamic=_DYNAMIC, backend=backend)
    # The number of a layer is no constant of its graph: else every layer would have its own.
    with torch._dynamo.config.patch(allow_unspec_int_on_nn_module=True):
        for block in model.layers:
            block.forward = _with(attend, forward, block)
        try:
            yield
        finally:
            for block in model.layers:
                del block.forward


def _block(block: Block, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
    """What `Block.forward` computes, with queries and keys laid out token by token throughout.

    As the products leave them, and as attention's kernels like them best. `Block` turns them head
    by head, so that attention answers head by head; and at a graph's border torch lays every
    gradient out anew that is not contiguous as a whole.
    """
    own = block.self_attn
    if own._forward_hooks:  # dropout
        x = x + own(block.input_layernorm(x), cos, sin, _heads_first(attention))
    else:
        h = block.input_layernorm(x)
        rows, length, _ = x.shape
        heads = (rows, length, -1, own.head_dim)
        q, k, v = (p(h).view(heads) for p in (own.q_proj, own.k_proj, own.v_proj))
        if own.q_norm is not None and own.k_norm is not None:
            q, k = own.q_norm(q), own.k_norm(k)
        cos, sin = cos.transpose(1, 2), sin.transpose(1, 2)
        mixed = attention(own.layer, rotate(q, cos, sin), rotate(k, cos, sin), v)
        x = x + own.o_proj(mixed.reshape(rows, length, -1))
    return x + block.mlp(block.post_attention_layernorm(x))  # type: ignore[no-any-return]


def _heads_first(attention: Attention) -> Attention:
    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (y.transpose(1, 2).contiguous() for y in (q, k, v))
        return attention(layer, q, k, v).transpose(1, 2)

    return attend


class _Attend:
    """An `Attention` that stays the same object while what it calls changes from batch to batch.

    Tokens come before heads in all it takes and gives: [B, T, H, D].
    """

    def __init__(self) -> None:
        self.now: Attention | None = None

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert self.now is not None
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        return self.now(layer, q, k, v).transpose(1, 2)


def _with(attend: _Attend, forward: Any, block: nn.Module) -> Any:
    def run(x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        attend.now = attention
        return forward(block, x, cos, sin, attend)  # type: ignore[no-any-return]

    return run


def fuses(*tensors: Tensor) -> bool:
    """Whether `cross_entropy` takes such numbers: 16-bit ones on a GPU with Triton."""
    if not all(t.is_cuda and t.dtype in (torch.bfloat16, torch.float16) for t in tensors):
        return False
    from torch.utils._triton import has_triton

    return has_triton()


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Losses [N], float32, of `logits` [N, V] on a GPU, which become their gradients in place.

    One kernel, where torch's own functions take eight and a float32 copy of the probabilities.
    Nothing waits for the GPU.
    """
    for tensor in (logits, targets):
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    return _cross_entropy()(logits, targets)


@cache
def _cross_entropy() -> Callable[[Tensor, Tensor], Tensor]:
    # A row's sums are not divided among kernels, so that all of a row is done while it is cached.
    return torch.compile(_logits_to_gradients, options={"split_reductions": False})


def _logits_to_gradients(logits: Tensor, targets: Tensor) -> Tensor:
    chosen = logits.gather(1, targets[:, None]).float()
    wide = logits.float()
    largest = wide.amax(-1, keepdim=True)
    total = (wide - largest).exp().sum(-1, keepdim=True)
    number = torch.arange(logits.shape[1], device=logits.device)
    gradient = (wide - largest).exp() / total - (number == targets[:, None]).float()
    logits.copy_(gradient)
    return (total.log() + largest - chosen)[:, 0]
