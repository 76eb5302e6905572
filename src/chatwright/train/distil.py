"""Objective `distil`: a student learns to say what its teacher would, by all its probabilities.

Hinton et al. 2015 on the texts of a dataset; Kim and Rush 2016 on the teacher's own answers;
Agarwal et al. 2024 (GKD) on the student's. Where the texts come from is `distil_texts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.errors import UsageError
from chatwright.model.transformer import Transformer
from chatwright.records import Conversation, Dataset, Document, Preference
from chatwright.train.distil_settings import DistilSettings
from chatwright.train.fused import fused_blocks
from chatwright.train.logprobs import packed_hidden
from chatwright.train.next_token import plan_of, prepare_with
from chatwright.train.objectives import Loss
from chatwright.train.packing import IGNORED, Batch
from chatwright.train.setup import Data, Prepared, Setup, steps_of

# About this many logits of each model are in memory at a time, but not fewer tokens than fill a
# matrix unit.
_LOGITS_AT_ONCE = 1 << 23
_TOKENS_AT_LEAST = 128
# On a CPU, oneDNN compiles code for each new shape of a bfloat16 product and keeps it.
_MULTIPLE = 128
_CHUNK_MULTIPLE = 32
# Vocabularies are filled up with unused rows to a multiple of this at most.
_PADDED_TO = 256
# A uniform guess costs ln V nats per token. A loss three times that has diverged.
_DIVERGED = 3.0


def prepare(setup: Setup) -> Prepared:
    """Check the teacher, find the texts, and plan the steps.

    Raises `UsageError` for a teacher of another vocabulary or rows that cannot be answered.
    """
    s = setup.settings.distil
    teacher = setup.helper("teacher").eval().requires_grad_(False)
    check_vocabularies(setup.model, teacher, setup.tokenizer.vocab_size, where=setup.stage)
    objective = Distil(teacher, s)
    chat = _are_conversations([part for part, _ in setup.data], s, setup.stage)
    if s.on == "data":
        prepared = prepare_with(setup, objective, chat=chat)
    else:
        from chatwright.train.distil_texts import StudentTexts, teacher_plan

        held_out = None
        if setup.validation is not None:
            held_out = plan_of(setup, [(setup.validation, 1.0)], chat=True)
        source: Any = (
            teacher_plan(setup, teacher) if s.on == "teacher" else StudentTexts.prepare(setup)
        )
        total = steps_of(setup.settings, setup.numbers, source.end_after)
        prepared = Prepared(objective, source, total, validation=held_out)
    return replace(prepared, ceiling=_ceiling(s, setup.model.config.vocab_size))


def _ceiling(s: DistilSettings, vocab_size: int) -> float:
    """A loss that only a student that learns nothing has; reverse KL has no such bound."""
    if s.divergence == "reverse":
        return float("inf")
    share = s.teacher_share
    weight = share * max(1.0, s.temperature**2) + 1 - share
    return _DIVERGED * math.log(vocab_size) * weight


def _are_conversations(data: Sequence[Data], s: DistilSettings, stage: str) -> bool:
    """Whether the rows are conversations; they are all of one kind."""
    kinds = {
        part.row_type if isinstance(part, Dataset) else type(row)
        for part in data
        for row in ([None] if isinstance(part, Dataset) else part)
    }
    if s.on == "data" and kinds in ({Document}, {Conversation}):
        return kinds == {Conversation}
    if s.on != "data" and kinds <= {Conversation, Preference}:
        return True
    found = " and ".join(sorted(f"{kind.kind}s" for kind in kinds))  # type: ignore[union-attr]
    wanted = (
        "documents or conversations, all of one kind"
        if s.on == "data"
        else "conversations or preferences, whose prompts can be answered"
    )
    raise UsageError(
        f"distillation on the texts of the {s.on} takes {wanted}, and these are {found}",
        where=f"stage {stage}: data",
    )


def check_vocabularies(
    student: Transformer, teacher: Transformer, vocab_size: int, *, where: str
) -> None:
    """Raise `UsageError` where the two do not give probabilities to the same tokens.

    They may differ in rows beyond the tokenizer's `vocab_size` that only fill up a matrix.
    """
    ours, theirs = student.config.vocab_size, teacher.config.vocab_size
    same = -(-ours // _PADDED_TO) == -(-theirs // _PADDED_TO) and min(ours, theirs) >= vocab_size
    if ours != theirs and not same:
        raise UsageError(
            f"the teacher has {theirs:,} tokens and the student {ours:,}: their probabilities "
            "cannot be compared",
            where=f"stage {where}: teacher",
            hint="a student learns from a teacher with its own tokenizer; with another one, let "
            "the teacher write answers (`chatwright chat`, `questions`) and fine-tune on these",
        )


@dataclass(frozen=True, slots=True)
class Distil:
    """`share` · T² · KL at temperature T, plus (1 − `share`) · cross-entropy.

    Both over the supervised tokens, in nats; T² keeps the gradient's size as T changes. Metrics:
    "divergence" (without T²) and "cross_entropy" per token.
    """

    teacher: Transformer
    settings: DistilSettings

    def loss(self, model: Transformer, batch: Batch) -> Loss:
        if model.dtype == torch.bfloat16 and model.device.type == "cpu":
            batch = batch.padded(_MULTIPLE)
        learnt = batch.targets != IGNORED
        with torch.no_grad(), fused_blocks(self.teacher):
            wanted = packed_hidden(self.teacher, batch)[learnt]
        states = packed_hidden(model, batch)[learnt]
        total, parts = _DistilSum.apply(
            states, model.head_weight, wanted, batch.targets[learnt], self
        )
        count = learnt.sum()
        return Loss(total, count, {"divergence": parts[0], "cross_entropy": parts[1]})


class _DistilSum(torch.autograd.Function):
    """The sum over tokens, and its parts. Logits are turned into gradients at once, a few hundred
    tokens at a time, so that neither model's are kept or computed twice.
    """

    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        wanted: Tensor,
        targets: Tensor,
        distil: Distil,
    ) -> tuple[Tensor, Tensor]:
        teacher = distil.teacher
        want_hidden, want_head = ctx.needs_input_grad[:2]
        size = min(len(head), teacher.config.vocab_size)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        parts = torch.zeros(2, dtype=torch.float32, device=hidden.device)
        grad_head = torch.zeros_like(head, dtype=torch.float32) if want_head else None
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        at_once = max(_TOKENS_AT_LEAST, _LOGITS_AT_ONCE // len(head))
        at_once -= at_once % _CHUNK_MULTIPLE
        for start in range(0, len(targets), at_once):
            part = slice(start, start + at_once)
            theirs = teacher.logits(wanted[part])[:, :size]
            with torch.enable_grad():
                logits = F.linear(hidden[part], head).float().detach().requires_grad_()
                found = distillation_loss(logits[:, :size], theirs, targets[part], distil.settings)
            total += found[0].detach()
            parts += torch.stack(found[1:]).detach()
            if not (want_hidden or want_head):
                continue
            (grad,) = torch.autograd.grad(found[0], logits)
            grad = grad.to(head.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = grad @ head
            if grad_head is not None:
                grad_head += grad.T @ hidden[part]
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.head_dtype = head.dtype
        ctx.mark_non_differentiable(parts)
        return total, parts

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_head = ctx.saved_tensors
        # The factor may be too large for float16 (a loss scale).
        if grad_hidden is not None:
            grad_hidden = (grad_hidden.float() * grad).to(grad_hidden.dtype)
        if grad_head is not None:
            grad_head = (grad_head * grad).to(ctx.head_dtype)
        return grad_hidden, grad_head, None, None, None


def distillation_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, settings: DistilSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over tokens: the loss, the divergence at the temperature, and the cross-entropy.

    Logits are [N, V], `targets` [N]. KL(teacher ‖ student) where the divergence is "forward",
    KL(student ‖ teacher) where it is "reverse".
    """
    t, share = settings.temperature, settings.teacher_share
    likely = F.log_softmax(student.float() / t, dim=-1)
    wanted = F.log_softmax(teacher.float() / t, dim=-1)
    if settings.divergence == "reverse":
        likely, wanted = wanted, likely
    divergence = F.kl_div(likely, wanted, reduction="sum", log_target=True)
    entropy = F.cross_entropy(student.float(), targets, reduction="sum")
    return share * t * t * divergence + (1 - share) * entropy, divergence, entropy
