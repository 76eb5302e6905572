"""Log-probabilities of every answer under the reference model: computed once, kept by content."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from chatwright.errors import UsageError
from chatwright.model.transformer import Transformer
from chatwright.progress import Progress
from chatwright.records import canonical_json, disk_errors, fingerprint, write_atomic
from chatwright.train.blocks import training_blocks
from chatwright.train.preference.logps import answer_log_probs
from chatwright.train.preference.plan import Pair, PairPlan

_ADAPTERS = (".lora_A", ".lora_B")
_KEY = "log_probs"


def reference_log_probs(
    model: Transformer,
    plan: PairPlan,
    pairs: Sequence[Pair],
    folder: Path,
    *,
    dtype: torch.dtype,
    tokens_at_once: int,
    progress: Progress,
) -> np.ndarray:
    """Summed log-probabilities of the chosen and rejected answers of `pairs` under `model`.

    In nats, float32 [pairs of the plan, 2] (NaN for those not asked for), computed in `dtype` as
    training computes. They lie in `folder` under a name made of the weights, the type and the
    pairs' tokens, so that what is there is what would be computed; a damaged file is made again.
    """
    path = folder / f"{_name(model, plan, pairs, dtype)}.safetensors"
    if path.exists():
        try:
            found = load_file(path)[_KEY]
            if found.shape == (len(plan.pairs), 2):
                return found
        except (SafetensorError, OSError, KeyError):
            progress.line(f"the reference file {path} is damaged and is made again")
    found = _compute(
        model, plan, pairs, dtype=dtype, tokens_at_once=tokens_at_once, progress=progress
    )
    with disk_errors(path):
        write_atomic(path, save({_KEY: found}))
    return found


@torch.no_grad()
def _compute(
    model: Transformer,
    plan: PairPlan,
    pairs: Sequence[Pair],
    *,
    dtype: torch.dtype,
    tokens_at_once: int,
    progress: Progress,
) -> np.ndarray:
    if model.dtype != dtype:
        model = copy.deepcopy(model)
        for name, parameter in model.named_parameters():
            if not name.endswith(_ADAPTERS):
                parameter.data = parameter.data.to(dtype)
    before = model.training
    model.eval()
    found = np.full((len(plan.pairs), 2), np.nan, np.float32)
    # Long pairs with long ones: attention takes neighbours of one length together.
    order = sorted(pairs, key=lambda pair: (pair.length, pair.number))
    at = 0
    with training_blocks(model), progress.task("reference", len(order)) as task:
        for batch in plan.batches(order, tokens_at_once):
            values, _ = answer_log_probs(model, batch.to(model.device))
            those = order[at : at + len(values) // 2]
            found[[pair.number for pair in those]] = values.cpu().numpy().reshape(-1, 2)
            at += len(those)
            task.advance(len(those))
    model.train(before)
    return found


def _name(model: Transformer, plan: PairPlan, pairs: Sequence[Pair], dtype: torch.dtype) -> str:
    files = [file.path.name for file in plan.files]
    digest = hashlib.blake2b(digest_size=16)
    for pair in pairs:
        digest.update(f"{pair.number} {pair.file} {pair.row} {pair.cut}\n".encode())
    return fingerprint("reference", [_weights(model), str(dtype), files, digest.hexdigest()])


def _weights(model: Transformer) -> str:
    """A digest of what the model computes: adapters that add nothing yet do not count."""
    digest = hashlib.blake2b(canonical_json(model.config.model_dump()).encode(), digest_size=16)
    state = model.state_dict()
    idle = not any(bool(t.any()) for name, t in state.items() if name.endswith(".lora_B"))
    for name, tensor in state.items():
        if idle and name.endswith(_ADAPTERS):
            continue
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_reference(model: Transformer, reference: Transformer) -> None:
    """Raise `UsageError` where the reference reads other tokens than the model."""
    if reference.config.vocab_size != model.config.vocab_size:
        raise UsageError(
            f"the reference has a vocabulary of {reference.config.vocab_size} and the model one of "
            f"{model.config.vocab_size}",
            where="reference",
            hint="the two must share one tokenizer: name the model that this one was made from",
        )
