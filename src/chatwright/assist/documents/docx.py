"""The text of a .docx (ECMA-376): headings, lists, tables, notes; nothing in it is run or fetched.

Read by hand and not with python-docx, which unpacks every part of the file without any bound.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chatwright.assist.documents.package import Package
from chatwright.assist.documents.result import (
    DocumentLimits,
    PagedText,
    Parsed,
    joined_notes,
    normal_text,
)
from chatwright.curate.normalise import normalise_line

# Both forms of the standard name the same elements in other namespaces, so local names are read.
_HEADING = re.compile(r"(?:heading|\u6807\u9898)\s*([1-9])$", re.I)
_DEEPEST = 40  # tables in tables, content in content
_DEEPEST_LIST = 8
_BASED_ON = 12
# Deleted text, the second form of a drawing, and what only a field's code says.
_SKIPPED = frozenset(
    {"del", "moveFrom", "Fallback", "instrText", "delText", "pPr", "rPr", "sectPr"}
)
_BREAKS = frozenset({"lastRenderedPageBreak"})
_PAGE = "\f"  # in a paragraph's text: here a page ended when it was last laid out


@dataclass(frozen=True, slots=True)
class _Style:
    level: int | None = None  # of a heading; 0 is the title
    list_id: str | None = None


def read_docx(name: str, data: bytes, limits: DocumentLimits) -> Parsed:
    """Headings, paragraphs, lists, tables and footnotes; page numbers where Word left them.

    Deleted and hidden text, comments, macros and embedded files are left out; links are not
    followed. Raises `DocumentError`.
    """
    package = Package(name, data, limits)
    main = package.main()
    folder = main.rpartition("/")[0]
    reader = _Reader(
        PagedText(limits.characters),
        _styles(package.xml(f"{folder}/styles.xml")),
        _bullets(package.xml(f"{folder}/numbering.xml")),
    )
    root = package.xml(main)
    body = None if root is None else next((e for e in root if _tag(e) == "body"), None)
    if body is not None:
        reader.blocks(body)
    for part in ("footnotes", "endnotes"):
        notes = package.xml(f"{folder}/{part}.xml")
        for note in [] if notes is None else notes:
            text = " ".join(_text(p).replace(_PAGE, "") for p in note.iter("{*}p")).strip()
            if text and _attribute(note, "type") in (None, "normal"):
                reader.out.add(normal_text(text).strip())
    core = package.xml("docProps/core.xml")
    title = "" if core is None else next((e.text or "" for e in core if _tag(e) == "title"), "")
    pages = tuple(reader.out.pages) if len(reader.out.pages) > 1 else ()
    return Parsed(
        "docx",
        reader.out.text(),
        normalise_line(title)[0].strip()[:300],
        pages,
        joined_notes((), reader.out.full, limits),
    )


class _Reader:
    """Walks the body and writes Markdown."""

    def __init__(
        self, out: PagedText, styles: dict[str, _Style], bullets: dict[tuple[str, int], bool]
    ) -> None:
        self.out = out
        self._styles = styles
        self._bullets = bullets
        self._counts: Counter[tuple[str, int]] = Counter()
        self._page = 1
        self._list: list[str] = []
        out.page(1)

    def blocks(self, parent: Any, depth: int = 0) -> None:
        """The blocks in an element, in order."""
        for element in parent:
            if self.out.full or depth > _DEEPEST:
                return
            tag = _tag(element)
            if tag == "p":
                self._paragraph(element)
            elif tag == "tbl":
                self._end_list()
                self._table(element)
            elif tag not in _SKIPPED:  # sdt, sdtContent, ins, customXml: what they hold counts
                self.blocks(element, depth + 1)
        if depth == 0:
            self._end_list()

    def _paragraph(self, paragraph: Any) -> None:
        properties = _child(paragraph, "pPr")
        raw = _text(paragraph)
        if not raw.strip(_PAGE + " \n"):
            self._turn(raw.count(_PAGE))
            return
        before, _, _ = raw.partition(raw.lstrip(_PAGE + " \n"))
        self._turn(before.count(_PAGE))
        inner = raw.strip(_PAGE + " \n")
        text = normal_text(inner.replace(_PAGE, "")).strip()
        if not text:
            return
        style = self._styles.get(_value(properties, "pStyle") or "", _Style())
        level = style.level
        outline = _value(properties, "outlineLvl")
        if outline is not None and outline.isdecimal() and int(outline) < 6:
            level = int(outline) + 1
        item = self._item(properties, style) if level is None else None
        if item is not None:
            self._list.append(item + " ".join(text.split("\n")))
        else:
            self._end_list()
            if level is not None and len(text) <= 300:
                text = f"{'#' * min(level + 1, 6)} {' '.join(text.split())}"
            self.out.add(text)
        after = raw.rstrip(" \n")
        self._turn(inner.count(_PAGE) + len(after) - len(after.rstrip(_PAGE + " \n")))

    def _turn(self, breaks: int) -> None:
        """So many pages end here; a paragraph that spans an end counts to the page it begins on."""
        if breaks:
            self._end_list()
            self._page += breaks
            self.out.page(self._page, glue="")

    def _item(self, properties: Any, style: _Style) -> str | None:
        numbering = None if properties is None else _child(properties, "numPr")
        list_id = _value(numbering, "numId") or style.list_id
        if not list_id or list_id == "0":
            return None
        told = _value(numbering, "ilvl") or "0"
        level = min(int(told), _DEEPEST_LIST) if told.isdecimal() else 0
        if self._bullets.get((list_id, level), True):
            return "  " * level + "- "
        self._counts[list_id, level] += 1
        for deeper in range(level + 1, _DEEPEST_LIST + 1):
            self._counts.pop((list_id, deeper), None)
        return "   " * level + f"{self._counts[list_id, level]}. "

    def _end_list(self) -> None:
        if self._list:
            self.out.add("\n".join(self._list))
            self._list.clear()

    def _table(self, table: Any) -> None:
        rows: list[list[str]] = []
        breaks = 0
        for row in _rows(table):
            cells: list[str] = []
            for cell in (e for e in row if _tag(e) in ("tc", "sdt")):
                text = " ".join(_text(p) for p in cell.iter("{*}p"))
                breaks += text.count(_PAGE)
                plain = normal_text(text.replace(_PAGE, ""))
                cells.append(" ".join(plain.split()).replace("|", "\\|"))
            if any(cells):
                rows.append(cells)
        if rows:
            width = max(map(len, rows))
            full = [[*row, *[""] * (width - len(row))] for row in rows] if width <= 100 else rows
            lines = [f"| {' | '.join(row)} |" for row in full]
            lines.insert(1, "|" + "---|" * min(width, 100))
            self.out.add("\n".join(lines))
        self._turn(breaks)


def _rows(table: Any) -> Iterator[Any]:
    for element in table:
        if _tag(element) == "tr":
            yield element
        elif _tag(element) in ("sdt", "sdtContent", "ins"):
            yield from _rows(element)


def _text(paragraph: Any) -> str:
    """A paragraph's text as a reader sees it, with `_PAGE` where a page ended."""
    parts: list[str] = []

    def walk(element: Any, depth: int) -> None:
        for child in element:
            tag = _tag(child)
            if tag in _SKIPPED or depth > _DEEPEST or (tag == "r" and _hidden(child)):
                continue
            if tag == "t":
                parts.append(child.text or "")
            elif tag in ("tab", "ptab"):
                parts.append(" ")
            elif tag == "noBreakHyphen":
                parts.append("-")
            elif tag in _BREAKS:
                parts.append(_PAGE)
            elif tag in ("br", "cr"):
                parts.append(_PAGE if _attribute(child, "type") == "page" else "\n")
            else:
                walk(child, depth + 1)
                if tag == "p":  # of a text box
                    parts.append("\n")

    walk(paragraph, 0)
    return "".join(parts)


