"""Which elements of a surveyed page are its article, and which inside them are not.

The weights follow Mozilla's Readability (Apache-2.0): prose counts for what contains it, less for
every container further out, and less where much of the text is links. What differs: names such as
`related` only speak against an element that holds little of the page's prose, so that a theme's
odd names cannot lose an article; and only containers can be chosen, so that lists stay whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chatwright.curate.article.beside import with_siblings
from chatwright.curate.article.headline import find_headline
from chatwright.curate.article.names import SURELY
from chatwright.curate.article.prune import prune
from chatwright.curate.article.survey import Node, Survey
from chatwright.curate.markup import names

_LEAST_LEFT = 0.25  # of the page's prose: where names would take more away, they are not believed
# A page without a headline whose largest piece is short and holds at most a third of the prose is
# one of many sections; what holds nearly all of it is taken.
_SHORT_ARTICLE, _SECTION, _NEARLY_ALL = 25.0, 0.35, 0.8
_LEAST_PROSE = 4.0  # two sentences or so
_LEVELS = (1.0, 0.5, 1 / 6, 1 / 9, 1 / 12)
_MOST_STEPS = 50  # up from a paragraph
_CONTAINERS = names(
    "body html div section article main td form center fieldset figure aside header span dd details"
)


@dataclass(slots=True)
class Choice:
    """What to walk, in document order, and what to leave out on the way."""

    roots: list[Any] = field(default_factory=list)
    skipped: set[Any] = field(default_factory=set)
    link_share: float = 0.0  # of the whole page
    prose: float = 0.0  # of the roots; 0 where the page has none
    headline: str | None = None


def choose(survey: Survey, title: str = "") -> Choice:
    """The article of a surveyed page; the whole page where it holds no prose.

    `title` is what the page's head says it is called; it tells the headline from other headings.
    """
    nodes = survey.nodes
    top = nodes[0]
    share = top.all_links / top.all_letters if top.all_letters else 0.0
    _drop_furniture(nodes)
    best = _best(nodes)
    if best is None:
        return Choice([top.element], set(survey.hidden), share)
    prose = best.all_prose
    headline, said = find_headline(nodes, title)
    if headline is not None:
        best = _outside_furniture(best, nodes, headline)
    elif best.all_prose < _SHORT_ARTICLE:
        best = _widened(best, nodes)
    chosen = with_siblings(best, nodes, headline)
    prune(nodes, chosen)
    skipped = {node.element for node in nodes if node.dropped}
    skipped.update(survey.hidden)
    return Choice([node.element for node in chosen], skipped, share, prose, said)


def _drop_furniture(nodes: list[Node]) -> None:
    total = nodes[0].all_prose
    lost = 0.0
    for node in nodes:
        parent = node.parent
        if parent is not None and parent.dropped:
            node.dropped = True
        elif node.all_prose < node.furniture * total and not _is_kept_figure(node):
            node.dropped = True
            lost += node.all_prose
    if lost > (1 - _LEAST_LEFT) * total:
        for node in nodes:
            node.dropped = False


def _is_kept_figure(node: Node) -> bool:
    return node.solid and node.tag == "figure"


def _best(nodes: list[Node]) -> Node | None:
    for node in nodes:
        if not node.prose or node.dropped:
            continue
        if node.tag in _CONTAINERS:
            node.score += node.prose
        level = 0
        parent = node.parent
        for _ in range(_MOST_STEPS):
            if parent is None or level == len(_LEVELS):
                break
            if parent.tag in _CONTAINERS:
                parent.score += node.prose * _LEVELS[level]
                level += 1
            parent = parent.parent
    best: Node | None = None
    most = 0.0
    for node in nodes:
        if node.score and not node.dropped:
            score = node.score * (1 - node.all_links / node.all_letters)
            if score > most:
                best, most = node, score
    return best


def _outside_furniture(best: Node, nodes: list[Node], headline: Node) -> Node:
    """What stands under the headline, where names call most of the prose comments or the like.

    A short piece of news under which readers wrote ten times as much is the case in point: there
    the comments are dropped. A forum, whose posts may be called comments, has nothing else under
    its headline, and keeps them.
    """
    around = set()
    node: Node | None = headline
    while node is not None:
        around.add(id(node))
        node = node.parent
    kept: set[int] = set()
    for node in nodes:
        if id(node.parent) in kept or (
            node.furniture == SURELY and not node.dropped and id(node) not in around
        ):
            kept.add(id(node))
    if not kept:
        return best
    changed = [node for node in nodes if id(node) in kept and not node.dropped]
    for node in changed:
        node.dropped = True
    for node in nodes:
        node.score = 0.0
    other = _best(nodes[nodes.index(headline) :])
    if other is not None and other.score >= _LEAST_PROSE:
        return other
    for node in changed:
        node.dropped = False
    return best


def _widened(best: Node, nodes: list[Node]) -> Node:
    """What holds nearly all prose, where `best` holds a third of it at most: a page of sections."""
    left: dict[int, float] = {}  # prose that is not dropped, by node
    for node in reversed(nodes):
        if not node.dropped:
            mine = left.get(id(node), 0.0) + node.prose
            left[id(node)] = mine
            if node.parent is not None:
                left[id(node.parent)] = left.get(id(node.parent), 0.0) + mine
    total = left.get(id(nodes[0]), 0.0)
    if best.all_prose > _SECTION * total:
        return best
    around = best
    while around.parent is not None and left.get(id(around), 0.0) < _NEARLY_ALL * total:
        around = around.parent
    return around
