"""Low-rank adapters: a frozen matrix plus a small trained product. Hu et al. 2021.

The adapter's file format is PEFT's (`adapter_config.json`, `adapter_model.safetensors`), both ways.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from chatwright.errors import ModelError
from chatwright.model.heads import add_head
from chatwright.model.transformer import Transformer
from chatwright.records import atomic_folder, disk_errors
from chatwright.tokenizer.files import read_json_object

ALL_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# What PEFT keeps whole for a classifier: `score`, and names of its own that may not be there.
_HEAD_ALONE = {"score", "classifier"}
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PEFT_SCORE = "base_model.model.score.weight"
_PEFT_NAME = re.compile(r"base_model\.model\.model\.(layers\..+)\.lora_([AB])\.weight")


class LoRALinear(nn.Linear):
    """`W x + b + (alpha / rank) · B A dropout(x)`, W and b frozen.

    `lora_A` is [rank, inputs], `lora_B` [outputs, rank], both float32 whatever W is: steps of a
    usual learning rate would be lost in bfloat16.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        with torch.device("meta"):
            super().__init__(base.in_features, base.out_features, bias=base.bias is not None)
        self.weight, self.bias = base.weight, base.bias  # the same tensors, under the same names
        self.rank, self.alpha, self.dropout = rank, alpha, dropout
        device = base.weight.device
        self.lora_A = nn.Parameter(torch.zeros(rank, base.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        small = F.linear(F.dropout(x, self.dropout, self.training), self.lora_A.to(x.dtype))
        return y + self.scale * F.linear(small, self.lora_B.to(x.dtype))

    def merged(self) -> nn.Linear:
        """A plain layer with the product added to the weight (in float32, then rounded)."""
        with torch.device("meta"):
            plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None)
        with torch.no_grad():
            weight = self.weight.float() + self.scale * (self.lora_B @ self.lora_A)
        plain.weight = nn.Parameter(weight.to(self.weight.dtype))
        if self.bias is not None:
            plain.bias = self.bias
        return plain


def add_lora(
    model: Transformer,
    rank: int = 16,
    alpha: float = 32,
    targets: Iterable[str] = ALL_TARGETS,
    dropout: float = 0.0,
    *,
    seed: int = 0,
) -> list[nn.Parameter]:
    """Put adapters on the layers called `targets`, freeze all else, and return the new parameters.

    A is drawn as PEFT does (Kaiming uniform, from `seed`) and B is zero, so the model computes at
    first what it did before. Raises `ModelError` for an unknown target, or adapters already there.
    """
    targets = tuple(targets)
    unknown = sorted(set(targets) - set(ALL_TARGETS))
    if unknown or not targets:
        raise ModelError(
            f"no layer is called {', '.join(unknown)}" if unknown else "no layer to adapt is named",
            where="targets",
            hint=f"layers: {', '.join(ALL_TARGETS)}",
        )
    if rank < 1 or not 0 <= dropout < 1:
        raise ModelError("rank must be at least 1, and dropout at least 0 and below 1")
    names = [n for n, m in model.named_modules() if n.rsplit(".", 1)[-1] in targets]
    added = _adapt(model, names, rank, alpha, dropout)
    generator = torch.Generator().manual_seed(seed)
    parameters: list[nn.Parameter] = []
    with torch.no_grad():
        for layer in added:
            # Kaiming uniform with a = √5 is uniform within ±1/√inputs.
            bound = 1 / math.sqrt(layer.in_features)
            start = torch.empty(layer.lora_A.shape).uniform_(-bound, bound, generator=generator)
            layer.lora_A.copy_(start)
            parameters += [layer.lora_A, layer.lora_B]
    return parameters


def lora_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters' parameters by name; empty without adapters."""
    return {n: p for n, p in model.named_parameters() if n.endswith((".lora_A", ".lora_B"))}


def merge_lora(model: Transformer) -> Transformer:
    """Add every adapter to its weight, in place; all parameters can be trained again."""
    for name, layer in list(_adapted(model)):
        _replace(model, name, layer.merged())
    model.requires_grad_(True)
    return model


def save_adapter(model: Transformer, folder: str | os.PathLike[str], *, base: str) -> Path:
    """Write the adapters alone, as PEFT reads them; `base` names the model they belong to.

    A reward model's head, which is trained whole, is written with them (`modules_to_save`).
    """
    layers = dict(_adapted(model))
    if not layers:
        raise ModelError("this model has no LoRA adapters")
    first = next(iter(layers.values()))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": first.dropout,
        "target_modules": sorted({name.rsplit(".", 1)[-1] for name in layers}),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    if model.score is not None:
        config |= {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    weights = {
        f"base_model.model.model.{name}.lora_{side}.weight": matrix.detach().cpu().contiguous()
        for name, layer in layers.items()
        for side, matrix in (("A", layer.lora_A), ("B", layer.lora_B))
    }
    if model.score is not None:
        weights[_PEFT_SCORE] = model.score.weight.detach().cpu().contiguous()
    target = Path(folder)
    with disk_errors(target), atomic_folder(target) as partial:
        save_file(weights, partial / _WEIGHTS, metadata={"format": "pt"})
        (partial / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return target


def load_adapter(model: Transformer, folder: str | os.PathLike[str]) -> None:
    """Put the adapters of a PEFT folder on `model`, in place, and freeze all else.

    One of a reward model brings its head. Raises `ModelError` for an adapter of another kind or
    another model.
    """
    where = Path(folder)
    config = read_json_object(where / _CONFIG)
    rank, alpha, dropout = _plain_lora(config, str(where / _CONFIG))
    file = where / _WEIGHTS
    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"not a readable safetensors file: {error}", where=str(file)) from error
    score = weights.pop(_PEFT_SCORE, None)
    if (score is not None and tuple(score.shape) != (1, model.config.width)) or (
        score is None and config.get("modules_to_save")
    ):
        raise ModelError("the reward head is missing or does not fit", where=str(file))
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in weights.items():
        found = _PEFT_NAME.fullmatch(key)
        if found is None:
            raise ModelError(
                "this tensor is not a LoRA matrix of a layer", where=f"{file}: tensor {key!r}"
            )
        pairs.setdefault(found[1], {})[found[2]] = tensor
    modules = dict(model.named_modules())
    for name, pair in pairs.items():
        layer = modules.get(name)
        if not isinstance(layer, nn.Linear) or isinstance(layer, LoRALinear):
            raise ModelError(
                "the model has no such layer, or it has an adapter already",
                where=f"{file}: {name}",
                hint="merge the adapters that are there, and check the adapter's base model",
            )
        shapes = {side: tuple(tensor.shape) for side, tensor in pair.items()}
        if shapes != {"A": (rank, layer.in_features), "B": (layer.out_features, rank)}:
            raise ModelError(f"the matrices {shapes} do not fit the layer", where=f"{file}: {name}")
    if not pairs:
        raise ModelError("the adapter holds no matrices", where=str(file))
    with torch.no_grad():
        for layer, pair in zip(
            _adapt(model, list(pairs), rank, alpha, dropout), pairs.values(), strict=True
        ):
            layer.lora_A.copy_(pair["A"])
            layer.lora_B.copy_(pair["B"])
        if score is not None:
            add_head(model, "score").requires_grad_(False).weight.copy_(score)


def _plain_lora(config: dict[str, Any], where: str) -> tuple[int, float, float]:
    """Rank, alpha and dropout of a configuration that asks for nothing else."""
    special = [
        key
        for key in (
            "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out",
            "lora_bias", "alora_invocation_tokens",
        )
        if config.get(key)
    ]  # fmt: skip
    if not set(config.get("modules_to_save") or ()) <= _HEAD_ALONE:
        special.append("modules_to_save")
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or special:
        raise ModelError(
            f"this adapter is not plain LoRA ({', '.join(special) or config.get('peft_type')})",
            where=where,
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    dropout = config.get("lora_dropout", 0.0)
    if (
        not isinstance(rank, int)
        or rank < 1
        or not isinstance(alpha, (int, float))
        or not isinstance(dropout, (int, float))
        or not 0 <= dropout < 1
    ):
        raise ModelError("r, lora_alpha or lora_dropout is missing or wrong", where=where)
    return rank, alpha, float(dropout)


def _adapt(
    model: Transformer, names: list[str], rank: int, alpha: float, dropout: float
) -> list[LoRALinear]:
    if lora_parameters(model):
        raise ModelError(
            "this model has LoRA adapters already", hint="call merge_lora(model) first"
        )
    model.requires_grad_(False)
    modules = dict(model.named_modules())
    added = []
    for name in names:
        base = modules[name]
        assert isinstance(base, nn.Linear)
        layer = LoRALinear(base, rank, alpha, dropout)
        layer.train(base.training)
        _replace(model, name, layer)
        added.append(layer)
    return added


def _adapted(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            yield name, module


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
