"""Which language a page is in, and how sure that is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.curate.lang.scripts import (
    ONE_LANGUAGE,
    is_chinese,
    main_script,
    script_letters,
    weight,
)
from chatwright.curate.lang.votes import UNSURE, vote
from chatwright.curate.normalise import split_code

_WINDOWS = 3  # beginning, middle and end: a page may open with a menu, or change its language
_WINDOW = 350  # characters of each; fastText's vote hardly moves after a hundred words
_READ = 100_000  # characters of a page with code blocks that are looked at
# Letters of prose, a Chinese character being three, that a vote needs; under that it is noise. Less
# will do where the letters narrow the choice, and little where they settle it.
_LEAST, _LEAST_NOT_LATIN, _LEAST_BY_SCRIPT = 20, 10, 6
_SHORT, _UNSURE_SHORT = 60, 0.9  # letters; on so few fastText is wrong with more confidence
_INLINE_CODE = re.compile(r"(?<!`)`++[^`\n]++`++")
_ADDRESS = re.compile(r"https?://\S+")
_MARKS = re.compile(r"[#*>|`_~\[\](){}<>=+\\/0-9]+")


@dataclass(frozen=True, slots=True)
class Language:
    """An ISO 639 code, or None where there is too little prose to tell, and a confidence 0…1."""

    code: str | None
    confidence: float


def prose(markdown: str) -> str:
    """Running text without code, marks and addresses."""
    return _unmarked("\n".join(run for code, run in split_code(markdown) if not code))


def _unmarked(text: str) -> str:
    if "`" in text:
        text = _INLINE_CODE.sub(" ", text)
    if "://" in text:
        text = _ADDRESS.sub(" ", text)
    return _MARKS.sub(" ", text)


def sample(markdown: str) -> str:
    """What a language is told by: the prose of three stretches of a long text, on one line."""
    text = markdown
    if "```" in text or "~~~" in text:
        text = "\n".join(run for code, run in split_code(text[:_READ]) if not code)
    if len(text) > 2 * _WINDOWS * _WINDOW:
        step = (len(text) - 2 * _WINDOW) // (_WINDOWS - 1)
        text = " ".join(text[at * step : at * step + 2 * _WINDOW] for at in range(_WINDOWS))
    words = " ".join(_unmarked(text).split())
    if len(words) <= _WINDOWS * _WINDOW:
        return words
    step = (len(words) - _WINDOW) // (_WINDOWS - 1)
    return " ".join(words[at * step : at * step + _WINDOW] for at in range(_WINDOWS))


def detect_language(markdown: str, hint: str | None = None) -> Language:
    """The main language of a text: by its script, by fastText's lite model, by a second vote.

    Han characters without kana settle it for Chinese: the lite model is unsure of short Chinese
    texts with English terms in them; other scripts of one language likewise. `hint` (the page's own
    `lang`) decides only where there is too little prose to judge.
    """
    return detect_languages([markdown], [hint])[0]


def detect_languages(
    markdowns: Sequence[str],
    hints: Sequence[str | None] | None = None,
    *,
    unsure: float = UNSURE,
) -> list[Language]:
    """`detect_language` of each text. Below `unsure` the second detector is asked."""
    hints = hints or [None] * len(markdowns)
    return [
        tell_language(sample(text), hint, unsure)
        for text, hint in zip(markdowns, hints, strict=True)
    ]


def tell_language(text: str, hint: str | None = None, unsure: float = UNSURE) -> Language:
    """The language of one line of running text, as `sample` makes it."""
    letters = script_letters(text)
    size, script = weight(letters), main_script(letters)
    if size < _LEAST_BY_SCRIPT:
        return Language(hint, 0.0)
    code, confidence = told_by_script(letters)
    if code is None:
        if size < (_LEAST if script == "Latn" else _LEAST_NOT_LATIN):
            return Language(hint, 0.0)
        if unsure and size < _SHORT:
            unsure = max(unsure, _UNSURE_SHORT)
        code, confidence = vote(text, script, unsure=unsure)
    if code is None:
        return Language(hint, 0.0)
    return Language(code, round(min(1.0, confidence), 3))


def told_by_script(letters: dict[str, int]) -> tuple[str | None, float]:
    """The language that a text's letters alone settle, with their share; otherwise (None, 0)."""
    script = main_script(letters)
    han, every = letters.get("Hani", 0), sum(letters.values())
    if script == "Hani" and is_chinese(letters):
        return "zh", 3 * han / (every + 2 * han)
    if script == "Jpan":
        return "ja", (3 * han + letters["Kana"]) / (every + 2 * han)
    if script in ONE_LANGUAGE:
        return ONE_LANGUAGE[script], letters[script] / weight(letters)
    return None, 0.0
