"""Which heading is the page's headline."""

from __future__ import annotations

import re
from itertools import islice

from chatwright.curate.article.prune import LINK_SHARE
from chatwright.curate.article.survey import Node
from chatwright.curate.markup import tidy

_NO_LETTERS = re.compile(r"\W+|_")
_LONGEST = 500  # characters of a title or a heading that are looked at
_MOST_PIECES = 50  # of a heading's text
_MOST_HEADINGS = 100


def find_headline(nodes: list[Node], title: str) -> tuple[Node | None, str | None]:
    """The heading that repeats most of the page's title, and its text.

    A heading that is a link is the site's name rather than the page's. Of a page without a title,
    the text of its first <h1>.
    """
    wanted = _letters(title[:_LONGEST])
    found: tuple[Node | None, str | None] = (None, None)
    most = (False, 3)
    headings = (node for node in nodes if node.tag in ("h1", "h2"))
    for node in islice(headings, _MOST_HEADINGS):
        said = tidy("".join(islice(node.element.itertext(), _MOST_PIECES))[:_LONGEST])
        if not wanted:
            return None, said or None
        text = _letters(said)
        value = (node.all_links < LINK_SHARE * node.all_letters, len(text))
        if value >= most and (text in wanted or (len(wanted) >= 8 and wanted in text)):
            found, most = (node, said), value
    return found


def _letters(text: str) -> str:
    return _NO_LETTERS.sub("", text).lower()
