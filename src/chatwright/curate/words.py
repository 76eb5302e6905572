"""How text becomes words: for search (BM25) and for measuring length, in English and Chinese.

A program's documentation is searched by its identifiers, so `Session.execute()` gives the whole
(`session.execute`) and its parts (`session`, `execute`); `create_engine` and `DeclarativeBase`
likewise. Chinese has no spaces: words come from a dictionary (rjieba's search mode), with bigrams
beside them so that a term which the dictionary does not know is found all the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_HAN_RUN = re.compile(f"[{HAN}]+")
# Kana and Hangul have no spaces or long compounds; bigrams alone do for them.
_OTHER_UNSPACED = "\u3040-\u30ff\uac00-\ud7af"
_TOKEN = re.compile(
    rf"(?P<han>[{HAN}]+)"
    rf"|(?P<unspaced>[{_OTHER_UNSPACED}]+)"
    rf"|(?P<word>[^\W{HAN}{_OTHER_UNSPACED}]+(?:\.[^\W{HAN}{_OTHER_UNSPACED}]+)*)"
)
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LONGEST = 200  # letters looked at together
_HAN_PER_WORD = 1.6  # Chinese words are 1.5–1.7 characters long on average in running text

# Words that carry a question and not its subject. "What", "how" and "does" are rare in reference
# pages, so BM25 alone would take them for the most telling words of a question.
_QUESTION_WORDS = """
a an and any are as at be been being but by can could did do does explain for from give had has
have how i if in into is it its itself just may me meaning means might my no of on or please
purpose shall should show so tell than that the their them then there these they this those to us
use used using was we were what when where whether which while who why will with would you your
"""
_QUESTION_WORDS_ZH = """
的 了 是 在 和 与 及 或 吗 呢 吧 啊 请 请问 什么 怎么 怎样
如何 为什么 哪 哪些 哪个 哪里 有 有何 这 那 这是 那是 这个 那个 它 我 你
我们 你们 他们 可以 能 能否 会 要 把 被 从 到 对 对于 关于 中
里 上 下 介绍 说明 解释 一下 是否 做 用 来 个 一个
"""
_STOP = frozenset(_QUESTION_WORDS.split())
_STOP_ZH = frozenset(_QUESTION_WORDS_ZH.split())


@lru_cache(maxsize=1)
def _segmenter() -> object:
    import rjieba  # reads its dictionary (0.3 s): only where there is Chinese

    return rjieba


@lru_cache(maxsize=65_536)
def _han_words(run: str) -> tuple[str, ...]:
    found: list[str] = _segmenter().cut_for_search(run)  # type: ignore[attr-defined]
    bigrams = [run[i : i + 2] for i in range(len(run) - 1)]
    words = [w for w in found if w not in _STOP_ZH]
    known = set(found)
    return tuple(words + [b for b in bigrams if b not in known and not _STOP_ZH & set(b)])


@lru_cache(maxsize=65_536)
def _han_cut(run: str) -> tuple[str, ...]:
    return tuple(_segmenter().cut(run))  # type: ignore[attr-defined]


def stem(word: str) -> str:
    """Fold an English plural or verb ending: `sessions`, `mapped`, `loading` meet their base.

    Deliberately light: identifiers must not collide (`process` stays, `class` stays).
    """
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            base = word[: -len(ending)]
            if not re.search("[aeiouy]", base):
                return word
            if base[-1] == base[-2] and base[-1] not in "lsz":
                base = base[:-1]
            return base
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


@lru_cache(maxsize=262_144)
def _latin_words(token: str) -> tuple[str, ...]:
    whole = token.lower()
    out: list[str] = []
    pieces = [p for p in token.split(".") if p]
    if len(pieces) > 1:
        out.append(whole)
        if len(pieces) > 2:
            out.append(".".join(pieces[-2:]).lower())
    for piece in pieces:
        low = piece.lower()
        if low not in _STOP:
            out.append(stem(low))
        parts = [m.lower() for p in piece.split("_") for m in _CAMEL.findall(p)]
        if len(parts) > 1:
            out.extend(stem(p) for p in parts if len(p) > 1 and p not in _STOP)
    return tuple(out)


def search_words(text: str) -> list[str]:
    """The words under which a text is found, in order, with repetitions.

    Full-width forms are folded (NFKC), words lower-cased, English endings and question words
    taken off. A text of nothing but such words gives an empty list.
    """
    out: list[str] = []
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text)):
        run = match.group()
        if match.lastgroup == "han":
            for at in range(0, len(run), _LONGEST):
                out.extend(_han_words(run[at : at + _LONGEST]))
        elif match.lastgroup == "unspaced":
            out.extend([run] if len(run) == 1 else (run[i : i + 2] for i in range(len(run) - 1)))
        else:
            # What is longer is no word but base64 or minified code.
            out.extend(_latin_words((run.strip("_") or run)[:_LONGEST]))
    return out


def phrase_words(text: str) -> list[str]:
    """The text's words once each and in order, neither cut into parts nor into bigrams.

    A heading and a question that names it give the same run of these.
    """
    out: list[str] = []
    for match in _TOKEN.finditer(unicodedata.normalize("NFKC", text)):
        run = match.group()
        if match.lastgroup == "han":
            out.extend(w for w in _han_cut(run) if w not in _STOP_ZH)
        elif "." in run:
            out.append(run.strip("_").lower())
        elif run.lower() not in _STOP:
            out.append(stem(run.lower()))
    return out


def _lengths(text: str) -> Iterator[float]:
    for match in _TOKEN.finditer(text):
        yield 1.0 if match.lastgroup == "word" else len(match.group()) / _HAN_PER_WORD


def count_words(text: str) -> int:
    """Length in words; a Chinese word counts as 1.6 characters, so that bounds fit both."""
    return round(sum(_lengths(text)))


def is_chinese(text: str) -> bool:
    """Whether a reader would call the text Chinese: at least a fifth of its letters are Han."""
    han = sum(len(run) for run in _HAN_RUN.findall(text))
    letters = sum(c.isalpha() for c in text)
    return han > 0 and han * 5 >= letters
