"""What a file is, told by its content; its name only decides between kinds of plain text."""

from __future__ import annotations

import re

from chatwright.assist.documents.result import ACCEPTED, DocumentError, Kind

_START = 2_048
_MARKDOWN = (".md", ".markdown", ".mdown", ".mkd")
_HTML = (".html", ".htm", ".xhtml")
_HTML_START = re.compile(
    rb"\s*(?:<!--.{0,1000}?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_TAG = re.compile(rb"<(?:p|div|h[1-6]|article|main|section|table|ul|br|a|span)\b", re.I)
_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file", "save it as .docx or .pdf"),
    (b"{\\rtf", "an RTF file", "save it as .docx or .pdf"),
    (b"\x89PNG", "an image", "upload its text, or a PDF that holds text"),
    (b"\xff\xd8\xff", "an image", "upload its text, or a PDF that holds text"),
    (b"GIF8", "an image", "upload its text, or a PDF that holds text"),
    (b"\x1f\x8b", "a compressed archive", "unpack it and upload its documents one by one"),
    (b"BZh", "a compressed archive", "unpack it and upload its documents one by one"),
    (b"\xfd7zXZ", "a compressed archive", "unpack it and upload its documents one by one"),
    (b"7z\xbc\xaf'\x1c", "a compressed archive", "unpack it and upload its documents one by one"),
    (b"Rar!", "a compressed archive", "unpack it and upload its documents one by one"),
    (b"(\xb5/\xfd", "a compressed archive", "unpack it and upload its documents one by one"),
    (b"\x7fELF", "a program", f"upload one of {ACCEPTED}"),
    (b"MZ\x90", "a program", f"upload one of {ACCEPTED}"),
    (b"%!PS", "a PostScript file", "save it as .pdf"),
)  # fmt: skip


def kind_of(name: str, data: bytes) -> Kind:
    """The kind of a file. Raises `DocumentError` for what is not read here, and for nothing."""
    if not data.strip(b"\0 \t\r\n\f"):
        raise DocumentError("the file is empty", where=name, reason="empty")
    start = data[:_START]
    if b"%PDF-" in start[:1024]:
        return "pdf"
    if start.startswith(b"PK\x03\x04"):
        return "docx"  # its parts say whether it is; another archive is refused there
    if start.startswith(b"PK"):
        raise unsupported(name, "an archive", "unpack it and upload its documents one by one")
    for signature, what, hint in _SIGNATURES:
        if start.startswith(signature):
            raise unsupported(name, what, hint)
    wide = start.startswith(_BOMS[:2])
    if not wide and b"\0" in data:
        raise unsupported(name, "no text", f"upload one of {ACCEPTED}")
    plain = start.decode("utf-16", "ignore").encode() if wide else start
    lower = name.lower()
    if _HTML_START.match(plain.removeprefix(b"\xef\xbb\xbf")):
        return "html"
    if lower.endswith(_HTML) and _TAG.search(data[:65_536] if not wide else plain):
        return "html"
    return "markdown" if lower.endswith(_MARKDOWN) else "text"


def unsupported(name: str, what: str, hint: str) -> DocumentError:
    """The error for a file of another kind: what it is, and what to do."""
    return DocumentError(
        f"this is {what}, which is not read here", where=name, hint=hint, reason="unsupported"
    )
