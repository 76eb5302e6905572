"""Whole parts taken out: attention heads, MLP channels, layers. What is left is a smaller model.

The result has the shape of an ordinary checkpoint (every layer keeps the same number of heads and
channels), so it is smaller and faster everywhere and `transformers` opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatwright.compress.layerwise import walk_blocks
from chatwright.errors import DataError, UsageError
from chatwright.model.compact import refuse_compact
from chatwright.model.config import ModelConfig
from chatwright.model.transformer import Block, Transformer
from chatwright.progress import Progress

PartCriterion = Literal["activation", "taylor"]
HeadUnit = Literal["groups", "queries"]
Rows = Sequence[Sequence[int]]


def layer_influence(
    model: Transformer, rows: Rows, progress: Progress | None = None
) -> list[float]:
    """How much each layer turns the residual stream: 1 − mean cos(input, output) over all tokens.

    "Block influence" of Men et al. 2024 (ShortGPT): what barely turns it can go.
    """
    found = []
    for run in walk_blocks(model, rows, progress):
        outputs = run.observe({})
        cosines = [
            F.cosine_similarity(x.float(), y.float(), dim=-1).flatten()
            for x, y in zip(run.inputs, outputs, strict=True)
        ]
        found.append(1 - float(torch.cat(cosines).double().mean()))
    return found


def channel_importance(
    model: Transformer,
    rows: Rows,
    criterion: PartCriterion = "activation",
    progress: Progress | None = None,
) -> Tensor:
    """Importance of each MLP channel: float64 [layers, channels].

    "activation": the energy of what a channel adds to the stream, Σ h² · ‖its column of
    down_proj‖². "taylor": Σ over rows of |Σ over tokens of h · ∂loss/∂h|, the first-order estimate
    of how the loss of the calibration text changes without it (Molchanov et al. 2019).
    """
    if criterion == "taylor":
        return _taylor(model, rows, lambda block: block.mlp.down_proj, model.config.mlp_width)
    found = []
    for run in walk_blocks(model, rows, progress):
        down = run.block.mlp.down_proj
        energy = torch.zeros(down.in_features, dtype=torch.float64)

        def add(x: Tensor, energy: Tensor = energy) -> None:
            energy.add_(x.double().square().sum(0).cpu())

        run.observe({down: add})
        found.append(energy * down.weight.detach().double().square().sum(0).cpu())
    return torch.stack(found)


def head_importance(
    model: Transformer,
    rows: Rows,
    criterion: PartCriterion = "activation",
    progress: Progress | None = None,
) -> Tensor:
    """Importance of each query head: float64 [layers, heads].

    As `channel_importance`; a head's energy is that of what it adds through its columns of o_proj.
    "taylor" follows Michel et al. 2019 ("Are sixteen heads really better than one?").
    """
    config = model.config
    heads, size = config.n_heads, config.head_dim
    if criterion == "taylor":
        return _taylor(model, rows, lambda block: block.self_attn.o_proj, heads)
    found = []
    for run in walk_blocks(model, rows, progress):
        out = run.block.self_attn.o_proj
        gram = torch.zeros(heads, size, size, dtype=torch.float64)

        def add(x: Tensor, gram: Tensor = gram) -> None:
            own = x.double().view(-1, heads, size).transpose(0, 1)
            gram.add_((own.transpose(1, 2) @ own).cpu())

        run.observe({out: add})
        weight = out.weight.detach().double().cpu().view(-1, heads, size).transpose(0, 1)
        found.append(((weight @ gram) * weight).sum((1, 2)))  # trace(W G Wᵀ) of each head
    return torch.stack(found)


def _taylor(
    model: Transformer, rows: Rows, module_of: Callable[[Block], nn.Module], parts: int
) -> Tensor:
    """|Σ x · ∂loss/∂x| of each of `parts` equal slices of a module's input, summed over rows."""
    usable = [row for row in rows if len(row) > 1]
    if not usable:
        raise DataError("there is no calibration text", hint="give some with --calibration")
    model.eval()
    total = torch.zeros(len(model.layers), parts, dtype=torch.float64)
    inputs: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        args[0].retain_grad()
        inputs.append(args[0])

    modules = [module_of(block) for block in model.layers]  # type: ignore[arg-type]
    hooks = [module.register_forward_pre_hook(keep) for module in modules]
    frozen = [p for p in model.parameters() if p.requires_grad]
    # Only the embeddings' output needs a gradient: the weights' own would be thrown away.
    model.requires_grad_(False)
    embedding = model.embed_tokens.register_forward_hook(lambda m, a, y: y.requires_grad_())
    try:
        with torch.enable_grad():
            for row in usable:
                inputs.clear()
                tokens = torch.tensor([list(row)], device=model.device)
                logits = model(tokens)[0, :-1]
                F.cross_entropy(logits, tokens[0, 1:]).backward()
                for layer, x in enumerate(inputs):
                    assert x.grad is not None
                    product = (x.detach().double() * x.grad.double()).sum((0, 1))
                    total[layer] += product.view(parts, -1).sum(1).abs().cpu()
    finally:
        for handle in (*hooks, embedding):
            handle.remove()
        for parameter in frozen:
            parameter.requires_grad_(True)
    return total


