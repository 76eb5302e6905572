"""What inside a chosen article is not of it: lists of links, lone links, `Read more`, `Advert`."""

from __future__ import annotations

from chatwright.curate.article.names import is_furniture_text
from chatwright.curate.article.survey import PROSE_LETTERS, Node
from chatwright.curate.markup import names

LINK_SHARE = 0.8  # of the letters: more of them in links, and a block is a link with trimmings
_SHORT = 160  # letters; longer texts are not looked at for what furniture says
_HEADINGS = names("h1 h2 h3 h4 h5 h6")
_KEPT_TAGS = names("table tbody thead tfoot tr td th caption li pre")  # stay or go with their whole
_FOLLOWING = 12  # nodes among which a heading's text is looked for


def prune(nodes: list[Node], chosen: list[Node]) -> None:
    """Mark as dropped, among all nodes of the page, what the chosen ones hold beside the text."""
    inside = set(map(id, chosen))
    for position, node in enumerate(nodes):
        parent = node.parent
        if parent is None or id(parent) not in inside or id(node) in inside:
            continue
        inside.add(id(node))
        node.dropped = node.dropped or parent.dropped
        if node.dropped or node.tag in _KEPT_TAGS or node.solid or not node.all_letters:
            continue
        if node.all_links >= LINK_SHARE * node.all_letters:
            node.dropped = node.tag not in _HEADINGS or not _heads_text(nodes, position)
        elif node.all_letters < _SHORT and node.tag not in _HEADINGS:
            node.dropped = _is_label(nodes, position) or is_furniture_text(node.start)


def _heads_text(nodes: list[Node], position: int) -> bool:
    """Whether prose follows a heading before the next one."""
    for node in nodes[position + 1 : position + _FOLLOWING]:
        if node.tag in _HEADINGS:
            return False
        if node.prose:
            return True
    return False


def _is_label(nodes: list[Node], position: int) -> bool:
    """A few letters alone in a division (`Advert`, `close`); not one of several lines."""
    node = nodes[position]
    if node.tag != "div" or node.letters != node.all_letters or node.letters >= PROSE_LETTERS:
        return False
    around = nodes[max(0, position - 1) : position] + nodes[position + 1 : position + 2]
    return not any(n.tag == "div" and n.parent is node.parent and n.letters for n in around)
