"""Questions that a page's own structure asks and answers: each draft is a name and the words of
the page that say what it is. Nothing is written by us but the question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chatwright.curate.bm25 import RELEASE_NOTES
from chatwright.curate.sections import (
    LABEL_OF_NAMES,
    Block,
    Section,
    Signature,
    join_parts,
    list_items,
    parse_blocks,
    parse_signature,
    sections,
    split_sentences,
)
from chatwright.curate.words import HAN, count_words, is_chinese, search_words
from chatwright.records import Document

MOST_WORDS = 60
_ENOUGH_TO_EXPLAIN = 45  # what a "how do I" question may take
_ENOUGH_WORDS = 30  # a second sentence is taken while the answer is shorter than this
_FEWEST_WORDS = 4

_PARAMETERS = re.compile(r"^\*\*(?:Parameters|Args|Arguments|参数)\s*[:：]?\*\*\s*[:：]?$", re.I)
_RETURNS = re.compile(r"^\*\*(?:Returns?|返回|返回值)\s*[:：]?\*\*\s*[:：]?\s*(.*)$", re.I | re.S)
_PARAMETER = re.compile(
    r"^\s*(?:[-*+]|\d+[.)])\s+\*\*(?P<name>[^*]+)\*\*\s*(?:\([^)]{0,200}\))?\s*(?:[–—:：]|-{1,2})\s*"
    r"(?P<text>.*)$",
    re.S,
)
_ADDED = re.compile(
    r"^(?:(?:New|Added) in version [\w.]+|在\s*[\d.]+\s*版本?(?:加入|新增|添加)"
    r"|[\d.]+\s*新版功能|自\s*[\d.]+\s*版本?起?新增)",
    re.I,
)
_DEPRECATED = re.compile(
    r"^(?:Deprecated (?:since|in)|自?\s*[\d.]+\s*版本?[后起]?[已被]*(?:弃用|移除)"
    r"|[\d.]+\s*版后已移除)",
    re.I,
)
_DEPRECATED_ITSELF = re.compile(
    r"\b(?:is|are) (?:deprecated|considered legacy|superseded|now legacy)|will be removed|弃用|移除"
    r"|please use",
    re.I,
)
_CHANGED = re.compile(r"^(?:Changed in version|在\s*[\d.]+\s*版本?(?:发生)?[变更]+)", re.I)
_FURNITURE = re.compile(
    r"^(?:>|\*inherited from|\*\*[^*]{1,40}\*\*\s*[:：]?$|Bases?:|Released:|References:|class `"
    r"|!\[)"
)
# An opening that leans on what stood before it, or points elsewhere, answers nothing by itself.
_LEANING = re.compile(
    r"^(?:as (?:above|before|mentioned|noted|discussed|described|seen|of)|in (?:the|this) "
    r"(?:above|previous|following|example|section)|the (?:previous|next|below|example)|an? example"
    r"|this (?:section|is also|example|page|chapter|document|change|was|release|version|feature|can"
    r"|will|guide)|(?:here|next|now|however|but|also|another|given|consider|suppose|these|those"
    r"|they|it|that|additionally|similarly|therefore|thus|for example|below|above|inherited)\b"
    r"|let.s\b|like the\b|there (?:is|are)\b"
    r"|如上|例如|比如|同上|但是|不过|然而|此外|另外|这(?:里|是|个|些|也)|本章|它)",
    re.I,
)
_POINTING = re.compile(
    r"\b(?:below|above|following|previous section|preceding|aforementioned|next section"
    r"|later in|this section|as follows|illustrated|see also|shown here)\b"
    r"|下面|以下|如下|上文|下文|上面|前面|上述|本节|参见|另见",
    re.I,
)
_DANGLING = re.compile(
    r"^(?:see\b|e\.?g\b|as above|same as|synonym|alias\b|construct a|initiali[sz]e self"
    r"|inherited from|as mentioned|见\b|同上)",
    re.I,
)
_LEANING_ON = re.compile(r"^(?:e\.?g\b|for example|see\b|note\b|as of\b|例如|比如|注意)", re.I)
_QUESTION = re.compile(
    r"^(?:how|what|why|when|where|can|is|are|does|do|should|which)\b.*|.*[?？]$", re.I
)
_GLOSSARY = re.compile(r"glossary|terminology|词汇|术语|名词", re.I)
_COMMON_HEADINGS = """
overview introduction synopsis example examples notes note usage basic basics summary parameters
arguments returns see also general index contents members discussion background description
details installation license misc other references module modules class classes function functions
exceptions attributes methods options sql orm schema engine types api and of the for with in a an
to using 概述 简介 介绍 示例 例子 用法 参数 返回值 说明 注意 概要 总结 参考 目录 背景 安装
"""
_GENERIC = frozenset(_COMMON_HEADINGS.split())


@dataclass(frozen=True, slots=True)
class Draft:
    """A question before it is worded: `name` (and `parameter`) asked about, `answer` from the page.

    `names` are longer forms of the name for when the short one means several things.
    """

    kind: str
    name: str
    answer: str
    headings: tuple[str, ...]
    parameter: str = ""
    names: tuple[str, ...] = ()


def drafts(page: Document) -> Iterator[Draft]:
    """All questions that a page gives, in the page's order."""
    glossary = bool(_GLOSSARY.search(str(page.meta.get("title") or "")))
    for section in sections(page.text):
        if any(RELEASE_NOTES.search(heading) for heading in section.headings):
            continue
        signature = parse_signature(section.signature) if section.signature else None
        if signature is not None:
            yield from _definition(section, signature)
        elif section.heading:
            yield from _titled(section, glossary)


