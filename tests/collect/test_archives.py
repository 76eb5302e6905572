"""WARC and ARC beyond plain pages: revisits, damaged members, signals, a crawl as a source."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatwright.collect.members import GzipMembers

from .conftest import Collected
from .crawl.conftest import Crawled, Reply, Site, run, site  # noqa: F401 (fixtures)
from .test_warc import INFO, PAGES, ZH, record

Collect = Callable[..., Collected]
OK = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8"


def revisit(uri: str, digest: str = "") -> bytes:
    extra = "WARC-Refers-To-Date: 2024-05-18T01:58:10Z\r\n"
    extra += f"WARC-Payload-Digest: {digest}\r\n" if digest else ""
    return record(b"", uri, kind="revisit", http="HTTP/1.1 304 Not Modified", extra=extra)


def test_revisits_name_the_earlier_row(collect: Collect, folder: Path) -> None:
    digest = "sha1:AAAA"
    first = record(b"<p>one</p>", "https://e/1", extra=f"WARC-Payload-Digest: {digest}\r\n")
    closed = record(b"<p>two</p>", "https://e/2", http=OK + "\r\nX-Robots-Tag: noindex")
    (folder / "a.warc").write_bytes(revisit("https://e/2") + first + closed)
    (folder / "b.warc").write_bytes(
        revisit("https://e/1") + revisit("https://e/moved", digest) + revisit("https://e/9")
    )
    found = collect(folder)
    (row,) = found.rows
    lines = {line.uri: line for line in found.lines("drop") if line.rule == "revisit"}
    assert lines["https://e/1"].other_id == lines["https://e/moved"].other_id == row.id
    noindex = next(line for line in found.lines("drop") if line.rule == "noindex")
    assert lines["https://e/2"].other_id == noindex.row_id
    assert lines["https://e/9"].other_id is None
    assert "in none of the sources" in str(lines["https://e/9"].detail)
    assert found.dataset.info.counts["sources"][0]["dropped"] == {"noindex": 1, "revisit": 4}


@pytest.mark.parametrize("damage", ["middle", "checksum", "header", "zeros", "cut"])
@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_damaged_member_costs_no_other(
    collect: Collect, folder: Path, damage: str, place: int
) -> None:
    """Whatever happens to one record of a .warc.gz, the others are read, and a line tells."""
    pages = [
        record(f"<p>{random.Random(n).random()} {ZH}</p>".encode(), f"https://e/{n}")
        for n in range(10)
    ]
    members = [gzip.compress(page, mtime=0) for page in pages]
    member = bytearray(members[place])
    if damage == "middle":
        member[len(member) // 2 : len(member) // 2 + 9] = b"\xff" * 9
    elif damage == "checksum":
        member[-6] ^= 0xFF
    elif damage == "header":
        member[2:12] = b"\x00" * 10
    elif damage == "zeros":
        member[20:] = b"\x00" * (len(member) - 20)
    else:
        del member[len(member) // 2 :]
    members[place] = bytes(member)
    (folder / "a.warc.gz").write_bytes(gzip.compress(INFO, mtime=0) + b"".join(members))
    found = collect(folder)
    kept = {row.uri for row in found.rows}
    assert kept >= {f"https://e/{n}" for n in range(10) if n != place}
    assert len(kept) == 9
    assert {line.rule for line in found.lines("drop")} <= {"unreadable", "truncated"}
    assert 1 <= len(found.lines("drop")) <= (2 if damage == "cut" else 1)
    if damage == "checksum":
        assert found.lines("drop")[0].uri == f"https://e/{place}"


@pytest.mark.parametrize("seed", range(8))
def test_members_against_the_standard_library(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    parts = [chance.randbytes(chance.choice([0, 1, 500, 70_000, 300_000])) for _ in range(9)]
    parts[3] = b"0" * 3_000_000
    file = tmp_path / "x.gz"
    file.write_bytes(b"".join(gzip.compress(part, mtime=0) for part in parts))
    with file.open("rb") as raw:
        assert GzipMembers(raw).read() == gzip.decompress(file.read_bytes())


def arc(url: str, body: bytes, *, length: int | None = None, kind: str = "text/html") -> bytes:
    size = len(body) if length is None else length
    return f"{url} 10.0.0.1 20010203040506 {kind} {size}\n".encode() + body + b"\n"


def http(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.0 {status}\r\nContent-Type: text/html\r\n\r\n{body}".encode()


VERSION = b"1 0 InternetArchive\nURL IP-address Archive-date Content-type Archive-length\n"
ARC = [
    arc("filedesc://IA-000.arc", VERSION, kind="text/plain"),
    arc("dns:e.example", b"20010203\ne.example. IN A 10.0.0.1\n", kind="text/dns"),
    arc("http://e.example/", http(f"<p>first {ZH}</p>")),
    arc("http://e.example/a b", http(f"<p>spaces {ZH}</p>")),
    arc("http://e.example/404", http("gone", "404 Not Found")),
    b"http://e.example/v2 10.0.0.1 20010203040506 text/html 200 AAAA - 99 x.arc 55\n"
    + http("v2").ljust(55, b".") + b"\n",
    arc("http://e.example/robots.txt", http("User-agent: *")),
]  # fmt: skip


@pytest.mark.parametrize("pack", ["", ".gz"])
def test_arc(collect: Collect, folder: Path, pack: str) -> None:
    parts = [gzip.compress(part, mtime=0) for part in ARC] if pack else ARC
    (folder / f"a.arc{pack}").write_bytes(b"".join(parts))
    found = collect(folder)
    assert [row.uri for row in found.rows] == [
        "http://e.example/", "http://e.example/a b", "http://e.example/v2",
    ]  # fmt: skip
    assert found.rows[0].collected_at.isoformat() == "2001-02-03T04:05:06+00:00"
    assert found.texts[0] == f"<p>first {ZH}</p>"
    assert found.dropped == [("http-status", "404")]
    counts = found.dataset.info.counts["sources"][0]
    assert counts["other_records"] == {"host-file": 1, "metadata": 1, "warcinfo": 1}


def test_wet(collect: Collect, folder: Path) -> None:
    texts = [record(f"{n} {ZH}".encode(), f"https://e/{n}", kind="conversion", http=None)
             for n in range(3)]  # fmt: skip
    (folder / "x.warc.wet.gz").write_bytes(b"".join(gzip.compress(t) for t in [INFO, *texts]))
    found = collect(folder)
    assert found.texts == [f"{n} {ZH}" for n in range(3)]
    assert {row.meta["media_type"] for row in found.rows} == {"text/plain"}


def test_broken_arc(collect: Collect, folder: Path) -> None:
    whole = b"".join(ARC[:3]) + b"no header at all\n" * 40 + ARC[3]
    (folder / "gap.arc").write_bytes(whole)
    (folder / "cut.arc").write_bytes(b"".join(ARC[:4])[:-30])
    member = bytearray(gzip.compress(ARC[2], mtime=0))
    member[30:40] = b"\xff" * 10
    packed = [gzip.compress(part, mtime=0) for part in ARC]
    (folder / "damaged.arc.gz").write_bytes(packed[0] + bytes(member) + packed[3])
    found = collect(folder)
    assert [row.meta["path"] for row in found.rows] == ["cut.arc", "damaged.arc.gz", "gap.arc",
                                                        "gap.arc"]  # fmt: skip
    assert sorted(rule for rule, _ in found.dropped) == ["truncated", "unreadable", "unreadable"]


@pytest.mark.parametrize("line", [b"http:" + b" 1.1.1.1 20010101 x" * 800, b"a:" * 8000,
                                  b"http://x " + b"1" * 16000])  # fmt: skip
def test_arc_headers_that_would_backtrack(collect: Collect, folder: Path, line: bytes) -> None:
    (folder / "a.arc").write_bytes(b"".join(ARC[:3]) + (line + b"\n") * 6)
    assert len(collect(folder).rows) == 1


def test_signals_of_captures(collect: Collect, folder: Path) -> None:
    noai = b"<html><head><meta name=robots content='noai'></head><p>x</p></html>"
    noindex = b"<html><head><meta name=robots content='noindex'></head><p>x</p></html>"
    verdict = record(
        b"chatwright-verdict: opt-out\r\nchatwright-signals: noai (meta robots)\r\n",
        "https://e/verdict", kind="metadata", http=None,
    ).replace(b"Content-Type: text/plain", b"Content-Type: application/warc-fields")  # fmt: skip
    (folder / "a.warc").write_bytes(
        record(noai, "https://e/noai") + record(noindex, "https://e/noindex") + verdict
        + record(b"<p>x", "https://e/tdm", http=OK + "\r\ntdm-reservation: 1")
        + record(b"User-agent: *", "https://e/robots.txt") + PAGES[0]
    )  # fmt: skip
    (folder / "local.html").write_bytes(noindex)  # no capture: nobody spoke to a crawler
    found = collect(folder)
    assert found.dropped == [
        ("opt-out", "noai"), ("noindex", "noindex"), ("opt-out", "verdict"), ("opt-out", "tdm"),
    ]  # fmt: skip
    assert [row.meta["path"] for row in found.rows] == ["a.warc", "local.html"]
    again = collect(folder, noindex="ignore", name="again")
    assert [rule for rule, _ in again.dropped] == ["opt-out"] * 3


def test_a_crawl_is_a_source(
    collect: Collect,
    run: Callable[..., Crawled],  # noqa: F811
    site: Site,  # noqa: F811
    folder: Path,
) -> None:
    meta = '<html><head><meta name="robots" content="{}"></head><p>words</p></html>'
    site.pages["/robots.txt"] = Reply("User-agent: *\n", headers={"Content-Type": "text/plain"})
    site.link("/", "/a", "/noai", "/noindex", "/gone", "/go", "/big")
    site.pages["/a"] = (
        '<html><link rel="license" href="https://creativecommons.org/licenses/by/4.0/">'
        f"<p>{ZH}</p></html>"
    )
    site.pages["/noai"] = meta.format("noai")
    site.pages["/noindex"] = meta.format("noindex")
    site.pages["/go"] = Reply("", 302, {"Location": "/a"})
    site.pages["/big"] = "x" * 90_000
    first = run(page_bytes=50_000)
    run(out="again.warc.gz", revisit=(str(first.result.warc),), page_bytes=50_000)
    found = collect(str(first.result.warc), str(first.result.warc.with_name("again.warc.gz")))
    assert [row.uri for row in found.rows] == [site.url + "/", site.url + "/a"]
    assert [row.license for row in found.rows] == [None, "CC-BY-4.0"]
    (edit,) = found.lines("edit")
    assert (edit.rule, edit.row_id) == ("license-found", found.rows[1].id)
    rules = [rule for rule, _ in found.dropped]
    assert sorted(set(rules)) == ["http-status", "noindex", "opt-out", "revisit", "too-large"]
    revisits = [line for line in found.lines("drop") if line.rule == "revisit"]
    assert [line.other_id for line in revisits] == [row.id for row in found.rows]


def test_every_shared_archive(collect: Collect, shared_data: Path) -> None:
    """All files of web/ in one collection: each item has its line, and nothing is fatal."""
    found = collect({"source": str(shared_data / "web"), "exclude": ["article-extraction/**"]})
    assert found.dataset.info.counts["sources"][0]["files"] == 11
    assert len(found.rows) == 3 * 15 + 29 + 22 + 15 + 1
    rules: dict[str, Any] = found.dataset.info.counts["sources"][0]["dropped"]
    assert rules == {"noindex": 3, "truncated": 1}
