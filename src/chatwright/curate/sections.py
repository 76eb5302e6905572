"""Markdown taken apart: blocks, sections with their heading path and anchor, sentences."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from chatwright.curate.words import HAN

BlockKind = Literal["heading", "code", "table", "list", "paragraph"]

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_TABLE = re.compile(r"^ {0,3}\|")
_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]+|$)")
_SENTENCE = re.compile(
    r"(?<=[.!?])[\"'”’)\]*`]*\s+(?=[\"'“‘(\[*`A-Z0-9])|(?<=[。！？；])[”’」』）]*"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|resp|approx|incl|Dr|Mr|Mrs|St|No|Fig)\.|\b[A-Za-z]\.)$"
)
LABEL_OF_NAMES = re.compile(r"^\*\*(?:Members|Class signature|成员)\*\*$", re.I)  # a list follows
_CODE_HEADING = re.compile(r"^`+\s*([^`]+?)\s*`+$")
_SIGNATURE = re.compile(r"^((?:[a-z]+ )*)([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(.*)?(?:$|[\s:=→(\[])")
_INNER_KEYWORD = re.compile(r"\.(?:async|abstract|static|final) (?=[A-Za-z_])")  # `A.async b()`
_MEMBER_KINDS = frozenset(["method", "classmethod", "staticmethod", "attribute", "property"])
_ALSO = ", "  # between the names of a section that has several
_MOST_NAMES = 4
_FARTHEST = 1_000  # headings that curation may have taken out in a row
_WIDE = re.compile(f"[{HAN}\u3000-\u30ff\uff00-\uffef“”‘’—…]")


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, fenced code block, table, list or paragraph. `level` is a heading's 1…6."""

    kind: BlockKind
    text: str
    level: int = 0


@dataclass(slots=True)
class Section:
    """A heading and the blocks up to the next heading. `headings` is the path down to it.

    `signature` is the whole heading where it defines a name of a program (`method A.b(c) → d`).
    """

    headings: tuple[str, ...]
    heading: str = ""
    level: int = 0
    anchor: str | None = None
    signature: str | None = None
    blocks: list[Block] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n\n".join(block.text for block in self.blocks)


