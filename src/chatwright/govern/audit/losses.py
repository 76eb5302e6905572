"""What each token of a sequence costs a model: the ground of membership and exposure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chatwright.evaluate.likelihood import Floats, Scored, batched, token_losses

if TYPE_CHECKING:
    from chatwright.model import Transformer


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
