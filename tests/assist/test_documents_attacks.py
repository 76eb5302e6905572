"""Documents that mean harm: each is refused, the process that read it goes, and this one stays."""

from __future__ import annotations

import socket
import struct
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from chatwright.assist.documents import DocumentError, DocumentLimits, isolated, read_document
from chatwright.assist.documents.child import answer_for, parse
from document_makers import (
    RELATIONS,
    archive,
    docx_of,
    docx_parts,
    paragraph,
    pdf,
    pdf_of,
    pdf_with_content,
    stream,
)

SMALL = DocumentLimits(
    unpacked=8 << 20, pages=50, characters=100_000, cpu_seconds=3, seconds=20, memory=512 << 20
)


def refused(name: str, data: bytes) -> DocumentError:
    with pytest.raises(DocumentError) as error:
        read_document(name, data, SMALL)
    return error.value


def refused_here(name: str, data: bytes) -> str:
    """The same without a process of its own, for what the parsers' own bounds stop."""
    began = time.monotonic()
    answer = answer_for(name, data, SMALL)
    assert time.monotonic() - began < SMALL.seconds
    return str(answer["error"]["reason"])


def zeros(size: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(size >> 20)), packer.flush()])


BOMB = zeros(256 << 20)
LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "ha">' for n in range(9)
)


def test_a_zip_bomb() -> None:
    bomb = archive({**docx_parts(""), "word/document.xml": bytes(64 << 20)})
    assert len(bomb) < 1 << 20
    assert refused("a.docx", bomb).reason == "too_large"


def test_a_zip_that_lies_about_its_sizes() -> None:
    bomb = bytearray(archive({**docx_parts(""), "word/document.xml": bytes(64 << 20)}))
    size = struct.pack("<I", 64 << 20)
    at = bomb.find(size)
    while at >= 0:
        bomb[at : at + 4] = struct.pack("<I", 100)
        at = bomb.find(size)
    assert refused_here("a.docx", bytes(bomb)) in ("too_large", "unreadable")


def test_a_zip_in_a_zip_is_not_opened() -> None:
    inner = archive({"more.zip": archive({"zeros": bytes(64 << 20)})})
    data = archive({**docx_parts(paragraph("outside")), "word/embeddings/a.zip": inner})
    assert parse("a.docx", data, SMALL).text == "outside"
    assert refused_here("a.docx", inner) == "unsupported"


@pytest.mark.parametrize("part", ["../../evil.xml", "/etc/cron.d/evil", "word\\..\\..\\evil"])
def test_zip_slip(part: str) -> None:
    data = archive({**docx_parts(paragraph("x")), part: "boo"})
    answer = answer_for("a.docx", data, SMALL)
    assert answer["error"]["reason"] == "unreadable"


def test_too_many_members() -> None:
    many = {f"word/{n}": b"" for n in range(SMALL.members + 1)}
    answer = answer_for("a.docx", archive({**docx_parts(paragraph("x")), **many}), SMALL)
    assert answer["error"]["reason"] == "too_large"


@pytest.mark.parametrize(
    "head",
    [
        f"<!DOCTYPE w [{LAUGHS}]>",
        '<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE w SYSTEM "http://127.0.0.1:1/evil.dtd">',
        " " * 8192 + '<!DOCTYPE w [<!ENTITY % x SYSTEM "file:///etc/hostname"> %x;]>',
    ],
)
def test_entities_are_refused(head: str) -> None:
    answer = answer_for("a.docx", docx_of(paragraph("&x; &l8;"), head), SMALL)
    assert answer["error"]["reason"] == "unreadable"
    wide = docx_parts(paragraph("&x;"), head)
    text = str(wide["word/document.xml"]).replace(
        'version="1.0"', 'version="1.0" encoding="utf-16"'
    )
    answer = answer_for(
        "a.docx", archive({**wide, "word/document.xml": text.encode("utf-16")}), SMALL
    )
    assert answer["error"]["reason"] == "unreadable"


