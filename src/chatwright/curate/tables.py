"""A table of data in HTML becomes one in Markdown; one that lays out a page does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chatwright.curate.markup import is_dropped, number

# What no cell of data holds: a table with one of these lays out a page (or numbers code lines).
_LAYOUT = ("table", "pre", "h1", "h2", "h3", "h4", "section", "article", "dl")
_WIDEST = 50


def data_table(table: Any, cell_text: Callable[[Any], str]) -> str | None:
    """The table as Markdown, "" where it is empty; None for one that only lays out a page.

    `cell_text` renders one cell on one line. Cells that span columns are padded with empty ones;
    leading rows of nothing but <th> are the head, and a table without one gets an empty head.
    """
    for inner in table.iter(*_LAYOUT):
        if inner is not table:
            return None
    rows: list[list[str]] = []
    has_head = False
    caption = ""
    for row in table.iter("tr", "caption"):
        if row.tag == "caption":
            caption = cell_text(row)
            continue
        cells, is_head = _row(row, cell_text)
        if any(cells):
            has_head = has_head or (is_head and not rows)
            rows.append(cells)
    width = max((len(row) for row in rows), default=0)
    if width < 2:
        return None if width else ""
    if not has_head:
        rows.insert(0, [""] * width)
    lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
    lines.insert(1, f"|{' --- |' * width}")
    text = "\n".join(lines)
    return f"**{caption}**\n\n{text}" if caption else text


def _row(row: Any, cell_text: Callable[[Any], str]) -> tuple[list[str], bool]:
    """The texts of a row's cells, and whether all of them are heads."""
    cells: list[str] = []
    is_head = True
    for cell in row:
        if cell.tag in ("td", "th") and not is_dropped(cell, cell.tag):
            is_head = is_head and cell.tag == "th"
            cells.append(cell_text(cell))
            cells.extend([""] * (min(number(cell.get("colspan"), 1), _WIDEST) - 1))
    return cells, is_head
