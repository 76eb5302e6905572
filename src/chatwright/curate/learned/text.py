"""A text as the learned models read it: lines of prose, lower case, Chinese cut into words."""

from __future__ import annotations

import re

from chatwright.curate.measuring.prose import read_prose
from chatwright.curate.measuring.words import split_words

_DIGITS = re.compile(r"\d+")
_LONGEST = 64  # characters of a word; what is longer is base64 or an address


def word_lines(markdown: str, characters: int | None = None) -> list[list[str]]:
    """The words of each line of prose, of the first so many characters; code is left out.

    Letters are lower-case and numbers are 0, so that neither case nor date tells good from bad.
    """
    head = markdown if characters is None else markdown[:characters]
    lines = []
    for line in read_prose(head).lines:
        folded = _DIGITS.sub("0", line.lower())
        lines.append([word[:_LONGEST] for word in split_words(folded)])
    return [line for line in lines if line]


def as_words(markdown: str, characters: int | None = None) -> str:
    """The same as one text with a space between words: what `textmodels.hashed` takes."""
    return " ".join(word for line in word_lines(markdown, characters) for word in line)
