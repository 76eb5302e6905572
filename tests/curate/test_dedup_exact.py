"""Addresses, documents, lines of a site, rounds of the join, clusters, and what can go wrong."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dedup_corpus import (
    MIB,
    as_text,
    deduplicate,
    left,
    make_words,
    rows_of,
    verdicts,
    write_shards,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chatwright.curate.dedup import (
    DedupRow,
    DedupSettings,
    JoinResult,
    LineSettings,
    UrlSettings,
    apply_verdict,
    join,
)
from chatwright.curate.dedup.clusters import Assigned, Clusters, Pairs, assign
from chatwright.curate.dedup.paragraphs import line_keys, paragraphs, site_of, text_lines
from chatwright.curate.dedup.urls import normalise_url, url_key
from chatwright.curate.quality import RepeatedParagraphs
from chatwright.errors import DataError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://Example.COM:80/a/", "https://example.com/a"),
        ("HTTPS://example.com:443", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("http://example.com:443/a", "https://example.com/a"),
        ("https://user:pw@example.com/a#part", "https://example.com/a"),
        ("https://example.com/?", "https://example.com"),
        ("https://e.com/a?utm_source=x&id=3&gclid=9&fbclid=1", "https://e.com/a?id=3"),
        ("https://e.com/a?b=2&a=1&b=1", "https://e.com/a?a=1&b=2&b=1"),
        ("https://e.com/a;jsessionid=0A?PHPSESSID=1", "https://e.com/a"),
        ("https://www.bilibili.com/video/x?spm_id_from=1&vd_source=2", "https://www.bilibili.com/video/x"),
        ("https://e.com/%7euser/%c3%a9", "https://e.com/~user/%C3%A9"),
        ("https://e.com/~user/\u00e9", "https://e.com/~user/%C3%A9"),
        ("https://e.com/a/./b/../c//d/", "https://e.com/a/c/d"),
        ("https://e.com/a%2Fb", "https://e.com/a%2Fb"),
        ("https://\u4f8b\u5b50.\u4e2d\u56fd/\u9875", "https://xn--fsqu00a.xn--fiqs8s/%E9%A1%B5"),
        ("https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x"),
        ("https://e.com./a", "https://e.com/a"),
        ("https://e.com/a?spamid=1&source=2", "https://e.com/a?source=2&spamid=1"),
        ("file:///a/b", None),
        ("pypi:sqlalchemy==2.0/page", None),
        ("https://", None),
        ("https://e.com:port/", None),
        ("https://[broken/", None),
        ("", None),
    ],
)  # fmt: skip
def test_addresses_have_one_spelling(given: str, expected: str | None) -> None:
    assert normalise_url(given) == expected
    if expected is not None:
        assert normalise_url(expected) == expected
        assert url_key(given) == url_key(expected)


@given(st.text(max_size=30), st.text(alphabet="ab/.%41?&=;#:@[]\u4f1a\ud800", max_size=30))
def test_any_address_has_a_spelling_that_is_its_own(host: str, rest: str) -> None:
    for uri in (f"https://{host}/{rest}", f"http://e.com/{rest}", rest):
        once = normalise_url(uri)
        if once is not None and once.startswith("https://e.com"):
            assert normalise_url(once) == once


@pytest.mark.parametrize("part", ["%", "a", "/.", "&", "=", "utm_", ";jsessionid=", "../", "|"])
def test_long_and_hostile_input_takes_no_time(part: str, tmp_path: Path) -> None:
    text = part * (100_000 // len(part))
    rows = [DedupRow(0, "a", f"https://e.com/{text[:8000]}", text), DedupRow(1, "b", text, text)]
    every = DedupSettings(
        urls=True, near=True, paragraphs=RepeatedParagraphs(least=1), lines=LineSettings(pages=2)
    )
    began = time.process_time()
    write_shards([rows], every, tmp_path)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(("survivor", "expected"), [("newest", 2), ("first", 0), ("longest", 1)])
def test_one_address_one_row(survivor: str, expected: int, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    rows = [
        DedupRow(
            n,
            f"id-{n}",
            uri,
            f"text {n}",
            words=[1, 9, 2, 3][n],
            collected_at=datetime(2026, 1, n + 1, tzinfo=UTC),
        )
        for n, uri in enumerate(
            ["http://e.com/a", "https://E.com/a/#x", "https://e.com/a?utm_id=1", "https://e.com/b"]
        )
    ]
    chosen = DedupSettings(urls=UrlSettings(survivor=survivor))  # type: ignore[arg-type]
    found = deduplicate(rows, chosen, tmp_path)
    drops = {p: v.drop for p, v in found.items() if v.drop}
    assert set(drops) == {0, 1, 2} - {expected}
    for note in drops.values():
        assert note == (
            "duplicate-url", None, None, f"id-{expected}", f"the {survivor} of 3 stays",
        )  # fmt: skip


def test_one_text_one_row_and_only_what_stays_is_compared_further(tmp_path: Path) -> None:
    texts = ["Same text.", "other text", "same  TEXT", "same text!"]
    uris = ["https://e.com/1", "https://e.com/2", "https://e.com/3", "https://e.com/1/"]
    rows = rows_of(texts, uris)
    found = deduplicate(rows, DedupSettings(urls=UrlSettings(survivor="first")), tmp_path)
    drops = {p: (v.drop.rule, v.drop.other_id) for p, v in found.items() if v.drop}
    assert drops == {3: ("duplicate-url", "id-0"), 2: ("duplicate-document", "id-0")}
    assert all(v.merged == 0 for v in found.values())


PAGE = """# Title {n}

