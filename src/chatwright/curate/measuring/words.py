"""Words as numbers: each word is looked at once, and its facts are then a row of arrays."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatwright.curate.words import HAN

_HAN = re.compile(f"[{HAN}]")

# Gopher's stop words (Rae et al. 2021, appendix A.1.1): running English has at least two of them.
ENGLISH_STOP = ("the", "be", "to", "of", "and", "that", "have", "with")
# FineWeb-2's for Chinese in both scripts (configs/cmn_Hani.yml).
_CHINESE_STOP = (
    "\u7684 \u5e74 \u5728 \u6708 \u662f \u548c \u65e5 \u4e86 \u65bc \u00b7 \u70ba \u6709 \u88ab "
    "\u4eba \u4e2d \u4e3a \u4ed6 \u8207 \u5f8c \u4e5f \u800c \u7531"
)
CHINESE_STOP = tuple(_CHINESE_STOP.split())
_STOP = {word: number for number, word in enumerate((*ENGLISH_STOP, *CHINESE_STOP), start=1)}

# Around a word: taken off before its length is measured.
_AROUND = ".,;:!?\"'()[]\u201c\u201d\u2018\u2019\uff0c\u3002\uff01\uff1f\uff1b\uff1a\u3001"
_CLOSERS = "\"')]}*_\u201d\u2019\u300d\u300f\uff09\u3011\u300b"
_ENDS = ".!?\u3002\uff01\uff1f\u2026\uff1b"
_SHORTENED = """
mr. mrs. ms. dr. prof. st. vs. e.g. i.e. cf. no. fig. inc. ltd. co. jr. sr. eq. ed. p. pp.
"""
_ABBREVIATIONS = frozenset(_SHORTENED.split())
_INITIALS = re.compile(r"(?:[A-Za-z]\.)+")

LETTER, WORD, ENDS_SENTENCE, MARK = 1, 2, 4, 8
# Words and characters that are remembered from one batch to the next.
_MOST_WORDS, _MOST_CHARACTERS = 200_000, 4_000_000


def has_han(text: str) -> bool:
    """Whether there is a Chinese character."""
    return not text.isascii() and _HAN.search(text) is not None


def split_words(text: str) -> list[str]:
    """Words by white space; what holds Chinese is cut by rjieba, each mark in it a word of its own.

    That is how FineWeb-2 counts (spaCy with jieba), whose bounds for Chinese are used.
    """
    if not has_han(text):
        return text.split()
    import rjieba

    out: list[str] = []
    for word in text.split():
        if has_han(word):
            # Half of a surrogate pair is no character, and rjieba takes none.
            out.extend(rjieba.cut(word.encode("utf-8", "replace").decode("utf-8")))
        else:
            out.append(word)
    return out


def ends_sentence(word: str) -> bool:
    """Whether a sentence ends with this word: its mark may be followed by quotes and brackets."""
    if word[-1:].isalnum():
        return False
    bare = word.rstrip(_CLOSERS)
    if bare[-1:] not in _ENDS or not bare:
        return False
    return bare.lower() not in _ABBREVIATIONS and not _INITIALS.fullmatch(bare)


@dataclass(frozen=True, slots=True)
class Words:
    """All words of a batch, one after the other. `number` is equal for equal words.

    `length` in characters, `bare` without the punctuation around the word (0 where it has neither
    letter nor digit), `flags`: it has a letter, a letter or digit, a sentence ends with it, it is
    nothing but marks that end sentences or close quotes. `stop` is 0, or 1 + the place in
    `(*ENGLISH_STOP, *CHINESE_STOP)`.
    """

    number: NDArray[np.int64]
    length: NDArray[np.int64]
    bare: NDArray[np.int64]
    flags: NDArray[np.int64]
    stop: NDArray[np.int64]


class WordTable(dict[str, int]):
    """Word → its number; the facts of word `n` are element `n` of the arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths = array("q")
        self.packed = array("q")
        self.characters = 0

    def __missing__(self, word: str) -> int:
        number = len(self.lengths)
        self[word] = number
        if word.isalpha():  # most are, and nothing else is to be seen of them
            bare, is_word, flags = word, True, LETTER | WORD
        else:
            bare = word.strip(_AROUND)
            letter = bare.isalpha() or any(c.isalpha() for c in word)
            is_word = letter or any(c.isalnum() for c in word)
            flags = LETTER * letter | WORD * is_word | ENDS_SENTENCE * ends_sentence(word)
            flags |= MARK * (not is_word and not word.strip(_ENDS + _CLOSERS))
        stop = _STOP.get(bare) or _STOP.get(bare.lower(), 0)
        self.lengths.append(len(word))
        self.packed.append((len(bare) * is_word) << 16 | stop << 8 | flags)
        self.characters += len(word)
        return number

    def read(self, words: Iterable[str], count: int) -> Words:
        """The facts of `count` words."""
        number = np.fromiter(map(self.__getitem__, words), np.int64, count)
        packed = np.frombuffer(self.packed, np.int64)[number] if count else number
        length = np.frombuffer(self.lengths, np.int64)[number] if count else number
        return Words(number, length, packed >> 16, packed & 0xFF, (packed >> 8) & 0xFF)

    @property
    def full(self) -> bool:
        """Whether it should be forgotten: texts of random letters must not fill the memory."""
        return len(self.lengths) > _MOST_WORDS or self.characters > _MOST_CHARACTERS
