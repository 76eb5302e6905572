"""Text, Markdown and HTML."""

from __future__ import annotations

from chatwright.assist.documents.result import (
    DocumentError,
    DocumentLimits,
    Kind,
    Parsed,
    joined_notes,
    normal_text,
)
from chatwright.curate.extract import decode, extract
from chatwright.curate.normalise import normalise_line

_ODD = 0.05  # share of characters that could not be decoded: then it is no text
_FEW = 8


def read_plain(name: str, data: bytes, kind: Kind, limits: DocumentLimits) -> Parsed:
    """Text and Markdown as they are, in normal form; of HTML its main content as Markdown.

    What a reader of the page would not see (scripts, hidden elements) is left out.
    """
    if kind == "html":
        found = extract(data, seconds=float(limits.cpu_seconds))
        title = normalise_line(found.title or "")[0]
        text, full = _cut(normal_text(found.markdown), limits)
        return Parsed("html", text, title, (), joined_notes(found.notes, full, limits))
    text = _decoded(name, data)
    text, full = _cut(text, limits)
    text = normal_text(text)
    first = next((line for line in text.split("\n") if line.strip()), "")
    title = first[2:].strip() if kind == "markdown" and first.startswith("# ") else ""
    return Parsed(kind, text, title, (), joined_notes((), full, limits))


def _decoded(name: str, data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        text = decode(data)
    else:
        text = ""
        # What is no UTF-8 is Chinese more often than not; and GB 18030 fails on most other bytes.
        for encoding in ("utf-8", "gb18030"):
            try:
                text = data.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
        text = text or decode(data)
    odd = text.count("\ufffd") + sum(text.count(chr(code)) for code in range(1, 9))
    if odd > max(_FEW, _ODD * len(text)):
        raise DocumentError(
            "this is not text in any encoding that is known here",
            where=name,
            hint="save it as UTF-8",
            reason="unsupported",
        )
    return text


def _cut(text: str, limits: DocumentLimits) -> tuple[str, bool]:
    return text[: limits.characters], len(text) > limits.characters
