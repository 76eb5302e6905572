"""The decoder's blocks with backward passes written by hand: the same values, less time and memory.

Autograd keeps every intermediate of a block: of RMSNorm alone three float32 copies of the residual
stream. Written out, a block keeps its inputs, the two MLP projections and what attention keeps;
what is cheap to compute again (norms, SiLU) is computed again, no matrix product is. A low-rank
adapter adds into the product of its layer instead of making a matrix of its own. In bfloat16 on a
CPU, compiled kernels compute what lies between the products (`train/native.py`).

`model/transformer.py` stays the definition. Tests hold these functions to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatwright.model.lora import LoRALinear
from chatwright.model.low_rank import LowRankLinear
from chatwright.model.transformer import Attention, Block, RMSNorm, Transformer
from chatwright.train import native

_Tensors = tuple[Tensor | None, ...]


@contextmanager
def fused_blocks(model: Transformer) -> Iterator[None]:
    """Within, `model`'s blocks run on these functions; adapters with dropout keep the plain way.

    So do factorised projections (`LowRankLinear`).
    """
    blocks = [b for b in model.layers if isinstance(b, Block) and not _plain_only(b)]
    for block in blocks:
        block.forward = partial(_block, block)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _plain_only(block: Block) -> bool:
    return any(
        isinstance(m, LowRankLinear) or (isinstance(m, LoRALinear) and m.dropout > 0)
        for m in block.modules()
    )


def _block(block: Block, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
    """What `Block.forward` computes; `x` is [B, T, C]."""
    own = block.self_attn
    rows, length, width = x.shape
    flat = x.reshape(-1, width)
    # Angles of each token, for [tokens, heads, D / 2].
    shape = (rows, 1, length, cos.shape[-1])
    angles = [a.expand(shape).reshape(-1, 1, cos.shape[-1]) for a in (cos, sin)]
    norm = block.input_layernorm
    layers = (own.q_proj, own.k_proj, own.v_proj)
    q, k, v = _Projections.apply(
        flat,
        norm.weight,
        norm.eps,
        *angles,
        *_norm_arguments(own.q_norm),
        *_norm_arguments(own.k_norm),
        own.head_dim,
        *_arguments(layers),
    )
    heads = (rows, length, -1, own.head_dim)
    mixed = attention(own.layer, *(y.view(heads).transpose(1, 2) for y in (q, k, v)))
    mixed = mixed.transpose(1, 2).reshape(rows * length, -1)
    flat = _Output.apply(flat, mixed, *_arguments((own.o_proj,)))
    norm, mlp = block.post_attention_layernorm, block.mlp
    flat = _MLP.apply(
        flat,
        norm.weight,
        norm.eps,
        *_arguments((mlp.gate_proj, mlp.up_proj, mlp.down_proj)),
    )
    return flat.view(rows, length, width)  # type: ignore[no-any-return]


# -- pieces ----------------------------------------------------------------------------------------


def _arguments(layers: Sequence[nn.Module]) -> list[Any]:
    """Per layer: weight, bias, A, B and scale (None, None, 0 without an adapter)."""
    found: list[Any] = []
    for layer in layers:
        if isinstance(layer, LoRALinear):
            found += [layer.weight, layer.bias, layer.lora_A, layer.lora_B, layer.scale]
        else:
            assert isinstance(layer, nn.Linear)
            found += [layer.weight, layer.bias, None, None, 0.0]
    return found


def _norm_arguments(norm: RMSNorm | None) -> tuple[Tensor | None, float]:
    return (None, 0.0) if norm is None else (norm.weight, norm.eps)


class _Layer:
    """One linear layer with its adapter, inside a function."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        self.weight, self.bias, a, b, scale = arguments
        self.adapted = a is not None
        self.scale = float(scale)
        if self.adapted:
            self.a = a.to(self.weight.dtype)
            self.b = b.to(self.weight.dtype) * self.scale
            self.adapter_dtype = a.dtype

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Output [N, outputs], and the adapter's inner activations [N, rank]."""
        y = F.linear(x, self.weight, self.bias)
        if not self.adapted:
            return y, None
        small = F.linear(x, self.a)
        return y.addmm_(small, self.b.T), small

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        small: Tensor | None,
        needs: Sequence[bool],
        into: Tensor | None,
    ) -> tuple[Tensor, _Tensors]:
        """The input's gradient (added to `into` where given), and those of the five arguments."""
        total = grad @ self.weight if into is None else into.addmm_(grad, self.weight)
        grad_a = grad_b = None
        if self.adapted:
            assert small is not None
            inner = grad @ self.b
            total.addmm_(inner, self.a)
            grad_a = (inner.T @ x).to(self.adapter_dtype)
            grad_b = (grad.T @ small).to(self.adapter_dtype).mul_(self.scale)
        grad_weight = grad.T @ x if needs[0] else None
        grad_bias = grad.sum(0) if needs[1] else None
        return total, (grad_weight, grad_bias, grad_a, grad_b, None)


