"""Documents for tests, ordinary ones and such as mean harm, made byte by byte."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence


def pdf(objects: Sequence[bytes], root: int = 1, trailer: bytes = b"") -> bytes:
    """A PDF of these numbered objects, the first being number 1."""
    out = bytearray(b"%PDF-1.7\n")
    offsets: list[int] = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer << /Size %d /Root %d 0 R %b >>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        root,
        trailer,
        start,
    )
    return bytes(out)


def stream(data: bytes, extra: bytes = b"") -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(data), extra, data)


def pdf_of(pages: Sequence[Sequence[str]], outline: Sequence[tuple[str, int]] = ()) -> bytes:
    """A PDF whose pages hold these lines, in any script; `outline`: (title, page from 1)."""
    letters = sorted({c for lines in pages for line in lines for c in line})
    code = {letter: number for number, letter in enumerate(letters, start=1)}
    pairs = "\n".join(f"<{n:04X}> <{c.encode('utf-16-be').hex().upper()}>" for c, n in code.items())
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "/CMapName /T def /CMapType 2 def 1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
        f"{len(code)} beginbfchar\n{pairs}\nendbfchar endcmap end end"
    ).encode()
    first = 7  # the number of the first page; its contents follow it
    kids = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R %b >>"
        % (b"/Outlines %d 0 R" % (first + 2 * len(pages)) if outline else b""),
        b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type0 /BaseFont /T /Encoding /Identity-H"
        b" /DescendantFonts [4 0 R] /ToUnicode 6 0 R >>",
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /T /DW 500 /FontDescriptor 5 0 R"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
        b"<< /Type /FontDescriptor /FontName /T /Flags 4 /FontBBox [0 0 1000 1000] >>",
        stream(cmap),
    ]
    for number, lines in enumerate(pages):
        text = "BT /F1 11 Tf 14 TL 60 760 Td\n"
        for line in lines:
            text += f"<{''.join(f'{code[c]:04X}' for c in line)}> Tj T*\n"
        packed = zlib.compress((text + "ET").encode())
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (first + 2 * number + 1)
        )
        objects.append(stream(packed, b"/Filter /FlateDecode"))
    if outline:
        root = len(objects) + 1
        objects.append(
            b"<< /Type /Outlines /First %d 0 R /Last %d 0 R >>" % (root + 1, root + len(outline))
        )
        for number, (title, page) in enumerate(outline, start=1):
            link = b"/Next %d 0 R" % (root + number + 1) if number < len(outline) else b""
            objects.append(
                b"<< /Title <FEFF%b> /Parent %d 0 R %b /Dest [%d 0 R /Fit] >>"
                % (title.encode("utf-16-be").hex().encode(), root, link, first + 2 * (page - 1))
            )
    return pdf(objects)


def pdf_with_content(data: bytes, filters: bytes = b"/FlateDecode", extra: bytes = b"") -> bytes:
    """One page with this content stream."""
    return pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> %b >> >>" % extra,
            stream(data, b"/Filter %b" % filters),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
    )


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/'
    'content-types"><Default Extension="xml" ContentType="application/xml"/></Types>'
)
RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
    'relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/'
    '2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>'
)


def archive(members: dict[str, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return out.getvalue()


def docx_parts(body: str, head: str = "") -> dict[str, bytes | str]:
    """The parts of a .docx with this body; `head` stands before the root element."""
    return {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": RELATIONS,
        "word/document.xml": f'<?xml version="1.0"?>{head}<w:document {W}><w:body>{body}</w:body>'
        "</w:document>",
    }


def docx_of(body: str, head: str = "", **more: str) -> bytes:
    return archive({**docx_parts(body, head), **more})


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"