def plain_heading(text: str) -> str:
    """A heading as one reads it: without backticks, emphasis, links and escapes."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`|\*\*", "", text)
    return re.sub(r"\\([\\`*_{}\[\]()#+.!<>~|-])", r"\1", text).replace("¶", "").strip()


def parse_blocks(markdown: str) -> list[Block]:
    """Markdown as a flat list of blocks in order; blank lines between them are not kept."""
    blocks: list[Block] = []
    lines = markdown.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
            continue
        heading = _HEADING.match(line)
        if heading:
            blocks.append(Block("heading", heading.group(2), len(heading.group(1))))
            at += 1
            continue
        kind, end = _block_end(lines, at)
        blocks.append(Block(kind, "\n".join(lines[at:end]).rstrip()))
        at = end
    return blocks


def _block_end(lines: list[str], start: int) -> tuple[BlockKind, int]:
    """The kind of the block at `start` and the line after it."""
    line = lines[start]
    fence = FENCE.match(line)
    if fence:
        return "code", _fence_end(lines, start, fence.group(1))
    at = start + 1
    if _TABLE.match(line):
        while at < len(lines) and _TABLE.match(lines[at]):
            at += 1
        return "table", at
    if line.startswith(("    ", "\t")):
        while at < len(lines) and (lines[at].startswith(("    ", "\t")) or not lines[at].strip()):
            at += 1
        return "code", at
    if _ITEM.match(line):
        return "list", _list_end(lines, at)
    while at < len(lines) and lines[at].strip() and not _starts_block(lines[at]):
        at += 1
    return "paragraph", at


def _fence_end(lines: list[str], start: int, mark: str) -> int:
    """The line after the closing fence; one that never closes runs to the end."""
    for at in range(start + 1, len(lines)):
        stripped = lines[at].strip()
        if len(stripped) >= len(mark) and not stripped.strip(mark[0]):
            return at + 1
    return len(lines)


def _list_end(lines: list[str], at: int) -> int:
    """Items, their indented continuations, and blank lines between them."""
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            ahead = at
            while ahead < len(lines) and not lines[ahead].strip():
                ahead += 1
            following = lines[ahead] if ahead < len(lines) else ""
            if not (_ITEM.match(following) or following.startswith(("  ", "\t"))):
                break
        elif not line.startswith((" ", "\t")) and (_HEADING.match(line) or FENCE.match(line)):
            break
        at += 1
    return at


def _starts_block(line: str) -> bool:
    return bool(
        _HEADING.match(line) or FENCE.match(line) or _TABLE.match(line) or _ITEM.match(line)
    )


def sections(markdown: str, anchors: Sequence[Sequence[str | None]] = ()) -> list[Section]:
    """A page as sections in order. `anchors` lists (heading line, anchor) in the page's order.

    Headings that directly follow each other at one level and share a text (a glossary's "1.x
    style", "2.0 style"; overloads of a function) become one section that has both names.
    """
    marks = _Anchors(anchors)
    out = [Section(())]
    path: list[tuple[int, str]] = []
    for block in parse_blocks(markdown):
        last = out[-1]
        if block.kind != "heading":
            last.blocks.append(block)
            continue
        name, signature = heading_name(block.text)
        anchor = marks.next(block.text)
        if last.heading and not last.blocks and last.level == block.level:
            names = last.headings[-1].split(_ALSO)
            if name not in names and len(names) < _MOST_NAMES:
                name = _ALSO.join([*names, name])
            else:
                name = last.headings[-1]
            anchor, signature = last.anchor or anchor, last.signature or signature
            out.pop()
        while path and path[-1][0] >= block.level:
            path.pop()
        path.append((block.level, name))
        headings = tuple(h for _, h in path)
        out.append(Section(headings, block.text, block.level, anchor, signature))
    return [s for s in out if s.heading or s.blocks]


class _Anchors:
    """Walks the page's list of anchors along with its headings.

    Curation may have taken headings out of the page, so the walk skips to the next that fits, and
    stays where it is when none does.
    """

    def __init__(self, anchors: Sequence[Sequence[str | None]]) -> None:
        self._anchors = [(plain_heading((h or "").lstrip("# ")), a) for h, a in anchors]
        self._at = 0

    def next(self, heading: str) -> str | None:
        name = plain_heading(heading)
        for at in range(self._at, min(len(self._anchors), self._at + _FARTHEST)):
            if self._anchors[at][0] == name:
                self._at = at + 1
                return self._anchors[at][1]
        return None


def heading_name(heading: str) -> tuple[str, str | None]:
    """What a heading is called in a few words, and its signature where it is one.

    >>> heading_name("`method sqlalchemy.orm.Session.get(entity: type, ident) → T | None`")
    ('Session.get()', 'method sqlalchemy.orm.Session.get(entity: type, ident) → T | None')
    """
    code = _CODE_HEADING.match(heading.strip())
    found = parse_signature(code.group(1)) if code else None
    if not code or not found:
        return plain_heading(heading), None
    return found.name(), code.group(1)


@dataclass(frozen=True, slots=True)
class Signature:
    """A definition: its kind (`method`, `class`, … or ""), dotted name, whether it is called."""

    kind: str
    path: tuple[str, ...]
    called: bool

    @property
    def member(self) -> bool:
        """Whether it belongs to a class, whose name then goes with it."""
        of_class = len(self.path) > 1 and self.path[-2][:1].isupper()
        return self.kind in _MEMBER_KINDS or of_class

    def name(self, more: int = 0) -> str:
        """The short name (`Session.get()`), with `more` parts of the path before it."""
        parts = self.path[-((2 if self.member else 1) + more) :]
        return ".".join(parts) + ("()" if self.called else "")


def parse_signature(text: str) -> Signature | None:
    """`method a.B.c(d) → e` taken apart, or None for what is no signature."""
    found = _SIGNATURE.match(_INNER_KEYWORD.sub(".", text))
    if not found:
        return None
    words = (found.group(1) or "").split()
    kind = words[-1] if words else ""
    called = found.group(3) is not None or kind.endswith(("method", "function"))
    return Signature(
        kind, tuple(found.group(2).split(".")), called and kind not in ("class", "exception")
    )


def join_parts(parts: Sequence[str]) -> str:
    """Words or sentences put together again: no space where Chinese meets Chinese."""
    out = ""
    for part in parts:
        gap = "" if not out or (_WIDE.match(out[-1]) and _WIDE.match(part[:1])) else " "
        out += gap + part
    return out


def split_sentences(text: str) -> list[str]:
    """Sentences of one paragraph, English or Chinese. Full stops inside code spans do not count."""
    text = join_parts(text.split())
    spans = [m.span() for m in re.finditer(r"(`+)[^`]+\1", text)]
    starts = [a for a, _ in spans]
    out: list[str] = []
    start = 0
    for match in _SENTENCE.finditer(text):
        at, end = match.span()
        span = bisect_left(starts, at) - 1
        if end <= start or (span >= 0 and at < spans[span][1]):
            continue
        if _ABBREVIATION.search(text[max(0, at - 20) : at].rstrip("\"'”’)]*`")):
            continue
        out.append(text[start:end].strip())
        start = end
    out.append(text[start:].strip())
    return [s for s in out if s]


def list_items(block: Block) -> list[str]:
    """A list's items, each with what is indented under it."""
    items: list[list[str]] = []
    indents = [len(q) - len(q.lstrip()) for q in block.text.splitlines() if _ITEM.match(q)]
    outer = min(indents, default=0)
    for line in block.text.splitlines():
        if not items or (_ITEM.match(line) and len(line) - len(line.lstrip()) <= outer):
            items.append([line])
        else:
            items[-1].append(line)
    return ["\n".join(item).rstrip() for item in items]
