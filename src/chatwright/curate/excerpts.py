"""Passages shortened to what a question needs, as they are put into a prompt."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from chatwright.curate.chunks import cut_block, cut_endless, gather
from chatwright.curate.sections import (
    LABEL_OF_NAMES,
    Block,
    list_items,
    parse_blocks,
    split_sentences,
)
from chatwright.curate.words import count_words, search_words

_ENTRY = re.compile(r"^\s*[-*+]\s+\*\*(\w[^*]*)\*\*")  # `- **name** – what it is`
_NAMED = 100.0
_LETTERS_PER_WORD = 6  # of English with its spaces; identifiers and code count by their letters
GAP = "…"  # stands where an excerpt leaves something out
_FURNITURE = re.compile(
    r"^(?:> \*\*(?:See also|参见|另见|参阅)\*\*|\*inherited from|\(via Wikipedia\)$)", re.I
)
_SIGNATURE = re.compile(r"^`[^`]+`$")
_ASKS_FOR_SIGNATURE = re.compile(
    r"\b(?:arguments?|parameters|signature|accepts?|takes?|overloads?)\b|签名|哪些参数|什么参数|接受",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Unit:
    """The least part that an excerpt may take. `gap` stands before it where nothing is left out."""

    text: str
    gap: str
    size: int
    words: frozenset[str]
    prose: bool


def prompt_size(text: str) -> int:
    """Length in words as a tokenizer would feel it: `sqlalchemy.orm.Session` is no short word."""
    return max(count_words(text), round(len(text) / _LETTERS_PER_WORD))


def excerpt(text: str, question: str, words: int) -> str:
    """The parts of a chunk nearest the question, in their order, within about `words` words.

    Links to other pages, lists of members and (unless it is asked for) the signature are left
    out first. Of what is still too long, sentences, list items, table rows and pieces of code are
    taken by how many of the question's words they hold, the earlier first among equals; what is
    left out between two parts is marked `…`. The first part, which says what the rest is about,
    gives way only to a list item that the question names.
    """
    units = _units(text, bool(_ASKS_FOR_SIGNATURE.search(re.sub(r"`[^`]*`", "", question))), words)
    if not units:
        return text.strip()[: 12 * words]
    taken = _choose(units, set(search_words(question)), words)
    out = ""
    before = -1
    for index in taken:
        unit = units[index]
        if index != before + 1:
            out += f" {GAP} " if unit.gap == " " and out else f"\n{GAP}\n" if out else ""
        elif out:
            out += unit.gap
        out += unit.text
        before = index
    return out if before == len(units) - 1 else f"{out} {GAP}"


def _choose(units: tuple[_Unit, ...], asked: set[str], words: int) -> list[int]:
    """Indices of the units taken, in order."""
    if sum(unit.size for unit in units) <= words:
        return list(range(len(units)))
    gains = _gains(units, asked)
    order = sorted(range(1, len(units)), key=lambda i: (-gains[i], i))
    taken: list[int] = []
    room = words
    # An item that is named in the question comes before everything, and goes on with its text.
    named = [index for index in order if gains[index] >= _NAMED / 2]
    for index in [*named, 0, *order]:
        unit = units[index]
        fits = unit.size <= room or not taken
        # Code and tables that hold nothing asked for would only fill the room.
        if index not in taken and fits and (unit.prose or index == 0 or gains[index] > 0):
            taken.append(index)
            room -= unit.size
    return sorted(taken)


def _gains(units: tuple[_Unit, ...], asked: set[str]) -> list[float]:
    """How much of the question each unit holds: words that few units hold say more."""
    rarity = Counter(word for unit in units for word in unit.words & asked)
    gains: list[float] = []
    for unit in units:
        held = sum(1 / rarity[word] for word in unit.words & asked)
        entry = _ENTRY.match(unit.text)
        if entry and asked.issuperset(search_words(entry.group(1))):
            held += _NAMED
        # The sentence after one that names what is asked usually goes on about it.
        follows = gains[-1] / 2 if gains and unit.gap == " " else 0.0
        gains.append(max(held, follows))
    return gains


def _without_furniture(blocks: list[Block], keep_signature: bool) -> list[Block]:
    """The blocks without what only a page needs; all of them where nothing else would be left."""
    kept: list[Block] = []
    label = False
    for index, block in enumerate(blocks):
        after_label, label = label, False
        if block.kind == "paragraph":
            if after_label or _FURNITURE.match(block.text):
                continue
            if LABEL_OF_NAMES.match(block.text):
                label = True
                continue
            if index == 0 and _SIGNATURE.match(block.text) and not keep_signature:
                continue
        kept.append(block)
    return kept or blocks


@lru_cache(maxsize=4_096)  # the passages that many questions find are cut once
def _units(text: str, keep_signature: bool, words: int) -> tuple[_Unit, ...]:
    units: list[_Unit] = []
    for block in _without_furniture(parse_blocks(text), keep_signature):
        prose = block.kind not in ("code", "table")
        gap = "\n\n"
        for part in _parts(block, words):
            for piece in part:
                for bit in _cut(piece, words):
                    size, found = prompt_size(bit), frozenset(search_words(bit))
                    units.append(_Unit(bit, gap, size, found, prose))
                    gap = " "
            gap = "\n"
    return tuple(units)


def _parts(block: Block, words: int) -> list[list[str]]:
    """A block's lines, items or pieces, each in sentences where it is prose."""
    if block.kind == "paragraph":
        return [list(cut_endless(split_sentences(block.text), words))]
    if block.kind == "list":
        items = list_items(block)
        return [[q] if prompt_size(q) <= words // 4 else split_sentences(q) for q in items]
    if block.kind == "table":
        return [[row] for row in block.text.splitlines()]
    if block.kind == "heading":
        return [["#" * block.level + " " + block.text]]
    return [[piece] for piece in cut_block(block, max(words // 2, 1))]


def _cut(part: str, words: int) -> list[str]:
    """A part that alone is too long, cut between words (or characters, where there are none)."""
    if prompt_size(part) <= words:
        return [part]
    pieces = re.findall(rf"\s*\S{{1,{3 * _LETTERS_PER_WORD}}}", part)
    return ["".join(g).strip() for g in gather(pieces, words, prompt_size)]
