from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from chatwright.collect.crawl.network import certificates
from chatwright.collect.crawl.settings import CrawlSettings
from chatwright.errors import UsageError

from .conftest import Crawled, Reply, Site, packed

Run = Callable[..., Crawled]


def test_a_small_site_breadth_first(site: Site, run: Run) -> None:
    site.link("/", "/a", "b?utm_source=x", "/a#part", "mailto:me@example.org")
    site.link("/a", "/c")
    site.link("/b", "/", "http://elsewhere.example/x")
    site.link("/c")
    found = run(contact="me@example.org")
    files = ["/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"]
    assert site.asked == [*files, "/", "/a", "/b", "/c"]
    assert (found.result.pages, found.result.stopped, found.result.waiting) == (4, "done", 0)
    responses = [url for url, _, _ in found.records("response")]
    assert [u for u in responses if u.partition("//")[2].count("/") == 1][-4:] == [
        site.url + path for path in ("/", "/a", "/b", "/c")
    ]
    agent = site.requests[-1][1]["user-agent"]
    assert re.fullmatch(r"chatwright/\S+ \(\+me@example\.org\)", agent)
    assert f"User-Agent: {agent}".encode() in found.records("request")[-1][2]
    (_, _, metadata) = found.records("metadata")[-1]
    assert f"via: {site.url}/a\r\n".encode() in metadata
    assert all(found.of(site.url + p) == [("keep", "fetched")] for p in ("/", "/a", "/b", "/c"))


def test_loops_and_circles(site: Site, run: Run) -> None:
    site.link("/", "/one", "/go", "/round", "./x/")
    site.link("/one", "/two")
    site.link("/two", "/one", "/")
    site.pages["/go"] = Reply("", 302, {"Location": "/one"})
    site.pages["/round"] = Reply("", 301, {"Location": "/round"})
    site.fallback = lambda path: (  # a relative link that is wrong on every page
        Reply('<a href="x/">deeper</a>') if re.fullmatch(r"/(x/)+", path) else None
    )
    found = run()
    assert found.result.stopped == "done"
    assert len(site.asked) == len(set(site.asked))
    assert found.of(site.url + "/round") == [("drop", "redirect")]
    assert found.of(site.url + "/one") == [("keep", "fetched")]
    assert found.rule("trap") == [site.url + "/x/x/x/x/"]


def test_a_chain_of_redirects_ends(site: Site, run: Run) -> None:
    site.link("/", "/r/0")
    site.fallback = lambda path: (
        Reply("", 307, {"Location": f"/r/{int(path[3:]) + 1}"}) if path.startswith("/r/") else None
    )
    found = run(max_redirects=4)
    assert [p for p in site.asked if p.startswith("/r/")] == [f"/r/{n}" for n in range(5)]
    assert found.rule("redirects") == [site.url + "/r/5"]


def test_an_endless_calendar_is_bounded_by_depth_and_pages(site: Site, run: Run) -> None:
    site.link("/", "/calendar?month=1", "/about")
    site.link("/about")
    site.fallback = lambda path: (
        Reply(f'<a href="/calendar?month={int(path.partition("=")[2]) + 1}">next</a>')
        if path.startswith("/calendar") else None
    )  # fmt: skip
    found = run(max_depth=5)
    assert found.result.pages == 7  # the root, /about, and five months
    assert found.rule("max-depth") == [site.url + "/calendar?month=6"]
    again = run(out="pages.warc.gz", max_pages=3)
    assert (again.result.pages, again.result.stopped) == (3, "max_pages")
    assert again.result.waiting == 1


def test_huge_pages_and_bombs(site: Site, run: Run) -> None:
    site.link("/", "/huge", "/bomb", "/endless", "/fine")
    site.pages["/huge"] = "<p>" * 200_000
    site.pages["/bomb"] = packed(b"<div>" * 2_000_000)
    site.pages["/endless"] = Reply("x" * 300_000, headers={"Content-Length": "99999999999"})
    site.pages["/fine"] = packed(b"<p>packed</p>" * 100)
    found = run(page_bytes=100_000)
    for path in ("/huge", "/bomb", "/endless"):
        assert found.of(site.url + path) == [("drop", "too-large")]
    assert found.of(site.url + "/fine") == [("keep", "fetched")]
    assert found.result.warc.stat().st_size < 50_000
    notes = {url: text for url, _, text in found.records("metadata")}
    assert b"chatwright-verdict: too-large" in notes[site.url + "/bomb"]


