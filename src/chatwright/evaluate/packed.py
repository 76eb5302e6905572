"""A model's matrices laid out for its CPU while it only reads: the same bits, a little sooner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from chatwright.model import Transformer

Head = Callable[["Tensor"], "Tensor"]


@contextmanager
def packed_weights(model: Transformer) -> Iterator[Head]:
    """Within the block the model multiplies with packed matrices; yields hidden states → logits.

    oneDNN lays a bfloat16 matrix out anew for each product (the vocabulary's 56 MB for every 128
    tokens of SmolLM2) unless it is told that it may keep the layout: products of 1,024 rows went
    from 400 to 440 GFLOP/s, those of the vocabulary from 340 to 415, with equal results. It takes
    the weights' memory once more. Elsewhere than in bfloat16 on a CPU, and where torch has no such
    product, nothing changes. The weights must not change within the block.
    """
    import torch
    from torch import nn

    ops: Any = torch.ops.mkldnn
    there = hasattr(ops, "_linear_pointwise") and hasattr(ops, "_reorder_linear_weight")
    if model.device.type != "cpu" or model.dtype != torch.bfloat16 or not there:
        yield model.logits
        return

    def product(weight: Tensor, bias: Tensor | None) -> Head:
        packed = ops._reorder_linear_weight(weight.detach())
        return lambda x: ops._linear_pointwise(x, packed, bias, "none", [], "")

    linear = [m for m in model.layers.modules() if type(m) is nn.Linear]
    try:
        with torch.inference_mode():
            for module in linear:
                # On the object, where it hides the class's own until it is deleted.
                module.__dict__["forward"] = product(module.weight, module.bias)
            head = product(model.head_weight, None)
        yield lambda hidden: head(hidden).float()
    finally:
        for module in linear:
            module.__dict__.pop("forward", None)
