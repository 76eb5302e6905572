"""What no edit of running text may touch: inline code, addresses, link targets, tags, formulas."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

# Every alternative starts at a sign that cannot stand inside itself and stops at one that ends it,
# so that a line of nothing but such signs is read once, not once for each of them.
_PROTECTED = re.compile(
    r"(?<!`)`++[^`\n]++`++"
    '|(?:https?|ftp)://[^\\s<>\\[\\]"`$\u2018-\u201f\u2e80-\U0001ffff]+'
    '|(?<![\\w.])www\\.[^\\s<>\\[\\]"`$\u2018-\u201f\u2e80-\U0001ffff]+'
    r"|(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"
    r"|\]\([^()\s]*+\)"
    r"|<[A-Za-z/!][^<>\n]*+>"
    r"|\$[^$\n\s](?:[^$\n]{0,198}[^$\n\s])?\$"
    r"|&\#?\w{1,32};"
)
_MARKERS = ("`", "://", "www.", "@", "](", "<", "$", "&")

Spans = tuple[list[int], list[int]]


def has_protected_signs(text: str) -> bool:
    """Whether anything in a text could be protected."""
    return any(marker in text for marker in _MARKERS)


def protected(line: str) -> Spans | None:
    """Starts and ends of what is protected in a line, in order, or None."""
    if not has_protected_signs(line):
        return None
    found = [m.span() for m in _PROTECTED.finditer(line)]
    return ([a for a, _ in found], [b for _, b in found]) if found else None


def inside(at: int, spans: Spans | None) -> bool:
    """Whether a position is protected."""
    if spans is None:
        return False
    before = bisect_right(spans[0], at) - 1
    return before >= 0 and at < spans[1][before]


def edit_outside(line: str, edit: Callable[[str], str]) -> str:
    """The line with everything edited that is not protected."""
    spans = protected(line)
    if spans is None:
        return edit(line)
    out, at = [], 0
    for start, end in zip(*spans, strict=True):
        out += [edit(line[at:start]) if start > at else "", line[start:end]]
        at = end
    out.append(edit(line[at:]) if at < len(line) else "")
    return "".join(out)
