"""How many letters and how many Chinese characters a text has."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.words import HAN

_END = 0x32400  # no letter has a higher code point


def count_letters(text: str) -> tuple[int, int]:
    """(Chinese characters, all letters); of ASCII text the letters are not counted: (0, 0)."""
    if text.isascii():
        return 0, 0
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    classes = _classes()[np.minimum(points, _END)]
    return int(np.count_nonzero(classes & 2)), int(np.count_nonzero(classes & 1))


@lru_cache(maxsize=1)
def _classes() -> NDArray[np.uint8]:
    """For each code point: 1 a letter, 2 Chinese."""
    han = re.compile(f"[{HAN}]")
    found = bytearray(_END + 1)
    for point in range(_END):
        sign = chr(point)
        if sign.isalpha():
            found[point] = 3 if han.match(sign) else 1
        elif han.match(sign):
            found[point] = 2
    return np.frombuffer(bytes(found), np.uint8)
