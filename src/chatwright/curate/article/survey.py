"""One pass over a page's tree: how much text, link text and prose every block holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from chatwright.curate.article.names import judge
from chatwright.curate.markdown import check_clock
from chatwright.curate.markup import BLOCK_TAGS, DROPPED_TAGS, is_dropped, is_note, names

PROSE_LETTERS = 25  # fewer in a block are a label, not prose
_SOFT_TAGS = names("aside figure figcaption form header")
_SOFT_BOUND = 0.4  # of the page's prose: a form or header with more holds the page
_DROPPED = -1.0
_SOLID_TAGS = names("table pre")
_PAGE_TAGS = names("body html article main")  # whose names say what the whole page is
_HIDING = names("hidden aria-hidden role style")
_START = 30  # letters
_NODES_PER_CLOCK = 1000


class Node:
    """A block (or an inline element that a name makes furniture) and what is in it.

    `letters`, `links` and `prose` are of its own text, inline elements included; `all_…` are of its
    whole subtree. Letters outside ASCII count twice or so: a Chinese character says more than a
    Latin one. `prose` is Readability's weight of a paragraph: one, one for each comma, up to three
    for length, less the share of link text.
    """

    __slots__ = (
        "all_letters",
        "all_links",
        "all_prose",
        "dropped",
        "element",
        "furniture",
        "letters",
        "links",
        "parent",
        "prose",
        "score",
        "solid",
        "start",
        "stops",
        "tag",
    )

    def __init__(self, element: Any, tag: str, parent: Node | None, furniture: float) -> None:
        self.element = element
        self.tag = tag
        self.parent = parent
        self.furniture = furniture
        self.letters = self.links = self.stops = 0
        self.all_letters = self.all_links = 0
        self.prose = self.all_prose = self.score = 0.0
        self.dropped = False
        self.start = ""  # the first words of its own text
        self.solid = False  # holds a table or code: never decoration


@dataclass(slots=True)
class Survey:
    """`nodes`, the body first, in document order, and what no reader sees (`hidden`).

    `generated`: class names say that a documentation generator made the page.
    """

    nodes: list[Node]
    hidden: list[Any] = field(default_factory=list)
    generated: bool = False


def survey(  # noqa: PLR0912 - one loop: calls for each element would cost a tenth
    body: Any, deadline: float | None = None, *, hidden: bool = False
) -> Survey:
    """Survey an element and everything under it.

    What `markup.is_dropped` says no reader sees is left out; with `hidden`, only what its tag or
    class says. Raises `DeadlineError` past `deadline`, a `time.monotonic()` value.
    """
    node = Node(body, body.tag, None, 0.0)
    found = Survey([node])
    nodes = found.nodes
    link: Any = None  # the open <a>
    events = etree.iterwalk(body, events=("start", "end"))
    for event, element in events:
        if event == "start":
            if element is not body:
                tag = element.tag
                keys = element.keys()
                if tag in DROPPED_TAGS:
                    bound = _DROPPED
                else:
                    bound = _bound(element, tag, keys, found, hidden) if keys else 0.0
                if bound == _DROPPED:
                    found.hidden.append(element)
                    events.skip_subtree()
                    continue
                if tag in BLOCK_TAGS or bound:
                    if tag in _SOFT_TAGS and not bound and not is_note(element):
                        bound = _SOFT_BOUND
                    node.solid = node.solid or tag in _SOLID_TAGS
                    node = Node(element, tag, node, bound)
                    nodes.append(node)
                    if deadline is not None and not len(nodes) % _NODES_PER_CLOCK:
                        check_clock(deadline)
                elif tag == "a" and link is None and "href" in keys:
                    link = None if element.get("href").startswith("#") else element
            text = element.text
        else:
            if element is node.element:
                node = _close(node)
            elif element is link:
                link = None
            if element is body:
                break
            text = element.tail
        if text and (text := text.strip()):
            size = len(text)
            if node.letters < _START:
                node.start += f" {text[:_START]}"
            node.stops += text.count(",")
            if not text.isascii():
                size = (size + len(text.encode("utf-8", "replace"))) // 2
                node.stops += text.count("\uff0c") + text.count("\u3001") + text.count("\u3002")
            node.letters += size
            if link is not None:
                node.links += size
    return found


def _bound(element: Any, tag: str, keys: list[str], found: Survey, hidden: bool) -> float:
    """How much prose an element with attributes may hold and be furniture; `_DROPPED`: all."""
    bound = 0.0
    if "class" in keys or "id" in keys:
        named = judge(element.get("class"), element.get("id"))
        if named.generated:
            found.generated = True
        if named.dropped:
            return _DROPPED
        if tag not in _PAGE_TAGS:
            bound = named.bound
    if not hidden and not _HIDING.isdisjoint(keys) and is_dropped(element, tag):
        return _DROPPED
    return bound


def _close(node: Node) -> Node:
    """Add up a finished node and hand its sums to its parent, which is returned."""
    if node.letters >= PROSE_LETTERS:
        share = 1 - node.links / node.letters
        node.prose = (1 + node.stops + min(node.letters / 100, 3)) * share
    node.all_letters += node.letters
    node.all_links += node.links
    node.all_prose += node.prose
    parent = node.parent
    if parent is None:
        return node
    parent.all_letters += node.all_letters
    parent.all_links += node.all_links
    parent.all_prose += node.all_prose
    parent.solid = parent.solid or node.solid
    return parent
