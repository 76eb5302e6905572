from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from fastwarc.stream_io import BrotliWriter, Lz4Writer

from .conftest import Collected

Collect = Callable[..., Collected]
ZH = "数据库连接池的说明。" * 20


def record(
    body: bytes, uri: str = "https://example.org/", *, kind: str = "response",
    http: str | None = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8",
    extra: str = "", announce: int | None = None,
) -> bytes:  # fmt: skip
    block = (http.encode() + b"\r\n\r\n" if http else b"") + body
    media = f"application/http; msgtype={kind}" if http else "text/plain"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Date: 2024-05-18T01:58:10Z\r\n"
        f"WARC-Target-URI: {uri}\r\nContent-Type: {media}\r\n{extra}"
        f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{zlib.crc32(body):012d}>\r\n"
        f"Content-Length: {announce if announce is not None else len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


INFO = record(b"software: test\r\n", kind="warcinfo", http=None)
PAGES = [record(f"<p>page {n} {ZH}</p>".encode(), f"https://example.org/{n}") for n in range(30)]


def lz4(parts: list[bytes]) -> bytes:
    out = io.BytesIO()
    for part in parts:
        writer = Lz4Writer(out)
        writer.write(part)
        writer.close()
    return out.getvalue()


PACKED: dict[str, Callable[[list[bytes]], bytes]] = {
    "a.warc": b"".join,
    "a.warc.gz": lambda parts: b"".join(gzip.compress(part) for part in parts),
    "a.warc.zst": lambda parts: b"".join(zstandard.ZstdCompressor().compress(p) for p in parts),
}


@pytest.mark.parametrize("name", PACKED)
def test_pages(collect: Collect, folder: Path, name: str) -> None:
    (folder / name).write_bytes(PACKED[name]([INFO, *PAGES]))
    found = collect(folder)
    assert found.texts == [f"<p>page {n} {ZH}</p>" for n in range(30)]
    row = found.rows[3]
    assert row.uri == "https://example.org/3"
    assert row.collected_at.isoformat() == "2024-05-18T01:58:10+00:00"
    assert row.meta == {"media_type": "text/html", "encoding": "utf-8", "path": name}
    assert found.dataset.info.counts["sources"][0]["other_records"] == {"warcinfo": 1}


@pytest.mark.parametrize("name", PACKED)
def test_a_cut_file_loses_no_page_without_a_word(collect: Collect, folder: Path, name: str) -> None:
    """Cut within the tenth page, wherever: nine pages, and a line for what is missing."""
    whole = PACKED[name]([INFO, *PAGES[:9]])
    part = PACKED[name]([PAGES[9]])
    for share in (0.25, 0.9):
        (folder / name).write_bytes(whole + part[: int(len(part) * share)])
        found = collect(folder)
        assert len(found.rows) == 9
        rules = {line.rule for line in found.lines("drop")}
        assert rules
        assert rules <= {"truncated", "unreadable"}
        if name != "a.warc":
            assert "truncated" in rules


def test_each_kind_of_record(collect: Collect, folder: Path) -> None:
    ok = "HTTP/1.1 200 OK\r\nContent-Type: "
    (folder / "a.warc").write_bytes(
        b"".join(
            [
                record(b"GET /", "https://e/req", kind="request", http="GET / HTTP/1.1"),
                record(b"<p>gone", "https://e/404", http="HTTP/1.1 404 Not Found"),
                record(b"", "https://e/301", http="HTTP/1.1 301 Moved\r\nLocation: /"),
                record(b"\x89PNG", "https://e/png", http=ok + "image/png"),
                record(b"body{}", "https://e/css", http=ok + "text/css"),
                record(b"plain words", "https://e/txt", http=ok + "text/plain"),
                record(b"<html><p>untyped</html>", "https://e/sniff", http="HTTP/1.1 200 OK"),
                record(b"", "https://e/empty", http=ok + "text/html"),
                record(ZH.encode(), "https://e/wet", kind="conversion", http=None),
                record(b"log", "metadata://gnu.org/wget.log", kind="resource", http=None),
                record(b"%PDF-1.7", "https://e/lie", http=ok + "text/html"),
                record("é à ü".encode("cp1252"), "https://e/latin",
                       http=ok + "text/html; charset=iso-8859-1"),
                record(b"cut by the crawler", "<https://e/cut>", http=ok + "text/plain",
                       extra="WARC-Truncated: length\r\n"),
            ]
        )
    )  # fmt: skip
    found = collect(folder)
    assert found.dropped == [
        ("http-status", "404"),
        ("http-status", "301"),
        ("not-text", "png"),
        ("not-text", "css"),
        ("empty", "empty"),
        ("not-text", "lie"),
    ]
    assert found.lines("drop")[0].value == 404
    assert [row.uri.rpartition("/")[2] for row in found.rows] == [
        "txt",
        "sniff",
        "wet",
        "latin",
        "cut",
    ]
    assert found.texts[2:4] == [ZH, "é à ü"]
    assert found.lines("edit")[0].detail == "by the crawler: length"
    assert found.dataset.info.counts["sources"][0]["other_records"] == {
        "request": 1,
        "resource": 1,
    }


