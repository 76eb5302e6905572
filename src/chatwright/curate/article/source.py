"""From the bytes of a page to a tree: charset, what no reader sees, bounds that keep it small."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from chatwright.curate.markup import BLOCK_TAGS, tidy

_SNIFFED_BYTES = 4096
_DETECTED_BYTES = 200_000

_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I)
_XML_DECLARATION = re.compile(rb"^\s*<\?xml[^>]{0,1000}\?>", re.I)
_CONTROLS = bytes([*range(9), 0x0B, *range(0x0E, 0x20), 0x7F])
_FORM_FEED = bytes.maketrans(b"\x0c", b" ")
_NO_CHARACTERS = (b"\xef\xbf\xbe", b"\xef\xbf\xbf")  # U+FFFE, U+FFFF
_UNSEEN = (b"script", b"style", b"noscript", b"template", b"svg")
_CLOSED, _SLASH = b">/"
_WINDOW = 2000  # bytes before something in which the tag that may hold it begins
_RAW = _UNSEEN[:3]  # hold text, not elements
_MARGINS = (b"nav", b"footer")  # what the walk leaves out anyway, a third of many a page
_OPENINGS = {
    margins: re.compile(
        rb"<(?:!--|(" + b"|".join(_UNSEEN + (_MARGINS if margins else ())) + rb")"
        rb"(?:[\s/][^>]{0,1000}+)?>)"
    )
    for margins in (False, True)
}
_BLOCK_TAGS = re.compile(rf"(?:</?(?:{'|'.join(sorted(BLOCK_TAGS))}|br)\b[^<>]*>)", re.I)
_NEWLINES = re.compile(r"[\n\r]+")
_ANY_TAG = re.compile(r"</?[a-z][^<>]*>", re.I)


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


def utf8(html: bytes | str, most: int) -> tuple[bytes, bool]:
    """A page as UTF-8, and whether it was cut to `most` characters."""
    if isinstance(html, bytes):
        if len(html) <= most and _is_utf8(html):
            return html, False
        html = decode(html)
    return html[:most].encode("utf-8", "ignore"), len(html) > most


def _is_utf8(data: bytes) -> bool:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def without_unseen(page: bytes, *, margins: bool = False) -> bytes:
    """The page without comments, scripts, styles, templates and drawings; linear time.

    With `margins`, also without <nav> and <footer>. What is never closed, closes itself (<svg/>)
    or, other than a script, holds another of its kind stays: the parser knows what a browser would
    make of it.
    """
    lowered = page.lower()  # ASCII only, so offsets stay
    find = lowered.find
    ends: dict[bytes, tuple[int, int]] = {}  # where the next closing tag is, and its end
    seen: list[bytes] = []
    at = past = 0
    for opening in _OPENINGS[margins].finditer(lowered):
        start = opening.start()
        if start < past:
            continue
        name = opening[1]
        if name is None:
            end = find(b"-->", start + 2)  # `<!-->` is a whole comment
            if end < 0:
                break
            after = end + 3
        else:
            tag_end = opening.end()
            end, after = ends.get(name, (0, 0))
            if 0 <= end < start or name not in ends:
                end = find(b"</" + name, start)
                after = find(b">", end) + 1 if end >= 0 else 0
                ends[name] = end, after
            if not after and name in _RAW:
                break
            if not after or lowered[tag_end - 2] == _SLASH:
                continue
            if name not in _RAW and not _is_simple(lowered, name, tag_end, end):
                continue
        past = after
        if lowered[start - 1] != _CLOSED and _is_in_tag(lowered, start):
            continue
        if name == b"script" and _holds_script(lowered, start + 1, after):
            continue
        seen.append(page[at:start])
        at = after
    seen.append(page[at:])
    return b"".join(seen)


def _is_simple(page: bytes, name: bytes, start: int, end: int) -> bool:
    """Whether the closing tag at `end` is the element's: none like it inside, no open comment."""
    return (
        page.find(b"<" + name, start, end) < 0
        and page.rfind(b"<!--", start, end) <= page.rfind(b"-->", start, end)
        and page.rfind(b"<script", start, end) <= page.rfind(b"</script", start, end)
    )


def _is_in_tag(page: bytes, at: int) -> bool:
    """Whether a place is within a tag, so that an attribute holds what is there."""
    window = max(0, at - _WINDOW)
    return page.rfind(b"<", window, at) > page.rfind(b">", window, at)


def _holds_script(page: bytes, start: int, end: int) -> bool:
    """Whether a script may go on after its closing tag: HTML's "double escaped state"."""
    comment = page.find(b"<!--", start, end)
    return comment >= 0 and page.find(b"<script", comment, end) >= 0


def clean(page: bytes) -> bytes:
    """UTF-8 without the characters that no page should have: controls, surrogates' remains."""
    page = page.translate(_FORM_FEED, _CONTROLS)
    for no_character in _NO_CHARACTERS:
        page = page.replace(no_character, b"")
    return page


def parse(page: bytes, *, html_elements: bool = False) -> tuple[Any, bool]:
    """An lxml tree (None where there is nothing to parse), and whether it holds the whole page.

    `html_elements`: of `lxml.html`'s own elements, which trafilatura wants; they cost a call into
    Python for each element that is met.
    """
    from lxml import etree
    from lxml.html import HTMLParser as HTMLElementsParser

    data = _XML_DECLARATION.sub(b"", page, count=1)
    if not data.strip():
        return None, True
    kind = HTMLElementsParser if html_elements else etree.HTMLParser
    parser = kind(
        encoding="utf-8",
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError, AssertionError):
        return None, True
    # libxml2 stops, with an error, at 2,048 open elements.
    return root, not any(e.level_name == "FATAL" for e in parser.error_log)


def without_tags(page: bytes) -> str:
    """What is between the tags, in linear time: for pages whose tree nobody could hold."""
    page = without_unseen(page)
    if unclosed := _OPENINGS[False].search(page.lower()):
        page = page[: unclosed.start()]  # a browser shows nothing of the rest
    text = page.decode("utf-8", "replace")
    text = _NEWLINES.sub("\n", _BLOCK_TAGS.sub("\n", text))
    text = unescape(_ANY_TAG.sub("", text))
    kept = [line for line in map(tidy, text.splitlines()) if line]
    return "\n\n".join(kept) + "\n" if kept else ""
