"""The tags of a page in order, without a tree: what links and signals need, at any depth."""

from __future__ import annotations

from typing import Any

from lxml import etree

Tag = tuple[str, dict[str, str]]


class _Target:
    """Takes the parser's events and keeps some of them."""

    def __init__(self, wanted: frozenset[str], most: int) -> None:
        self._wanted = wanted
        self._most = most
        self._found: list[Tag] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag in self._wanted and len(self._found) < self._most:
            self._found.append((tag, dict(attributes)))

    def close(self) -> list[Tag]:
        return self._found


def tags_of(html: str, wanted: frozenset[str], most: int = 20_000) -> list[Tag]:
    """(name, attributes) of the tags in `wanted`, at most `most`; comments and scripts have none.

    Linear in the page's length, whatever its nesting, and usable in any thread (resiliparse's
    trees may not change theirs).
    """
    target: Any = _Target(wanted, most)  # the other events need no method
    parser = etree.HTMLParser(encoding="utf-8", target=target, no_network=True)
    try:
        found = etree.fromstring(html.encode("utf-8", "replace"), parser)
    except (etree.LxmlError, ValueError):
        return []
    return found if isinstance(found, list) else []
