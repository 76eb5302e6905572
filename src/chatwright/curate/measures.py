"""What can be measured of a document: every number that a quality rule may bound, in one pass.

Definitions follow Rae et al. 2021 (Gopher, table A1 and appendix A.1.1), Raffel et al. 2020 (C4)
and Penedo et al. 2024 and 2025 (FineWeb, FineWeb-2); where a definition assumes spaces between
words, Chinese words come from rjieba's dictionary. Nothing here decides: bounds are in
`presets/*.yaml`. docs/guides/quality.md says what each measure is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.measuring.letters import count_letters
from chatwright.curate.measuring.prose import Prose, read_prose
from chatwright.curate.measuring.repeats import DUPLICATE, TOP, repeated_characters
from chatwright.curate.measuring.words import (
    CHINESE_STOP,
    ENDS_SENTENCE,
    ENGLISH_STOP,
    LETTER,
    MARK,
    WORD,
    Words,
    WordTable,
    split_words,
)

__all__ = ["MEASURES", "REPETITION", "Measures", "measure", "measure_many", "split_words"]

_TERMINAL = frozenset(
    ".!?\"'\u201d\u2019\u3002\uff01\uff1f\uff1b\u2026\u300d\u300f\uff09)\u3011\u300b"
)
_SHORT, _LONG = 30, 200  # characters of a short line (FineWeb) and of a long one (mC4)

Measures = Mapping[str, float]

_TOP_NAMES = {n: f"top_{n}_gram_ratio" for n in TOP}
_DUPLICATE_NAMES = {n: f"duplicate_{n}_gram_ratio" for n in DUPLICATE}
REPETITION = (*_TOP_NAMES.values(), *_DUPLICATE_NAMES.values())
_REPETITION_SET = frozenset(REPETITION)
_DUPLICATES = (
    "duplicate_line_ratio",
    "duplicate_line_character_ratio",
    "duplicate_paragraph_ratio",
    "duplicate_paragraph_character_ratio",
)

MEASURES = (
    "character_count",
    "word_count",
    "mean_word_length",
    "symbol_word_ratio",
    "hash_word_ratio",
    "ellipsis_word_ratio",
    "alphabetic_word_ratio",
    "stop_word_count",
    "stop_word_count_zh",
    "sentence_count",
    "bullet_line_ratio",
    "ellipsis_line_ratio",
    "terminal_line_ratio",
    "short_line_ratio",
    "long_line_count",
    *_DUPLICATES,
    *REPETITION,
    "new_line_ratio",
    "lorem_ipsum_count",
    "curly_bracket_count",
    "replacement_ratio",
    "code_ratio",
    "han_ratio",
    "link_ratio",
)

# Texts that are worked on together: the arrays stay small whatever a page is.
_CHARACTERS_AT_ONCE, _TEXTS_AT_ONCE = 1_000_000, 2_048


def measure(markdown: str, *, link_ratio: float = 0.0) -> dict[str, float]:
    """All of `MEASURES`. Prose measures leave code blocks out; an empty text measures 0.

    `link_ratio` is the share of link text in the page, which only extraction can see.
    """
    return measure_many([markdown], link_ratios=[link_ratio])[0]


def measure_many(
    texts: Sequence[str],
    languages: Sequence[str | None] | None = None,
    link_ratios: Sequence[float] | None = None,
    *,
    needs: Callable[[str | None], Collection[str]] | None = None,
) -> list[dict[str, float]]:
    """`measure` of each text, in order; a text's numbers do not hang on the others.

    `needs` tells which measures a text's language asks for (`Preset.needs`): those of `REPETITION`
    are left out where none of them is among them. Everything else is measured always.
    """
    languages = languages or [None] * len(texts)
    link_ratios = link_ratios or [0.0] * len(texts)
    repeats = [
        needs is None or not _REPETITION_SET.isdisjoint(needs(language)) for language in languages
    ]
    out: list[dict[str, float]] = []
    for start, end in _batches(texts):
        part = slice(start, end)
        out.extend(_measure_batch(texts[part], link_ratios[part], repeats[part]))
    return out


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start, size = 0, 0
    for at, text in enumerate(texts):
        if at > start and (size + len(text) > _CHARACTERS_AT_ONCE or at - start >= _TEXTS_AT_ONCE):
            yield start, at
            start, size = at, 0
        size += len(text)
    if start < len(texts):
        yield start, len(texts)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The words of a batch's prose, one after the other, and where its texts and lines end."""

    words: Words
    starts: NDArray[np.int64]
    line_ends: NDArray[np.int64]

    def sums(self, values: NDArray[Any]) -> list[int]:
        """A value of each word, summed over each text."""
        total = np.concatenate([[0], np.cumsum(values)])
        sums: list[int] = (total[self.starts[1:]] - total[self.starts[:-1]]).tolist()
        return sums


