"""A text as the finders see it: full-width forms folded one to one, so that offsets stay."""

from __future__ import annotations

import re
from functools import cached_property

# Letters, digits and the marks inside of addresses and numbers, and nothing else: a full-width
# comma or colon next to a number is the sentence's.
_FOLDED = {
    **{0xFF10 + i: 0x30 + i for i in range(10)},
    **{0xFF21 + i: 0x41 + i for i in range(26)},
    **{0xFF41 + i: 0x61 + i for i in range(26)},
    **dict(
        zip(
            map(ord, "\uff20\uff0e\uff0d\uff3f\uff0b\uff08\uff09"), map(ord, "@.-_+()"), strict=True
        )
    ),
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63], ord("-")),
    **dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], ord(" ")),
}
_FOLDABLE = re.compile("[" + "".join(map(chr, _FOLDED)) + "]")

# Groups of digits with what may stand between the groups of one number. No newline: a number does
# not run on into the next line of a table.
_NUMBER = re.compile(r"[0-9]+(?:[ ().\-/]{1,3}[0-9]+)*")
_LEAST_NUMBER = 7  # characters: nothing personal is a shorter number


class View:
    """A text made ready for finding; every offset is one of the text itself."""

    def __init__(self, text: str) -> None:
        foldable = not text.isascii() and _FOLDABLE.search(text)
        self.text = text.translate(_FOLDED) if foldable else text

    @cached_property
    def lower(self) -> str:
        """In small letters and of the same length."""
        lower = self.text.lower()
        if len(lower) == len(self.text):
            return lower
        return "".join(c.lower() if len(c.lower()) == 1 else c for c in self.text)

    @cached_property
    def numbers(self) -> list[tuple[int, int]]:
        """Where digits stand that may be a long number: `[start, end)` of each."""
        return [
            m.span() for m in _NUMBER.finditer(self.text) if m.end() - m.start() >= _LEAST_NUMBER
        ]

    def before(self, at: int, width: int) -> str:
        """The `width` characters that end at `at`, in small letters."""
        return self.lower[max(0, at - width) : at]

    def after(self, at: int, width: int) -> str:
        """The `width` characters from `at` on, in small letters."""
        return self.lower[at : at + width]


def digits_of(text: str) -> str:
    """The ASCII digits of a text."""
    return "".join(c for c in text if "0" <= c <= "9")
