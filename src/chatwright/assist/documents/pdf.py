"""The text of a PDF, page by page, by pypdf within bounds."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any
from unicodedata import normalize

from chatwright.assist.documents.reflow import Page, reflow
from chatwright.assist.documents.result import (
    DocumentError,
    DocumentLimits,
    PagedText,
    Parsed,
    joined_notes,
    normal_text,
)
from chatwright.curate.normalise import normalise_line

_STREAM = 16 << 20  # unpacked bytes of one content stream: a page of text has a few thousand
_OUTLINE_DEPTH = 6
_OUTLINE_ENTRIES = 5_000
# Browsers that print a page name some Chinese letters by the radical that looks the same: U+2F08 in
# place of U+4EBA. Nobody would find those. Most have a compatible form; the others are listed.
_RADICALS = {code: normalize("NFKC", chr(code)) for code in range(0x2F00, 0x2FD6)} | str.maketrans(
    (
        "\u2e9f\u2ea0\u2ec1\u2ec4\u2ec5\u2ec6\u2ec9\u2ecb"
        "\u2ed1\u2ed3\u2ed4\u2ed8\u2ed9\u2eda\u2edb\u2edc"
        "\u2edd\u2ee2\u2ee3\u2ee4\u2ee5\u2ee6\u2ee7\u2ee8"
        "\u2ee9\u2eea\u2eec\u2eee\u2eef\u2ef0\u2ef3"
    ),
    (
        "\u6bcd\u6c11\u864e\u897f\u89c1\u89d2\u8d1d\u8f66"
        "\u9577\u957f\u95e8\u9752\u97e6\u9875\u98ce\u98de"
        "\u98df\u9a6c\u9aa8\u9b3c\u9c7c\u9e1f\u5364\u9ea6"
        "\u9ec4\u9efe\u9f50\u9f7f\u7adc\u9f99\u9f9f"
    ),
)


def read_pdf(name: str, data: bytes, limits: DocumentLimits) -> Parsed:
    """Paragraphs, headings (from the outline) and page numbers of a PDF.

    Pictures, forms and attachments are not read and nothing of the file is run. Raises
    `DocumentError` where it is locked, has too many pages, or is damaged beyond reading; a page
    that cannot be read alone is left out with a note.
    """
    from pypdf import PdfReader, apply_configuration

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    stream = min(_STREAM, limits.unpacked)
    with apply_configuration(
        maximum_declared_stream_length=limits.bytes,
        array_based_stream_maximum_output_length=stream,
        zlib_maximum_output_length=stream,
        lzw_maximum_output_length=stream,
        run_length_maximum_output_length=stream,
        jbig2_maximum_output_length=1 << 20,
        image_maximum_buffer_size=1 << 20,
        stream_filters_maximum_length=4,
        stream_decoding_work_maximum_length=limits.unpacked,
        page_tree_maximum_entries=10 * limits.pages,
        outline_maximum_entries=_OUTLINE_ENTRIES,
        xform_maximum_invocations_per_extraction=500,
        jbig2dec_binary=None,  # a program of its own, and it reads pictures only
    ):
        reader = PdfReader(io.BytesIO(data), xref_stream_maximum_entries=500_000)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError(
                "it is locked with a password", where=name, hint="save it without the password"
            )
        return _read(name, reader, limits)


def _read(name: str, reader: Any, limits: DocumentLimits) -> Parsed:
    if len(reader.pages) > limits.pages:
        raise DocumentError(
            f"it has {len(reader.pages):,} pages, and {limits.pages:,} are allowed",
            where=name,
            hint="split it",
            reason="too_large",
        )
    headings = _headings(reader)
    notes: list[str] = []
    pages: list[Page] = []
    size = 0
    for number, page in enumerate(reader.pages, start=1):
        try:
            text = (page.extract_text() or "").translate(_RADICALS)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # a page that is broken, or a bomb that a bound stopped
            notes.append(f"page {number} could not be read ({type(error).__name__})")
            continue
        size += len(text)
        pages.append(Page(number, normal_text(text).split("\n"), headings.get(number, [])))
        if size > limits.characters:
            break
    if not pages and notes:
        raise DocumentError(
            "none of its pages can be read",
            where=name,
            hint="save it anew from the program that made it, or as .txt",
        )
    out = PagedText(limits.characters)
    for number, text, glue in reflow(pages):
        out.page(number, text, glue)
    shown = notes[:20] + ([f"{len(notes) - 20} further pages likewise"] if len(notes) > 20 else [])
    return Parsed(
        "pdf", out.text(), _title(reader), tuple(out.pages), joined_notes(shown, out.full, limits)
    )


def _title(reader: Any) -> str:
    try:
        title = normalise_line(str((reader.metadata or {}).get("/Title") or ""))[0].strip()
    except Exception:  # whatever is wrong with it, the document can do without
        return ""
    # What programs put there by themselves: "Microsoft Word - letter.doc", "untitled".
    plain = title.lower()
    made_up = plain.startswith(
        ("microsoft word", "about:", "untitled", "无标题")
    ) or plain.endswith((".doc", ".docx", ".tex", ".dvi", ".indd", ".pdf"))
    return "" if made_up or len(title) > 300 else title


def _headings(reader: Any) -> dict[int, list[tuple[int, str]]]:
    """Page number → (level from 1, heading) as the outline tells them."""
    found: dict[int, list[tuple[int, str]]] = {}
    try:
        for level, entry in _walk(reader.outline, 1):
            number = reader.get_destination_page_number(entry)
            title = normalise_line(str(entry.title or "").translate(_RADICALS))[0].strip()
            if number is not None and number >= 0 and title:
                found.setdefault(number + 1, []).append((level, title[:300]))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # an outline that is broken is as none
        return found
    return found


def _walk(outline: Any, level: int) -> Iterator[tuple[int, Any]]:
    for entry in outline:
        if not isinstance(entry, list):
            yield level, entry
        elif level < _OUTLINE_DEPTH:
            yield from _walk(entry, level + 1)
