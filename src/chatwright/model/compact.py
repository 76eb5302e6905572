"""Models that store less than their shape says: factorised projections, layers that share weights.

`config.json` of such a checkpoint names no family that others know (`model_type: chatwright`), so
that they refuse it instead of filling the gaps with random numbers; under `chatwright` it says what
the family is, the rank of each factorised projection and which layers use which layer's weights.
The modules themselves are what is true in memory; `Compact.of` reads it off them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.low_rank import LowRankLinear
from chatwright.model.transformer import Transformer
from chatwright.model.weights import empty_for, fill, open_safetensors
from chatwright.tokenizer.files import read_json_object

MODEL_TYPE = "chatwright"
_PROJECTIONS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


@dataclass(frozen=True, slots=True)
class Compact:
    """`ranks`: rank by projection (`layers.3.mlp.up_proj`), where it is factorised.

    `shared`: for each layer the one whose projections it uses, itself or an earlier one; empty
    where every layer has its own. Norms are never shared.
    """

    ranks: dict[str, int] = field(default_factory=dict)
    shared: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ranks or self.shared)

    @classmethod
    def of(cls, model: Transformer) -> Compact:
        """What `model`'s modules say; false for a model that has all its matrices."""
        first: dict[int, int] = {}  # a layer's first weight, by identity
        shared: list[int] = []
        ranks: dict[str, int] = {}
        for index, block in enumerate(model.layers):
            own = first.setdefault(id(next(_projections(block)[0].parameters())), index)
            shared.append(own)
            if own == index:
                ranks |= {
                    f"layers.{index}.{name}": module.rank
                    for name, module in block.named_modules()
                    if isinstance(module, LowRankLinear)
                }
        return cls(ranks, () if shared == list(range(len(shared))) else tuple(shared))

    def apply(self, model: Transformer) -> None:
        """Give a dense `model` these modules, in place; their weights are then to be filled in."""
        for name, rank in self.ranks.items():
            dense = model.get_submodule(name)
            assert isinstance(dense, nn.Linear)
            factors = LowRankLinear(
                dense.in_features, dense.out_features, rank, dense.bias is not None
            )
            replace_module(model, name, factors.to(dense.weight.dtype))
        share_layers(model, self.shared)

    def to_config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """`config.json` for this, from that of the dense model."""
        return {
            **config,
            "architectures": ["ChatwrightForCausalLM"],
            "model_type": MODEL_TYPE,
            MODEL_TYPE: {
                "family": config["model_type"],
                "low_rank": self.ranks,
                "shared_layers": list(self.shared),
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> tuple[Compact, dict[str, Any]]:
        """What a file says, and the dense model's own `config.json`. Raises `ModelError`."""
        said = config.get(MODEL_TYPE)
        if not isinstance(said, dict):
            raise ModelError(
                f"model_type is {MODEL_TYPE!r} without a {MODEL_TYPE!r} part", where=where
            )
        dense = {**config, "model_type": said.get("family")}
        del dense[MODEL_TYPE]
        ranks, shared = said.get("low_rank", {}), said.get("shared_layers", [])
        layers = config.get("num_hidden_layers")
        if (
            not isinstance(layers, int)
            or not isinstance(ranks, dict)
            or not isinstance(shared, list)
        ):
            raise ModelError("low_rank or shared_layers is not what it should be", where=where)
        if shared and not (
            len(shared) == layers
            and all(type(s) is int and 0 <= s <= i and shared[s] == s for i, s in enumerate(shared))
        ):
            raise ModelError(
                f"shared_layers must name, for each of {layers} layers, itself or an earlier layer "
                "that has weights of its own",
                where=where,
            )
        owners = set(shared) if shared else set(range(layers))
        places = {f"layers.{i}.{name}" for i in owners for name in _PROJECTIONS}
        for name, rank in ranks.items():
            if name not in places or type(rank) is not int or rank < 1:
                raise ModelError(f"low_rank: {name!r} cannot have rank {rank!r}", where=where)
        return cls(dict(ranks), tuple(shared)), dense


def read_folder(folder: Path, dtype: torch.dtype, device: str) -> Transformer:
    """The model of a checkpoint folder, of an ordinary one or of one of these.

    Raises `ModelError` for a tensor that is missing or that the model has no place for.
    """
    where = str(folder / "config.json")
    raw = read_json_object(folder / "config.json")
    compact = Compact()
    if raw.get("model_type") == MODEL_TYPE:
        compact, raw = Compact.from_config(raw, where)
    config = ModelConfig.from_hf(raw, where)
    with open_safetensors(folder) as weights:
        if not compact:
            return fill(config, weights, str(folder), dtype, device)
        model = empty_for(config, weights.names())
        with torch.device("meta"):
            compact.apply(model)
        wanted = {name: tuple(p.shape) for name, p in model.named_parameters()}  # each once
        there, in_file = weights.names(), {weights.name_in_file(name) for name in wanted}
        for what, names in (("is missing", in_file - there), ("has no place", there - in_file)):
            if names:
                raise ModelError(
                    f"the tensor {min(names)!r} {what} ({len(names)} in all)",
                    where=str(folder),
                    hint="weights and config.json are not of one model; make it again",
                )
        for name, shape in wanted.items():
            parent, _, child = name.rpartition(".")
            tensor = weights.read(name, shape, dtype).to(device)
            setattr(model.get_submodule(parent), child, nn.Parameter(tensor))
    share_layers(model, compact.shared)
    return model


def stored_state(model: Transformer) -> dict[str, Tensor]:
    """The weights by name, each once: what several layers share under the first one's name.

    PPO's value head is not part of a model, nor is the token head of a reward model (which, where
    it is not the embedding, its own checkpoint of a sequence classifier has no place for).
    """
    left_out = ("value.",) if model.score is None else ("value.", "lm_head.")
    return {n: p.detach() for n, p in model.named_parameters() if not n.startswith(left_out)}


def stored_config(model: Transformer) -> dict[str, Any]:
    """The model's own part of `config.json`."""
    config, compact = model.config.to_hf(), Compact.of(model)
    if model.score is not None:
        config |= {
            "architectures": [
                name.replace("CausalLM", "SequenceClassification")
                for name in config["architectures"]
            ],
            # transformers counts the labels by these; one label is a number.
            "id2label": {"0": "reward"},
            "label2id": {"reward": 0},
            "problem_type": "regression",
            "reward_mean": model.config.reward_mean,
            "reward_std": model.config.reward_std,
        }
    return compact.to_config(config) if compact else config


def share_layers(model: Transformer, shared: tuple[int, ...]) -> None:
    """Let layer i use the projections' parameters of layer `shared[i]`, in place."""
    for index, owner in enumerate(shared):
        if owner == index:
            continue
        for own, theirs in zip(
            _projections(model.layers[index]), _projections(model.layers[owner]), strict=True
        ):
            theirs_by_name = dict(theirs.named_parameters())
            for name in dict(own.named_parameters()):
                parent, _, child = name.rpartition(".")
                setattr(own.get_submodule(parent), child, theirs_by_name[name])


def densify(model: Transformer) -> Transformer:
    """A copy with one matrix for every projection and nothing shared, as other programs need it."""
    dense = copy.deepcopy(model)
    for index, block in enumerate(dense.layers):
        for name in _PROJECTIONS:
            module = block.get_submodule(name)
            if isinstance(module, LowRankLinear):
                replace_module(dense, f"layers.{index}.{name}", module.merged())
    if Compact.of(dense):
        for block in dense.layers:
            for name in _PROJECTIONS:
                module = block.get_submodule(name)
                for key, p in list(module.named_parameters()):
                    setattr(module, key, nn.Parameter(p.detach().clone()))
    return dense


def refuse_compact(model: Transformer, part: str) -> None:
    """Raise where `part`s cannot be taken out, because the matrices are not whole or not own."""
    if Compact.of(model):
        raise ModelError(
            f"this model is factorised or shares layers; {part} cannot be taken out of it",
            hint="take them out first, then factorise or share; or make it dense (--dense)",
        )


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where the model's module of that name is."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _projections(block: nn.Module) -> list[nn.Module]:
    return [block.get_submodule(name) for name in _PROJECTIONS]
