"""Training after compression: a few steps on text or conversations win back much that was lost.

What was pruned stays exactly zero. The trainer is the ordinary one (`train.train`), so that it is
as resumable and as deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chatwright.compress.prune import apply_masks
from chatwright.errors import UsageError
from chatwright.model.transformer import Transformer
from chatwright.progress import Progress
from chatwright.records import Conversation, Dataset, Document, Row
from chatwright.tokenizer import Tokenizer
from chatwright.train import TrainResult, TrainSettings, train

_LENGTH = 512
_BATCH_TOKENS = 4096
_RATE = 3e-4


def recover(
    model: Transformer,
    tokenizer: Tokenizer,
    data: Dataset | Sequence[Row],
    *,
    steps: int,
    masks: Mapping[str, Tensor] | None = None,
    settings: TrainSettings | None = None,
    seed: int = 0,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train `model` in place for `steps` steps; weights that `masks` leave out stay zero.

    Documents are learnt whole, of conversations the assistant's turns. `settings` override the
    defaults (rows of 512 tokens, 4,096 tokens a step, AdamW at 3e-4). With `scratch`, an
    interrupted run that is started again with the same model goes on from its last checkpoint and
    ends with the same bits. All weights are trained in float32, whatever type they come in.
    """
    model.to(torch.float32)
    with zeros_held(model, masks or {}):
        return train(
            model,
            tokenizer,
            data,
            settings or training_settings(model, data, steps),
            seed=seed,
            scratch=scratch,
            stage="recover",
            progress=progress,
        )


def training_settings(
    model: Transformer, data: Dataset | Sequence[Row], steps: int, **changes: Any
) -> TrainSettings:
    """How recovery and distillation train where nothing else is said."""
    length = min(_LENGTH, model.config.context)
    return TrainSettings(
        objective=objective_of(data),
        steps=steps,
        length=length,
        batch_tokens=max(length, _BATCH_TOKENS),
        too_long="cut",
        learning_rate=_RATE,
        # A weight that is masked has no gradient, and for AdamW no gradient is no step; Muon mixes
        # the rows of a matrix.
        optimizer="adamw",
        **changes,
    )


def objective_of(data: Dataset | Sequence[Row]) -> Any:
    """What `data` is for: documents "pretrain", conversations "sft". Raises `UsageError`."""
    kinds = {data.row_type} if isinstance(data, Dataset) else {type(row) for row in data}
    if kinds == {Document}:
        return "pretrain"
    if kinds == {Conversation}:
        return "sft"
    raise UsageError(
        "training takes documents or conversations, all of one kind, and at least one",
        where="--data",
    )


@contextmanager
def zeros_held(model: Transformer, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Within, weights that `masks` leave out get no gradient; at both ends they are set to zero."""

    def only(mask: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda grad: grad * mask

    apply_masks(model, masks)
    hooks = []
    for name, mask in masks.items():
        parameter = model.get_parameter(name)
        parameter.requires_grad_(True)
        hooks.append(parameter.register_hook(only(mask)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        apply_masks(model, masks)
