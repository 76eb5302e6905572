"""What else belongs to an article, beside the element that was chosen for it."""

from __future__ import annotations

import re

from chatwright.curate.article.survey import Node
from chatwright.curate.markup import names

_LARGE = 0.2  # of the chosen element's prose: Readability's bound for a sibling
_NEAR = 3  # levels up from the chosen element
_SERIES = 2  # large siblings of one name
_BEFORE = 0.3  # of the chosen element's prose, in what stands between the headline and it
_MOST_PROSE = 0.6  # of a sibling's: its parts named as the chosen element is stand for it
_SENTENCE = 1.8  # prose of a paragraph of 80 letters, few of them a link's
_TEXT_TAGS = names("p ul ol dl table pre blockquote")
_DIGITS = re.compile(r"\d+")


def with_siblings(best: Node, nodes: list[Node], headline: Node | None) -> list[Node]:
    """The chosen node and what stands beside it, at any level, named alike and full of prose.

    Where several do, they are a series (the posts of a thread), and its short ones belong to it.
    So does what has some prose between the headline and the chosen node (a question, before its
    answers).
    """
    way = {id(best)}  # to the body
    node = best
    while node.parent is not None:
        node = node.parent
        way.add(id(node))
    beside: dict[int, list[Node]] = {}  # by parent on the way
    names_on_way: dict[int, str] = {}
    between = False
    chosen = {id(best)}
    for node in nodes:
        parent = node.parent
        between = (between or node is headline) and node is not best
        if parent is None or parent is best or id(parent) not in way:
            continue
        if id(node) in way:
            names_on_way[id(parent)] = _name(node)
        elif between and not node.dropped and node.all_prose >= _BEFORE * best.all_prose:
            chosen.add(id(node))
        elif node.all_prose and not node.dropped:
            beside.setdefault(id(parent), []).append(node)
    least = _LARGE * best.all_prose
    for place, siblings in beside.items():
        name = names_on_way[place]
        alike = [node for node in siblings if name and _name(node) == name]
        large = [node for node in alike if node.all_prose >= least]
        chosen.update(map(id, alike if len(large) >= _SERIES else large))
        if place == id(best.parent):
            chosen.update(
                id(node)
                for node in siblings
                if node.tag in _TEXT_TAGS and node.all_prose >= _SENTENCE
            )
    chosen |= _cousins(best, nodes, chosen, least)
    return _without_wrapping(best, [node for node in nodes if id(node) in chosen], nodes)


def _cousins(best: Node, nodes: list[Node], chosen: set[int], least: float) -> set[int]:
    """Elements near by that are named as `best` is and full of prose: answers to a question.

    Near by only: further off, the same name is another story's.
    """
    found: set[int] = set()
    name = _name(best)
    top = best
    for _ in range(_NEAR):
        top = top.parent or top
    if not name:
        return found
    inside = {id(top)}
    for node in nodes:
        if id(node.parent) not in inside or id(node) in chosen or node.dropped:
            continue
        if node.all_prose < least:
            continue
        if _name(node) == name:
            found.add(id(node))
        else:
            inside.add(id(node))
    return found


def _without_wrapping(best: Node, chosen: list[Node], nodes: list[Node]) -> list[Node]:
    """Of what was chosen beside `best`, the parts named as it is, where they hold the prose."""
    name = _name(best)
    if len(chosen) == 1 or not name:
        return chosen
    owner: dict[int, Node] = {id(node): node for node in chosen}
    inner: dict[int, list[Node]] = {}
    for node in nodes:
        if id(node) not in owner and node.parent is not None and id(node.parent) in owner:
            mine = owner[id(node.parent)]
            if _name(node) == name and not node.dropped:
                inner.setdefault(id(mine), []).append(node)
            else:
                owner[id(node)] = mine
    result: list[Node] = []
    for node in chosen:
        parts = inner.get(id(node), []) if node is not best else []
        whole = sum(part.all_prose for part in parts) >= _MOST_PROSE * node.all_prose
        result += parts if parts and whole else [node]
    return result


def _name(node: Node) -> str:
    """Tag and class, or tag and id without its number; "" for an element without a name."""
    name = node.element.get("class") or _DIGITS.sub("", node.element.get("id") or "")
    return f"{node.tag} {name}" if name else ""
