"""What likelihoods of a text are worth: perplexity and bits per byte."""

from __future__ import annotations

import math


def perplexity(nll: float, tokens: float) -> float:
    """exp(mean negative log-likelihood per token), from their sums in nats. 1 is certainty."""
    if tokens <= 0:
        raise ValueError("perplexity needs at least one token")
    return math.exp(nll / tokens)


def bits_per_byte(nll: float, utf8_bytes: float) -> float:
    """Bits that the model needs for each UTF-8 byte of the text, from the sum in nats.

    Unlike perplexity it does not depend on the tokenizer, so it compares models with different
    ones.
    """
    if utf8_bytes <= 0:
        raise ValueError("bits per byte need at least one byte")
    return nll / math.log(2) / utf8_bytes