_TABLE = WordTable()


def _read_words(proses: Sequence[Prose]) -> _Batch:
    global _TABLE  # noqa: PLW0603 - what it remembers changes the time and nothing else
    if _TABLE.full:
        _TABLE = WordTable()
    words: list[str] = []
    starts, line_ends = [0], []
    for prose in proses:
        # Line by line, because a sentence ends with its line at the latest.
        for line in prose.lines:
            words += split_words(line)
            line_ends.append(len(words) - 1)
        starts.append(len(words))
    facts = _TABLE.read(words, len(words))
    return _Batch(facts, np.array(starts, np.int64), np.array(line_ends, np.int64))


def _measure_batch(
    texts: Sequence[str], link_ratios: Sequence[float], repeats: Sequence[bool]
) -> list[dict[str, float]]:
    proses = [read_prose(text) for text in texts]
    batch = _read_words(proses)
    word = batch.words
    by_word = {
        "bare": batch.sums(word.bare),
        "plain": batch.sums(word.flags & WORD != 0),
        "letters": batch.sums(word.flags & LETTER != 0),
        "sentences": batch.sums(_sentence_ends(batch)),
    }
    stop, stop_zh = _stop_words(batch)
    repetition = _repetition(batch, repeats)
    out = []
    for i, (text, prose) in enumerate(zip(texts, proses, strict=True)):
        words = int(batch.starts[i + 1] - batch.starts[i])
        found = _line_measures(prose, text, words)
        characters = found.pop("characters")
        found |= {
            "mean_word_length": _per(by_word["bare"][i], by_word["plain"][i]),
            "alphabetic_word_ratio": _per(by_word["letters"][i], words),
            "sentence_count": by_word["sentences"][i],
            "stop_word_count": stop[i],
            "stop_word_count_zh": stop_zh[i],
            "link_ratio": link_ratios[i],
        }
        if repeats[i]:
            found |= {name: _per(values[i], characters) for name, values in repetition.items()}
        out.append({name: float(found[name]) for name in MEASURES if name in found})
    return out


def _line_measures(prose: Prose, text: str, words: int) -> dict[str, float]:
    """What lines and characters tell of one text that has so many words of prose."""
    lines = prose.lines
    n_lines = len(lines)
    lengths = list(map(len, lines))
    characters = sum(lengths)
    joined = "\n".join(lines)
    lasts = [line[-1] for line in lines]
    hashes = joined.count("#")
    ellipses = joined.count("...") + joined.count("\u2026")
    ellipsis_lines = 0
    if ellipses:
        ellipsis_lines = sum(line.endswith(("...", "\u2026")) for line in lines)
    code_characters = sum(map(len, prose.code))
    han, letters = count_letters(joined)
    return {
        "characters": characters,
        "character_count": characters + code_characters,
        "word_count": words + sum(len(line.split()) for line in prose.code),
        "symbol_word_ratio": _per(hashes + ellipses, words),
        "hash_word_ratio": _per(hashes, words),
        "ellipsis_word_ratio": _per(ellipses, words),
        "bullet_line_ratio": _per(prose.bullets, n_lines),
        "ellipsis_line_ratio": _per(ellipsis_lines, n_lines),
        "terminal_line_ratio": _per(sum(map(_TERMINAL.__contains__, lasts)), n_lines),
        "short_line_ratio": _per(sum(length <= _SHORT for length in lengths), n_lines),
        "long_line_count": sum(length >= _LONG for length in lengths),
        **_duplicates(prose, characters),
        "new_line_ratio": _per(n_lines - 1 if n_lines else 0, words),
        "lorem_ipsum_count": text.lower().count("lorem ipsum"),
        "curly_bracket_count": text.count("{"),
        "replacement_ratio": _per(joined.count("\ufffd"), characters),
        "code_ratio": _per(code_characters, characters + code_characters),
        "han_ratio": _per(han, letters),
    }


