"""Which words of a Markdown text may be moved or left out without breaking anything.

Code, tables, headings, HTML, formulas, links, addresses, numbers, emphasis and names of programs
are not to be touched; nor are negations, whose loss turns a sentence round. What is left are plain
words: those that stand alone between spaces and punctuation, and Chinese words as rjieba cuts them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from chatwright.curate.words import HAN

_FENCE = re.compile(r"^\s*(?:[-*+>]\s+|\d{1,9}[.)]\s+)*(`{3,}|~{3,})")
_BLOCK_HTML = re.compile(r"<(pre|code|script|style|textarea|svg|math)\b", re.I)
# A line of one of these is not running text: indented code, table, heading, HTML, a link's
# definition, a rule or an underline, a directive.
_NOT_TEXT = re.compile(
    r"^(?:    |\t| {0,3}#{1,6}(?:\s|$)|\s*<|\s*\[[^\]]*\]:|\s*(?:[-*_=~+]\s*){3,}$"
    r"|\s*\.\. |\s*:::|\s*@)"
)
_INLINE = re.compile(
    r"(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
    r"|\$\$?[^$]+\$\$?|\\\(.+?\\\)|\\\[.+?\\\]"
    r"|!?\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])?"
    r"|</?[a-zA-Z!?|][^>]*>"
    r"|\{[^{}]*\}"
    r"|(?:[a-z][a-z0-9+.-]*://|www\.)[^\s\u3000-\u303f\uff00-\uffef“”]+"
    r"|[\w.+-]+@[\w-]+\.[\w.-]+"
    r"|(?P<mark>\*{1,3}|_{1,3}|~~)(?=\S).+?(?<=\S)(?P=mark)",
    re.I | re.A,
)
_MARKUP = frozenset("`*_~$<>[]{}|\\#^=@")
_LETTERS = rf"[^\W\d_{HAN}\u3040-\u30ff\uac00-\ud7af]"
_CHUNK = re.compile(r"\S+")
_PLAIN = re.compile(
    rf"(?P<open>[\"'(“‘「『《（]*)(?P<word>{_LETTERS}+(?:['’-]{_LETTERS}+)*)(?P<close>[\"'),.;:!?…”’」』》），。；：！？、]*)"
)
_HAN_RUN = re.compile(f"[{HAN}]+")
_HAN_NUMBER = re.compile("[〇零一二三四五六七八九十百千万亿两兆第几半]")
_ENDS = re.compile(r"[.!?](?=[\s\"'”’)]|$)|[。！？；]")
_CAMEL = re.compile(r".*[a-z][A-Z]|[A-Z]{2}")
_LIST_MARK = re.compile(r"\s*(?:(?:[-*+>]|\d{1,9}[.)])\s+)*(?:\[[ xX]\]\s+)?")

# What must stay for the sentence to say what it said.
_KEPT_WORDS = """
no not none nor never neither without cannot can't won't don't doesn't didn't isn't aren't wasn't
weren't shouldn't wouldn't couldn't hasn't haven't hadn't unless except only
zero one two three four five six seven eight nine ten eleven twelve dozen hundred thousand million
billion trillion first second third half
不 没 没有 无 非 未 别 莫 勿 毋 不要 不能 不会 不是 并非 从未 未必 除非 除了 只 只有 只能 仅 禁止
"""
_KEPT = frozenset(_KEPT_WORDS.split())

Script = Literal["han", "spaced"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word that may be changed: `text[start:end]`.

    `sentence` numbers the sentence of the text that it stands in. `removable`: it can be left out
    without joining two numbers, emptying brackets or making its line begin with another word.
    """

    start: int
    end: int
    text: str
    script: Script
    sentence: int
    removable: bool


