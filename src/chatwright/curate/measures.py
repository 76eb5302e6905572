"""What can be measured of one document: every number that a quality rule may bound, in one pass.

Definitions follow Rae et al. 2021 (Gopher, table A1 and appendix A.1.1) and, for duplicate lines,
the same paper's repetition table; where a definition assumes spaces between words, Chinese words
come from rjieba's dictionary. Nothing here decides: bounds are in `presets/*.yaml`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from chatwright.curate.normalise import split_code
from chatwright.curate.words import HAN

_WORDS = re.compile(r"\S+")
# Gopher's stop words: a page of running English has at least two of them.
_ENGLISH_STOP = frozenset(_WORDS.findall("the be to of and that have with"))
_CHINESE_STOP = frozenset(
    _WORDS.findall("的 了 是 在 不 和 有 我 这 也 就 人 都 一个 上 我们 为 与 到 他")
)
_TERMINAL = tuple(".!?\"'”’。！？；…」』）)】》")
_HEADING = re.compile(r"^#{1,6}\s+")
_BULLET = re.compile(r"^\s*(?:[-*+•●▪‣·]|\d+[.)、])\s+")
_MARKS = re.compile(r"\*{1,3}|`+|^[\s>]+|\|(?:\s*-{3,}\s*\|)*", re.M)
_HAN = re.compile(f"[{HAN}]")
_HAN_RUN = re.compile(f"[{HAN}]+")
_ELLIPSIS = re.compile(r"\.\.\.|…")

Measures = Mapping[str, float]

MEASURES = (
    "character_count",
    "word_count",
    "mean_word_length",
    "symbol_word_ratio",
    "alphabetic_word_ratio",
    "stop_word_count",
    "bullet_line_ratio",
    "ellipsis_line_ratio",
    "terminal_line_ratio",
    "duplicate_line_ratio",
    "duplicate_line_character_ratio",
    "new_line_ratio",
    "replacement_ratio",
    "code_ratio",
    "han_ratio",
    "link_ratio",
)


def split_words(text: str) -> list[str]:
    """Words by white space; a run of Chinese inside one is cut by rjieba's dictionary."""
    words = text.split()
    if not _HAN.search(text):
        return words
    import rjieba

    out: list[str] = []
    for word in words:
        if not _HAN.search(word):
            out.append(word)
            continue
        at = 0
        for run in _HAN_RUN.finditer(word):
            out.extend([word[at : run.start()]] if run.start() > at else [])
            out.extend(rjieba.cut(run.group()))
            at = run.end()
        out.extend([word[at:]] if at < len(word) else [])
    return out


def measure(markdown: str, *, link_ratio: float = 0.0) -> dict[str, float]:
    """All of `MEASURES`. Prose measures leave code blocks out; an empty text measures 0.

    `link_ratio` is the share of link text in the page, which only extraction can see.
    """
    runs = split_code(markdown)
    raw_lines = [ln for code, run in runs if not code for ln in run.split("\n") if ln.strip()]
    code_lines = [ln for code, run in runs if code for ln in run.split("\n")[1:-1] if ln.strip()]
    bullets = sum(bool(_BULLET.match(line)) for line in raw_lines)
    lines = [_MARKS.sub(" ", _HEADING.sub("", _BULLET.sub("", line))).strip() for line in raw_lines]
    lines = [line for line in lines if line]
    text = "\n".join(lines)
    words = split_words(text)
    n_words = len(words)
    characters = sum(len(line) for line in lines)
    code_characters = sum(len(line) for line in code_lines)
    letters = sum(c.isalpha() for c in text)
    bare = [word.strip(".,;:!?\"'()[]“”‘’，。！？；：、") for word in words]
    lower = {word.lower() for word in bare}
    counts = Counter(lines)
    repeated = sum(n - 1 for n in counts.values())
    repeated_characters = sum((n - 1) * len(line) for line, n in counts.items())
    n_lines = len(lines)

    def per(value: float, whole: float) -> float:
        return value / whole if whole else 0.0

    return {
        "character_count": float(characters + code_characters),
        "word_count": float(n_words + sum(len(line.split()) for line in code_lines)),
        "mean_word_length": per(sum(map(len, bare)), n_words),
        "symbol_word_ratio": per(text.count("#") + len(_ELLIPSIS.findall(text)), n_words),
        "alphabetic_word_ratio": per(sum(any(c.isalpha() for c in w) for w in words), n_words),
        "stop_word_count": float(len(lower & _ENGLISH_STOP) + len(lower & _CHINESE_STOP)),
        "bullet_line_ratio": per(bullets, n_lines),
        "ellipsis_line_ratio": per(sum(ln.endswith(("...", "…")) for ln in lines), n_lines),
        "terminal_line_ratio": per(sum(ln.endswith(_TERMINAL) for ln in lines), n_lines),
        "duplicate_line_ratio": per(repeated, n_lines),
        "duplicate_line_character_ratio": per(repeated_characters, characters),
        "new_line_ratio": per(n_lines - 1 if n_lines else 0, n_words),
        "replacement_ratio": per(text.count("\ufffd"), characters),
        "code_ratio": per(code_characters, characters + code_characters),
        "han_ratio": per(len(_HAN.findall(text)), letters),
        "link_ratio": link_ratio,
    }
