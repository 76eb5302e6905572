"""What sites ask for, and that a crawl does it: robots.txt, noindex, reservations, sitemaps."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from chatwright.collect.crawl.policy import HostFiles, Policy
from chatwright.collect.crawl.sitemap import MAX_ADDRESSES, read_sitemap

from .conftest import Crawled, Reply, Site

Run = Callable[..., Crawled]
TEXT = {"Content-Type": "text/plain"}


def test_robots_rules_and_delay(site: Site, run: Run) -> None:
    site.pages["/robots.txt"] = Reply(
        "User-agent: *\nDisallow: /\n\nUser-agent: Chatwright\nDisallow: /private\n"
        "Crawl-delay: 0.15\n", headers=TEXT,
    )  # fmt: skip
    site.link("/", "/private/x", "/a")
    site.link("/a")
    found = run()
    assert found.of(site.url + "/private/x") == [("drop", "robots")]
    assert "/private/x" not in site.asked
    times = {path: at for path, _, at in site.requests}
    assert times["/a"] - times["/"] >= 0.145


@pytest.mark.parametrize(
    ("reply", "pages", "asked"),
    [
        (Reply("none", 404), 1, 1),
        (Reply("none", 410), 1, 1),
        (Reply("broken", 500), 0, 3),
        (Reply("busy", 429), 0, 3),
        (Reply("go away", 403), 0, 1),
        (Reply("<!doctype html><p>User-agent: *\nDisallow: /"), 1, 1),
        (Reply(b"\xff\xfe\x00binary", headers=TEXT), 1, 1),
        (Reply("", headers=TEXT), 1, 1),
        (Reply("User-agent: *\nDisallow: /", headers=TEXT), 0, 1),
        (Reply("User-agent: *\nCrawl-delay: 86400", headers=TEXT), 0, 1),
        (Reply("", 302, {"Location": "/robots.txt"}), 0, 18),
        (Reply("", 302, {"Location": "http://elsewhere.example/robots.txt"}), 0, 3),
        (Reply("a" * 9_000_000 + "\nUser-agent: *\nDisallow: /", headers=TEXT), 1, 1),
    ],
)
def test_whatever_robots_txt_is(site: Site, run: Run, reply: Reply, pages: int, asked: int) -> None:
    site.pages["/robots.txt"] = reply
    site.link("/")
    found = run(delay=0.001)
    assert found.result.pages == pages
    assert site.asked.count("/robots.txt") == asked
    if not pages:
        assert found.of(site.url + "/") == [("drop", "robots")]
        assert "/" not in site.asked


def test_robots_txt_elsewhere_on_the_site(site: Site, run: Run) -> None:
    site.pages["/robots.txt"] = Reply("", 301, {"Location": "/rules.txt"})
    site.pages["/rules.txt"] = Reply("User-agent: *\nDisallow: /no", headers=TEXT)
    site.link("/", "/no")
    assert run().of(site.url + "/no") == [("drop", "robots")]


def test_noindex_nofollow_and_opt_outs(site: Site, run: Run) -> None:
    meta = '<meta name="{}" content="{}"><a href="/from{}">x</a>'
    cases = {
        "/noindex": (meta.format("robots", "NoIndex", 1), {}, "noindex", True),
        "/nofollow": (meta.format("robots", "nofollow", 2), {}, "fetched", False),
        "/none": (meta.format("robots", "none", 3), {}, "noindex", False),
        "/other": (meta.format("googlebot", "noindex", 4), {}, "fetched", True),
        "/us": (meta.format("chatwright", "noindex", 5), {}, "noindex", True),
        "/noai": (meta.format("robots", "index, noai", 6), {}, "opt-out", True),
        "/noimageai": (meta.format("robots", "noimageai", 7), {}, "fetched", True),
        "/tdm": (meta.format("tdm-reservation", "1", 8), {}, "opt-out", True),
        "/tdm0": (meta.format("tdm-reservation", "0", 9), {}, "fetched", True),
        "/htdm": ("<a href=/from10>", {"TDM-Reservation": "1",
                  "TDM-Policy": "https://e.example/p.json"}, "opt-out", True),
        "/tag": ("<a href=/from11>", {"X-Robots-Tag": "noindex"}, "noindex", True),
        "/bing": ("<a href=/from12>", {"X-Robots-Tag": "bingbot: noindex"}, "fetched", True),
        "/gpt": ("<a href=/from13>", {"X-Robots-Tag": "GPTBot: noai"}, "opt-out", True),
        "/comment": (f"<!-- {meta.format('robots', 'none', 14)} --><p>x", {}, "fetched", False),
    }  # fmt: skip
    site.link("/", *cases)
    for path, (html, headers, _, _) in cases.items():
        site.pages[path] = Reply(html, headers=headers)
    site.fallback = lambda path: Reply("<p>leaf") if path.startswith("/from") else None
    found = run()
    for number, (path, (_, _, rule, follows)) in enumerate(cases.items(), start=1):
        assert rule in [r for _, r in found.of(site.url + path)], path
        assert (f"/from{number}" in site.asked) is follows, path
    bodies = {url for url, _, _ in found.records("response")}
    notes = {url: text.decode() for url, _, text in found.records("metadata")}
    assert site.url + "/tdm" not in bodies
    assert "chatwright-verdict: opt-out" in notes[site.url + "/tdm"]
    assert "policy https://e.example/p.json" in notes[site.url + "/htdm"]
    assert "chatwright-signals: noimageai" in notes[site.url + "/noimageai"]


def test_links_that_ask_not_to_be_followed(site: Site, run: Run) -> None:
    site.pages["/"] = (
        '<base href="/deep/"><a rel="nofollow" href="/a">a</a><a rel="noopener ugc" href=/b>b</a>'
        '<a href="c">c</a><area href="d"><link href="/e" rel=next>'
    )
    site.fallback = lambda path: Reply("<p>leaf") if len(path) < 9 else None
    found = run()
    assert [p for p in site.asked if p.count("/") == 2 and "." not in p] == ["/deep/c", "/deep/d"]
    (line,) = [x for x in found.lines if x["rule"] == "nofollow"]
    assert line["value"] == 2


def test_files_that_reserve_mining(site: Site, run: Run) -> None:
    site.link("/", "/open/a", "/open/closed/b", "/news/c", "/art.html", "/d")
    site.fallback = lambda path: Reply("<p>leaf")
    rules = [
        {"location": "/open/closed/*", "tdm-reservation": 1, "tdm-policy": "https://p.example/"},
        {"location": "/open/", "tdm-reservation": 0},
        "nonsense",
    ]
    site.pages["/.well-known/tdmrep.json"] = Reply(json.dumps(rules))
    site.pages["/robots.txt"] = Reply(
        "User-agent: *\nAllow: /\n\nUser-agent: GPTBot\nDisallow: /news\n", headers=TEXT
    )
    site.pages["/ai.txt"] = Reply("User-Agent: *\nDisallow: /*.html\n", headers=TEXT)
    found = run()
    closed = {x["uri"].removeprefix(site.url): x["detail"] for x in found.lines
              if x["rule"] == "opt-out"}  # fmt: skip
    assert closed == {
        "/open/closed/b": "tdmrep.json reserves it; policy https://p.example/",
        "/news/c": "robots.txt bars gptbot",
        "/art.html": "ai.txt disallows it",
    }
    assert not set(closed) & set(site.asked)
    noted = [url for url, _, text in found.records("metadata") if b"verdict: opt-out" in text]
    assert sorted(noted) == sorted(site.url + path for path in closed)


def test_patterns_that_would_backtrack() -> None:
    star = "*a" * 5000
    rules = json.dumps([{"location": f"/{star}$", "tdm-reservation": 1}])
    robots = f"User-agent: *\nDisallow: /{star}$"
    policy = Policy(HostFiles("rules", robots=robots, tdmrep=rules, ai=robots))
    assert policy.refuses("http://e.example/" + "a" * 4000 + "b") is None


def sitemap(*addresses: str, kind: str = "url") -> str:
    locations = "".join(f"<{kind}><loc>{a}</loc></{kind}>" for a in addresses)
    outer = "urlset" if kind == "url" else "sitemapindex"
    return (
        f'<?xml version="1.0"?><{outer} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
        f"{locations}</{outer}>"
    )


def test_sitemaps(site: Site, run: Run) -> None:
    site.pages["/robots.txt"] = Reply(f"Sitemap: {site.url}/index.xml\n", headers=TEXT)
    site.pages["/index.xml"] = sitemap(
        site.url + "/one.xml.gz", site.url + "/index.xml", "http://elsewhere.example/s.xml",
        site.url + "/plain.txt", kind="sitemap",
    )  # fmt: skip
    one = sitemap(site.url + "/a", "http://elsewhere.example/", "/relative").encode()
    site.pages["/one.xml.gz"] = Reply(gzip.compress(one), headers={"Content-Type": "x/gzip"})
    site.pages["/plain.txt"] = Reply(f"{site.url}/b\nnonsense\n", headers=TEXT)
    for path in ("/", "/a", "/b"):
        site.link(path)
    found = run(sitemaps=True)
    assert found.result.pages == 3
    assert sorted(found.rule("sitemap")) == [
        site.url + path for path in ("/index.xml", "/one.xml.gz", "/plain.txt")
    ]
    assert len(site.asked) == len(set(site.asked))


def test_sitemap_bombs() -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
    )
    bomb = laughs + "]><urlset><url><loc>http://e.example/&j;</loc></url></urlset>"
    assert all(len(page) < 100 for page in read_sitemap(bomb.encode()).pages)
    external = (
        '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
        "<urlset><url><loc>http://e.example/&f;</loc></url></urlset>"
    )
    assert "root" not in str(read_sitemap(external.encode()).pages)
    swollen = read_sitemap(gzip.compress(b" " * 60_000_000))
    assert swollen.fault is not None
    many = read_sitemap(sitemap(*(f"http://e.example/{n}" for n in range(60_000))).encode())
    assert len(many.pages) == MAX_ADDRESSES
    assert many.fault is not None
    cut = read_sitemap(sitemap("http://e.example/1", "http://e.example/2").encode()[:150])
    assert cut.fault is not None
    assert read_sitemap(b"<html><p>not found</html>").pages == []
    assert read_sitemap(b"").fault is not None
    assert read_sitemap(b"<" * 100_000).fault is not None
