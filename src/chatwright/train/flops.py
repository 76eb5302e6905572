"""How much arithmetic training needs, and what share of the machine's peak it gets (MFU).

Counted as in Chowdhery et al. 2022 (PaLM), appendix B: the multiplications and additions of the
matrix products that the model's mathematics needs, forward and backward, and of attention over the
whole square of a sequence. What is computed twice to save memory does not count, nor do norms,
activations and the optimizer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from chatwright.model import Transformer
from chatwright.train.packing import IGNORED, Batch

# The parts of a block in the order in which the forward pass meets them; attention comes before
# "o_proj". Backward goes the other way, down to the first part that is trained.
_STAGES = (
    ("input_layernorm",),
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.q_norm", "self_attn.k_norm"),
    ("self_attn.o_proj",),
    ("post_attention_layernorm",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
_AFTER_ATTENTION = "self_attn.o_proj"

# Dense peak of bfloat16 tensor cores with float32 accumulation, in TFLOP/s, as the makers publish
# it (without sparsity). The first name that is part of the device's name counts.
_PEAK_BF16 = (
    ("GB300", 2500.0), ("B300", 2250.0), ("GB200", 2500.0), ("B200", 2250.0), ("B100", 1750.0),
    ("GH200", 989.4), ("H200 NVL", 835.0), ("H200", 989.4),
    ("H100 NVL", 835.0), ("H100 PCIe", 756.0), ("H100", 989.4),
    ("H800", 989.4), ("H20", 148.0), ("A100", 312.0), ("A800", 312.0), ("A40", 149.7),
    ("A30", 165.0), ("A10G", 70.0), ("A10", 125.0), ("L40S", 362.0), ("L40", 181.0),
    ("L20", 119.5), ("L4", 121.0), ("RTX 6000 Ada", 364.2), ("RTX A6000", 154.8),
    ("RTX 5090", 209.5), ("RTX 4090", 165.2), ("RTX 3090", 71.0),
    ("MI355X", 2500.0), ("MI325X", 1307.4), ("MI300X", 1307.4), ("MI250X", 191.5),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations of one training step's parts, forward and backward.

    `token`: in the layers, per token. `supervised`: in the head, per token that carries loss.
    `pairs`: in attention, per query and key, as (operations, window or None) of each layer.
    """

    token: float
    supervised: float
    pairs: tuple[tuple[float, int | None], ...]

    def of(self, tokens: int, supervised: int, lengths: Iterable[int]) -> float:
        """Operations for sequences of these `lengths`, `tokens` in all."""
        total = self.token * tokens + self.supervised * supervised
        squares: dict[int | None, int] = {}
        sizes = list(lengths)
        for operations, window in self.pairs:
            if window not in squares:
                squares[window] = sum(n * min(n, n if window is None else window) for n in sizes)
            total += operations * squares[window]
        return total

    def of_batches(self, batches: Sequence[Batch]) -> float:
        """Operations for the micro-batches of a step."""
        return self.of(
            sum(batch.tokens.numel() for batch in batches),
            sum(int((batch.targets != IGNORED).sum()) for batch in batches),
            [n for batch in batches for n in batch.lengths],
        )


def training_cost(model: Transformer, *, head: bool = True) -> Cost:
    """What one step of training `model` costs, with the parameters that now `requires_grad`.

    A matrix of N numbers costs 2 N per token forward, 2 N for its input's gradient where something
    before it is trained, and 2 N for its own where it is trained itself: 6 N for full training,
    4 N for the frozen matrices under adapters, 2 N for layers below all that is trained.
    Attention costs 4·H·D per pair of tokens forward and twice that backward. `head` False leaves
    out the vocabulary's matrix (a reward model does without).
    """
    config = model.config
    trained = model.embed_tokens.weight.requires_grad  # something before this point
    token = 0.0
    pairs: list[tuple[float, int | None]] = []
    for number, block in enumerate(model.layers):
        parts = dict(block.named_modules())
        before = trained or any(p.requires_grad for p in parts[_STAGES[0][0]].parameters())
        for stage in _STAGES:
            if stage[0] == _AFTER_ATTENTION:
                each = 2.0 * config.n_heads * config.head_dim
                pairs.append((each * _attention_products(parts, before), config.window_of(number)))
            found = [parts[name] for name in stage if parts.get(name) is not None]
            token += sum(_product_cost(part, trained) for part in found)
            trained = trained or any(p.requires_grad for part in found for p in part.parameters())
    trained = trained or model.norm.weight.requires_grad
    weight = model.head_weight
    supervised = 2.0 * weight.numel() * (1 + trained + weight.requires_grad) if head else 0.0
    return Cost(token, supervised, tuple(pairs))


def _attention_products(parts: Mapping[str, nn.Module], before: bool) -> int:
    """Products over the pairs of a layer: scores and mixture, and what their gradients need."""

    def needed(which: str) -> bool:
        found = (parts.get(f"self_attn.{which}_{kind}") for kind in ("proj", "norm"))
        layers = [layer for layer in found if layer is not None]
        return before or any(p.requires_grad for layer in layers for p in layer.parameters())

    q, k, v = (needed(which) for which in "qkv")
    return 2 + q + k + (q or k) + v


def _product_cost(layer: nn.Module, trained: bool) -> float:
    """Operations per token of a projection; `trained`: its input's gradient is needed."""
    total = 0.0
    matrices = {name: p for name, p in layer.named_parameters() if p.ndim == 2}
    for name, matrix in matrices.items():
        # Of two thin matrices the second one's input depends on the first.
        first = matrices.get({"lora_B": "lora_A", "outer.weight": "inner.weight"}.get(name, ""))
        needed = trained or (first is not None and first.requires_grad)
        total += 2.0 * matrix.numel() * (1 + needed + matrix.requires_grad)
    return total


@dataclass(frozen=True, slots=True)
class Peak:
    """The most floating-point operations per second that a device can do; and how we know."""

    flops: float
    source: str


def peak_of(device: torch.device, dtype: torch.dtype) -> Peak:
    """The peak of `device` for matrix products in `dtype`.

    The maker's figure for GPUs that the table knows, in bfloat16 and float16. Otherwise measured,
    once per process, type and number of threads: the best of a few square products.
    """
    if device.type == "cuda" and dtype in (torch.bfloat16, torch.float16):
        name = torch.cuda.get_device_name(device)
        for known, tera in _PEAK_BF16:
            if re.search(rf"\b{known}\b", name):
                return Peak(tera * 1e12, f"published for {known}")
    return Peak(_measured(str(device), dtype, torch.get_num_threads()), "measured matrix product")


@cache
def _measured(device: str, dtype: torch.dtype, threads: int) -> float:
    """FLOP/s of the best of several square products; nothing random is drawn."""
    size = 768 if device == "cpu" else 8192
    one = torch.full((size, size), 0.5, dtype=dtype, device=device)
    other = torch.full((size, size), 0.25, dtype=dtype, device=device)
    best = float("inf")
    with torch.no_grad():
        for _ in range(6):  # the first one also warms up
            begun = time.perf_counter()
            torch.mm(one, other)
            if device != "cpu":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - begun)
    return 2.0 * size**3 / best
