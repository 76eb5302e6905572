"""Main content of an HTML page as Markdown.

Two ways to find it. A page that a documentation generator made says where its content is, and all
of that is kept. Any other page (news, blogs) is read by resiliparse's main-content heuristics, and
a block stays when its text is in what those kept. The Markdown comes from one walker in both
cases, so headings, lists, tables and code survive either way.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from chatwright.curate.markdown import Block, DeadlineError, Walker, join_blocks
from chatwright.curate.markup import BLOCK_TAGS, names, tidy

MAX_CHARACTERS = 32_000_000
MAX_TAGS = 500_000  # a tree of this takes 0.7 GiB; the largest page of our quickstart has 60,000
MAX_ARTICLE_TAGS = 60_000  # beyond it the article extractors take minutes
_SNIFFED_BYTES = 4096
_DETECTED_BYTES = 200_000

_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>", re.I)
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_UNSEEN = re.compile(r"<(script|style|template|noscript|!--)", re.I)
_BLOCK_TAGS = re.compile(rf"(?:</?(?:{'|'.join(sorted(BLOCK_TAGS))}|br)\b[^<>]*>)", re.I)
_NEWLINES = re.compile(r"[\n\r]+")
_ANY_TAG = re.compile(r"</?[a-z][^<>]*>", re.I)
_GENERATORS = re.compile(
    r"sphinx|docutils|mkdocs|docusaurus|vitepress|vuepress|gitbook|mdbook|pdoc|"
    r"doxygen|javadoc|asciidoctor|rustdoc|mediawiki|antora|starlight|nextra|quarto|pandoc",
    re.I,
)
_GENERATOR_CLASSES = names(
    """headerlink documentwrapper md-content theme-doc-markdown markdown-body rst-content
    bd-article mw-parser-output sect1 book-body rustdoc"""
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
_SHORT = 25  # letters
_NEAR = 300
_GRAM = 12
_MARKER = re.compile(r"^[\s>]*(?:-|\d+\.)\s")
_LETTERS = re.compile(r"\W+|_")


@dataclass(slots=True)
class Extracted:
    """What a page gave.

    `anchors` has one pair per heading of `markdown`, in order: the heading's line (`## Usage`) and
    its fragment (`usage`), or None where the page gave it none. `link_share` is the share of the
    text that is link text. `notes` says what was out of the ordinary (`too much markup`).
    """

    markdown: str
    title: str | None = None
    anchors: list[tuple[str, str | None]] = field(default_factory=list)
    language_hint: str | None = None
    link_share: float = 0.0
    notes: list[str] = field(default_factory=list)


def extract_text(html: bytes | str, url: str | None = None) -> str:
    r"""The main content of an HTML page as Markdown: headings, lists, tables, code, link texts.

    A page without content gives "". Never raises for the page's sake: broken encodings, markup
    that never closes and any depth of nesting give what can be read. `url` is where the page came
    from; it is not fetched.

    >>> extract_text("<main><h1>Sessions</h1><p>Use <code>begin()</code>.</p></main>")
    '# Sessions\n\nUse `begin()`.\n'
    """
    return extract(html, url).markdown


def extract(
    html: bytes | str, url: str | None = None, *, seconds: float | None = None
) -> Extracted:
    """As `extract_text`, with title, anchors, language and notes.

    Past `seconds` the walk stops with `TimeoutError`. (The parsers themselves are C and Rust and
    cannot be stopped from here; a stage runs pages in processes that it can end.)
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    text = decode(html) if isinstance(html, bytes) else html
    text = _CONTROL.sub("", text[:MAX_CHARACTERS].replace("\x0c", " "))
    notes = ["cut to 32 million characters"] if len(html) > MAX_CHARACTERS else []
    if text.count("<") > MAX_TAGS:
        # A tree of this would take gigabytes. What a reader would see without any of it:
        return Extracted(_without_tags(text), notes=[*notes, "too much markup: tags removed"])
    root, whole = _parse(text)
    if not whole:
        return Extracted(_without_tags(text), notes=[*notes, "nested too deep: tags removed"])
    if root is None:
        return Extracted("", notes=notes)
    try:
        found = _from_tree(root, text, deadline)
    except DeadlineError as error:
        raise TimeoutError(f"{url or 'the page'} took longer than {seconds:g} seconds") from error
    found.notes = notes + found.notes
    return found


def decode(data: bytes) -> str:
    """Bytes to text: byte order mark, declared charset, UTF-8, else what resiliparse detects."""
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(name, "replace").removeprefix("\ufeff")
    declared = _CHARSET.search(data[:_SNIFFED_BYTES])
    charsets = ["utf-8"]
    if declared:
        name = declared.group(1).decode("ascii", "replace").lower()
        # What the web calls gb2312 and latin-1 are gb18030 and windows-1252 (WHATWG Encoding).
        name = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252"}.get(name, name)
        charsets.append(name)
    for name in charsets:
        try:
            return data.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    from resiliparse.parse.encoding import detect_encoding

    for name in (*charsets[1:], detect_encoding(data[:_DETECTED_BYTES]) or "utf-8"):
        try:
            return data.decode(name, "replace")
        except LookupError:
            continue
    return data.decode("utf-8", "replace")


