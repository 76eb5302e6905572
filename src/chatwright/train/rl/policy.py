"""The model that learns, seen from three sides: as its reference, as what answers, as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.generate import Engine
from chatwright.generate.load import engine_of
from chatwright.model import Transformer
from chatwright.model.lora import LoRALinear
from chatwright.tokenizer import Tokenizer
from chatwright.train.logprobs import log_probs_of_hidden, packed_hidden
from chatwright.train.packing import IGNORED, Batch
from chatwright.train.rl.settings import RolloutSettings

# On a CPU, oneDNN compiles code for each new shape of a bfloat16 product.
_MULTIPLE = 128


@contextmanager
def adapters_off(model: Transformer) -> Iterator[None]:
    """Within, the model computes what it would without its adapters: its own reference."""
    layers = [m for m in model.modules() if isinstance(m, LoRALinear)]
    before = [layer.alpha for layer in layers]
    for layer in layers:
        layer.alpha = 0.0
    try:
        yield
    finally:
        for layer, alpha in zip(layers, before, strict=True):
            layer.alpha = alpha


@torch.no_grad()
def merged_copy(model: Transformer, dtype: torch.dtype | None = None) -> Transformer | None:
    """A plain model of the same weights, adapters added in, without heads; `model` stays.

    What need not change is shared, not copied. None for a model whose layers are not plain
    (factorised ones).
    """
    copy = Transformer.empty(model.config)
    modules = dict(model.named_modules())
    weights: dict[str, Tensor] = {}
    for name, _ in copy.named_parameters():
        owner, _, leaf = name.rpartition(".")
        module = modules.get(owner)
        weight = getattr(module, leaf, None)
        if not isinstance(weight, Tensor):
            return None
        weight = weight.detach()
        if leaf == "weight" and isinstance(module, LoRALinear):
            added = module.scale * (module.lora_B @ module.lora_A)
            weight = (weight.float() + added).to(dtype or weight.dtype)
        weights[name] = weight.to(dtype or weight.dtype)
    copy.load_state_dict(weights, assign=True)
    return copy.requires_grad_(False).eval()


def answering_engine(
    model: Transformer, tokenizer: Tokenizer, settings: RolloutSettings, context: int
) -> Engine:
    """An engine that answers with the model's present weights; the caller closes it.

    By the compiled kernels where they can compute it, on a merged copy of the weights. Where those
    are bfloat16 some of what adapters learnt is rounded away. It was measured to matter less than
    the trainer's own rounding: SmolLM2-135M at 0.15 nats per answer from its reference was 0.038
    nats per token from the engine with bfloat16 weights, 0.037 with float32 ones (which draw half
    as fast).
    """
    wide = settings.engine_weights == "float32"
    copy = merged_copy(model, torch.float32 if wide else None)
    batch = max(settings.engine_batch, settings.answers)
    if copy is None or settings.engine == "torch":
        return Engine(copy or model, tokenizer, max_batch=batch, context=context)
    return engine_of(copy, tokenizer, max_batch=batch, context=context)


def padded(model: Transformer, batch: Batch) -> Batch:
    """The batch with ignored tokens at its end, where few shapes are worth them."""
    if model.dtype == torch.bfloat16 and model.device.type == "cpu":
        return batch.padded(_MULTIPLE)
    return batch


def values_of(model: Transformer, hidden: Tensor, *, gradient: bool = True) -> Tensor:
    """What the value head says of each token, float32 [1, N]; `gradient` reaches the trunk."""
    assert model.value is not None
    states = hidden if gradient else hidden.detach()
    return F.linear(states.float(), model.value.weight.float())[..., 0]


@torch.no_grad()
def look(
    model: Transformer,
    batch: Batch,
    temperature: float,
    *,
    entropy: bool = False,
    values: bool = False,
) -> dict[str, Tensor]:
    """What a model says of the answers in `batch`: "log_probs", "entropy" and "values".

    Each is float32, by supervised token in the batch's order. The same operations as in the loss,
    so that the first ratio of an update is 1 (exactly, where the batch is the same).
    """
    model.eval()
    batch = padded(model, batch)
    hidden = packed_hidden(model, batch)
    log_probs, spread = log_probs_of_hidden(model, hidden, batch, temperature, entropy=entropy)
    learnt = batch.targets != IGNORED
    found = {"log_probs": log_probs[learnt]}
    if spread is not None:
        found["entropy"] = spread[learnt]
    if values:
        found["values"] = values_of(model, hidden)[learnt]
    return {name: numbers.cpu() for name, numbers in found.items()}
