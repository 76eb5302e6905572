"""Ended in any way and started again, a crawl goes on; and a second crawl asks what has changed."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from chatwright.collect.crawl.archive import whole_size

from .conftest import Crawled, Reply, Site

Run = Callable[..., Crawled]


def chain(site: Site, length: int) -> None:
    site.fallback = lambda path: (
        Reply(f'<p>{random.Random(path).random()}</p><a href="/{int(path[1:] or 0) + 1}">next</a>')
        if (path == "/" or path[1:].isdigit()) and int(path[1:] or 0) < length
        else None
    )


def captured(warc: Path) -> list[str]:
    """Addresses of the responses; every record of the file has to be whole."""
    assert whole_size(warc) == warc.stat().st_size
    with warc.open("rb") as file:
        found = []
        for record in ArchiveIterator(file, parse_http=False, fsspec_args=False):
            assert record.verify_block_digest(consume=False)
            if record.record_type == WarcRecordType.response:
                found.append(record.headers["WARC-Target-URI"])
        return found


PROGRAM = """
import sys
from pathlib import Path
from chatwright.collect.crawl.crawler import crawl
from chatwright.collect.crawl.settings import CrawlSettings
settings = CrawlSettings(
    (sys.argv[1],), delay=0.0, sitemaps=False, allow_private=True, max_depth=999
)
print("go", flush=True)
result = crawl(settings, Path(sys.argv[2]))
print(result.stopped)
"""


def test_stopped_and_gone_on_with(site: Site, tmp_path: Path) -> None:
    """However often it is ended: each page once, none lost, no half record."""
    length = 120
    chain(site, length)
    out = tmp_path / "site.warc.gz"
    chance = random.Random(7)
    for round_ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, site.url + "/", str(out)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        if round_ < 4:
            time.sleep(chance.uniform(0.02, 0.25))
            process.send_signal((signal.SIGKILL, signal.SIGINT)[round_ % 2])
        rest = process.stdout.read()
        process.wait(20)
        process.stdout.close()
        if rest == b"done\n":
            break
    pages = [u for u in captured(out) if not u.endswith((".txt", ".json"))]
    assert sorted(pages) == sorted(f"{site.url}/{n or ''}" for n in range(length + 1))


def test_a_finished_crawl_asks_for_nothing(site: Site, run: Run) -> None:
    chain(site, 3)
    first = run()
    before = first.result.warc.read_bytes()
    site.requests.clear()
    again = run()
    assert site.requests == []
    assert again.result.warc.read_bytes() == before
    assert again.lines == first.lines


def test_more_pages_later(site: Site, run: Run) -> None:
    chain(site, 9)
    assert run(max_pages=4).result.pages == 4
    site.requests.clear()
    found = run()
    assert (found.result.pages, found.result.stopped) == (9, "done")
    assert site.asked == [f"/{n}" for n in range(4, 10)]  # robots.txt is known


def test_a_host_that_was_down_is_asked_again(site: Site, run: Run) -> None:
    chain(site, 2)
    site.pages["/robots.txt"] = Reply("broken", 500)
    assert run().of(site.url + "/") == [("drop", "robots")]
    site.pages["/robots.txt"] = Reply("", headers={"Content-Type": "text/plain"})
    found = run()
    assert found.result.pages == 2
    assert found.of(site.url + "/") == [("keep", "fetched")]


@pytest.mark.parametrize("cut", [1, 57, 400, 1500])
def test_a_warc_that_was_cut_is_mended(site: Site, run: Run, cut: int) -> None:
    """The disk lost the end of the file: what stood there is fetched again."""
    chain(site, 5)
    whole = run()
    warc = whole.result.warc
    os.truncate(warc, warc.stat().st_size - cut)
    site.requests.clear()
    again = run()
    assert again.result.pages == 5
    assert 1 <= len(site.requests) <= 3
    kept = sorted(x["uri"] for x in again.lines if x["action"] == "keep")
    assert kept == sorted(f"{site.url}/{n or ''}" for n in range(5))
    pages = [u for u in captured(warc) if not u.endswith((".txt", ".json"))]
    assert sorted(pages) == sorted(f"{site.url}/{n or ''}" for n in range(6))


@pytest.mark.parametrize("seed", range(4))
def test_cut_again_and_again(site: Site, run: Run, seed: int) -> None:
    chance = random.Random(seed)
    chain(site, 10)
    for pages in (2, 4, 6, 8, 10):
        warc = run(max_pages=pages).result.warc
        os.truncate(warc, max(0, warc.stat().st_size - chance.randrange(3000)))
    found = run()
    assert (found.result.pages, found.result.stopped) == (10, "done")
    pages = [u for u in captured(warc) if not u.endswith((".txt", ".json"))]
    assert sorted(pages) == sorted(f"{site.url}/{n or ''}" for n in range(11))
    kept = [x["uri"] for x in found.lines if x["action"] == "keep"]
    assert sorted(kept) == sorted(f"{site.url}/{n or ''}" for n in range(10))


def test_mending(tmp_path: Path) -> None:
    members = [gzip.compress(os.urandom(n * 999)) for n in range(1, 6)]
    sizes = [sum(map(len, members[:n])) for n in range(6)]
    file = tmp_path / "x.warc.gz"
    data = b"".join(members)
    for cut in (0, 1, 20, sizes[1], sizes[1] + 5, sizes[4] - 1, sizes[5] - 1, sizes[5]):
        file.write_bytes(data[:cut])
        expected = max(size for size in sizes if size <= cut)
        assert whole_size(file) == expected
    file.write_bytes(gzip.compress(b"0" * 5_000_000) + b"garbage" * 99)
    assert whole_size(file) == len(gzip.compress(b"0" * 5_000_000))


def test_a_second_crawl_asks_what_has_changed(site: Site, run: Run) -> None:
    def etag(tag: str, body: str) -> Callable[[dict[str, str]], Reply]:
        def answer(headers: dict[str, str]) -> Reply:
            if headers.get("if-none-match") == tag:
                return Reply("", 304, {"ETag": tag})
            return Reply(body, headers={"ETag": tag})

        return answer

    day = "Sat, 18 May 2024 01:58:10 GMT"

    def dated(headers: dict[str, str]) -> Reply:
        if headers.get("if-modified-since") == day:
            return Reply("", 304)
        return Reply('<p>dated</p><a href="/plain">', headers={"Last-Modified": day})

    site.pages["/"] = etag('"one"', '<a href="/dated">x</a><a href="/new">y</a>')
    site.pages["/dated"] = dated
    site.pages["/plain"] = "<p>always the same</p>"
    site.pages["/new"] = etag('"a"', "<p>old words</p>")
    first = run()
    site.pages["/new"] = etag('"b"', "<p>new words</p>")
    second = run(out="second.warc.gz", revisit=(str(first.result.warc),))
    assert second.result.pages == first.result.pages == 4
    changed = {url for url, _, _ in second.records("response") if ".txt" not in url}
    assert changed == {site.url + "/new"}
    revisits = {url: headers for url, headers, _ in second.records("revisit")}
    assert set(revisits) == {site.url + path for path in ("/", "/dated", "/plain")}
    assert revisits[site.url + "/"]["WARC-Profile"].endswith("server-not-modified")
    assert revisits[site.url + "/plain"]["WARC-Profile"].endswith("identical-payload-digest")
    originals = {u: h for u, h, _ in first.records("response")}
    for url, headers in revisits.items():
        assert headers["WARC-Refers-To-Date"] == originals[url]["WARC-Date"]
        assert headers["WARC-Payload-Digest"] == originals[url]["WARC-Payload-Digest"]
        assert second.of(url) == [("keep", "revisit")]
