"""How much memory requests may take: the pool of blocks, and what one request could need of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from chatwright.errors import UsageError
from chatwright.generate.params import SamplingParams

BLOCK_SIZE = 32  # positions of a block


def physical_memory() -> int | None:
    """The machine's memory in bytes, or None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


@dataclass(frozen=True, slots=True)
class PoolSize:
    """A pool of `n_blocks` blocks; one request may have `context` positions of it."""

    n_blocks: int
    context: int


def pool_size(
    *, max_batch: int, context: int, block_size: int, bytes_per_block: int, memory: int | None
) -> PoolSize:
    """Blocks for `max_batch` requests of `context` tokens, as far as `memory` bytes hold them.

    With less, requests wait for each other; a shorter context, which would refuse them, is the last
    resort. `memory` None: no bound. Raises `UsageError` where not even one block fits.
    """
    n_blocks = max_batch * -(-context // block_size)
    if memory is not None:
        n_blocks = min(n_blocks, memory // bytes_per_block)
    if n_blocks < 1:
        raise UsageError(
            f"{memory} bytes of KV memory do not hold one block of {block_size} tokens, which "
            f"takes {bytes_per_block}",
            where="kv_memory",
        )
    return PoolSize(n_blocks, min(context, n_blocks * block_size))


def most_blocks(
    prompt: int, negative: int, limit: int, params: SamplingParams, *, context: int, size: int
) -> int:
    """The most blocks of `size` that a request can need at once, if it runs alone.

    `prompt` and `negative` count tokens, and each answer has up to `limit`. Full blocks of the
    prompt are shared by all answers, until the window slides.
    """
    slides = params.window_end == "slide"
    answers = max(params.answers, params.beams)

    def of(length: int) -> int:
        shared = 0 if slides else length // size
        each = -(-min(length + limit - 1, context) // size) - shared  # the last is never read
        return shared + answers * each

    return of(prompt) + (of(negative) if params.guidance != 1.0 else 0)
