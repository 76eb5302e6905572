"""How probable a model finds given text: the numbers behind perplexity and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from chatwright.model import Transformer

Floats = NDArray[np.float64]

# Logits are float32 [positions, vocabulary]: 256 positions of 49,152 words are 50 MB.
_POSITIONS_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class Scored:
    """A sequence and which of its tokens count. The first token has no prediction: never counted.

    `tokens` and `counted` have the same length.
    """

    tokens: Sequence[int]
    counted: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Sum of −ln p over the counted tokens (nats), and how many they are."""

    nll: float
    tokens: int


def sequence_likelihoods(model: Transformer, sequences: Sequence[Scored]) -> list[Likelihood]:
    """Likelihood of each sequence's counted tokens; see `token_losses`."""
    return [Likelihood(float(x.sum()), len(x)) for x in token_losses(model, sequences)]


def token_losses(model: Transformer, sequences: Sequence[Scored]) -> list[Floats]:
    """−ln p (nats) of each sequence's counted tokens, given all that stands before them in it.

    One forward pass over all (shorter ones padded on the right, where causal attention cannot see).
    Logits are made only where a token counts. Raises `ValueError` for a sequence longer than the
    model's context: the caller decides what to do with it.
    """
    import torch
    from torch import Tensor

    longest = max((len(s.tokens) for s in sequences), default=0)
    if longest > model.config.context:
        raise ValueError(f"{longest} tokens do not fit in a context of {model.config.context}")
    if longest < 2:
        return [np.zeros(0) for _ in sequences]
    rows = len(sequences)
    tokens = torch.zeros((rows, longest), dtype=torch.long)
    counted = torch.zeros((rows, longest), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence.tokens)] = torch.tensor(sequence.tokens)
        counted[row, : len(sequence.counted)] = torch.tensor(sequence.counted)
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            hidden: Tensor = model.hidden(tokens.to(model.device))[:, :-1]
            mask = counted[:, 1:].to(model.device)
            states, wanted = hidden[mask], tokens[:, 1:].to(model.device)[mask]
            losses = torch.empty(len(wanted), dtype=torch.float64)
            for start in range(0, len(wanted), _POSITIONS_AT_A_TIME):
                part = slice(start, start + _POSITIONS_AT_A_TIME)
                logits = model.logits(states[part]).float()
                losses[part] = torch.nn.functional.cross_entropy(
                    logits, wanted[part], reduction="none"
                ).cpu()
    finally:
        model.train(training)
    counts = counted[:, 1:].sum(dim=1).tolist()
    return [part.numpy() for part in losses.split(counts)]


def text_windows(
    tokens: Sequence[int], start: int, *, window: int, overlap: int = 0
) -> list[Scored]:
    """Cut a text into windows in which each of its tokens counts exactly once.

    `start` is the token that stands before a text (BOS, or the end-of-text that separates texts in
    pretraining); it is seen and never counted. Windows hold `window` tokens. Each after the first
    begins with the last `overlap` tokens of the one before, which are seen and not counted again;
    the very last token before a window is seen in any case, since without it the window's first
    token would have no prediction. With `overlap = 0` the windows are blocks: quick, and a little
    pessimistic, as tokens early in a block see little before them. With `overlap = window − 1`
    every token sees as much as fits.
    """
    if not 0 <= overlap < window or window < 2:
        raise ValueError("0 ≤ overlap < window and window ≥ 2")
    whole = [start, *tokens]
    seen = max(1, overlap)
    windows: list[Scored] = []
    done = 1  # tokens of `whole` that need no more counting; the first is `start`
    while done < len(whole):
        begin = 0 if done == 1 else done - seen
        end = min(begin + window, len(whole))
        windows.append(Scored(whole[begin:end], [False] * (done - begin) + [True] * (end - done)))
        done = end
    return windows


def batched(lengths: Sequence[int], tokens: int = 8_192, rows: int = 16) -> list[list[int]]:
    """Indices in groups of like length, longest first; padded, a group has at most `tokens`.

    The grouping depends on the lengths alone, so an interrupted run that goes on has the same
    groups, and with them the same rounding, as one that was left in peace.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for index in order:
        width = lengths[groups[-1][0]] if groups else 0
        full = not groups or len(groups[-1]) >= rows or width * (len(groups[-1]) + 1) > tokens
        if full:
            groups.append([])
        groups[-1].append(index)
    return groups


def total_nats(likelihoods: Sequence[Likelihood]) -> Likelihood:
    """Several windows of one text as one."""
    return Likelihood(math.fsum(x.nll for x in likelihoods), sum(x.tokens for x in likelihoods))
