"""A text with the groups in it exchanged: he for she, one nationality or religion for another.

Counterfactual data augmentation (Lu et al. 2018; Maudslay et al. 2019). Every word of a list that
has a counterpart is exchanged, so that pronouns and nouns still agree. Names of people stay: who is
called Mary becomes a man called Mary, which is harmless for what is wanted, and less wrong than a
changed name in a true story. Code, links and addresses stay as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from chatwright.curate.bias.lexicon import Code, Lists, han_words, load_lists
from chatwright.curate.words import HAN

Dimension = Literal["gender", "nationality", "religion"]
DIMENSIONS: tuple[Dimension, ...] = ("gender", "nationality", "religion")

_HELD = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`"
    r"|(?:https?://|www\.)[^\s\u3000-\u303f\uff00-\uffef]+"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w.-]{1,255}",
    re.S | re.A,
)
_PIECE = re.compile(f"(?P<han>[{HAN}]+)|(?P<word>[^\\W\\d_{HAN}]+(?:-[^\\W\\d_{HAN}]+)*)")
# After these no noun comes that "her" could belong to: it is "him" then, and "his" is "hers".
_NO_NOUN_WORDS = """
a about after again against ago all alone along already although always am an and any anymore
anything anyway are around as aside at away back be because been before behind being beside
between both but by can could did do does down during each either else enough even ever every
everything except for forever from further had has have he here herself how however i if in
inside instead into is it just later like many may maybe me might more much must near neither
never no nor not nothing now of off often on once only onto or otherwise out outside over
perhaps quickly quietly rather right several she should since so some something sometimes soon
still than that the their them then there these they this those though through till to today
together tomorrow tonight too toward towards twice under unless until up upon us very was we
well were what whatever when whenever where whether which while who whom whose why will with
within without would yes yesterday yet you
"""
_NO_NOUN = frozenset(_NO_NOUN_WORDS.split())
_VOWELS = frozenset("aeiou")
_GENDERED = {"\u5973": "\u7537", "\u7537": "\u5973"}


@dataclass(frozen=True, slots=True)
class Swapped:
    """A text after the exchange, and how many words changed."""

    text: str
    words: int


@dataclass(frozen=True, slots=True)
class _Table:
    """What becomes of a word: lower case or as the lists have it → its counterpart."""

    words: dict[str, str]
    held: frozenset[str]
    gendered: frozenset[str]  # what 男 or 女 may stand before


def swap(text: str, dimension: Dimension, *, key: str = "") -> Swapped | None:
    """The text with the groups of `dimension` exchanged; None where it names none of them.

    Gender is exchanged both ways at once. A nationality or religion becomes another of the list;
    which one hangs on `key` (a row's id), and different ones stay different.
    """
    tables = {code: _table(code, dimension, _shift(dimension, key)) for code in _CODES}
    out: list[str] = []
    changed = 0
    at = 0
    for start, end in _free(text):
        out.append(text[at:start])
        part, count = _swap_part(text[start:end], tables, dimension)
        out.append(part)
        changed += count
        at = end
    out.append(text[at:])
    return Swapped("".join(out), changed) if changed else None


def held_word(text: str, dimension: Dimension) -> str | None:
    """A word that keeps a text from being exchanged ("pregnant"), or None."""
    tables = {code: _table(code, dimension, 1) for code in _CODES}
    for piece in _PIECE.finditer(text):
        if piece.lastgroup == "word":
            word = piece.group()
            if word.lower() in tables["en"].held or word in tables["en"].held:
                return word
        else:
            words = han_words(piece.group())
            for place in range(len(words)):
                for count in (1, 2, 3):
                    joined = "".join(words[place : place + count])
                    if joined in tables["zh"].held:
                        return joined
    return None


_CODES: tuple[Code, ...] = ("en", "zh")


def _free(text: str) -> Iterator[tuple[int, int]]:
    """Where the text is not code, link or address."""
    at = 0
    for held in _HELD.finditer(text):
        if held.start() > at:
            yield at, held.start()
        at = held.end()
    if at < len(text):
        yield at, len(text)


def _swap_part(text: str, tables: dict[Code, _Table], dimension: Dimension) -> tuple[str, int]:
    pieces = list(_PIECE.finditer(text))
    out: list[str] = []
    changed = 0
    at = 0
    for place, piece in enumerate(pieces):
        new: str | None
        if piece.lastgroup == "han":
            new, count = _han(piece.group(), tables["zh"])
            changed += count
        else:
            after = pieces[place + 1] if place + 1 < len(pieces) else None
            new = _english(text, piece, after, tables["en"], dimension)
            changed += new is not None
        if new is None:
            continue
        before = text[at : piece.start()]
        if piece.lastgroup == "word" and dimension != "gender":
            before = _article(before, new, piece.group())
        out += [before, new]
        at = piece.end()
    out.append(text[at:])
    return "".join(out), changed


def _english(
    text: str,
    piece: re.Match[str],
    after: re.Match[str] | None,
    table: _Table,
    dimension: Dimension,
) -> str | None:
    word = piece.group()
    low = word.lower()
    if dimension == "gender" and low in ("her", "his"):
        owns = after is not None and _owns(text[piece.end() : after.start()], after)
        new = ("his" if owns else "him") if low == "her" else ("her" if owns else "hers")
        return _cased(new, word)
    if dimension == "gender" and low in ("him", "hers"):
        return _cased("her" if low == "him" else "his", word)
    found = table.words.get(word) or table.words.get(low)
    if found is None and word.isupper():  # GERMANS
        found = table.words.get(word.capitalize())
    return None if found is None else _cased(found, word)


def _owns(between: str, after: re.Match[str]) -> bool:
    """Whether the word after "her" or "his" is what belongs to that person."""
    if between.strip(" \t\n*_\"'\u201c\u2018(") or not between:
        return False
    return after.lastgroup == "han" or after.group().lower() not in _NO_NOUN


def _article(before: str, new: str, old: str) -> str:
    """The article that stands right before: "a German" becomes "an Indian"."""
    found = re.search(r"(?i)(?<![\w'])an?( +)$", before)
    if found is None or _begins_with_vowel(new) == _begins_with_vowel(old):
        return before
    spaces = found.group(1)
    word = found.group()[: -len(spaces)]
    article = "an" if _begins_with_vowel(new) else "a"
    return before[: found.start()] + _cased(article, word) + spaces


def _begins_with_vowel(word: str) -> bool:
    return word[:1].lower() in _VOWELS and not word.lower().startswith(("uk", "eu"))


def _han(run: str, table: _Table) -> tuple[str | None, int]:
    words = han_words(run)
    changed = 0
    out: list[str] = []
    place = 0
    while place < len(words):
        for count in (3, 2, 1):
            joined = "".join(words[place : place + count])
            new = table.words.get(joined)
            if new is None and count == 1 and len(joined) > 2 and joined[1:] in table.gendered:
                new = _GENDERED[joined[0]] + joined[1:] if joined[0] in _GENDERED else None
            if new is not None and place + count <= len(words):
                out.append(new)
                changed += 1
                place += count
                break
        else:
            out.append(words[place])
            place += 1
    return ("".join(out) if changed else None), changed


def _cased(new: str, old: str) -> str:
    """`new` written as `old` was: SHE → HE, She → He."""
    if len(old) > 1 and old.isupper():
        return new.upper()
    if old[:1].isupper():
        return new[:1].upper() + new[1:]
    return new


def _shift(dimension: Dimension, key: str) -> int:
    """How far along the list each group moves: 1 … 1,000,000, of the key alone."""
    if dimension == "gender":
        return 1
    digest = hashlib.blake2b(f"{dimension}:{key}".encode("utf-8", "surrogatepass"), digest_size=4)
    return 1 + int.from_bytes(digest.digest(), "big") % 1_000_000


@lru_cache(maxsize=256)
def _table(code: Code, dimension: Dimension, shift: int) -> _Table:
    lists = load_lists(code)
    if dimension == "gender":
        words: dict[str, str] = {}
        for first, second in lists.swaps.get(dimension, ()):
            # Two words may share a counterpart (mom, mum: dad): the first says what it becomes.
            words.setdefault(first, second)
            words.setdefault(second, first)
        return _Table(words, _held(lists, dimension), _people(lists))
    rows = lists.parallel.get(dimension, [])
    if len(rows) < 2:
        return _Table({}, _held(lists, dimension), frozenset())
    step = 1 + shift % (len(rows) - 1)  # never onto itself
    words = {
        word: rows[(place + step) % len(rows)][form]
        for place, row in enumerate(rows)
        for form, word in enumerate(row)
    }
    return _Table(words, _held(lists, dimension), frozenset())


def _held(lists: Lists, dimension: Dimension) -> frozenset[str]:
    return frozenset(lists.held.get(dimension, ()))


def _people(lists: Lists) -> frozenset[str]:
    """What 男 or 女 may be put before: occupations and the like."""
    if lists.language != "zh":
        return frozenset()
    words: Sequence[str] = [word for kind in lists.attributes.values() for word in kind]
    return frozenset(word for word in words if len(word) > 1)
