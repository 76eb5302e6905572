from __future__ import annotations

import time

import pytest

from chatwright.collect.licenses import normalised, spdx
from chatwright.collect.signals import page_signals
from chatwright.collect.tags import tags_of


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("mit", "MIT"), ("MIT License", "MIT"), ("Apache License, Version 2.0", "Apache-2.0"),
        ("apache-2.0", "Apache-2.0"), ("CC BY-SA 4.0", "CC-BY-SA-4.0"),
        ("cc_by_nc_sa_3.0", "CC-BY-NC-SA-3.0"), ("GPL-3.0", "GPL-3.0-only"),
        ("MIT OR Apache-2.0", "MIT OR Apache-2.0"), ("cc0", "CC0-1.0"),
        ("https://creativecommons.org/licenses/by-nc/3.0/us/deed.en", "CC-BY-NC-3.0"),
        ("http://creativecommons.org/licenses/by/3.0/de/", "CC-BY-3.0-DE"),
        ("//creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("internal", "internal"), ("bsd", "bsd"), ("cc-by", "cc-by"),
        ("public domain", "public domain"),
        ("unknown", None), ("NOASSERTION", None), ("other", None), ("  ", None), (None, None),
        ("\u672a\u77e5", None),
    ],
)  # fmt: skip
def test_licences(said: str | None, expected: str | None) -> None:
    assert normalised(said) == expected


def test_normalising_twice_changes_nothing() -> None:
    for said in ("mit", "CC BY 4.0", "gplv2", "internal", "psf", "odbl"):
        once = normalised(said)
        assert normalised(once) == once


def signals(html: str, **headers: str):  # type: ignore[no-untyped-def]
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return page_signals(pairs, html.encode(), uri="https://e.example/p/q")


def test_licences_of_pages() -> None:
    cc = "https://creativecommons.org/licenses/by-sa/4.0/"
    assert signals(f'<a rel="license noopener" href="{cc}">x</a>').license == "CC-BY-SA-4.0"
    assert signals('<link rel=license href="/terms">').license == "https://e.example/terms"
    assert signals('<meta name="DC.rights" content="CC BY 4.0">').license == "CC-BY-4.0"
    assert signals('<meta name="dcterms.rights" content="All rights reserved">').license is None
    only = signals(f'<p><a href="{cc}">picture</a></p>')
    assert (only.license, only.hint) == (None, "CC-BY-SA-4.0")
    two = signals(f'<a href="{cc}">a</a><a href="{cc.replace("-sa", "")}">b</a>')
    assert two.hint is None
    assert signals(f'<!-- <a rel="license" href="{cc}"> -->').license is None


def test_headers_of_several_agents() -> None:
    assert signals("", X_Robots_Tag="noindex").noindex
    assert not signals("", X_Robots_Tag="otherbot: noindex, nofollow").noindex
    assert signals("", X_Robots_Tag="otherbot: noarchive, chatwright: noindex").noindex
    assert not signals("", X_Robots_Tag="unavailable_after: 25 Jun 2030, all").noindex
    assert signals("", X_Robots_Tag="max-snippet: 5, noindex").noindex
    assert signals("", tdm_reservation="1").opt_out == ("tdm-reservation (header)",)
    assert signals("", tdm_reservation="0").opt_out == ()
    both = page_signals([("X-Robots-Tag", "a: noindex"), ("x-robots-tag", "noai")], b"")
    assert (both.noindex, both.opt_out) == (False, ("noai (X-Robots-Tag)",))


@pytest.mark.parametrize(
    "hostile",
    ["<meta " * 200_000, "<!--" * 200_000, "<div>" * 200_000 + "<meta name=robots>",
     "<a href='" * 100_000, "robots<meta>" * 50_000, "<" * 500_000,
     "<a rel=license href=" + "x" * 500_000 + ">", "creativecommons.org/" * 50_000],
)  # fmt: skip
def test_hostile_pages_take_no_time(hostile: str) -> None:
    began = time.process_time()
    signals(hostile)
    tags_of(hostile, frozenset({"a", "meta"}))
    spdx(hostile)
    assert time.process_time() - began < 3
