"""What each token of a sequence costs a model: the ground of membership and exposure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatwright.evaluate.likelihood import Scored, batched

if TYPE_CHECKING:
    from chatwright.model import Transformer

Floats = NDArray[np.float64]

_POSITIONS_AT_A_TIME = 256


def token_losses(model: Transformer, sequences: Sequence[Scored]) -> list[Floats]:
    """For each sequence, −ln p (nats) of its counted tokens, in order; one forward pass.

    Shorter sequences are padded on the right, where causal attention cannot see. Raises
    `ValueError` for a sequence longer than the model's context.
    """
    import torch
    import torch.nn.functional as F

    longest = max((len(s.tokens) for s in sequences), default=0)
    if longest > model.config.context:
        raise ValueError(f"{longest} tokens do not fit in a context of {model.config.context}")
    if longest < 2:
        return [np.zeros(0) for _ in sequences]
    tokens = torch.zeros((len(sequences), longest), dtype=torch.long)
    counted = torch.zeros((len(sequences), longest), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence.tokens)] = torch.tensor(sequence.tokens)
        counted[row, : len(sequence.counted)] = torch.tensor(sequence.counted)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            mask = counted[:, 1:].to(model.device)
            states = model.hidden(tokens.to(model.device))[:, :-1][mask]
            wanted = tokens[:, 1:].to(model.device)[mask]
            parts = [
                F.cross_entropy(model.logits(s).float(), w, reduction="none").double().cpu()
                for s, w in zip(
                    states.split(_POSITIONS_AT_A_TIME),
                    wanted.split(_POSITIONS_AT_A_TIME),
                    strict=True,
                )
            ]
    finally:
        model.train(training)
    losses = torch.cat(parts).numpy() if parts else np.zeros(0)
    ends = np.cumsum(counted[:, 1:].sum(dim=1).numpy())
    return list(np.split(losses, ends[:-1]))


def losses_of(
    model: Transformer,
    sequences: Mapping[str, Scored],
    done: Callable[[dict[str, Floats]], None],
    known: Mapping[str, Floats],
) -> dict[str, Floats]:
    """The losses of named sequences, in batches of like length; `done` hears of each batch.

    The batches do not depend on what is `known` already, so that an interrupted run that goes on
    rounds as one that was left in peace; a batch of which all is known is left out.
    """
    names = list(sequences)
    found: dict[str, Floats] = {name: known[name] for name in names if name in known}
    for group in batched([len(sequences[name].tokens) for name in names]):
        wanted = [names[i] for i in group]
        if all(name in known for name in wanted):
            continue
        losses = token_losses(model, [sequences[name] for name in wanted])
        fresh = {n: v for n, v in zip(wanted, losses, strict=True) if n not in found}
        done(fresh)
        found |= fresh
    return found