def take_layers(model: Transformer, kept: Iterable[int]) -> Transformer:
    """The model of the layers `kept`, in their order; the weights are shared with `model`."""
    refuse_compact(model, "layers")
    chosen = sorted(set(kept))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < len(model.layers):
        raise UsageError(f"layers {chosen} of a model with {len(model.layers)}", where="--keep")
    state = {n: p for n, p in model.state_dict().items() if not n.startswith("layers.")}
    for new, old in enumerate(chosen):
        for name, tensor in model.layers[old].state_dict().items():
            state[f"layers.{new}.{name}"] = tensor
    # Layers below the first one with a window see everything: as many as are left of them.
    whole = sum(layer < model.config.window_from_layer for layer in chosen)
    return _rebuilt(model, state, n_layers=len(chosen), window_from_layer=whole)


def best_layers(influence: Sequence[float], count: int) -> list[int]:
    """The `count` layers of the highest influence, in order (of equal ones the first)."""
    _check_count(count, len(influence), "layers")
    order = sorted(range(len(influence)), key=lambda i: (-influence[i], i))
    return sorted(order[:count])


def spread_layers(n_layers: int, count: int) -> list[int]:
    """`count` layers at equal distances, the first and the last among them (one: the first)."""
    _check_count(count, n_layers, "layers")
    return [round(i * (n_layers - 1) / max(1, count - 1)) for i in range(count)]


def take_channels(model: Transformer, importance: Tensor, count: int) -> Transformer:
    """Each layer's `count` most important MLP channels, in their order."""
    refuse_compact(model, "channels")
    _check_count(count, model.config.mlp_width, "MLP channels")
    state = dict(model.state_dict())
    for layer, scores in enumerate(importance):
        kept = _highest(scores, count)
        for name in ("gate_proj", "up_proj"):
            key = f"layers.{layer}.mlp.{name}.weight"
            state[key] = state[key][kept]
        key = f"layers.{layer}.mlp.down_proj.weight"
        state[key] = state[key][:, kept]
    return _rebuilt(model, state, mlp_width=count)


def take_heads(
    model: Transformer, importance: Tensor, count: int, unit: HeadUnit = "groups"
) -> Transformer:
    """Each layer's most important heads, `count` query heads in all; `importance` [layers, heads].

    "groups" removes key-value heads together with the query heads that read them (the KV cache
    shrinks too); "queries" removes as many query heads from every group. Raises `UsageError` where
    `count` is not a multiple of what must go together.
    """
    refuse_compact(model, "heads")
    config = model.config
    _check_count(count, config.n_heads, "query heads")
    shared = config.n_heads // config.n_kv_heads  # query heads to a key-value head
    step = shared if unit == "groups" else config.n_kv_heads
    if count % step:
        raise UsageError(
            f"{count} of {config.n_heads} query heads: they go {step} at a time, so that every "
            "layer and every group keeps as many",
            where="--keep",
            hint=f"keep {', '.join(str(n) for n in range(step, config.n_heads, step)) or 'all'}",
        )
    state = dict(model.state_dict())
    for layer, scores in enumerate(importance):
        by_group = scores.view(config.n_kv_heads, shared)
        if unit == "groups":
            groups = _highest(by_group.sum(1), count // shared)
            heads = (groups[:, None] * shared + torch.arange(shared)).flatten()
        else:
            groups = torch.arange(config.n_kv_heads)
            own = [_highest(s, count // config.n_kv_heads) for s in by_group]
            heads = torch.cat([g * shared + kept for g, kept in enumerate(own)])
        queries, keys = (_elements(part, config.head_dim) for part in (heads, groups))
        at = f"layers.{layer}.self_attn"
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            for kind in ("weight", "bias"):
                if (key := f"{at}.{name}.{kind}") in state:
                    state[key] = state[key][rows]
        state[f"{at}.o_proj.weight"] = state[f"{at}.o_proj.weight"][:, queries]
    kv = count // shared if unit == "groups" else config.n_kv_heads
    return _rebuilt(model, state, n_heads=count, n_kv_heads=kv)


def _elements(heads: Tensor, size: int) -> Tensor:
    """The rows of whole heads in a projection."""
    return (heads[:, None] * size + torch.arange(size)).flatten()


def _highest(scores: Tensor, count: int) -> Tensor:
    """Indices of the `count` highest, in order; of equal ones the first."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _check_count(count: int, there: int, what: str) -> None:
    if not 0 < count <= there:
        raise UsageError(f"{count} of {there} {what} cannot be kept", where="--keep")


def _rebuilt(model: Transformer, state: dict[str, Tensor], **changes: Any) -> Transformer:
    config = ModelConfig.checked(model.config.model_dump() | changes, "--keep")
    smaller = Transformer.empty(config)
    whole = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    smaller.load_state_dict(whole, assign=True)
    return smaller.train(model.training)
