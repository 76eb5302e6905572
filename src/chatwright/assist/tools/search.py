"""Searching the documents that the person who asks may read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from chatwright.assist.tools.definition import Caller, tool
from chatwright.errors import UsageError

_SHOWN = 1200  # characters of a passage


@tool(title={"en": "Search in knowledge", "zh": "搜索知识库"})
async def search_knowledge(
    query: Annotated[str, Field(min_length=1, max_length=500)],
    caller: Caller,
    count: Annotated[int, Field(ge=1, le=8)] = 3,
) -> dict[str, Any]:
    """Search the person's documents and shared collections for the passages nearest a query."""
    if caller.search is None:
        raise UsageError("there are no documents to search in")
    found = await caller.search(query, count)
    return {
        "passages": [
            {"id": passage.id, "title": passage.title, "text": passage.text[:_SHOWN]}
            for passage, _ in found
        ]
    }
