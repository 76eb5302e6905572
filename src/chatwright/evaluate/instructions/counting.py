"""Words, sentences and paragraphs of an answer, in English and Chinese."""

from __future__ import annotations

import re
from functools import lru_cache

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN_CHARACTER = re.compile(f"[{_HAN}]")
_WORD = re.compile(rf"[{_HAN}\u3040-\u30ff]|[^\W{_HAN}\u3040-\u30ff]+")

# A full stop after these ends no sentence.
_SHORT = """
mr mrs ms dr prof st sr jr vs etc e.g i.e cf al fig vol inc ltd co corp dept est approx gen col sgt
capt lt rev hon gov sen rep jan feb apr jun jul aug sep sept oct nov dec a.m p.m u.s u.k ph.d b.a
"""
_ABBREVIATIONS = frozenset(_SHORT.split())
# Full-width marks are written as escapes: some editors and pipes turn them into ASCII.
_END = re.compile(
    "(?P<wide>[\u3002\uff01\uff1f\u2026]+[\u201d\u2019\u300d\u300f)\uff09\"'\\]]*)"
    "|(?P<stop>[.!?]+)[\"'\u201d\u2019)\\]*_]*" + rf"(?=\s|$|[{_HAN}])"
)
_LETTER = re.compile(r"\w")
_LONGEST = 40  # of an abbreviation with the space before it
_LAST_WORD = re.compile(r"[\w.]*\Z")


def bracketed(text: str, brackets: str = "[]") -> int:
    """How many passages stand between the brackets, each within a line."""
    count = 0
    for line in text.split("\n"):
        begin = line.find(brackets[0])
        while begin >= 0 and (end := line.find(brackets[1], begin + 1)) >= 0:
            count += 1
            begin = line.find(brackets[0], end + 1)
    return count


def han_characters(text: str) -> int:
    """How many Chinese characters a text has, punctuation not counted."""
    return len(_HAN_CHARACTER.findall(text))


def has_han(text: str) -> bool:
    """Whether there is a Chinese character in the text."""
    return _HAN_CHARACTER.search(text) is not None


def count_words(text: str) -> int:
    r"""Words as IFEval counts them (runs of `\w`), but every Chinese character by itself.

    >>> count_words("Don't stop."), count_words("我爱 Python 3")
    (3, 4)
    """
    return len(_WORD.findall(text))


def count_sentences(text: str) -> int:
    """Sentences: up to `.`, `!`, `?` before a space or the end, or up to a full-width one.

    Abbreviations, initials, decimals and list numbers end none; text after the last mark is a
    sentence of its own. (IFEval uses NLTK's Punkt, whose model is a download.)

    >>> count_sentences("Dr. Li paid $3.50. Was it much? No")
    3
    >>> count_sentences("你好\uff01今天天气好。走吧")
    3
    """
    count, begin = 0, 0
    for end in _END.finditer(text):
        at = end.start()
        if end["stop"] == "." and _is_abbreviation(text[max(begin, at - _LONGEST) : at]):
            continue
        count += _LETTER.search(text, begin, at) is not None
        begin = end.end()
    return count + (_LETTER.search(text, begin) is not None)


def _is_abbreviation(before: str) -> bool:
    found = _LAST_WORD.search(before)
    word = found[0].lower() if found else ""
    if word in _ABBREVIATIONS or re.fullmatch(r"(?:[a-z]\.)*[a-hj-z]", word):
        return True
    # "1." at the beginning of a line numbers a list.
    line = before[: len(before) - len(word)].rpartition("\n")[2]
    return word.isdigit() and not line.strip()


# What NLTK's word tokenizer separates, as far as it matters for capital letters.
_SEPARATED = re.compile(
    r"\.{2,}|--|[:,](?=\D|$)|[;@#$%&*?!\[\](){}<>`\"]|[\u00ab\u00bb\u2012-\u2015\u2018\u2019\u201c-\u201e]"
)
_CONTRACTION = re.compile(
    r"(?<=[^' ])(?='[sSmMdD] )|(?<=[^' ])(?='(?:ll|LL|re|RE|ve|VE) )|(?<=[^' ])(?=(?:n't|N'T) )"
    r"|(?<=\bcan)(?=not\b)|(?<=\bgim)(?=me\b)|(?<=\bgon)(?=na\b)|(?<=\bgot)(?=ta\b)"
    r"|(?<=\blem)(?=me\b)|(?<=\bwan)(?=na\s)",
    re.IGNORECASE,
)


def capital_words(text: str) -> int:
    """Words in capital letters as IFEval counts them: after NLTK's tokenizer, so DON'T is two.

    The tokenizer itself would cost seconds to import (tests/evaluate/test_instructions.py compares
    the two).
    """
    spaced = _SEPARATED.sub(" ", " " + re.sub(r"\s", " ", text) + " ")
    return sum(word.isupper() for word in _CONTRACTION.sub(" ", spaced).split())


def first_word(paragraph: str) -> str:
    """The first word in lower case, without quotation marks before and punctuation after it."""
    words = paragraph.split()
    begin = words[0].lstrip("'").lstrip('"') if words else ""
    return re.split(r"[.,?!'\"]", begin, maxsplit=1)[0].lower()


def traditional_only(text: str) -> list[str]:
    """The characters that are written so only in traditional Chinese.

    In Big5 and not in GB 2312, the basic sets of the two scripts; a few rare characters of names
    are in the same position.
    """
    return [c for c in text if has_han(c) and _encodes(c, "big5") and not _encodes(c, "gb2312")]


def simplified_only(text: str) -> list[str]:
    """The characters that are written so only in simplified Chinese (in GB 2312, not in Big5)."""
    return [c for c in text if has_han(c) and _encodes(c, "gb2312") and not _encodes(c, "big5")]


@lru_cache(maxsize=8192)
def _encodes(character: str, codec: str) -> bool:
    try:
        character.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
