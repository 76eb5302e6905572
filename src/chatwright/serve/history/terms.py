"""From text to the terms of a blind index, and from a query to those that must all be there.

A term is a piece of one, two or three characters within a word; what is stored is its keyed hash
(`Sealer.term`), cut to 32 bits. Two pieces that share a hash cost a candidate that is looked at in
vain, and hide a little from whoever counts hashes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

QUERY_CHARACTERS = 200
QUERY_WORDS = 12
INDEXED_CHARACTERS = 200_000  # of a message; what comes after is not found
_QUERY_TERMS = 10
_HASH_DIGITS = 8
_LONGEST = 3
_BEFORE, _AFTER = 48, 96  # characters of a snippet around the match
_ELLIPSIS = "\u2026"


def normal(text: str) -> str:
    """How texts and queries are compared: NFKC without case, white space as one space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def words_of(query: str) -> list[str]:
    """The words of a query, each once, the longest first: what narrows most comes first."""
    words = dict.fromkeys(normal(query[:QUERY_CHARACTERS]).split())
    return sorted(words, key=len, reverse=True)[:QUERY_WORDS]


def pieces(text: str) -> set[str]:
    """The pieces of a text that a query can ask for. No word of a query holds white space, so no
    piece crosses one.
    """
    found: set[str] = set()
    for word in set(normal(text[:INDEXED_CHARACTERS]).split()):
        length = len(word)
        found.update(word)
        found.update([word[at : at + 2] for at in range(length - 1)])
        found.update([word[at : at + 3] for at in range(length - 2)])
    return found


def blind(found: set[str], term: Callable[[str], str]) -> list[str]:
    """The hashes that are stored for pieces, in an order that says nothing of the text's."""
    return sorted({term(piece)[:_HASH_DIGITS] for piece in found})


def query_pieces(words: list[str]) -> list[str]:
    """Pieces that a text with all `words` must have: at most `_QUERY_TERMS`, spread over the words.

    Each word gives its pieces of the greatest length, first those that do not overlap.
    """
    by_word = []
    for word in words:
        size = min(len(word), _LONGEST)
        starts = list(range(0, len(word) - size + 1, size))
        if starts[-1] != len(word) - size:
            starts.append(len(word) - size)
        rest = [at for at in range(len(word) - size + 1) if at not in starts]
        by_word.append([word[at : at + size] for at in starts + rest])
    chosen: dict[str, None] = {}
    for round_ in range(max(map(len, by_word), default=0)):
        for found in by_word:
            if round_ < len(found) and len(chosen) < _QUERY_TERMS:
                chosen.setdefault(found[round_])
    return list(chosen)


def matches(text: str, words: list[str]) -> bool:
    """Whether all words are in the text, as `normal` compares them."""
    folded = normal(text)
    return all(word in folded for word in words)


def snippet(text: str, words: list[str]) -> str:
    """A piece of the text around the first of its matches, on one line."""
    at, length = _first_match(text, words)
    start, end = max(0, at - _BEFORE), min(len(text), at + length + _AFTER)
    if start > 0:  # not in the middle of a word, where one ends nearby
        space = re.search(r"\s", text[start : min(start + 15, at)])
        start += space.end() if space else 0
    piece = " ".join(text[start:end].split())
    return f"{_ELLIPSIS if start else ''}{piece}{_ELLIPSIS if end < len(text) else ''}"


def _first_match(text: str, words: list[str]) -> tuple[int, int]:
    """(position, length) in the text itself, not in its normal form."""
    found = []
    for word in words:
        match = re.search(re.escape(word), text, re.IGNORECASE)
        if match:
            found.append((match.start(), match.end() - match.start()))
    if found:
        return min(found)
    # A match by NFKC alone (full-width letters, ligatures): go through the text by character.
    folded: list[str] = []
    origin: list[int] = []
    for at, character in enumerate(text[:20_000]):
        for made in unicodedata.normalize("NFKC", character).casefold():
            folded.append(made)
            origin.append(at)
    whole = "".join(folded)
    places = [place for word in words if (place := whole.find(word)) >= 0]
    return (origin[min(places)], 1) if places else (0, 1)
