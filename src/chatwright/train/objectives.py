"""What training minimises: an objective is a function from model and batch to loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.model.transformer import Transformer
from chatwright.train import compiled, native
from chatwright.train.attention import PackedAttention
from chatwright.train.packing import IGNORED, Batch
from chatwright.train.settings import ObjectiveName

if TYPE_CHECKING:
    from chatwright.train.setup import Prepared, Setup

# Logits become probabilities this many at a time. On a CPU 4 MB of float32 stay in the caches,
# which took a quarter less time than 32 MB with 4,096 to 8,192 entries; larger vocabularies do not
# gain.
_LOGITS_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 28}
# The products that make the gradients of them read the head less often: this many at a time.
_GRADIENTS_AT_ONCE = {"cpu": 1 << 23, "cuda": 1 << 28}
# Not fewer tokens than fill a matrix unit.
_TOKENS_AT_LEAST = 128
_TINY = 1e-30
# On a CPU, oneDNN compiles code for each new shape of a 16-bit product (tens of milliseconds) and
# keeps it: few shapes are worth a little padding.
_MULTIPLE = 128
_CHUNK_MULTIPLE = 32


@dataclass(frozen=True, slots=True)
class Loss:
    """`sum` over what carries loss, and its `weight` (how much that is); both scalars.

    The loop divides the sum by the weight of the whole optimizer step, so that splitting a step
    into micro-batches changes nothing. `metrics` are such sums too, scalars divided by the same
    weight, or [2]: a sum and a weight of its own.
    """

    sum: Tensor
    weight: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """A loss on a batch."""

    def loss(self, model: Transformer, batch: Batch) -> Loss: ...


class NextToken:
    """Cross-entropy of each supervised next token: pretraining and supervised fine-tuning.

    The two differ in their data (`targets`), not in their loss.
    """

    def loss(self, model: Transformer, batch: Batch) -> Loss:
        if model.dtype != torch.float32 and model.device.type == "cpu":
            batch = batch.padded(_MULTIPLE)
        attention = PackedAttention(batch.lengths, model.config)
        hidden = model.hidden(batch.tokens, batch.positions, attention)
        supervised = batch.targets != IGNORED
        # The head is most of a small model's arithmetic: only where there is something to learn.
        total = cross_entropy_sum(hidden[supervised], model.head_weight, batch.targets[supervised])
        return Loss(total, supervised.sum())


# Where the `prepare` of each objective is; imported when it is asked for.
_HOMES = {
    "pretrain": "chatwright.train.next_token",
    "sft": "chatwright.train.next_token",
    "reward": "chatwright.train.preference.reward",
    "dpo": "chatwright.train.preference.dpo",
    "ppo": "chatwright.train.rl.ppo",
    "grpo": "chatwright.train.rl.grpo",
    "distil": "chatwright.train.distil",
}


def preparation(objective: ObjectiveName) -> Callable[[Setup], Prepared]:
    """The function that makes loss and batches of this objective from what a run was given."""
    found: Callable[[Setup], Prepared] = import_module(_HOMES[objective]).prepare
    return found


def cross_entropy_sum(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropies (nats, float32) of `targets` [N] under softmax(hidden · headᵀ).

    `hidden` is [N, C], `head` [V, C]. Logits are computed a few hundred tokens at a time and turned
    into probabilities (float32) and gradients at once: never kept, never computed twice.
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
        # Rows of zeros at the end add nothing to the head's gradient.
        count = len(hidden)
        more = -count % _CHUNK_MULTIPLE
        hidden, targets = F.pad(hidden, (0, 0, 0, more)), F.pad(targets, (0, more))
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        few, many = _tokens_at_once(head)
        for start in range(0, len(hidden), many):
            part = slice(start, start + many)
            inputs, answers = hidden[part], targets[part]
            keep = want_hidden or want_head
            grads = inputs.new_empty(len(inputs) if keep else 0, len(head))
            kernel = _kernel(inputs, grads) if keep else None
            for first in range(0, len(inputs), few):
                chunk = slice(first, first + few)
                if kernel is not None:
                    torch.mm(inputs[chunk], head.T, out=grads[chunk])
                    losses = kernel(grads[chunk], answers[chunk])
                else:
                    losses, grad = _of_logits(F.linear(inputs[chunk], head), answers[chunk], keep)
                    if grad is not None:
                        grads[chunk] = grad
                total += losses[: max(0, count - start - first)].sum()
            if grad_hidden is not None:
                grad_hidden[part] = grads @ head
            if grad_head is not None:
                grad_head += grads.T @ inputs
        ctx.save_for_backward(None if grad_hidden is None else grad_hidden[:count], grad_head)
        ctx.head_dtype = head.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        return (
            None if grad_hidden is None else _scaled(grad_hidden, grad),
            None if grad_head is None else (grad_head * grad).to(ctx.head_dtype),
            None,
        )


def _kernel(*tensors: Tensor) -> Callable[[Tensor, Tensor], Tensor] | None:
    """What turns logits into their gradients in place, and gives the losses; None: torch does."""
    if native.ready(*tensors):
        return native.cross_entropy
    return compiled.cross_entropy if compiled.fuses(*tensors) else None


def _scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """Times a float32 factor that may be too large for float16 (a loss scale)."""
    if gradient.dtype == torch.float16:
        return (gradient.float() * factor).to(gradient.dtype)
    return gradient * factor.to(gradient.dtype)


def _tokens_at_once(head: Tensor) -> tuple[int, int]:
    """How many tokens become probabilities, and how many gradients, at a time."""
    kind = head.device.type if head.device.type in _LOGITS_AT_ONCE else "cuda"
    few, many = (bound[kind] // len(head) for bound in (_LOGITS_AT_ONCE, _GRADIENTS_AT_ONCE))
    if few < _TOKENS_AT_LEAST:
        few = max(_TOKENS_AT_LEAST, many)
    few -= few % _CHUNK_MULTIPLE
    return few, max(few, many // few * few)


def _of_logits(logits: Tensor, targets: Tensor, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Losses [N] of `logits` [N, V] in float32, and their gradients (None unless `keep`)."""
    grad = torch.softmax(logits, dim=-1, dtype=torch.float32)
    picked = grad.gather(1, targets[:, None])[:, 0]
    losses = -picked.log()
    # The logarithm of a probability that underflows is taken the longer way.
    tiny = (picked < _TINY).nonzero()[:, 0]
    if len(tiny):
        losses[tiny] = F.cross_entropy(logits[tiny].float(), targets[tiny], reduction="none")
    if not keep:
        return losses, None
    return losses, grad.scatter_add_(1, targets[:, None], torch.full_like(picked, -1.0)[:, None])
