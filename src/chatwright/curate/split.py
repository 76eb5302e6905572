"""Which pages are held out: by the order of a hash, so that it is the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def held_out(ids: Sequence[str], share: float, seed: int) -> set[int]:
    """Positions of the `round(share * len(ids))` rows that are held out.

    A row's place in the order hangs on its own id and the seed only, so that adding pages moves
    few of the old ones from one part to the other. Equal ids go by position.
    """
    ranked = sorted(range(len(ids)), key=lambda i: (_rank(ids[i], seed), i))
    return set(ranked[: round(share * len(ids))])


def _rank(row_id: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{row_id}".encode(), digest_size=16).digest()