def _normalise(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """RMSNorm over the last dimension, and the float32 factor of each row."""
    if native.ready(x, weight):
        return native.norm(x, weight, eps)
    wide = x.float()
    factor = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * factor).to(x.dtype).mul_(weight), factor


def _normalise_again(x: Tensor, weight: Tensor, factor: Tensor) -> Tensor:
    if native.ready(x, weight):
        return native.norm_again(x, weight, factor)
    return (x.float() * factor).to(x.dtype).mul_(weight)


def _normalise_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    factor: Tensor,
    need_weight: bool,
    *,
    add: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The gradients of the input (plus `add`) and of the weight."""
    if native.ready(grad, x, weight):
        return native.norm_backward(grad, x, weight, factor, need_weight, add=add)
    unit = x.float().mul_(factor)
    wide = grad.float()
    grad_weight = None
    if need_weight:
        grad_weight = (wide * unit).flatten(0, -2).sum(0).to(weight.dtype)
    wide = wide * weight.float()
    along = (wide * unit).mean(-1, keepdim=True)
    found = wide.addcmul_(unit, along, value=-1).mul_(factor).to(x.dtype)
    return found if add is None else found.add_(add), grad_weight


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: float = 1.0) -> Tensor:
    """RoPE of [N, heads, D], half-split, in float32; with `sign` −1 its inverse."""
    half = x.shape[-1] // 2
    if native.ready(x[..., :half]):
        return native.turn(x, cos, sin, sign)
    if sign < 0:
        sin = -sin
    first, second = x[..., :half].float(), x[..., half:].float()
    out = torch.empty_like(x)
    out[..., :half] = (first * cos).addcmul_(second, sin, value=-1)
    out[..., half:] = second.mul_(cos).addcmul_(first, sin)
    return out


def _gated(gate: Tensor, up: Tensor) -> Tensor:
    """SiLU(gate) · up."""
    return native.gated(gate, up) if native.ready(gate, up) else F.silu(gate).mul_(up)


def _gated_backward(gate: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of gate and up; `grad` may be overwritten."""
    if native.ready(gate, up, grad):
        return native.gated_backward(gate, up, grad)
    grad_up = F.silu(gate).mul_(grad)
    return torch.ops.aten.silu_backward(grad.mul_(up), gate), grad_up


