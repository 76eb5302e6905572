"""One HTML subtree becomes Markdown blocks: headings with their anchors, lists, tables, code.

Written for documentation first: no library that we tried keeps a Sphinx signature, its anchor and
the exact newlines of a code block at once (docs/decisions/0002-extraction.md). The walk is one
pass over lxml's events with stacks of its own: no recursion, so no depth that a page could have
breaks it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, NamedTuple

from lxml import etree

from chatwright.curate.markup import (
    BLOCK_TAGS,
    BREAK,
    ENDS_HEADING,
    NOTE_TITLES,
    anchor_of,
    code_language,
    code_span,
    fenced,
    has_signature,
    is_dropped,
    is_note,
    number,
    preformatted,
    tidy,
    wrapped,
)
from chatwright.curate.tables import data_table

_LOOKS_LIKE_SYNTAX = re.compile(r"^(#{1,6}(?=\s)|`{3,}|~{3,})", re.M)
_PAGE_LINKS = re.compile(
    r"(?:previous|prev|next|上一[页章节篇]|下一[页章节篇])\s*[:：][^\n]{0,200}$", re.I
)
_MAX_PREFIX = 12  # nesting beyond this is not shown: its indentation would grow as depth squared
_EVENTS_PER_CLOCK = 4096


class Block(NamedTuple):
    """One Markdown block; `before` stands between it and the block above it."""

    kind: str  # heading, paragraph, item, code, table
    text: str
    anchor: str | None = None
    before: str = "\n\n"


class DeadlineError(Exception):
    """The walk took longer than it was given."""


def check_clock(deadline: float | None) -> None:
    """Raise `DeadlineError` past `deadline`, a `time.monotonic()` value."""
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineError


class _Container:
    """A blockquote (marker "> ") or a list item, whose marker stands on its first line only."""

    __slots__ = ("marker", "quote", "used")

    def __init__(self, marker: str, quote: bool = False) -> None:
        self.marker = marker
        self.quote = quote
        self.used = False


class _Heading(NamedTuple):
    level: int
    element: Any
    kind: str  # heading, signature, term


def plain_text(text: str) -> str:
    """Running text with a backslash where a line would begin a heading or a code block."""
    return _LOOKS_LIKE_SYNTAX.sub(r"\\\1", text)


class Walker:
    """Walks one element; `blocks` and `link_letters`/`letters` hold what it found.

    `deadline` is a `time.monotonic()` value; past it `DeadlineError` is raised. `skipped` holds
    the elements that are left out with all that is in them; without it `markup.is_dropped` says.
    """

    def __init__(
        self, deadline: float | None = None, skipped: AbstractSet[Any] | None = None
    ) -> None:
        self._skipped = skipped
        self.blocks: list[Block] = []
        self.letters = 0
        self.link_letters = 0
        self._deadline = deadline
        self._frames: list[tuple[str, list[str]]] = [("", [])]
        self._undo: list[tuple[Any, Callable[[], object]]] = []  # what an element's end takes back
        self._containers: list[_Container] = []
        self._lists: list[int | None] = []  # the next number, or None for bullets
        self._signature_lists: list[bool] = []
        self._level = 0
        self._heading: _Heading | None = None
        self._links = 0
        self._fresh_list = True

    # --- inline text -------------------------------------------------------------------------

    def _push_text(self, text: str | None) -> None:
        if not text:
            return
        self._frames[-1][1].append(text)
        if not text.isspace():
            self.letters += len(text)
            if self._links:
                self.link_letters += len(text)

    def _open(self, kind: str, element: Any) -> None:
        if len(self._frames) == 1 or not any(k == kind for k, _ in self._frames):
            self._frames.append((kind, []))
            self._undo.append((element, partial(self._close, kind)))

    def _close(self, kind: str) -> None:
        if any(k == kind for k, _ in self._frames[1:]):
            while True:
                found, pieces = self._frames.pop()
                self._frames[-1][1].append(wrapped(found, "".join(pieces)))
                if found == kind:
                    return

    def _take(self) -> str:
        """The paragraph so far, with open inline elements closed here and opened again."""
        if len(self._frames) == 1 and not self._frames[0][1]:
            return ""
        text = ""
        for kind, pieces in reversed(self._frames):
            text = wrapped(kind, "".join(pieces) + text)
            pieces.clear()
        return tidy(text)

    # --- blocks ------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._heading is not None:
            self._frames[-1][1].append(" ")
            return
        text = self._take()
        if text and not _PAGE_LINKS.match(text):
            self._emit("paragraph", plain_text(text))

    def _emit(self, kind: str, text: str) -> None:
        first = rest = quoted = ""
        starts_item = False
        for container in self._containers[:_MAX_PREFIX]:
            width = len(container.marker)
            if container.quote:
                first += container.marker
                rest += container.marker
                if container.used:
                    quoted = rest
                container.used = True
            else:
                first += " " * width if container.used else container.marker
                rest += " " * width
                starts_item = starts_item or not container.used
                container.used = True
        before = "\n\n"
        if starts_item and not self._fresh_list:
            before = "\n"  # items of one list stand together
        elif quoted:
            before = f"\n{quoted.rstrip()}\n"  # one quotation goes on
        if starts_item:
            self._fresh_list = False
            kind = "item" if kind == "paragraph" else kind
        if first:
            lines = text.split("\n")
            text = "\n".join(
                [first + lines[0], *((rest + line).rstrip() if not line else rest + line
                                     for line in lines[1:])]
            )  # fmt: skip
        self.blocks.append(Block(kind, text, None, before))

    def _end_heading(self, element: Any = None) -> None:
        """End the open heading; with `element`, only if that is what opened it."""
        heading = self._heading
        if heading is None or (element is not None and heading.element is not element):
            return
        self._heading = None
        text = self._take().replace("\n", " ")
        if not text:
            return
        if heading.kind == "signature":
            text = re.sub(r"\s+([),\]])", r"\1", re.sub(r"([(\[])\s+", r"\1", text))
            text = code_span(text)
        if heading.kind == "heading":
            self._level = heading.level
        anchor = anchor_of(heading.element)
        self.blocks.append(Block("heading", f"{'#' * heading.level} {text}", anchor))

    def _has_text(self) -> bool:
        return any(piece.strip() for _, pieces in self._frames for piece in pieces)

    # --- the walk ----------------------------------------------------------------------------

    def walk(self, root: Any) -> list[Block]:
        """Walk `root` and everything under it; returns `blocks`."""
        skipped = self._skipped
        events = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
        for count, (event, element) in enumerate(events):
            if count % _EVENTS_PER_CLOCK == 0:
                check_clock(self._deadline)
            tag = element.tag
            if event == "start":
                if element is root:
                    dropped = False
                elif skipped is None:
                    dropped = is_dropped(element, tag)
                else:
                    dropped = element in skipped
                if not dropped and self._start(element, tag):
                    self._push_text(element.text)
                else:
                    events.skip_subtree()
                continue
            if event == "end":
                self._end(element, tag)
            if element is not root:
                self._push_text(element.tail)
        if self._heading is not None:
            self._end_heading()
        self._flush()
        return self.blocks

    def _start(self, element: Any, tag: str) -> bool:
        """Enter an element; False when it was rendered whole and its subtree is to be skipped."""
        if tag in BLOCK_TAGS:
            heading = self._heading
            if heading and heading.kind != "signature" and tag in ENDS_HEADING and self._has_text():
                self._end_heading()
            self._flush()
            if self._heading is not None:
                return True  # inside a heading, structure is only white space
        handler = _HANDLERS.get(tag)
        return True if handler is None else handler(self, element)

    def _end(self, element: Any, tag: str) -> None:
        if tag in BLOCK_TAGS:
            self._flush()
        while self._undo and self._undo[-1][0] is element:
            self._undo.pop()[1]()

    # --- what each element does; False: its subtree is done ------------------------------------

    def _br(self, element: Any) -> bool:
        self._frames[-1][1].append(BREAK)
        return True

    def _code(self, element: Any) -> bool:
        if self._heading is None or self._heading.kind != "signature":
            self._open("code", element)
        return True

    def _emphasis(self, element: Any) -> bool:
        if self._heading is None and not any(k == "code" for k, _ in self._frames):
            self._open("strong" if element.tag in ("strong", "b") else "em", element)
        return True

    def _link(self, element: Any) -> bool:
        self._links += 1
        self._undo.append((element, self._end_link))
        return True

    def _end_link(self) -> None:
        self._links -= 1

    def _image(self, element: Any) -> bool:
        if "math" in (element.get("class") or ""):
            self._push_text(element.get("alt"))
        return True

    def _heading_tag(self, element: Any) -> bool:
        self._begin_heading(int(element.tag[1]), element, "heading")
        return True

    def _begin_heading(self, level: int, element: Any, kind: str) -> None:
        self._heading = _Heading(level, element, kind)
        self._undo.append((element, partial(self._end_heading, element)))

    def _pre(self, element: Any) -> bool:
        text = preformatted(element)
        if text.strip():
            self.letters += len(text)
            self._emit("code", fenced(text, code_language(element)))
        return False

    def _table_tag(self, element: Any) -> bool:
        text = data_table(element, self._cell)
        if text:
            self._emit("table", text)
        return text is None

    def _list(self, element: Any) -> bool:
        if not self._lists:
            self._fresh_list = True
        self._lists.append(number(element.get("start"), 1) if element.tag == "ol" else None)
        self._undo.append((element, self._end_list))
        return True

    def _end_list(self) -> None:
        self._lists.pop()
        self._fresh_list = self._fresh_list or not self._lists

    def _item(self, element: Any) -> bool:
        marker = "- "
        if self._lists and (following := self._lists[-1]) is not None:
            here = number(element.get("value"), following)
            self._lists[-1] = here + 1
            marker = f"{here}. "
        self._contain(_Container(marker), element)
        return True

    def _contain(self, container: _Container, element: Any) -> None:
        self._containers.append(container)
        self._undo.append((element, self._containers.pop))

    def _quote(self, element: Any) -> bool:
        self._contain(_Container("> ", quote=True), element)
        return True

    def _note(self, element: Any) -> bool:
        return self._quote(element) if is_note(element) else True

    def _paragraph(self, element: Any) -> bool:
        classes = element.get("class")
        if classes and not NOTE_TITLES.isdisjoint(classes.split()):
            self._open("strong", element)
        return True

    def _definitions(self, element: Any) -> bool:
        self._signature_lists.append(has_signature(element))
        self._undo.append((element, self._signature_lists.pop))
        return True

    def _term(self, element: Any) -> bool:
        """A signature or a glossary's term is a heading, so that it can be found and cited."""
        parent = element.getparent()
        if "sig" in (element.get("class") or "").split():
            level = self._level + max(1, sum(self._signature_lists))
            self._begin_heading(min(6, level), element, "signature")
        elif parent is not None and "glossary" in (parent.get("class") or ""):
            self._begin_heading(min(6, self._level + 1), element, "term")
        else:
            self._open("strong", element)
        return True

    def _section(self, element: Any) -> bool:
        self._undo.append((element, partial(setattr, self, "_level", self._level)))
        return True

    def _cell(self, cell: Any) -> str:
        check_clock(self._deadline)
        inner = Walker(self._deadline, self._skipped)
        blocks = inner.walk(cell)
        self.letters += inner.letters
        self.link_letters += inner.letters if self._links else inner.link_letters
        text = " ".join(block.text for block in blocks).replace("\n", " ")
        return re.sub(r"(?<!\\)\|", r"\\|", text)


_HANDLERS: dict[str, Callable[[Walker, Any], bool]] = {
    "br": Walker._br,
    "a": Walker._link,
    "img": Walker._image,
    "pre": Walker._pre,
    "table": Walker._table_tag,
    "li": Walker._item,
    "blockquote": Walker._quote,
    "div": Walker._note,
    "aside": Walker._note,
    "p": Walker._paragraph,
    "dl": Walker._definitions,
    "dt": Walker._term,
    "section": Walker._section,
    **dict.fromkeys(("code", "tt", "kbd", "samp"), Walker._code),
    **dict.fromkeys(("strong", "b", "em", "i"), Walker._emphasis),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), Walker._heading_tag),
    **dict.fromkeys(("ul", "ol", "menu", "dir"), Walker._list),
}


def join_blocks(blocks: list[Block]) -> str:
    """Blocks as one Markdown text, ending in a newline; empty for no block."""
    out: list[str] = []
    for block in blocks:
        if out:
            out.append(block.before)
        out.append(block.text)
    return "".join([*out, "\n"]) if out else ""