def test_a_slow_page_is_cut_off(site: Site, run: Run) -> None:
    site.link("/", "/slow", "/fine")
    site.link("/fine")
    site.pages["/slow"] = Reply("x" * 1000, drip=0.05)
    found = run(page_seconds=0.8)
    assert found.of(site.url + "/slow") == [("drop", "timeout")]
    assert found.of(site.url + "/fine") == [("keep", "fetched")]
    assert site.asked.count("/slow") == 3


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "shift_jis"])
def test_links_of_a_page_that_lies_about_its_encoding(site: Site, run: Run, encoding: str) -> None:
    text = {
        "gb18030": "\u8fd9\u662f\u5173\u4e8e\u6570\u636e\u5e93\u7684\u8bf4\u660e",
        "big5": "\u9019\u662f\u95dc\u65bc\u8cc7\u6599\u5eab\u7684\u8aaa\u660e",
        "shift_jis": "\u3053\u308c\u306f\u30c7\u30fc\u30bf\u30d9\u30fc\u30b9\u3067\u3059",
    }[encoding]
    page = f"<p>{text * 20}</p><a href='/\u8a9e'>{text}</a>"
    site.pages["/"] = Reply(page.encode(encoding), headers={"Content-Type": HTML_LIE})
    site.pages["/%E8%AA%9E"] = "found"
    found = run()
    assert found.of(site.url + "/%E8%AA%9E") == [("keep", "fetched")]


HTML_LIE = "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.7/", "http://[::1]:1/",
     "file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:11211/_stats"],
)  # fmt: skip
def test_no_redirect_leads_away(site: Site, run: Run, target: str) -> None:
    site.link("/", "/go", "/fine")
    site.link("/fine")
    site.pages["/go"] = Reply("", 302, {"Location": target})
    found = run()
    assert found.result.pages == 2
    if target.startswith("http"):
        assert found.rule("outside") == [target]
    else:
        detail = [x["detail"] for x in found.lines if x["uri"] == site.url + "/go"][-1]
        assert detail.startswith("no http address")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1",
                "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0", "100.64.0.1", "224.0.0.1"]
)  # fmt: skip
def test_private_addresses_are_not_connected_to(site: Site, run: Run, address: str) -> None:
    """An allowed host whose name leads inside; one private answer among public ones is enough."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34", address]

    found = run(f"http://inside.example:{site.port}/", resolve=resolve, allow_private=False)
    assert site.requests == []
    assert asked == ["inside.example"]
    (line,) = [x for x in found.lines if x["action"] == "drop"]
    assert line["rule"] == "robots"
    assert address in line["detail"]


def test_a_name_is_resolved_once_for_a_connection(site: Site, run: Run) -> None:
    """Rebinding: what is connected to is the address that was checked, not a second answer."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    site.link("/")
    found = run(f"http://name.example:{site.port}/", resolve=lambda host, port: next(answers))
    assert found.result.pages == 1
    (record,) = [h for u, h, _ in found.records("response") if u.endswith(f":{site.port}/")]
    assert record["WARC-IP-Address"] == "127.0.0.1"
    assert {h["host"] for _, h, _ in site.requests} == {f"name.example:{site.port}"}


def test_https_is_checked_by_name_though_the_address_is_pinned(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    file = tmp_path / "both.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=site.example", "-addext",
         "subjectAltName=DNS:site.example", "-keyout", str(file), "-out", str(tmp_path / "c.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + (tmp_path / "c.pem").read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c.pem"))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    certificates.cache_clear()
    site = Site(file)
    try:
        site.link("/", "/a")
        site.link("/a")
        found = run(site.url + "/", resolve=lambda host, port: ["127.0.0.1"])
        assert found.result.pages == 2
        wrong = site.url.replace("site.example", "other.example")
        refused = run(wrong, out="wrong.warc.gz", resolve=lambda host, port: ["127.0.0.1"])
        assert refused.result.pages == 0
        assert "certificate" in str(refused.lines)
    finally:
        site.close()
        certificates.cache_clear()


def test_other_hosts_only_when_allowed(site: Site, run: Run) -> None:
    other = Site()
    try:
        site.link("/", f"{other.url}/x")
        site.pages["/go"] = Reply("", 302, {"Location": f"{other.url}/x"})
        other.link("/x")
        assert run().result.pages == 1
        assert other.requests == []
        found = run(out="both.warc.gz", allow_hosts=(f"127.0.0.1:{other.port}",))
        assert found.of(f"{other.url}/x") == [("keep", "fetched")]
    finally:
        other.close()