def _parse(text: str) -> tuple[Any, bool]:
    """An lxml tree (None where there is nothing to parse), and whether it holds the whole page."""
    from lxml import etree
    from lxml.html import HTMLParser

    data = _XML_DECLARATION.sub("", text, count=1).encode("utf-8", "replace")
    if not data.strip():
        return None, True
    parser = HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError, AssertionError):
        return None, True
    # libxml2 stops, with an error, at 2,048 open elements.
    return root, not any(e.level_name == "FATAL" for e in parser.error_log)


def _without_tags(text: str) -> str:
    """What is between the tags, in linear time: for pages whose tree nobody could hold."""
    seen: list[str] = []
    at = 0
    while found := _UNSEEN.search(text, at):
        seen.append(text[at : found.start()])
        opening = found.group(1).lower()
        closing = "-->" if opening == "!--" else f"</{opening}"
        end = text.find(closing, found.end())
        if end < 0:
            at = len(text)  # never closed: a browser shows nothing of the rest
            break
        at = end + (3 if opening == "!--" else 0)
    seen.append(text[at:])
    text = _NEWLINES.sub("\n", _BLOCK_TAGS.sub("\n", "".join(seen)))
    text = unescape(_ANY_TAG.sub("", text))
    kept = [line for line in map(tidy, text.splitlines()) if line]
    return "\n\n".join(kept) + "\n" if kept else ""


@dataclass(slots=True)
class _Survey:
    """What one pass over the tree's attributes says about the page."""

    documentation: bool = False
    content: Any = None
    title: str | None = None
    language: str | None = None


def _survey(root: Any) -> _Survey:
    survey = _Survey(language=_language_code(root.get("lang")))
    by_class: dict[str, Any] = {}
    mains: list[Any] = []
    for element in root.iter("*"):
        tag = element.tag
        if tag in ("title", "meta", "link"):
            _survey_head(survey, element, tag)
        elif tag == "main" or element.get("role") == "main":
            mains.append(element)
        classes = element.get("class")
        if classes:
            found = classes.split()
            if not _GENERATOR_CLASSES.isdisjoint(found):
                survey.documentation = True
            for name in found:
                by_class.setdefault(name, element)
    narrow = [by_class[name] for name in _CONTENT_CLASSES if name in by_class]
    contents = [e for e in (*narrow[:1], *mains[:1]) if e.tag not in ("body", "html")]
    survey.content = contents[0] if contents else None
    return survey


def _survey_head(survey: _Survey, element: Any, tag: str) -> None:
    if tag == "title":
        parent = element.getparent()
        if survey.title is None and parent is not None and parent.tag in ("head", "html"):
            survey.title = tidy("".join(element.itertext())) or None
    elif tag == "link":
        # Sphinx, whatever the theme calls its parts.
        survey.documentation |= "_static/pygments.css" in (element.get("href") or "")
    elif (element.get("name") or "").lower() == "generator":
        survey.documentation |= bool(_GENERATORS.search(element.get("content") or ""))
    elif (element.get("http-equiv") or "").lower() == "content-language":
        survey.language = survey.language or _language_code(element.get("content"))


def _from_tree(root: Any, text: str, deadline: float | None) -> Extracted:
    survey = _survey(root)
    whole = survey.documentation and survey.content is not None
    walker = Walker(deadline)
    start = survey.content if whole else root
    blocks = walker.walk(start)
    if not whole:
        blocks = _main_blocks(blocks, root, text)
    anchors = [(b.text, b.anchor) for b in blocks if b.kind == "heading"]
    title = next((b.text[2:] for b in blocks if b.text.startswith("# ")), None) or survey.title
    return Extracted(
        join_blocks(blocks),
        title=title,
        anchors=anchors,
        language_hint=survey.language,
        link_share=walker.link_letters / walker.letters if walker.letters else 0.0,
    )


def _main_blocks(blocks: list[Block], root: Any, text: str) -> list[Block]:
    """The blocks whose text the article extractors kept, in order."""
    if not blocks or text.count("<") > MAX_ARTICLE_TAGS:
        return blocks
    kept = _LETTERS.sub("", _article_text(root, text))
    if not kept:
        return blocks
    grams = {kept[i : i + _GRAM] for i in range(len(kept) - _GRAM + 1)}
    out: list[Block] = []
    position = 0
    for block in blocks:
        letters = _LETTERS.sub("", _MARKER.sub("", block.text))
        if not letters:
            continue
        if len(letters) < _SHORT:
            # A short text ("Share", a name) may stand anywhere: it counts only where we are.
            found = kept.find(letters, position, position + len(letters) + _NEAR)
            if found < 0:
                continue
            position = found + len(letters)
        else:
            steps = range(0, len(letters) - _GRAM + 1, _GRAM // 2)
            hits = sum(letters[i : i + _GRAM] in grams for i in steps)
            if hits < len(steps) * 0.85:
                continue
            found = kept.find(letters[-_GRAM:], position)
            position = found + _GRAM if found >= 0 else position
        out.append(block)
    return out


def _article_text(root: Any, text: str) -> str:
    """What trafilatura takes for the article; where it finds none, what resiliparse does.

    `root` is changed: the walk over it must be done.
    """
    import trafilatura

    try:
        found = trafilatura.extract(root, fast=True, include_comments=False, include_tables=True)
    except Exception:
        found = None
    if found:
        return str(found)
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(text, main_content=True, list_bullets=False))


def _language_code(value: str | None) -> str | None:
    """`zh-CN` → `zh`."""
    code = (value or "").strip().replace("_", "-").split("-")[0].lower()
    return code if code.isascii() and code.isalpha() and 2 <= len(code) <= 3 else None