class _Projections(torch.autograd.Function):
    """Norm, then queries, keys and values [N, heads · D], the first two normalised and rotated."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any,
        x: Tensor,
        norm: Tensor,
        eps: float,
        cos: Tensor,
        sin: Tensor,
        q_norm: Tensor | None,
        q_eps: float,
        k_norm: Tensor | None,
        k_eps: float,
        head_dim: int,
        *rest: Any,
    ) -> tuple[Tensor, ...]:
        h, factor = _normalise(x, norm, eps)
        outputs, kept = [], []
        head_norms = ((q_norm, q_eps), (k_norm, k_eps), (None, 0.0))
        for i, (head_norm, head_eps) in enumerate(head_norms):
            y, small = _Layer(rest[5 * i : 5 * i + 5]).forward(h)
            before = head_factor = None
            if i < 2:
                y = y.view(len(x), -1, head_dim)
                if head_norm is not None:
                    before = y
                    y, head_factor = _normalise(y, head_norm, head_eps)
                y = _turn(y, cos, sin).view(len(x), -1)
            outputs.append(y)
            kept += [small, before, head_factor]
        tensors = [a for i, a in enumerate(rest) if i % 5 != 4]
        ctx.save_for_backward(x, norm, factor, cos, sin, q_norm, k_norm, *kept, *tensors)
        ctx.scales = [float(a) for a in rest[4::5]]
        ctx.head_dim = head_dim
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, norm, factor, cos, sin, q_norm, k_norm, *others = ctx.saved_tensors
        kept, tensors = others[:9], others[9:]
        h = _normalise_again(x, norm, factor)
        total: Tensor | None = None
        gradients: list[Any] = []
        head_gradients: list[Tensor | None] = [None, None]
        for i, (head_norm, output_grad) in enumerate(
            zip((q_norm, k_norm, None), grads, strict=True)
        ):
            small, before, head_factor = kept[3 * i : 3 * i + 3]
            grad = output_grad
            if i < 2:
                grad = _turn(output_grad.reshape(len(x), -1, ctx.head_dim), cos, sin, -1.0)
            if head_norm is not None:
                grad, head_gradients[i] = _normalise_backward(
                    grad, before, head_norm, head_factor, ctx.needs_input_grad[5 + 2 * i]
                )
            layer = _Layer([*tensors[4 * i : 4 * i + 4], ctx.scales[i]])
            needs = ctx.needs_input_grad[10 + 5 * i :]
            total, found = layer.backward(grad.reshape(len(x), -1), h, small, needs, total)
            gradients += found
        assert total is not None
        grad_x, grad_norm = _normalise_backward(total, x, norm, factor, ctx.needs_input_grad[1])
        q_grad, k_grad = head_gradients
        return grad_x, grad_norm, None, None, None, q_grad, None, k_grad, None, None, *gradients


class _Output(torch.autograd.Function):
    """The residual stream plus the attention's output projection."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mixed: Tensor, *rest: Any) -> Tensor:
        y, small = _Layer(rest).forward(mixed)
        ctx.save_for_backward(mixed, small, *rest[:4])
        ctx.scale = rest[4]
        return y.add_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        mixed, small, *tensors = ctx.saved_tensors
        layer = _Layer([*tensors, ctx.scale])
        total, gradients = layer.backward(grad, mixed, small, ctx.needs_input_grad[2:], None)
        return grad, total, *gradients


class _MLP(torch.autograd.Function):
    """The residual stream plus the MLP of its norm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Tensor, eps: float, *rest: Any) -> Tensor:
        h, factor = _normalise(x, norm, eps)
        gate, small_gate = _Layer(rest[:5]).forward(h)
        up, small_up = _Layer(rest[5:10]).forward(h)
        y, small_down = _Layer(rest[10:]).forward(_gated(gate, up))
        tensors = [a for i, a in enumerate(rest) if i % 5 != 4]
        smalls = (small_gate, small_up, small_down)
        ctx.save_for_backward(x, norm, factor, gate, up, *smalls, *tensors)
        ctx.scales = [float(a) for a in rest[4::5]]
        return y.add_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, norm, factor, gate, up, small_gate, small_up, small_down, *tensors = ctx.saved_tensors
        layers = [_Layer([*tensors[4 * i : 4 * i + 4], ctx.scales[i]]) for i in range(3)]
        needs = ctx.needs_input_grad[3:]
        active = _gated(gate, up)
        inner, down_gradients = layers[2].backward(grad, active, small_down, needs[10:], None)
        grad_gate, grad_up = _gated_backward(gate, up, inner)
        h = _normalise_again(x, norm, factor)
        total, gate_gradients = layers[0].backward(grad_gate, h, small_gate, needs, None)
        total, up_gradients = layers[1].backward(grad_up, h, small_up, needs[5:], total)
        grad_x, grad_norm = _normalise_backward(
            total, x, norm, factor, ctx.needs_input_grad[1], add=grad
        )
        grads = (*gate_gradients, *up_gradients, *down_gradients)
        return grad_x, grad_norm, None, *grads
