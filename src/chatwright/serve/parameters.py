"""Identifiers as callers send them, in a path, a query or a body; and times as they are told."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, overload

from fastapi import Path, Query
from pydantic import Field

# All that `ids.new_id` makes. What else a caller sends is refused before a database sees it:
# PostgreSQL takes no NUL.
_ID = r"^[A-Za-z0-9_-]+$"

PathId = Annotated[str, Path(max_length=64, pattern=_ID)]
QueryId = Annotated[str | None, Query(max_length=64, pattern=_ID)]
BodyId = Annotated[str, Field(min_length=1, max_length=64, pattern=_ID)]


@overload
def iso(at: datetime) -> str: ...
@overload
def iso(at: None) -> None: ...
@overload
def iso(at: datetime | None) -> str | None: ...


def iso(at: datetime | None) -> str | None:
    """A time as the page's routes tell it: ISO 8601 in UTC, to the microsecond; None stays None.

    `at` is aware and in UTC, as the tables give it.
    """
    return None if at is None else at.isoformat(timespec="microseconds").replace("+00:00", "Z")