Home | News | About us

Text of page {n}, which nobody else has.

- Read more
- {n}

| Name | Type |
|---|---|
| a | b |

Copyright by the site
"""


def test_lines_that_a_site_repeats_go_from_all_but_the_first(tmp_path: Path) -> None:
    texts = [PAGE.format(n=n) for n in range(6)]
    uris = [f"https://{'www.' if n % 2 else ''}a.test/{n}" for n in range(5)] + ["https://b.test/"]
    rows = rows_of(texts, uris)
    asked = DedupSettings(lines=LineSettings(pages=5))
    found = deduplicate(rows, asked, tmp_path / "five")
    out = left(rows, found)
    assert out[0] == texts[0] and out[5] == texts[5]
    for n in range(1, 5):
        assert out[n] == (
            f"# Title {n}\n\nText of page {n}, which nobody else has.\n\n- {n}\n\n"
            "| Name | Type |\n|---|---|\n| a | b |\n"
        )
        _, notes = apply_verdict(texts[n], found[n])
        assert notes[0].rule == "duplicate-lines" and notes[0].value == 3
        assert notes[0].bound == "in at most 1 pages of a site, where 5 or more have it"
        assert notes[0].other_id == "id-0"
    few = deduplicate(rows, DedupSettings(lines=LineSettings(pages=6)), tmp_path / "six")
    assert few == {}
    none = DedupSettings(lines=LineSettings(pages=5, copies=0))
    out = left(rows, deduplicate(rows, none, tmp_path / "none"))
    assert "Copyright" not in (out[0] or "") and "Copyright" in (out[5] or "")


def test_lines_and_paragraphs_of_one_row_are_taken_out_together(tmp_path: Path) -> None:
    shared = "A paragraph that two pages have, word for word. " * 5
    texts = [f"Menu of it\n\n{shared}\n\nown {n} text\nMenu of it\nmore {n}\n" for n in range(3)]
    rows = rows_of(texts)
    asked = DedupSettings(
        paragraphs=RepeatedParagraphs(least=100), lines=LineSettings(pages=3), near=False
    )
    found = deduplicate(rows, asked, tmp_path)
    assert left(rows, found)[2] == "own 2 text\nmore 2\n"
    assert [note.rule for note in apply_verdict(texts[2], found[2])[1]] == [
        "duplicate-paragraphs",
        "duplicate-lines",
    ]


def test_line_keys_are_of_the_site_and_in_step_with_the_lines() -> None:
    parts = paragraphs("# Head\n\none line\ntwo line\n\n```\ncode line\n```\n")
    keys = line_keys(parts, "a.test", 1)
    assert text_lines(parts) == ["# Head", "one line", "two line", "```", "code line", "```"]
    assert [key is not None for key in keys] == [False, True, True, False, False, False]
    assert line_keys(parts, "b.test", 1)[1] != keys[1]
    assert site_of("HTTPS://WWW.A.test/x") == "a.test"
    assert site_of("https://[broken") is None and site_of("mailto:x@y") is None


def test_rounds_give_paragraphs_back_and_keep_the_clusters(tmp_path: Path) -> None:
    rng = random.Random(1)
    shared = [as_text(make_words(rng, "en", 60), "en") for _ in range(3)]
    own = [as_text(make_words(rng, "en", 200), "en") for _ in range(5)]
    texts = [
        f"{shared[0]}\n\n{own[0]}",
        f"{shared[0]}\n\n{shared[1]}",  # loses one to row 0 ...
        f"{shared[1]}\n\n{shared[2]}",  # ... and row 2 one to row 1
        f"{shared[2]}\n\n{own[1]}",
        f"{own[2]}",
        f"{own[2]} one more word",
    ]
    rows = rows_of(texts)
    asked = DedupSettings(near=True, paragraphs=RepeatedParagraphs(least=50))
    keys = write_shards([rows[:3], rows[3:]], asked, tmp_path)
    first = join(keys, asked, scratch=tmp_path, memory=256 * MIB)
    assert first.counts == {"duplicate-paragraphs": 3, "near-duplicate": 1}
    found = verdicts(first, 2)
    assert found[1].paragraphs == ((0, "id-0"),) and found[2].paragraphs == ((0, "id-1"),)
    assert first.settled({1, 2}) == {1}  # what row 2 lost, it gets back without row 1
    assert first.settled({2, 3}) == {2}
    assert first.settled({1, 3}) == {1, 3}
    second = join(keys, asked, scratch=tmp_path, memory=256 * MIB, without={1}, previous=first)
    again = verdicts(second, 2)
    assert again[3].paragraphs == ((0, "id-2"),) and 1 not in again and 2 not in again
    assert again[4] == found[4] and again[5] == found[5]
    assert verdicts(first, 2) == found  # an earlier round can still be read
    anew = join(keys, asked, scratch=tmp_path / "anew", memory=256 * MIB, without={1})
    assert verdicts(anew, 2) == again


def test_nothing_to_join(tmp_path: Path) -> None:
    every = DedupSettings(urls=True, near=True, lines=True, paragraphs=RepeatedParagraphs())
    assert join([], every, scratch=tmp_path, memory=MIB).counts == {}
    keys = write_shards([[], rows_of(["alone"]), []], every, tmp_path)
    found = join(keys, every, scratch=tmp_path, memory=MIB)
    assert found.counts == {} and verdicts(found, 3) == {}


def test_paths_with_quotes_and_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "it's [1]* a ?"
    assert list(deduplicate(rows_of(["same", "same"]), DedupSettings(), folder)) == [1]


def test_what_a_killed_join_left_is_no_obstacle(tmp_path: Path) -> None:
    home = tmp_path / "join"
    (home / "spill").mkdir(parents=True)
    (home / "source.parquet").write_bytes(b"half a file")
    (home / ".round-0000.12345678.partial").mkdir()
    (home / "shingles.bin").write_bytes(b"x")
    found = deduplicate(rows_of(["same", "same"]), DedupSettings(near=True), tmp_path)
    assert list(found) == [1]
    assert sorted(p.name for p in home.iterdir()) == [
        "gone.parquet",
        "round-0000",
        "source.parquet",
    ]


@pytest.mark.parametrize("damage", ["missing", "truncated", "other", "twice"])
def test_bad_key_files_are_named(damage: str, tmp_path: Path) -> None:
    rows = rows_of(["a b c", "d e f"])
    keys = write_shards([rows[:1], rows[1:]], DedupSettings(), tmp_path)
    if damage == "missing":
        keys[1].unlink()
    elif damage == "truncated":
        keys[1].write_bytes(keys[1].read_bytes()[:-20])
    elif damage == "other":
        pq.write_table(pq.read_table(keys[1]).select(["position"]), keys[1])
    else:
        keys[1].write_bytes(keys[0].read_bytes())
    with pytest.raises(DataError) as raised:
        join(keys, DedupSettings(), scratch=tmp_path, memory=MIB)
    assert str(tmp_path) in str(raised.value)


def test_results_travel_to_other_processes(tmp_path: Path) -> None:
    keys = write_shards([rows_of(["same", "same"])], DedupSettings(), tmp_path)
    found = join(keys, DedupSettings(), scratch=tmp_path, memory=MIB)
    assert JoinResult(found.folder, found.counts).of(0) == found.of(0)
    assert found.of(7) == {}


def test_settings_say_what_is_wrong() -> None:
    assert DedupSettings().resolved(RepeatedParagraphs(least=5)).paragraphs == RepeatedParagraphs(
        least=5
    )
    assert DedupSettings(paragraphs=False).resolved(RepeatedParagraphs()).paragraphs is False
    assert not DedupSettings(documents=False).any
    for near in (
        {"threshold": 0},
        {"threshold": 1.1},
        {"bands": 4},
        {"bands": 100, "rows": 100},
        {"survivor": "oldest"},
        {"tresholdd": 0.5},
    ):
        with pytest.raises(ValidationError):
            DedupSettings(near=near)  # type: ignore[arg-type]


_EDGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=25)


def as_pairs(edges: list[tuple[int, int]], value: float = 0.9) -> Pairs:
    one = np.array([min(e) for e in edges], np.int64)
    return Pairs(one, np.array([max(e) for e in edges], np.int64), np.full(len(edges), value))


@given(_EDGES, st.randoms(use_true_random=False))
def test_clusters_are_the_connected_components(
    edges: list[tuple[int, int]], rng: random.Random
) -> None:
    plain = {n: {n} for n in range(13)}
    for a, b in edges:
        both = plain[a] | plain[b]
        for row in both:
            plain[row] = both
    shuffled = list(edges)
    rng.shuffle(shuffled)
    clusters = Clusters()
    half = len(edges) // 2
    clusters.add(as_pairs(shuffled[:half]))
    clusters.add(as_pairs(shuffled[half:]))
    rows = np.arange(13, dtype=np.int64)
    assert clusters.roots(rows).tolist() == [min(plain[n]) for n in range(13)]


@given(st.lists(st.integers(0, 40), min_size=2, max_size=12), st.permutations(range(12)))
def test_every_row_that_goes_is_like_the_one_that_stays(
    places: list[int], ranks: list[int]
) -> None:
    """Rows on a line, alike when within 5: clusters are chains, with many rows unlike others."""

    def alike(a: int, b: int) -> float:
        return 1 - abs(places[a] - places[b]) / 50

    rows = range(len(places))
    edges = [(a, b) for a in rows for b in rows if a < b and alike(a, b) >= 0.9]
    pairs = as_pairs(edges)
    pairs.value[:] = [alike(a, b) for a, b in edges]
    rank = np.array(ranks[: len(places)], np.int64)
    assigned = Assigned.nobody(len(places))
    assign(assigned, pairs, rank, 0.9, lambda a, others: [alike(a, b) for b in others])
    survivor = assigned.survivor.tolist()
    for row in rows:
        if survivor[row] >= 0:
            assert survivor[survivor[row]] < 0
            assert alike(row, survivor[row]) >= 0.9
            assert assigned.value[row] == alike(row, survivor[row])
            assert rank[survivor[row]] < rank[row]
    for a, b in edges:
        assert survivor[a] >= 0 or survivor[b] >= 0  # no verified pair stays whole
