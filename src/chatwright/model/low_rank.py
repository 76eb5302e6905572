"""A projection stored as two thin ones: fewer numbers to keep, to read and to multiply."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LowRankLinear(nn.Module):
    """`outer(inner(x))`: inputs → rank → outputs, in place of one matrix.

    Rank · (inputs + outputs) weights in place of inputs · outputs; the bias is `outer`'s. `weight`
    is the product, computed when asked: code that packs or converts matrices finds what it needs.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = inputs, outputs, rank
        self.inner = nn.Linear(inputs, rank, bias=False)
        self.outer = nn.Linear(rank, outputs, bias=bias)

    @classmethod
    def of(cls, inner: Tensor, outer: Tensor, bias: Tensor | None) -> LowRankLinear:
        """From the factors [rank, inputs] and [outputs, rank]."""
        with torch.device("meta"):
            layer = cls(inner.shape[1], outer.shape[0], inner.shape[0], bias is not None)
        layer.inner.weight = nn.Parameter(inner)
        layer.outer.weight = nn.Parameter(outer)
        if bias is not None:
            layer.outer.bias = nn.Parameter(bias.detach())
        return layer

    @property
    def weight(self) -> Tensor:
        """The product [outputs, inputs], computed in float32 and rounded to the factors' type."""
        outer, inner = self.outer.weight, self.inner.weight
        return (outer.float() @ inner.float()).to(outer.dtype)

    @property
    def bias(self) -> Tensor | None:
        return self.outer.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))  # type: ignore[no-any-return]

    def merged(self) -> nn.Linear:
        """A plain layer that holds the product."""
        with torch.device("meta"):
            plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        plain.weight = nn.Parameter(self.weight.detach())
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.detach())
        return plain
