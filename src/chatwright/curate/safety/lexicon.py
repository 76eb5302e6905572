"""Weighted words and phrases found in a text at once, by an Aho-Corasick automaton in Rust."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

_HAN_PER_WORD = 1.6  # characters, on average in running text


@lru_cache(maxsize=4)
def read_terms(name: str) -> dict[str, frozenset[str]]:
    """The groups of `NAME.txt` beside this file: `[group]`, then terms apart by commas."""
    groups: dict[str, list[str]] = {}
    held: list[str] = []
    text = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            held = groups.setdefault(line.strip("[]"), [])
        elif not line.startswith("#"):
            held += [term.strip() for term in line.split(",") if term.strip()]
    return {group: frozenset(found) for group, found in groups.items()}


@dataclass(slots=True)
class Lexicon:
    """Groups of terms. A term of Latin letters counts as a whole word, with a plural s at most.

    `groups`: which of the file's; () all.
    """

    name: str
    groups: tuple[str, ...] = ()
    _terms: list[tuple[str, str]] = field(init=False, default_factory=list)
    _automaton: Any = field(init=False, default=None)

    def _load(self) -> None:
        from ahocorasick_rs import AhoCorasick, MatchKind

        held = read_terms(self.name)
        self.groups = self.groups or tuple(held)
        self._terms = [(g, term) for g in self.groups for term in sorted(held[g])]
        words = [term for _, term in self._terms]
        self._automaton = AhoCorasick(words, matchkind=MatchKind.LeftmostLongest)

    def count(self, lower: str) -> dict[str, Counter[str]]:
        """How often each term is in a lower-case text, by group; the longest term counts."""
        if self._automaton is None:
            self._load()
        found: dict[str, Counter[str]] = {group: Counter() for group in self.groups}
        if not lower.isascii():
            lower = lower.encode("utf-8", "replace").decode()  # half a pair is no character
        for at, start, end in self._automaton.find_matches_as_indexes(lower):
            group, term = self._terms[at]
            if _stands_alone(lower, start, end):
                found[group][term] += 1
        return found


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether what was found is no part of a longer Latin word; Chinese has no such borders."""
    if text[start].isascii() and start and _is_letter(text[start - 1]):
        return False
    if not text[end - 1].isascii() or end == len(text):
        return True
    if text[end] == "s" and text[end - 1].isalpha():
        end += 1
    return end == len(text) or not _is_letter(text[end])


def _is_letter(sign: str) -> bool:
    return sign.isascii() and sign.isalnum()


def words_in(text: str, han: int) -> float:
    """Length in words; Chinese characters count as 1/1.6 of one."""
    return len(text.split()) + han / _HAN_PER_WORD


def ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high`, straight between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
