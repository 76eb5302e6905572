"""The weights that a model begins with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from chatwright.model.transformer import Transformer


@torch.no_grad()
def initialise(
    model: Transformer, generator: torch.Generator | None, *, zero_outputs: bool
) -> None:
    """Draw new weights: normal, 1/√(inputs) for matrices, 0.02 for embedding and head.

    What writes to the residual stream is smaller by √(2 · layers), so that the stream's variance
    does not grow with depth (Radford et al. 2019).

    With `zero_outputs`, what writes to the stream begins at 0, and so does a head that is not the
    embedding: every block begins as the identity, and the model says nothing before it is trained.
    Other matrices are half as large, and an embedding that is not the head has a standard deviation
    of 0.3, to be trained at a large rate (`train/numbers.py`). Such a model learns much sooner
    (docs/benchmarks.md; the zeros are nanochat's). With an embedding of 1 and the other matrices as
    they are otherwise, it had learnt less after a million tokens.
    """
    residual = 0.0 if zero_outputs else 1 / math.sqrt(2 * model.config.n_layers)
    inner = 0.5 if zero_outputs else 1.0
    embedding, head = (0.3, 0.0) if zero_outputs and not model.config.tied else (0.02, 0.02)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            weight.zero_()
        elif weight.ndim == 1:
            weight.fill_(1.0)
        else:
            std = weight.shape[1] ** -0.5
            if name.startswith("embed_tokens"):
                std = embedding
            elif name.startswith("lm_head"):
                std = head
            else:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                std *= residual if writes else inner
            weight.normal_(0.0, std, generator=generator)