def _hidden(run: Any) -> bool:
    properties = _child(run, "rPr")
    vanish = None if properties is None else _child(properties, "vanish")
    return vanish is not None and _attribute(vanish, "val") not in ("0", "false", "off")


def _styles(root: Any | None) -> dict[str, _Style]:
    named: dict[str, Any] = {}
    for style in [] if root is None else root:
        if _tag(style) == "style" and (style_id := _attribute(style, "styleId")):
            named[style_id] = style
    return {style_id: _resolved(style, named) for style_id, style in named.items()}


def _resolved(style: Any, named: dict[str, Any]) -> _Style:
    level: int | None = None
    list_id: str | None = None
    for _ in range(_BASED_ON):  # a style may be based on itself
        name = (_value(style, "name") or "").strip()
        properties = _child(style, "pPr")
        outline = _value(properties, "outlineLvl")
        if level is None:
            if found := _HEADING.match(name):
                level = int(found.group(1))
            elif name.lower() in ("title", "\u6807\u9898"):
                level = 0
            elif outline is not None and outline.isdecimal() and int(outline) < 6:
                level = int(outline) + 1
        numbering = None if properties is None else _child(properties, "numPr")
        list_id = list_id or _value(numbering, "numId")
        parent = named.get(_value(style, "basedOn") or "")
        if parent is None:
            break
        style = parent
    return _Style(level, list_id)


def _bullets(root: Any | None) -> dict[tuple[str, int], bool]:
    """(list, level) → whether its items have bullets, and not numbers."""
    kinds: dict[tuple[str, int], bool] = {}
    abstract: dict[str, dict[int, bool]] = {}
    for element in [] if root is None else root:
        if _tag(element) == "abstractNum":
            levels: dict[int, bool] = {}
            for level in element:
                told = _attribute(level, "ilvl") or ""
                if _tag(level) == "lvl" and told.isdecimal() and int(told) <= _DEEPEST_LIST:
                    levels[int(told)] = _value(level, "numFmt") in (None, "bullet", "none")
            abstract[_attribute(element, "abstractNumId") or ""] = levels
        elif _tag(element) == "num":
            list_id = _attribute(element, "numId") or ""
            for number, bullet in abstract.get(_value(element, "abstractNumId") or "", {}).items():
                kinds[list_id, number] = bullet
    return kinds


def _tag(element: Any) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _child(element: Any, tag: str) -> Any | None:
    return next((child for child in element if _tag(child) == tag), None)


def _attribute(element: Any, name: str) -> str | None:
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return None


def _value(element: Any | None, tag: str) -> str | None:
    """The `val` of a child."""
    child = None if element is None else _child(element, tag)
    return None if child is None else _attribute(child, "val")
