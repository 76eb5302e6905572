"""What the parts of an HTML page mean: which are shown, which are code, where a heading leads.

Pure functions over lxml elements and pieces of text; `markdown.py` walks a page with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree


def names(text: str) -> frozenset[str]:
    """A set of names, written as words."""
    return frozenset(text.split())


BLOCK_TAGS = names(
    """address article aside blockquote body caption center dd details dialog dir div dl dt
    fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html li main
    menu nav ol p pre section summary table tbody td tfoot th thead tr ul"""
)
# Where a heading that was never closed is taken to end.
ENDS_HEADING = names("p ul ol dl pre table section article blockquote h1 h2 h3 h4 h5 h6")
DROPPED_TAGS = names(
    """script style noscript template svg canvas iframe object embed applet audio video map
    button input select option textarea datalist progress meter nav footer head link meta
    title base"""
)
DROPPED_CLASSES = names(
    """headerlink anchor-link linenos lineno line-numbers copybtn viewcode-link viewcode-back
    mw-editsection sr-only visually-hidden screen-reader-text skip-link noprint"""
)
_DROPPED_ROLES = names("navigation search banner contentinfo menu menubar toolbar")
_NOTE_CLASSES = names("admonition topic sidebar theme-admonition markdown-alert callout")
NOTE_TITLES = names("admonition-title topic-title sidebar-title markdown-alert-title rubric")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_LANGUAGE_CLASS = re.compile(
    r"(?:highlight-source|highlight|language|lang|brush:?)-?\s*([\w#+.-]+)"
)
_NO_LANGUAGE = names("none text plain plaintext default txt notranslate output wrapper")
BREAK = "\x0b"  # a <br>: vertical tab is in no page that went through `decode`
_SPACES = re.compile(r"[ \t\n\r\f]+")
_BREAKS = re.compile(rf" *{BREAK} *")
_UNSPACED = "\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_WRAPPED_HAN = re.compile(rf"([{_UNSPACED}]\**)[ \t]*\r?\n\s*(?=\**[{_UNSPACED}])")


def tidy(text: str) -> str:
    """Collapse the white space of running text; `<br>` stays a newline."""
    if "\n" in text and not text.isascii():
        text = _WRAPPED_HAN.sub(r"\1", text)
    text = _SPACES.sub(" ", text)
    return (_BREAKS.sub("\n", text) if BREAK in text else text).strip()


def code_span(text: str) -> str:
    """Inline code, fenced so that backticks inside it survive (CommonMark 6.1)."""
    text = _SPACES.sub(" ", text.replace(BREAK, " ")).strip()
    if not text:
        return ""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def wrapped(kind: str, text: str) -> str:
    """Text inside its marks (code, strong, em), with white space moved outside them."""
    if not kind:
        return text
    stripped = text.strip(" \t\n\r\f" + BREAK)
    if not stripped:
        return text
    start = text.index(stripped[0])
    before, after = text[:start], text[start + len(stripped) :]
    if kind == "code":
        return before + code_span(stripped) + after
    marker = "**" if kind == "strong" else "*"
    return f"{before}{marker}{stripped}{marker}{after}"


def is_dropped(element: Any, tag: Any) -> bool:
    """Whether a browser would not show it, or a reader would not count it as content."""
    if tag in DROPPED_TAGS:
        return True
    attributes = element.attrib
    if not attributes:
        return False
    classes = attributes.get("class")
    if classes and not DROPPED_CLASSES.isdisjoint(classes.split()):
        return True
    if "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return bool(attributes.get("hidden") != "until-found")
    role = attributes.get("role")
    if role in _DROPPED_ROLES:
        return True
    style = attributes.get("style")
    return style is not None and _HIDDEN_STYLE.search(style) is not None


def is_note(element: Any) -> bool:
    """Whether it is an admonition or a sidebar: Sphinx, MkDocs, Docusaurus, GitHub."""
    return not _NOTE_CLASSES.isdisjoint((element.get("class") or "").split())


def number(value: str | None, default: int) -> int:
    """An attribute as a number of at most nine digits (what CommonMark allows a list)."""
    try:
        return max(0, min(int(value or ""), 999_999_999))
    except ValueError:
        return default


def has_signature(definition_list: Any) -> bool:
    """Whether its terms are signatures of a program's objects, as Sphinx marks them."""
    first = next((child for child in definition_list if child.tag == "dt"), None)
    return first is not None and "sig" in (first.get("class") or "").split()


def anchor_of(heading: Any) -> str | None:
    """The fragment that leads to a heading: what its own link says, or the nearest id."""
    for link in heading.iter("a"):
        href = link.get("href") or ""
        classes = (link.get("class") or "").split()
        if href.startswith("#") and len(href) > 1 and not DROPPED_CLASSES.isdisjoint(classes):
            return href[1:]
    if heading.get("id"):
        return str(heading.get("id"))
    for inner in heading.iter("a", "span"):
        if inner.get("id") or (inner.tag == "a" and inner.get("name")):
            return str(inner.get("id") or inner.get("name"))
    parent = heading.getparent()
    if parent is not None and parent.tag in ("section", "div", "article") and parent.get("id"):
        before = heading.getprevious()
        while before is not None and before.tag == "span":
            before = before.getprevious()
        if before is None:
            return str(parent.get("id"))
    return None


def preformatted(element: Any) -> str:
    """The text of a <pre> with its newlines; line numbers and hidden parts left out."""
    pieces = list(_pre_pieces(element))
    text = "".join(pieces).replace("\r\n", "\n").replace("\r", "\n")
    return text.removeprefix("\n").rstrip()


def _pre_pieces(element: Any) -> Iterator[str]:
    events = etree.iterwalk(element, events=("start", "end", "comment", "pi"))
    for event, node in events:
        if event == "start":
            if node is not element and is_dropped(node, node.tag):
                events.skip_subtree()
            elif node.tag == "br":
                yield "\n"
            elif node.text:
                yield node.text
        elif node is not element and node.tail:
            yield node.tail


def fenced(text: str, language: str) -> str:
    """A code block, its fence longer than any that the code holds."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def code_language(element: Any) -> str:
    """What language a <pre> is in, from classes on it, in it and around it; "" where none says."""
    places = [element, *element[:1]]
    parent = element.getparent()
    for _ in range(2):
        if parent is None:
            break
        places.append(parent)
        parent = parent.getparent()
    for place in places:
        classes = place.get("class") if isinstance(place.tag, str) else None
        if not classes:
            continue
        for name in classes.split():
            if name == "highlight-default":
                return "python"  # Sphinx: the project's default language, Python unless told
            found = _LANGUAGE_CLASS.fullmatch(name)
            if found and found.group(1).lower() not in _NO_LANGUAGE:
                return found.group(1).lower().split("+")[0]
    return ""