def _duplicates(prose: Prose, characters: int) -> dict[str, float]:
    """Lines and paragraphs that stand before in the text, by number and by characters."""
    lines = prose.lines
    found = dict.fromkeys(_DUPLICATES, 0.0)
    if len(set(lines)) == len(lines):
        return found  # nor is there a paragraph twice
    bounds = [*prose.breaks, len(lines)]
    paragraphs = ["\n".join(lines[a:b]) for a, b in pairwise(bounds)]
    for name, parts in (("line", lines), ("paragraph", paragraphs)):
        again = [(n - 1, len(part)) for part, n in Counter(parts).items() if n > 1]
        found[f"duplicate_{name}_ratio"] = _per(sum(n for n, _ in again), len(parts))
        found[f"duplicate_{name}_character_ratio"] = _per(
            sum(n * length for n, length in again), characters
        )
    return found


def _sentence_ends(batch: _Batch) -> NDArray[np.bool_]:
    """The words with which sentences end: with the last of a run of marks, or with the line."""
    flags = batch.words.flags
    last = np.zeros(len(flags), np.bool_)
    last[batch.line_ends] = True
    ends, mark = flags & ENDS_SENTENCE != 0, flags & MARK != 0
    # A mark that follows an end of sentence closes it: it is the end then.
    begins_line = np.concatenate([[True], last[:-1]])[: len(flags)]
    place = np.arange(len(flags))
    run = np.maximum.accumulate(np.where(mark & ~begins_line, 0, place)) if len(flags) else place
    before = np.concatenate([[0], np.cumsum(ends)])
    ended = before[1:] > before[run]
    goes_on = np.concatenate([mark[1:], [False]])[: len(flags)]
    found: NDArray[np.bool_] = (ended & ~goes_on & (ends | mark)) | last
    return found


def _stop_words(batch: _Batch) -> tuple[list[int], list[int]]:
    """How many different stop words each text has, English and Chinese."""
    known = np.flatnonzero(batch.words.stop)
    texts = len(batch.starts) - 1
    text = np.searchsorted(batch.starts, known, side="right") - 1
    there = np.zeros((texts, 1 + len(ENGLISH_STOP) + len(CHINESE_STOP)), np.bool_)
    there[text, batch.words.stop[known]] = True
    english = there[:, 1 : 1 + len(ENGLISH_STOP)].sum(1).tolist()
    return english, there[:, 1 + len(ENGLISH_STOP) :].sum(1).tolist()


def _repetition(batch: _Batch, repeats: Sequence[bool]) -> dict[str, list[int]]:
    """Characters of repeated n-grams of the texts for which they are asked for."""
    wanted = np.array(repeats, np.bool_)
    sizes = np.where(wanted, np.diff(batch.starts), 0)
    number, length = batch.words.number, batch.words.length
    if not wanted.all():
        mask = np.repeat(wanted, np.diff(batch.starts))
        number, length = number[mask], length[mask]
    found = repeated_characters(number, length, np.concatenate([[0], np.cumsum(sizes)]))
    names = {**_TOP_NAMES, **_DUPLICATE_NAMES}
    return {names[n]: values.tolist() for n, values in found.items()}


def _per(value: float, whole: float) -> float:
    return value / whole if whole else 0.0
