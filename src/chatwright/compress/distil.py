"""A smaller student that learns to answer as its teacher does: all probabilities, not one token.

Hinton et al. 2015. The student starts from every second layer of the teacher (Sanh et al. 2019,
DistilBERT) and is trained by the ordinary loop with `Distil` as its objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from chatwright.compress.recover import training_settings
from chatwright.compress.structured import spread_layers, take_layers
from chatwright.errors import UsageError
from chatwright.model.transformer import Transformer
from chatwright.progress import Progress, Silent
from chatwright.records import Dataset, Row, fingerprint
from chatwright.tokenizer import Tokenizer
from chatwright.train import Loss, Trainer, TrainSettings
from chatwright.train.attention import PackedAttention
from chatwright.train.numbers import decide
from chatwright.train.packing import IGNORED, Batch
from chatwright.train.plan import Mixed, Plan
from chatwright.train.tokens import write_token_file

# Logits of teacher and student are in memory for so many tokens at a time.
_TOKENS_AT_ONCE = 256
# On a CPU, oneDNN compiles code for each new shape of a bfloat16 product and keeps it.
_MULTIPLE = 128


def student_of(teacher: Transformer, layers: int) -> Transformer:
    """A student of `layers` of the teacher's layers at equal distances, the first and last among
    them; with weights of its own, float32.
    """
    student = take_layers(teacher, spread_layers(len(teacher.layers), layers))
    state = {n: t.detach().float().clone() for n, t in student.state_dict().items()}
    student.load_state_dict(state, assign=True)
    return student


@dataclass(frozen=True, slots=True)
class Distil:
    """`share` · T² · KL(teacher ‖ student) at temperature T, plus (1 − share) · cross-entropy.

    Both over the supervised tokens, in nats. T² keeps the gradient's size as T changes.
    """

    teacher: Transformer
    temperature: float = 2.0
    share: float = 0.5

    def loss(self, model: Transformer, batch: Batch) -> Loss:
        if model.dtype == torch.bfloat16 and model.device.type == "cpu":
            batch = batch.padded(_MULTIPLE)
        learnt = batch.targets != IGNORED
        with torch.no_grad():
            wanted = self._hidden(self.teacher, batch)[learnt]
        states, targets = self._hidden(model, batch)[learnt], batch.targets[learnt]
        total = states.new_zeros((), dtype=torch.float32)
        for start in range(0, len(targets), _TOKENS_AT_ONCE):
            part = slice(start, start + _TOKENS_AT_ONCE)
            total = total + checkpoint(
                self._part, model, states[part], wanted[part], targets[part], use_reentrant=False
            )
        return Loss(total, learnt.sum())

    def _part(self, model: Transformer, states: Tensor, wanted: Tensor, targets: Tensor) -> Tensor:
        logits = model.logits(states)
        with torch.no_grad():
            teacher = self.teacher.logits(wanted)
        return distillation_loss(logits, teacher, targets, self.temperature, self.share)

    @staticmethod
    def _hidden(model: Transformer, batch: Batch) -> Tensor:
        return model.hidden(batch.tokens, batch.positions, PackedAttention(batch.lengths))


def distillation_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, temperature: float, share: float
) -> Tensor:
    """The sum over tokens of `Distil`'s loss; logits are [N, V], `targets` [N]."""
    likely = F.log_softmax(student / temperature, dim=-1)
    wanted = F.log_softmax(teacher / temperature, dim=-1)
    divergence = F.kl_div(likely, wanted, reduction="sum", log_target=True)
    entropy = F.cross_entropy(student, targets, reduction="sum")
    return share * temperature**2 * divergence + (1 - share) * entropy


def distil(
    teacher: Transformer,
    tokenizer: Tokenizer,
    data: Dataset | Sequence[Row],
    *,
    layers: int,
    steps: int,
    temperature: float = 2.0,
    share: float = 0.5,
    settings: TrainSettings | None = None,
    seed: int = 0,
    scratch: Path,
    progress: Progress | None = None,
) -> tuple[Transformer, float]:
    """A student of `layers` layers, trained for `steps` steps, and the loss of the last one.

    `scratch` holds what an interrupted run goes on from: called again with the same arguments, it
    ends with the same bits. Raises `UsageError` for a student that is no smaller.
    """
    if not 0 < layers < len(teacher.layers):
        raise UsageError(
            f"a student of {layers} layers for a teacher of {len(teacher.layers)}", where="--keep"
        )
    if temperature <= 0 or not 0 <= share <= 1:
        raise UsageError("the temperature is above 0 and the share from 0 to 1")
    progress = progress or Silent()
    student = student_of(teacher, layers)
    how = settings or training_settings(student, data, steps)
    numbers = decide(how, student.config, student.device)
    content = data.info.content_digest if isinstance(data, Dataset) else None
    made_of = [content or [row.to_arrow() for row in data], how.objective, tokenizer.vocab_size]
    tokens = write_token_file(
        scratch / "tokens" / fingerprint("tokens", made_of),
        data,
        tokenizer,
        objective=how.objective,
        stage="distil",
        total=len(data),
        progress=progress,
    )
    plan = Plan(
        [Mixed(tokens)],
        length=numbers.length,
        rows_per_step=numbers.rows_per_step,
        seed=seed,
        chat=how.objective == "sft",
        too_long=how.too_long,
        stage="distil",
    )
    student.requires_grad_(True)
    teacher = teacher.to(numbers.dtype).eval().requires_grad_(False)
    run = [made_of, how.model_dump(mode="json"), seed, layers, temperature, share]
    trainer = Trainer(
        model=student,
        objective=Distil(teacher, temperature, share),
        plan=plan,
        settings=how,
        numbers=numbers,
        total=steps,
        seed=seed,
        run=fingerprint("distil", run),
        folder=scratch,
        progress=progress,
    )
    trainer.fit()
    return student, trainer.last_loss
