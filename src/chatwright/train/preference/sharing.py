"""Two answers to one prompt, computed with the prompt once.

Up to their first difference, the two sequences of a pair have the same tokens at the same positions
and so, since no token looks ahead, the same hidden states. What is left out is a third to a half of
all tokens of usual preference data; the results are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.model.transformer import Transformer
from chatwright.train.attention import PackedAttention
from chatwright.train.packing import Batch

SHARED = "shared"
# On a CPU, oneDNN compiles code for each new shape of a bfloat16 product and keeps it.
_MULTIPLE = 128


def pair_hidden(model: Transformer, batch: Batch) -> Tensor:
    """Final hidden states [1, N, C] of a batch of pairs, as `packed_hidden` gives them.

    `batch.extra["shared"]` [S] says how many tokens a pair's two sequences have in common at their
    beginning; what it says of a batch that has none of them is nothing.
    """
    if SHARED not in batch.extra:
        return model.hidden(batch.tokens, batch.positions, PackedAttention(batch.lengths))
    kept, places = _layout(batch.lengths, batch.extra[SHARED].tolist())
    device = batch.tokens.device
    index = torch.from_numpy(places).to(device)
    keep = torch.from_numpy(kept).to(device)
    tokens, positions = batch.tokens[:, keep], batch.positions[:, keep]
    more = 0
    if model.dtype == torch.bfloat16 and device.type == "cpu":
        more = -len(kept) % _MULTIPLE
        tokens, positions = F.pad(tokens, (0, more)), F.pad(positions, (0, more))
    attention = _SharedAttention(batch.lengths, index, keep, more)
    return model.hidden(tokens, positions, attention)[:, index]


def _layout(lengths: tuple[int, ...], shared: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens are computed, and for each token of the batch its place among these."""
    kept: list[np.ndarray] = []
    places: list[np.ndarray] = []
    start = size = 0
    for chosen, rejected, common in zip(lengths[0::2], lengths[1::2], shared[0::2], strict=True):
        own = rejected - common  # what the rejected sequence does not share
        first = np.arange(chosen + rejected)
        kept += [start + first[:chosen], start + first[chosen + common :]]
        places += [size + first[:chosen], size + first[:common], size + chosen + first[:own]]
        start += chosen + rejected
        size += chosen + own
    return np.concatenate(kept), np.concatenate(places)


class _SharedAttention:
    """Attention of each sequence alone, over queries, keys and values of the tokens kept."""

    def __init__(self, lengths: tuple[int, ...], index: Tensor, keep: Tensor, more: int) -> None:
        self._each = PackedAttention(lengths)
        self._index, self._keep, self._more = index, keep, more

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        whole = self._each(layer, *(x.index_select(2, self._index) for x in (q, k, v)))
        return F.pad(whole.index_select(2, self._keep), (0, 0, 0, self._more))


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences share at their beginning, each keeping one of its own."""
    size = min(len(one), len(other)) - 1
    return next((i for i in range(size) if one[i] != other[i]), size)