def brotli(data: bytes) -> bytes:
    out = io.BytesIO()
    writer = BrotliWriter(out)
    writer.write(data)
    writer.close()
    return out.getvalue()


@pytest.mark.parametrize(
    ("header", "encoded"),
    [
        ("Content-Encoding: gzip", gzip.compress),
        ("Content-Encoding: br", brotli),
        ("Transfer-Encoding: chunked", lambda d: b"%x\r\n%b\r\n0\r\n\r\n" % (len(d), d)),
        ("Content-Encoding: gzip", bytes),  # the crawler unpacked it and kept the header
        ("Content-Encoding: br", bytes),
        ("Transfer-Encoding: chunked", bytes),
    ],
)
def test_payloads_are_decoded_and_headers_not_believed(
    collect: Collect, folder: Path, header: str, encoded: Callable[[bytes], bytes]
) -> None:
    page = f"<p>{ZH}</p>".encode()
    http = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{header}"
    (folder / "a.warc").write_bytes(record(encoded(page), http=http))
    assert collect(folder).texts == [page.decode()]


def test_large_pages_and_bombs(collect: Collect, folder: Path) -> None:
    http = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip"
    (folder / "a.warc").write_bytes(
        record(b"<div>" * 1_000_000, "https://e/large")
        + record(gzip.compress(b"<div>" * 1_000_000), "https://e/bomb", http=http)
        + PAGES[0]
    )
    found = collect(folder, max_bytes=1_000_000)
    assert found.dropped == [("too-large", "large"), ("too-large", "bomb")]
    assert len(found.rows) == 1


def test_one_address_captured_twice(collect: Collect, folder: Path) -> None:
    (folder / "a.warc").write_bytes(
        PAGES[0] * 2 + record(b"<p>changed</p>", "https://example.org/0")
    )
    found = collect(folder)
    assert [row.uri for row in found.rows] == ["https://example.org/0"] * 3
    assert [line.rule for line in found.lines("keep")] == ["read", "same-content", "read"]


@pytest.mark.parametrize("damage", range(0, 400, 23))
def test_damage_anywhere_is_never_a_crash(collect: Collect, folder: Path, damage: int) -> None:
    data = bytearray(b"".join([INFO, *PAGES[:3]]))
    data[damage : damage + 7] = b"\xff\x00\r\n\r\n9"
    (folder / "a.warc").write_bytes(bytes(data))
    found = collect(folder)
    assert len(found.rows) + len(found.lines("drop")) >= 1


@pytest.mark.parametrize("garbage", [b"\0" * 1000, b"x" * 5000, b"WARC/1.0\r\n" + b"y" * 900])
@pytest.mark.parametrize("place", [1, 3])
def test_what_lies_between_records_is_not_passed_over(
    collect: Collect, folder: Path, garbage: bytes, place: int
) -> None:
    parts = [INFO, *PAGES[:2]]
    parts.insert(place, garbage)
    (folder / "a.warc").write_bytes(b"".join(parts))
    found = collect(folder)
    assert any(name.startswith("a.warc#gap=") for _, name in found.dropped)
    assert found.texts[0].startswith("<p>page 0") or place == 1


def test_lz4(collect: Collect, folder: Path) -> None:
    (folder / "a.warc.lz4").write_bytes(lz4([INFO, *PAGES]))
    assert len(collect(folder).rows) == 30


SAMPLES = {  # file → (pages kept, rules that dropped)
    "block-sized-records.warc": (0, []),
    "clipped.warc.gz": (0, ["truncated"]),
    "clueweb-quirk.warc.gz": (29, []),
    "dolma-sample-0000.warc.gz": (22, []),
    "dolma-sample-0001.warc.gz": (15, []),
    "warcfile.warc": (15, ["noindex"]),
    "warcfile.warc.gz": (15, ["noindex"]),
    "warcfile.warc.lz4": (15, ["noindex"]),
    "whirlwind.warc.gz": (1, []),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_others(collect: Collect, shared_data: Path, name: str) -> None:
    found = collect(shared_data / "web" / name)
    kept, dropped = SAMPLES[name]
    assert (len(found.rows), [rule for rule, _ in found.dropped]) == (kept, dropped)
    if name.startswith("clueweb"):
        assert {row.meta["encoding"] for row in found.rows} == {"euc_jp"}
        assert "フリーダム" in found.texts[0] or "ヘッドポーター" in found.texts[0]
    if name.startswith("warcfile"):
        plain = collect(shared_data / "web" / "warcfile.warc", name="plain")
        assert found.texts == plain.texts
