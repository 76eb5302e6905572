"""What the command line prints with: a console for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from chatwright.errors import ChatwrightError

_NO_WIDTH = 100_000


def console() -> Console:
    """Standard output. Not kept in a module variable: tests and pipes replace `sys.stdout`."""
    # What goes into a pipe or a file has no width to fit, so nothing is wrapped or cut there.
    return Console(highlight=False, width=None if sys.stdout.isatty() else _NO_WIDTH)


def error_console() -> Console:
    """Standard error: what is said beside the result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_error(error: ChatwrightError) -> None:
    """What was wrong, where, and what to do next, on standard error."""
    out = error_console()
    out.print("error: ", style="bold red", end="")
    out.print(error.message, markup=False)
    if error.where:
        out.print(f"  at: {error.where}", markup=False)
    if error.hint:
        out.print(f"  do: {error.hint}", markup=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=1, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table. A column whose name ends in '#' is right-aligned, without the '#'."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.removesuffix("#"),
            justify="right" if column.endswith("#") else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console().print(table)
