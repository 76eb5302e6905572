"""Main content of an HTML page as Markdown.

A page that a documentation generator made says where its content is, and all of that is kept. In
any other page (news, blogs, forums) an extractor says which parts are the article: our own survey
of the tree, trafilatura or resiliparse. The Markdown comes from one walker in every case, so
headings, lists, tables and code survive whichever is chosen.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from chatwright.curate.article.choose import choose
from chatwright.curate.article.libraries import article_text, kept_blocks
from chatwright.curate.article.linked_data import article_body
from chatwright.curate.article.source import (
    clean,
    decode,
    parse,
    utf8,
    without_tags,
    without_unseen,
)
from chatwright.curate.article.survey import Survey, survey
from chatwright.curate.markdown import Block, DeadlineError, Walker, check_clock, join_blocks
from chatwright.curate.markup import tidy

__all__ = ["Extracted", "Extractor", "decode", "extract", "extract_text"]

MAX_CHARACTERS = 32_000_000
MAX_TAGS = 500_000  # a tree of this takes 0.7 GiB; the largest page of our quickstart has 60,000
MAX_ARTICLE_TAGS = 60_000  # beyond it trafilatura takes minutes

Extractor = Literal["chatwright", "trafilatura", "resiliparse"]

_GENERATORS = re.compile(
    r"sphinx|docutils|mkdocs|docusaurus|vitepress|vuepress|gitbook|mdbook|pdoc|"
    r"doxygen|javadoc|asciidoctor|rustdoc|mediawiki|antora|starlight|nextra|quarto|pandoc",
    re.I,
)
# From the narrowest to the widest: the first of these that a documentation page has is taken.
_CONTENT_CLASSES = (
    "theme-doc-markdown",
    "markdown-body",
    "mw-parser-output",
    "bd-article",
    "md-content",
    "rst-content",
    "body",
    "document",
)
_LITTLE_PROSE = 8.0  # of a page whose hidden parts and linked data are worth a second look
_LITTLE_TEXT = 2000  # characters
_LEAST_TEXT = 300
_PROBE = 40  # letters by which the linked data's text is looked for in the page's
_LETTERS = re.compile(r"\W+|_")
_LARGER = 3  # times: what the second look must give


@dataclass(slots=True)
class Extracted:
    """What a page gave.

    `anchors` has one pair per heading of `markdown`, in order: the heading's line (`## Usage`) and
    its fragment (`usage`), or None where the page gave it none. `link_share` is the share of the
    page's text that is link text. `notes` says what was out of the ordinary (`too much markup`).
    """

    markdown: str
    title: str | None = None
    anchors: list[tuple[str, str | None]] = field(default_factory=list)
    language_hint: str | None = None
    link_share: float = 0.0
    notes: list[str] = field(default_factory=list)


def extract_text(
    html: bytes | str, url: str | None = None, *, extractor: Extractor = "chatwright"
) -> str:
    r"""The main content of an HTML page as Markdown: headings, lists, tables, code, link texts.

    A page without content gives "". Never raises for the page's sake: broken encodings, markup
    that never closes and any depth of nesting give what can be read. `url` is where the page came
    from; it is not fetched.

    >>> extract_text("<main><h1>Sessions</h1><p>Use <code>begin()</code>.</p></main>")
    '# Sessions\n\nUse `begin()`.\n'
    """
    return extract(html, url, extractor=extractor).markdown


def extract(
    html: bytes | str,
    url: str | None = None,
    *,
    extractor: Extractor = "chatwright",
    seconds: float | None = None,
) -> Extracted:
    """As `extract_text`, with title, anchors, language and notes.

    Past `seconds` it raises `TimeoutError`: the survey and the walk look at the clock as they go,
    and what a parser or a library gave is not used when it came too late. (They are C and Rust and
    cannot be stopped from here; a stage runs pages in processes that it can end.)
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    page, is_cut = utf8(html, MAX_CHARACTERS)
    try:
        found = _extract(page, extractor, deadline)
    except DeadlineError as error:
        raise TimeoutError(f"{url or 'the page'} took longer than {seconds:g} seconds") from error
    if is_cut:
        found.notes = ["cut to 32 million characters", *found.notes]
    return found


def _extract(page: bytes, extractor: Extractor, deadline: float | None) -> Extracted:
    seen = clean(without_unseen(page, margins=extractor == "chatwright"))
    if len(seen) > MAX_TAGS and seen.count(b"<") > MAX_TAGS:
        # A tree of this would take gigabytes. What a reader would see without any of it:
        return Extracted(without_tags(seen), notes=["too much markup: tags removed"])
    root, whole = parse(seen, html_elements=extractor == "trafilatura")
    if not whole:
        return Extracted(without_tags(seen), notes=["nested too deep: tags removed"])
    if root is None:
        return Extracted("")
    check_clock(deadline)
    head = _read_head(root)
    body = root.find("body")
    surveyed = None if head.generated else survey(root if body is None else body, deadline)
    found: Extracted | None = None
    if surveyed is None or surveyed.generated:
        found = _documentation(root, head, deadline)
    if found is None and extractor == "chatwright":
        found = _article(root, surveyed, head, deadline)
    elif found is None:
        found = _by_library(root, seen, head, extractor, deadline)
    return _with_linked_data(found, page)


