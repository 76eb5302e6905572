"""Instructions that only make sense for Chinese; ours, in the manner of IFEval."""

from __future__ import annotations

import re

from chatwright.evaluate.instructions import counting
from chatwright.evaluate.instructions.registry import Relation, compared, instruction

# Full-width marks are written as escapes: some editors and pipes turn them into ASCII.
_WIDE_MARKS = "\u3002\uff01\uff1f\uff0c\uff1b\uff1a\u3001\u201c\u201d\u2018\u2019"
_MARKS = _WIDE_MARKS + ".!?,;:\"' \n"


@instruction("zh:number_characters")
def number_characters(answer: str, *, num_characters: int, relation: Relation) -> bool:
    """So many Chinese characters; punctuation, digits and Latin letters do not count."""
    return compared(counting.han_characters(answer), relation, num_characters)


@instruction("zh:simplified_only")
def simplified_only(answer: str) -> bool:
    """Chinese without a traditional form."""
    return counting.has_han(answer) and not counting.traditional_only(answer)


@instruction("zh:traditional_only")
def traditional_only(answer: str) -> bool:
    """Chinese without a simplified form."""
    return counting.has_han(answer) and not counting.simplified_only(answer)


@instruction("zh:no_latin")
def no_latin(answer: str) -> bool:
    """Not one Latin letter, full-width or not."""
    return not re.search("[A-Za-z\uff21-\uff3a\uff41-\uff5a]", answer)


@instruction("zh:full_width_punctuation")
def full_width_punctuation(answer: str) -> bool:
    """No ASCII comma, stop, colon or question mark next to a Chinese character."""
    return not any(
        counting.has_han(answer[max(0, mark.start() - 1) : mark.start()])
        or counting.has_han(answer[mark.end() : mark.end() + 1])
        for mark in re.finditer(r"[,.!?;:()]", answer)
    )


@instruction("zh:verse")
def verse(answer: str, *, num_lines: int, line_characters: int) -> bool:
    """A poem: so many lines (or halves of a line, parted by a mark) of so many characters each."""
    lines = [
        part for part in re.split(f"[\n{re.escape(_MARKS)}]+", answer) if counting.has_han(part)
    ]
    return len(lines) == num_lines and all(
        counting.han_characters(line) == line_characters for line in lines
    )


@instruction("zh:constrained_response")
def constrained_response(answer: str, *, options: list[str]) -> bool:
    """The answer is one of the options, but for the marks around it."""
    return answer.strip(_MARKS) in {option.strip(_MARKS) for option in options}
