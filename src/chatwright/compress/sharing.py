"""Layers that use the same weights, and an embedding that is the head too.

Groups of neighbouring layers get the mean of their projections, stored once (ALBERT's cross-layer
sharing, Lan et al. 2020, started from a trained model). The arithmetic stays, and so does the time;
size and memory fall. Norms stay each layer's own. The mean of trained layers computes little that
is sensible: this needs training afterwards (`--recover`).
"""

from __future__ import annotations

import torch

from chatwright.errors import UsageError
from chatwright.model.compact import refuse_compact, share_layers
from chatwright.model.config import ModelConfig
from chatwright.model.transformer import Transformer


def neighbour_groups(n_layers: int, count: int) -> tuple[int, ...]:
    """For each layer the first of its group: `count` groups of neighbours of nearly equal size."""
    if not 0 < count <= n_layers:
        raise UsageError(f"{n_layers} layers cannot have {count} sets of weights", where="--keep")
    starts = [-(-i * n_layers // count) for i in range(count)]
    return tuple(max(s for s in starts if s <= layer) for layer in range(n_layers))


@torch.no_grad()
def share(model: Transformer, count: int) -> tuple[int, ...]:
    """Leave `count` sets of projections, each the mean of a group's, in place.

    Returns for each layer the one whose parameters it uses.
    """
    refuse_compact(model, "layers")
    shared = neighbour_groups(len(model.layers), count)
    for owner in sorted(set(shared)):
        members = [model.layers[i] for i, of in enumerate(shared) if of == owner]
        parameters = [dict(block.named_parameters()) for block in members]
        for name, first in parameters[0].items():
            if "norm" not in name:
                mean = torch.stack([p[name].detach().float() for p in parameters]).mean(0)
                first.copy_(mean)
    share_layers(model, shared)
    return shared


@torch.no_grad()
def tie_embeddings(model: Transformer) -> Transformer:
    """A model whose head is its embedding: the mean of both. Shares the other weights with `model`.

    Raises `UsageError` where they are one already.
    """
    if model.lm_head is None:
        raise UsageError("embedding and head are one matrix already", where="--tie-embeddings")
    state = {n: t for n, t in model.state_dict().items() if not n.startswith("lm_head.")}
    both = (model.embed_tokens.weight.float(), model.lm_head.weight.float())
    state["embed_tokens.weight"] = (torch.stack(both).mean(0)).to(model.dtype)
    config = ModelConfig.checked(model.config.model_dump() | {"tied": True}, "--tie-embeddings")
    tied = Transformer.empty(config)
    tied.load_state_dict(state, assign=True)
    return tied.train(model.training)