def test_nothing_is_fetched() -> None:
    """External relations, templates and images are addresses; nobody goes there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        outside = RELATIONS.replace("word/document.xml", address).replace(
            "<Relationship ", '<Relationship TargetMode="External" '
        )
        assert "error" in answer_for(
            "a.docx", docx_of(paragraph("x"), **{"_rels/.rels": outside}), SMALL
        )
        links = {"word/_rels/document.xml.rels": outside, "word/_rels/settings.xml.rels": outside}
        assert parse("a.docx", docx_of(paragraph("x"), **links), SMALL).text == "x"
        page = f"<html><body><img src={address}><link href={address}><p>text</p></body></html>"
        assert "text" in parse("a.html", page.encode(), SMALL).text
        with pytest.raises(TimeoutError):
            server.accept()


def test_xml_nested_without_end() -> None:
    deep = "<w:tbl><w:tr><w:tc>" * 5_000 + "</w:tc></w:tr></w:tbl>" * 5_000
    assert refused_here("a.docx", docx_of(deep)) in ("unreadable", "empty")


def test_html_nested_without_end() -> None:
    page = b"<html><body>" + b"<div>" * 200_000 + b"deep"
    assert "deep" in read_document("a.html", page, SMALL).text


@pytest.mark.parametrize(
    "data",
    [
        pdf_with_content(BOMB),
        pdf_with_content(zlib.compress(BOMB), b"[/FlateDecode /FlateDecode]"),
        pdf_with_content(b"ff" * 9, b"[%b]" % (b"/ASCIIHexDecode " * 500)),
    ],
    ids=["flate", "flate in flate", "500 filters"],
)
def test_a_pdf_stream_that_unpacks_to_gigabytes(data: bytes) -> None:
    assert len(data) < 1 << 20
    assert refused_here("a.pdf", data) in ("unreadable", "empty", "too_large")


def test_a_page_that_is_a_bomb_is_left_out_and_said() -> None:
    good = pdf_of([["A page that can be read."], ["Another page."]])
    at = good.rindex(b"stream\n", 0, good.rindex(b"\nendstream")) + 7
    bomb = zeros(32 << 20)
    length = good.rindex(b"/Length ", 0, at)
    head = good[length:at].replace(good[length + 8 : at].split()[0], b"%d" % len(bomb), 1)
    data = good[:length] + head + bomb + good[good.rindex(b"\nendstream") :]
    parsed = parse("a.pdf", data, SMALL)
    assert parsed.text == "A page that can be read."
    assert any("page 2" in note for note in parsed.notes)


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"


@pytest.mark.parametrize(
    "objects",
    [
        [CATALOG, b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"],
        [CATALOG, b"<< /Type /Pages /Kids [3 0 R 3 0 R] /Count 2 >>",
         b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Parent 2 0 R /Count 2 >>"],
        [CATALOG, b"<< /Type /Pages /Kids [%b] /Count 9 >>" % (b"3 0 R " * 200_000),
         b"<< /Type /Page >>"],
        [CATALOG, b"<< /Type /Pages /Kids %b%b /Count 1 >>" % (b"[" * 50_000, b"]" * 50_000)],
        [b"<< /Type /Catalog /Pages 1 0 R >>"],
        [b"1 0 R"],
    ],
    ids=["its own child", "a ring", "200,000 kids", "nested arrays", "root is pages", "itself"],
)  # fmt: skip
def test_page_trees_without_end(objects: list[bytes]) -> None:
    assert refused_here("a.pdf", pdf(objects)) in ("unreadable", "empty", "too_large")


def test_forms_that_call_each_other() -> None:
    """Each form draws the next one ten times: ten to the ninth."""
    forms = b" ".join(b"/X%d %d 0 R" % (n, 6 + n) for n in range(10))
    objects = [
        CATALOG,
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /XObject << %b >> >> >>"
        % forms,
        stream(b"/X0 Do"),
        b"null",
    ]
    for n in range(10):
        calls = b"/X%d Do " % (n + 1) * 10 if n < 9 else b"BT (x) Tj ET"
        more = b"/Type /XObject /Subtype /Form /Resources << /XObject << %b >> >>" % forms
        objects.append(stream(calls, more))
    began = time.monotonic()
    answer = answer_for("a.pdf", pdf(objects), SMALL)
    assert "error" in answer or len(answer["text"]) <= SMALL.characters
    assert time.monotonic() - began < SMALL.seconds


def test_a_locked_pdf() -> None:
    from io import BytesIO

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(BytesIO(pdf_of([["secret"]]))))
    writer.encrypt("a password", algorithm="AES-256")
    out = BytesIO()
    writer.write(out)
    error = answer_for("a.pdf", out.getvalue(), SMALL)["error"]
    assert "password" in error["message"]
    assert error["reason"] == "unreadable"


def test_too_many_pages() -> None:
    assert refused_here("a.pdf", pdf_of([["x"]] * 51)) == "too_large"


@pytest.mark.parametrize(
    ("does", "limits", "reason"),
    [
        ("while True: pass", {"cpu_seconds": 1}, "too_large"),
        ("import time; time.sleep(60)", {"seconds": 1.5}, "too_large"),
        ("raise_memory = bytearray(4 << 30)", {}, "too_large"),
        ("import os; os.abort()", {}, "unreadable"),
        ("import sys; sys.stdout.write('x' * 9_000_000)", {}, "unreadable"),
        ("open('/tmp/chatwright-must-not-be-there', 'w')", {}, "unreadable"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", {}, "unreadable"),
        ("import subprocess; subprocess.run(['true'])", {}, "unreadable"),
    ],
    ids=["busy", "asleep", "memory", "aborts", "floods", "writes", "connects", "runs"],
)
def test_whatever_a_parser_is_made_to_do(
    monkeypatch: pytest.MonkeyPatch, does: str, limits: dict[str, float], reason: str
) -> None:
    """A parser that was taken over, played by code in its place: its process ends, ours goes on."""
    program = (
        "import chatwright.assist.documents.child as child\n"
        f"def parse(*_):\n    {does}\n    raise ValueError\n"
        "child.parse = parse\nchild.main()"
    )
    monkeypatch.setattr(isolated, "_PROGRAM", program)
    with pytest.raises(DocumentError) as error:
        read_document("a.html", b"<html><body>x", replace(SMALL, **limits))
    assert error.value.reason == reason
    assert not Path("/tmp/chatwright-must-not-be-there").exists()


def test_too_many_bytes_are_not_even_looked_at() -> None:
    with pytest.raises(DocumentError) as error:
        read_document("a.txt", b"x" * 1001, DocumentLimits(bytes=1000))
    assert error.value.reason == "too_large"


def test_text_is_cut_and_that_is_said() -> None:
    parsed = read_document("a.txt", b"word " * 50_000, SMALL)
    assert len(parsed.text) <= SMALL.characters + 1
    assert parsed.notes == ("only the first 100,000 characters were read",)


def test_many_at_once_and_the_process_lives() -> None:
    """Bombs from four threads beside an honest document: that one is read."""
    bomb = archive({**docx_parts(""), "word/document.xml": bytes(64 << 20)})
    errors: list[DocumentError] = []
    threads = [
        threading.Thread(target=lambda: errors.append(refused("a.docx", bomb))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert read_document("a.md", b"# still here\n\nyes\n", SMALL).title == "still here"
    for thread in threads:
        thread.join()
    assert len(errors) == 4
