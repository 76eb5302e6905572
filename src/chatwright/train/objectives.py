"""What training minimises: an objective is a function from model and batch to loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.model.transformer import Transformer
from chatwright.train.attention import PackedAttention
from chatwright.train.packing import IGNORED, Batch

# About this many logits are in memory at once (32 MB of float32): larger chunks leave the caches,
# smaller ones read the head too often. Not fewer tokens than fill a matrix unit.
_LOGITS_AT_ONCE = 1 << 23
_TOKENS_AT_LEAST = 128
_TINY = 1e-30
# On a CPU, oneDNN compiles code for each new shape of a bfloat16 product (tens of milliseconds) and
# keeps it: few shapes are worth a little padding.
_MULTIPLE = 128
_CHUNK_MULTIPLE = 32


@dataclass(frozen=True, slots=True)
class Loss:
    """`sum` over what carries loss, and its `weight` (how much that is); both scalars.

    The loop divides the sum by the weight of the whole optimizer step, so that splitting a step
    into micro-batches changes nothing.
    """

    sum: Tensor
    weight: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """A loss on a batch."""

    def loss(self, model: Transformer, batch: Batch) -> Loss: ...


class NextToken:
    """Cross-entropy of each supervised next token: pretraining and supervised fine-tuning.

    The two differ in their data (`targets`), not in their loss.
    """

    def loss(self, model: Transformer, batch: Batch) -> Loss:
        if model.dtype == torch.bfloat16 and model.device.type == "cpu":
            batch = batch.padded(_MULTIPLE)
        attention = PackedAttention(batch.lengths)
        hidden = model.hidden(batch.tokens, batch.positions, attention)
        supervised = batch.targets != IGNORED
        # The head is most of a small model's arithmetic: only where there is something to learn.
        total = cross_entropy_sum(hidden[supervised], model.head_weight, batch.targets[supervised])
        return Loss(total, supervised.sum())


OBJECTIVES: dict[str, Objective] = {"pretrain": NextToken(), "sft": NextToken()}


def cross_entropy_sum(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropies (nats, float32) of `targets` [N] under softmax(hidden · headᵀ).

    `hidden` is [N, C], `head` [V, C]. Logits are computed a few hundred tokens at a time, in
    float32 from the product on, and turned into gradients at once, so that they are never kept nor
    computed twice.
    """
    return _CrossEntropySum.apply(hidden, head, targets)  # type: ignore[no-any-return]


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        want_hidden, want_head, _ = ctx.needs_input_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_head = (
            torch.zeros(head.shape, dtype=torch.float32, device=head.device) if want_head else None
        )
        at_once = max(_TOKENS_AT_LEAST, _LOGITS_AT_ONCE // len(head))
        at_once -= at_once % _CHUNK_MULTIPLE
        # Rows of zeros at the end add nothing to the head's gradient.
        count = len(hidden)
        more = -count % _CHUNK_MULTIPLE
        hidden, targets = F.pad(hidden, (0, 0, 0, more)), F.pad(targets, (0, more))
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        for start in range(0, count, at_once):
            part = slice(start, start + at_once)
            logits = F.linear(hidden[part], head).float()
            grad = torch.softmax(logits, dim=-1)
            picked = grad.gather(1, targets[part, None])[:, 0]
            losses = -picked.log()
            # The logarithm of a probability that underflows is taken the longer way.
            tiny = (picked < _TINY).nonzero()[:, 0]
            if len(tiny):
                losses[tiny] = F.cross_entropy(logits[tiny], targets[part][tiny], reduction="none")
            total += losses[: count - start].sum()
            if grad_hidden is None and grad_head is None:
                continue
            grad.scatter_add_(1, targets[part, None], torch.full_like(picked, -1.0)[:, None])
            grad = grad.to(head.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = grad @ head
            if grad_head is not None:
                grad_head += grad.T @ hidden[part]
        ctx.save_for_backward(None if grad_hidden is None else grad_hidden[:count], grad_head)
        ctx.head_dtype = head.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * grad.to(grad_hidden.dtype),
            None if grad_head is None else (grad_head * grad).to(ctx.head_dtype),
            None,
        )