def _definition(section: Section, signature: Signature) -> Iterator[Draft]:
    if signature.path[-1] == "__init__" and len(signature.path) > 1:
        # People ask for a parameter of the class.
        signature = Signature("class", signature.path[:-1], called=False)
        initial = True
    else:
        initial = False
    names = tuple(signature.name(more) for more in range(3))
    kind = (
        signature.kind
        if signature.kind in ("class", "exception")
        else "call"
        if signature.called
        else "attribute"
    )

    def draft(kind: str, answer: str | None, parameter: str = "") -> Iterator[Draft]:
        if answer and good_answer(answer):
            yield Draft(kind, names[0], answer, section.headings, parameter, names)

    if not initial:
        yield from draft(kind, opening(section.blocks))
    for before, block in zip([None, *section.blocks], section.blocks, strict=False):
        if before is None:
            continue
        if block.kind == "list" and kind != "attribute" and _PARAMETERS.match(before.text):
            for name, text in parameters(block):
                yield from draft("parameter", leading_sentences(text), name)
        elif block.kind == "paragraph" and _RETURNS.match(before.text):
            yield from draft("returns", leading_sentences(block.text))
        elif block.kind == "paragraph" and _ADDED.match(block.text):
            if count_words(block.text) <= _FEWEST_WORDS + 1:  # more is about a part of it
                yield from draft("version", block.text)
        elif block.kind == "paragraph" and _DEPRECATED.match(block.text):
            answer = leading_sentences(block.text)
            if answer and _DEPRECATED_ITSELF.search(answer) and signature.path[-1] in answer:
                yield from draft("deprecated", answer)


def _titled(section: Section, glossary: bool) -> Iterator[Draft]:
    name = section.headings[-1]
    asked = bool(_QUESTION.match(name)) and count_words(name) >= 4
    answer = opening(section.blocks, _ENOUGH_TO_EXPLAIN if asked else _ENOUGH_WORDS)
    if not answer or not good_answer(answer) or _LEANING.match(answer):
        return
    if asked:
        question = name.rstrip(" .?？")
        mark = "？" if is_chinese(question) else "?"
        yield Draft("asked", f"{question}{mark}", answer, section.headings)
    elif glossary:
        yield Draft("term", name.split(", ")[0], answer, section.headings)
    elif _tells(name):
        yield Draft("section", name, answer, section.headings)


def _tells(heading: str) -> bool:
    """Whether a heading names something by itself (`Basic Usage` of what?)."""
    words = [w for w in re.findall(rf"[{HAN}]+|\w+", heading.lower()) if w not in _GENERIC]
    if is_chinese(heading):
        return sum(map(len, words)) >= 3
    return len(words) >= 2 and len(search_words(heading)) >= 2 and len(heading) <= 80


def opening(blocks: list[Block], enough: int = _ENOUGH_WORDS) -> str | None:
    """The first sentences of the first paragraph that describes, or None where there is none."""
    skip = False
    for block in blocks:
        if block.kind != "paragraph":
            if skip:
                skip = False
                continue
            return None
        text = block.text
        if skip or _FURNITURE.match(text):
            skip = bool(LABEL_OF_NAMES.match(text)) and not skip
            continue
        if _ADDED.match(text) or _DEPRECATED.match(text) or _CHANGED.match(text):
            continue
        return leading_sentences(text, enough)
    return None


def leading_sentences(text: str, enough: int = _ENOUGH_WORDS) -> str | None:
    """The first sentence, and the second while the answer stays short; None where there is none.

    A sentence that announces what follows (`…:`) ends the answer before it.
    """
    out = ""
    for sentence in split_sentences(text)[:3]:
        if sentence.endswith((":", "：")) or _POINTING.search(sentence):
            break
        size = count_words(out) + count_words(sentence)
        if out and (_LEANING_ON.match(sentence) or size > enough):
            break
        out = join_parts([out, sentence]) if out else sentence
        if size >= enough // 2:
            break
    return out or None


def parameters(block: Block) -> Iterator[tuple[str, str]]:
    """(name, first paragraph of its description) of a parameter list."""
    for item in list_items(block):
        found = _PARAMETER.match(item)
        if not found:
            continue
        name = found.group("name").replace("\\", "").split("=")[0].strip("*` ")
        body = re.sub(r"(?m)^ {1,4}", "", found.group("text"))
        first = next(iter(parse_blocks(body)), None)
        if first is None or first.kind != "paragraph" or not re.fullmatch(r"[\w.]+", name):
            continue
        if not first.text.startswith((">", "**")):
            yield name, first.text


def good_answer(answer: str) -> bool:
    """Whether the words say something to a person who sees nothing else."""
    if not _FEWEST_WORDS <= count_words(answer) <= MOST_WORDS:
        return False
    plain = re.sub(r"`[^`]*`", " ", answer)
    if count_words(plain) < 3 or answer.count("`") % 2 or answer.count("**") % 2:
        return False
    if re.search(r"[|¶]|\[\d+\]|https?://\S+$|^\W*(?:see also|另见)", answer, re.I):
        return False
    if answer.count("(") != answer.count(")") or answer.rstrip().endswith((",", "，", ";", "、")):
        return False
    return not _DANGLING.match(answer)