@dataclass(slots=True)
class _Head:
    """What a page says about itself."""

    title: str | None = None
    language: str | None = None
    generated: bool = False  # by a documentation generator


def _read_head(root: Any) -> _Head:
    head = _Head(language=_language_code(root.get("lang")))
    for element in root.iter("title", "meta", "link"):
        tag = element.tag
        if tag == "title":
            parent = element.getparent()
            if head.title is None and parent is not None and parent.tag in ("head", "html"):
                head.title = tidy("".join(element.itertext())) or None
        elif tag == "link":
            # Sphinx, whatever the theme calls its parts.
            head.generated |= "_static/pygments.css" in (element.get("href") or "")
        elif (element.get("name") or "").lower() == "generator":
            head.generated |= bool(_GENERATORS.search(element.get("content") or ""))
        elif (element.get("http-equiv") or "").lower() == "content-language":
            head.language = head.language or _language_code(element.get("content"))
    return head


def _documentation(root: Any, head: _Head, deadline: float | None) -> Extracted | None:
    """All of the content of a generated page; None where nothing says which part that is."""
    by_class: dict[str, Any] = {}
    main: Any = None
    for element in root.iter("*"):
        if main is None and (element.tag == "main" or element.get("role") == "main"):
            main = element
        if classes := element.get("class"):
            for name in classes.split():
                by_class.setdefault(name, element)
    narrow = [by_class[name] for name in _CONTENT_CLASSES if name in by_class]
    wanted = (*narrow[:1], main)
    content = next((e for e in wanted if e is not None and e.tag not in ("body", "html")), None)
    if content is None:
        return None
    walker = Walker(deadline)
    blocks = walker.walk(content)
    share = walker.link_letters / walker.letters if walker.letters else 0.0
    return _extracted(blocks, head, share)


def _article(root: Any, surveyed: Survey | None, head: _Head, deadline: float | None) -> Extracted:
    body = root.find("body")
    body = root if body is None else body
    title = head.title or ""
    choice = choose(surveyed or survey(body, deadline), title)
    notes: list[str] = []
    if choice.prose < _LITTLE_PROSE:
        # Some pages are hidden until a script shows them (WeChat's are).
        hidden = choose(survey(body, deadline, hidden=True), title)
        if hidden.prose >= max(_LITTLE_PROSE, _LARGER * choice.prose):
            choice, notes = hidden, ["hidden content shown"]
    blocks = _walk(choice.roots, Walker(deadline, choice.skipped))
    if not blocks:  # a page that says no more than where to go
        blocks = _walk(choice.roots, Walker(deadline))
    found = _extracted(blocks, head, choice.link_share)
    if not any(block.text.startswith("# ") for block in blocks):
        found.title = choice.headline or head.title
    found.notes = notes
    return found


def _walk(elements: list[Any], walker: Walker) -> list[Block]:
    for element in elements:
        walker.walk(element)
    return walker.blocks


def _by_library(
    root: Any, seen: bytes, head: _Head, extractor: Extractor, deadline: float | None
) -> Extracted:
    walker = Walker(deadline)
    blocks = walker.walk(root)
    share = walker.link_letters / walker.letters if walker.letters else 0.0
    if blocks and extractor != "chatwright" and seen.count(b"<") <= MAX_ARTICLE_TAGS:
        blocks = kept_blocks(blocks, article_text(root, seen.decode("utf-8", "replace"), extractor))
        check_clock(deadline)
    return _extracted(blocks, head, share)


def _extracted(blocks: list[Block], head: _Head, link_share: float) -> Extracted:
    title = next((b.text[2:] for b in blocks if b.text.startswith("# ")), None) or head.title
    return Extracted(
        join_blocks(blocks),
        title=title,
        anchors=[(b.text, b.anchor) for b in blocks if b.kind == "heading"],
        language_hint=head.language,
        link_share=link_share,
    )


def _with_linked_data(found: Extracted, page: bytes) -> Extracted:
    """The text that the page's linked data holds, where a script would have put it in place."""
    if len(found.markdown) > _LITTLE_TEXT:
        return found
    text = article_body(page)
    if len(text) < _LEAST_TEXT or len(text) < len(found.markdown) / 2:
        return found
    if _LETTERS.sub("", text)[:_PROBE] not in _LETTERS.sub("", found.markdown):
        found.markdown = f"{text}\n"
        found.anchors = []
        found.notes = [*found.notes, "text from the page's linked data"]
    return found


def _language_code(value: str | None) -> str | None:
    """`zh-CN` → `zh`."""
    code = (value or "").strip().replace("_", "-").split("-")[0].lower()
    return code if code.isascii() and code.isalpha() and 2 <= len(code) <= 3 else None
