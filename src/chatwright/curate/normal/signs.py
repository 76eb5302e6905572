"""Which kinds of signs a text has, in one vectorised pass, so that most edits need not look."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONTROL = 1  # control, invisible or no character at all
SPACE = 2  # tabs and spaces other than the plain one
SUSPECT = 4  # alone a reason to ask ftfy
LATIN_ISH = 8  # neither ASCII nor East Asian: two of these together are a reason to ask ftfy
WIDE = 16  # full-width letters, digits and signs, half-width kana
WIDE_MARK = 32  # full-width punctuation
CURLY = 64
OTHER_QUOTE = 128  # of pairs that have a curly quote on the other side
HAN = 256
KANA = 512
HANGUL = 1024
LATIN = 2048
MARK = 4096  # ASCII punctuation that has a full-width twin
BRACKET = 8192  # brackets and the straight quote: a pair may hold Chinese
CLOSING = 16384  # what a Chinese mark may follow, and markup that is looked through
PAIR = 32768  # only in `kinds`: two LATIN_ISH beside each other

_KINDS: tuple[tuple[int, tuple[tuple[int, int], ...]], ...] = (
    (CONTROL, ((0, 8), (0x0B, 0x1F), (0x7F, 0x84), (0x86, 0x9F), (0xAD, 0xAD), (0xD800, 0xDFFF),
               (0x200B, 0x200B), (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x2060),
               (0x2066, 0x2069), (0xFEFF, 0xFEFF), (0xFFFE, 0xFFFF))),
    (SPACE, ((9, 9), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x202F, 0x202F),
             (0x205F, 0x205F))),
    (SUSPECT, ((0x80, 0x9F), (0xC2, 0xC3), (0x152, 0x153))),
    (LATIN_ISH, ((0x80, 0x2DFF), (0xE000, 0xF8FF), (0xFB00, 0xFB06), (0xFFFD, 0xFFFD))),
    (WIDE, ((0x3000, 0x3000), (0xFF02, 0xFF07), (0xFF0B, 0xFF0B), (0xFF0D, 0xFF0D),
            (0xFF0F, 0xFF19), (0xFF1D, 0xFF1D), (0xFF20, 0xFF3A), (0xFF41, 0xFF5A),
            (0xFF61, 0xFFDC), (0xFFE0, 0xFFE6))),
    (WIDE_MARK, ((0x3001, 0x3002), (0xFF01, 0xFF01), (0xFF08, 0xFF09), (0xFF0C, 0xFF0C),
                 (0xFF0E, 0xFF0E), (0xFF1A, 0xFF1B), (0xFF1F, 0xFF1F))),
    (CURLY, ((0x2018, 0x2019), (0x201C, 0x201D))),
    (OTHER_QUOTE, ((0x201A, 0x201A), (0x201E, 0x201E), (0xAB, 0xAB), (0xBB, 0xBB),
                   (0x2039, 0x203A))),
    (HAN, ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F))),
    (KANA, ((0x3041, 0x30FF),)),
    (HANGUL, ((0x1100, 0x11FF), (0xAC00, 0xD7AF))),
    (LATIN, ((0x41, 0x5A), (0x61, 0x7A))),
    (MARK, ((0x21, 0x21), (0x2C, 0x2C), (0x2E, 0x2E), (0x3A, 0x3B), (0x3F, 0x3F))),
    (BRACKET, ((0x22, 0x22), (0x28, 0x29))),
    (CLOSING, ((0x2A, 0x2A), (0x5F, 0x5F), (0x7E, 0x7E), (0x2019, 0x2019), (0x201D, 0x201D),
               (0x2026, 0x2026), (0x3001, 0x3002), (0x300B, 0x300B), (0x300D, 0x300D),
               (0x300F, 0x300F), (0x3011, 0x3011), (0xFF01, 0xFF01), (0xFF05, 0xFF05),
               (0xFF09, 0xFF09), (0xFF1F, 0xFF1F))),
)  # fmt: skip


@lru_cache(maxsize=1)
def _table() -> NDArray[Any]:
    import numpy as np

    table = np.zeros(0x110000, np.uint16)
    for kind, ranges in _KINDS:
        for first, last in ranges:
            table[first : last + 1] |= kind
    return table


def signs(text: str) -> NDArray[Any]:
    """The kinds of each character `[len(text)]`, uint16."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    found: NDArray[Any] = _table()[codes]
    return found


@lru_cache(maxsize=2)  # every edit asks, of the same text until one changes it
def kinds(text: str) -> int:
    """The kinds that a text has, as one number."""
    import numpy as np

    found = signs(text)
    every = int(np.bitwise_or.reduce(found)) if len(found) else 0
    if every & LATIN_ISH and bool((found[1:] & found[:-1] & LATIN_ISH).any()):
        every |= PAIR
    return every


def is_plain_ascii(text: str) -> bool:
    """Whether a text has nothing but printable ASCII and newlines."""
    return text.isascii() and text.replace("\n", "").isprintable()


def chinese_lines_with_marks(text: str) -> list[int]:
    """Numbers of the lines that may need Chinese punctuation.

    They are Chinese (see `punctuation.py`) and have an ASCII mark beside a Chinese character or
    sign, or a bracket or a straight quote.
    """
    import numpy as np

    found = signs(text)
    # Line of each character; a newline belongs to the line that it ends.
    ends = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) == 10
    line = np.cumsum(ends) - ends
    n = int(line[-1]) + 1 if len(line) else 0
    near = (found & (HAN | CLOSING)) > 0
    beside = np.zeros(len(found), bool)
    beside[1:] |= near[:-1]
    beside[:-1] |= near[1:]
    wanted = ((found & MARK) > 0) & beside | ((found & BRACKET) > 0)

    def count(kind: int) -> NDArray[Any]:
        return np.bincount(line[(found & kind) > 0], minlength=n)

    chinese = (count(HAN) * 3 > count(LATIN)) & (count(KANA | HANGUL) == 0)
    marked = np.bincount(line[wanted], minlength=n) > 0
    return [int(at) for at in np.flatnonzero(chinese & marked)]
