"""A conversation as a tree: the way to a leaf, branches, and whether it is a tree at all.

Messages are known here by their ids only: `parents` maps each to the one before it, or to None for
one that begins the conversation, in the order in which they were said.
"""

from __future__ import annotations

from collections.abc import Mapping

Parents = Mapping[str, str | None]


def path_to(leaf: str, parents: Parents) -> list[str]:
    """From the beginning to `leaf`. Raises `KeyError` for one that is not there, or whose way back
    leads out of the tree, and `ValueError` where it leads in a circle.
    """
    path: list[str] = []
    seen: set[str] = set()
    here: str | None = leaf
    while here is not None:
        if here in seen:
            raise ValueError("the messages lead in a circle")
        seen.add(here)
        path.append(here)
        here = parents[here]
    return path[::-1]


def children_of(parents: Parents) -> dict[str | None, list[str]]:
    """The answers to each message (None: what begins the conversation), in order."""
    children: dict[str | None, list[str]] = {}
    for message, parent in parents.items():
        children.setdefault(parent, []).append(message)
    return children


def newest_leaf(parents: Parents, below: str | None = None) -> str | None:
    """The end of the newest branch that goes through `below` (None: of all)."""
    children = children_of(parents)
    here = below
    while children.get(here):
        here = children[here][-1]
    return here


def siblings(message: str, parents: Parents) -> list[str]:
    """The other versions of a message and itself, in order."""
    return [other for other, parent in parents.items() if parent == parents[message]]


def problem_of(parents: Parents) -> str | None:
    """What keeps these messages from being a tree, in a few words, or None."""
    good: set[str] = set()
    for message in parents:
        way: list[str] = []
        on_way: set[str] = set()
        here: str | None = message
        while here is not None and here not in good:
            if here not in parents:
                return "a message follows one that is not there"
            if here in on_way:
                return "the messages lead in a circle"
            on_way.add(here)
            way.append(here)
            here = parents[here]
        good.update(way)
    return None
