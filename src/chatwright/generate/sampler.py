"""From logits to a token. Pure functions: all state comes in, nothing is kept."""

from __future__ import annotations

import torch
from torch import Tensor

from chatwright.generate.params import SamplingParams

# Top-p looks at this many of the likeliest tokens before it sorts the whole vocabulary.
_FIRST_LOOK = 256


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make the tokens in `seen` [n] less likely: `logits` [V] divided, if negative multiplied.

    As in CTRL (Keskar et al. 2019) and in `transformers`. Returns a new tensor.
    """
    chosen = logits[seen]
    return logits.index_put((seen,), torch.where(chosen < 0, chosen * penalty, chosen / penalty))


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """`logits` [V] with all but the `k` largest at -inf; ties with the k-th stay."""
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    bound = logits.topk(k).values[-1]
    return logits.masked_fill(logits < bound, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """`logits` [V] with only the fewest largest left whose probabilities sum to `p` or more.

    The token that crosses `p` is kept, so that at least one always is.
    """
    if p >= 1.0:
        return logits
    probabilities = torch.softmax(logits, -1)
    size = probabilities.shape[-1]
    look = min(_FIRST_LOOK, size)
    top = probabilities.topk(look)
    if look < size and float(top.values.sum()) < p:
        top = probabilities.topk(size)
    before = top.values.cumsum(-1) - top.values
    kept = top.indices[before < p]
    return torch.full_like(logits, float("-inf")).index_copy_(0, kept, logits[kept])


def draw(probabilities: Tensor, uniform: float) -> int:
    """The token at which the running sum of `probabilities` [V] passes `uniform` in [0, 1).

    One random number for each token, whatever the size of the vocabulary. The sum runs in float64:
    in float32 the tail of a large vocabulary would be lost in rounding. A token of probability 0
    is never drawn.
    """
    running = probabilities.double().cumsum(-1)
    index = int(torch.searchsorted(running, uniform * running[-1], right=True))
    if index >= running.shape[-1]:  # uniform · total can round up to total
        index = int(probabilities.nonzero()[-1])
    return index


def choose(
    logits: Tensor, params: SamplingParams, seen: Tensor | None, generator: torch.Generator
) -> int:
    """The next token, given float32 `logits` [V].

    `seen` [n] holds the tokens of prompt and answer, and is needed only with a repetition penalty.
    Exactly one number is taken from `generator` unless greedy.
    """
    if params.repetition_penalty != 1.0 and seen is not None:
        logits = penalise(logits, seen, params.repetition_penalty)
    if params.greedy:
        return int(logits.argmax())
    # Subtracting the maximum first keeps a tiny temperature from making infinities.
    logits = (logits - logits.max()) / max(params.temperature, 1e-6)
    logits = keep_top_p(keep_top_k(logits, params.top_k), params.top_p)
    uniform = float(torch.rand((), generator=generator, dtype=torch.float64))
    return draw(torch.softmax(logits, -1), uniform)


def log_probability(logits: Tensor, token: int) -> float:
    """The natural log-probability of `token` under `logits` [V]."""
    return float(logits[token] - logits.logsumexp(-1))


def new_generator(seed: int | None) -> torch.Generator:
    """A request's own source of chance: from `seed`, or from the operating system when None."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed % 2**64)  # any integer, within what torch takes
    return generator