def test_hosts_are_crawled_side_by_side(site: Site, run: Run) -> None:
    """Each host keeps its distance, and none waits for another."""
    others = [Site() for _ in range(3)]
    try:
        for one in (site, *others):
            one.link("/", "/a", "/b")
            one.link("/a")
            one.link("/b")
        found = run(*(one.url + "/" for one in (site, *others)), delay=0.1)
        assert found.result.pages == 12
        firsts = [one.requests[0][2] for one in (site, *others)]
        assert max(firsts) < min(one.requests[-1][2] for one in (site, *others))
        for one in (site, *others):
            times = [at for _, _, at in one.requests]
            assert min(b - a for a, b in pairwise(times)) >= 0.095
    finally:
        for one in others:
            one.close()


def test_refused_and_failing_pages(site: Site, run: Run) -> None:
    site.link("/", "/gone", "/busy", "/image.png", "/pdf", "/dead")
    site.pages["/busy"] = Reply("", 503, {"Retry-After": "0"})
    site.pages["/pdf"] = Reply(b"%PDF-1.7" * 9999, headers={"Content-Type": "application/pdf"})
    site.pages["/dead"] = Reply("short", headers={"Content-Length": "50", "Connection": "close"})
    found = run(delay=0.01)
    assert found.of(site.url + "/gone") == [("drop", "http-status")]
    assert site.asked.count("/busy") == 3
    assert found.of(site.url + "/busy") == [("drop", "http-status")]
    assert found.of(site.url + "/image.png") == [("drop", "not-text")]
    assert "/image.png" not in site.asked
    assert found.of(site.url + "/pdf") == [("drop", "not-text")]
    assert found.of(site.url + "/dead") == [("drop", "no-answer")]


def test_answers_that_are_no_http(site: Site, run: Run) -> None:
    site.link("/", "/headers", "/chunked", "/length", "/fine")
    site.link("/fine")
    site.pages["/headers"] = Reply("x", headers={"X-Long": "y" * 300_000})
    site.pages["/chunked"] = Reply("zz\r\nnot chunks", headers={"Transfer-Encoding": "chunked"})
    site.pages["/length"] = Reply("x", headers={"Content-Length": "minus one"})
    found = run(page_seconds=2)
    for path in ("/headers", "/chunked", "/length"):
        assert found.of(site.url + path) == [("drop", "no-answer")], path
    assert found.of(site.url + "/fine") == [("keep", "fetched")]


def test_bounds_of_bytes_and_time(site: Site, run: Run) -> None:
    site.fallback = lambda path: Reply(
        os.urandom(5000).hex() + f'<a href="/{int(path[1:] or 0) + 1}">'
    ) if path[1:].isdigit() or path == "/" else None  # fmt: skip
    found = run(max_bytes=35_000, max_depth=99)
    assert (found.result.stopped, found.result.pages) == ("max_bytes", 4)
    late = run(out="late.warc.gz", seconds=0.3, delay=0.1, max_depth=99)
    assert late.result.stopped == "seconds"
    assert 0 <= late.result.pages <= 3


def test_requests_to_one_host_keep_their_distance(site: Site, run: Run) -> None:
    site.link("/", "/a", "/b")
    site.link("/a")
    site.link("/b")
    run(delay=0.1)
    times = [at for _, _, at in site.requests]
    assert min(b - a for a, b in pairwise(times)) >= 0.095


def test_settings_are_checked(tmp_path: Path, run: Run, site: Site) -> None:
    for bad in ("ftp://x/", "nothing", "http://"):
        with pytest.raises(UsageError, match="not an http"):
            CrawlSettings(seeds=(bad,))
    with pytest.raises(UsageError, match="max_pages"):
        CrawlSettings(seeds=("http://x/",), max_pages=0)
    with pytest.raises(UsageError, match="no header may"):
        CrawlSettings(seeds=("http://x/",), contact="a\r\nb: c")
    with pytest.raises(UsageError, match="ends in"):
        run(out="site.zip")
    (tmp_path / "mine.warc.gz").write_bytes(b"precious")
    with pytest.raises(UsageError, match="there already"):
        run(out="mine.warc.gz")
    assert (tmp_path / "mine.warc.gz").read_bytes() == b"precious"
    site.link("/")
    run()
    with pytest.raises(UsageError, match="began elsewhere"):
        run("http://other.example/")
