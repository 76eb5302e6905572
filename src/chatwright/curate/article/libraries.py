"""What trafilatura and resiliparse take for a page's article, put to our own blocks.

Their judgement, our structure: a Markdown block stays when its text is in the text they kept.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from chatwright.curate.markdown import Block

Library = Literal["trafilatura", "resiliparse"]

_SHORT = 25  # letters
_NEAR = 300
_FAR = 20_000
_GRAM = 12
_MARKER = re.compile(r"^[\s>]*(?:-|\d+\.)\s")
_LETTERS = re.compile(r"\W+|_")


def kept_blocks(blocks: list[Block], article: str) -> list[Block]:
    """The blocks whose text `article` holds, in order; all of them where it is empty."""
    kept = _LETTERS.sub("", article)
    if not kept:
        return blocks
    grams = {kept[i : i + _GRAM] for i in range(len(kept) - _GRAM + 1)}
    out: list[Block] = []
    position = 0
    for block in blocks:
        letters = _LETTERS.sub("", _MARKER.sub("", block.text))
        if not letters:
            continue
        if len(letters) < _SHORT:
            # A short text ("Share", a name) may stand anywhere: it counts only where we are.
            found = kept.find(letters, position, position + len(letters) + _NEAR)
            if found < 0:
                continue
            position = found + len(letters)
        else:
            steps = range(0, len(letters) - _GRAM + 1, _GRAM // 2)
            hits = sum(letters[i : i + _GRAM] in grams for i in steps)
            if hits < len(steps) * 0.85:
                continue
            found = kept.find(letters[-_GRAM:], position, position + len(letters) + _FAR)
            position = found + _GRAM if found >= 0 else position
        out.append(block)
    return out


def article_text(root: Any, text: str, library: Library) -> str:
    """What the library takes for the article; "" where it finds none.

    trafilatura changes `root`: the walk over it must be done. Where it finds nothing, resiliparse
    is asked.
    """
    if library == "trafilatura":
        import trafilatura

        try:
            found = trafilatura.extract(
                root, fast=True, include_comments=False, include_tables=True
            )
        except Exception:
            found = None
        if found:
            return str(found)
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(text, main_content=True, list_bullets=False))