def free_words(text: str) -> list[Word]:
    """The words of a Markdown text that may be changed, in order."""
    found: list[Word] = []
    sentence = 0
    for start, end in _text_lines(text):
        line = text[start:end]
        held = [m.span() for m in _INLINE.finditer(line)]
        ends = [m.end() for m in _ENDS.finditer(line)]
        first = _LIST_MARK.match(line).end()  # type: ignore[union-attr]
        words = sorted([*_spaced(line, held, first), *_han(line, held, first)])
        for begin, stop, script, removable in words:
            number = sentence + bisect_right(ends, begin)
            word = line[begin:stop]
            found.append(Word(start + begin, start + stop, word, script, number, removable))
        sentence += len(ends) + 1
    return found


def held_spans(text: str) -> list[str]:
    """What `free_words` leaves alone, in order: whole lines, and spans within lines of text."""
    lines = dict(_text_lines(text))
    out: list[str] = []
    for start, end in _lines(text):
        if start in lines:
            out.extend(m.group() for m in _INLINE.finditer(text[start:end]))
        else:
            out.append(text[start:end])
    return out


def _lines(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    for line in text.split("\n"):
        yield at, at + len(line)
        at += len(line) + 1


def _text_lines(text: str) -> Iterator[tuple[int, int]]:
    """Where the lines of running text begin and end."""
    fence = html = ""
    formula = comment = False
    matter = text.startswith("---\n")
    for start, end in _lines(text):
        line = text[start:end]
        if matter:
            matter = not (start and line.strip() in ("---", "..."))
            continue
        if fence:
            bare = line.strip().lstrip("> ")
            if len(bare) >= len(fence) and not bare.strip(fence[0]):
                fence = ""
            continue
        if html or comment:
            html = "" if f"</{html}" in line.lower() else html
            comment = comment and "-->" not in line
            continue
        opened = _FENCE.match(line)
        if opened:
            fence = opened.group(1)
            continue
        if formula or line.count("$$") % 2:
            formula ^= bool(line.count("$$") % 2)
            continue
        if "<!--" in line and "-->" not in line:
            comment = True
            continue
        block = _BLOCK_HTML.search(line)
        if block and f"</{block.group(1).lower()}" not in line.lower():
            html = block.group(1).lower()
            continue
        # An odd number of backticks is a code span that goes over several lines.
        if line.strip() and not _NOT_TEXT.match(line) and "|" not in line:
            if "`" in line and "`" in _INLINE.sub("", line):
                continue
            yield start, end


def _is_held(held: list[tuple[int, int]], start: int, end: int) -> bool:
    return any(a < end and start < b for a, b in held)


def _spaced(
    line: str, held: list[tuple[int, int]], first: int
) -> Iterator[tuple[int, int, Script, bool]]:
    """Words between spaces: (start, end, "spaced", removable)."""
    before: re.Match[str] | None = None
    for chunk in _CHUNK.finditer(line):
        plain = _PLAIN.fullmatch(chunk.group())
        if plain is None or _is_held(held, *chunk.span()):
            before = None
            continue
        start, end = (chunk.start() + at for at in plain.span("word"))
        word = plain.group("word")
        if word.casefold().replace("’", "'") not in _KEPT and not _CAMEL.match(word):
            # After a comma, a full stop of one's own would stand alone.
            joins = not plain.group("close") or (before is not None and not before.group("close"))
            yield start, end, "spaced", start > first and not plain.group("open") and joins
        before = plain


def _han(
    line: str, held: list[tuple[int, int]], first: int
) -> Iterator[tuple[int, int, Script, bool]]:
    """Chinese words: (start, end, "han", removable)."""
    for run in _HAN_RUN.finditer(line):
        if _is_held(held, *run.span()):
            continue
        at = run.start()
        for word in _cut(run.group()):
            start, at = at, at + len(word)
            around = line[start - 1 : start] + line[at : at + 1]
            if word in _KEPT or _HAN_NUMBER.search(word) or _MARKUP.intersection(around):
                continue
            alone = start == run.start() and at == run.end()
            joins = any(c.isascii() and not c.isspace() for c in around)
            yield start, at, "han", start > first and not alone and not joins


@lru_cache(maxsize=4096)
def _cut(run: str) -> tuple[str, ...]:
    import rjieba  # reads its dictionary (0.3 s): only where there is Chinese

    return tuple(rjieba.cut(run))
