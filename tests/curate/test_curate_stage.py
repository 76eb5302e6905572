"""The stages: every input row accounted for, whatever is in it, with any number of workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.curate.page import is_html
from chatwright.curate.rules import Stages
from chatwright.curate.split import held_out
from chatwright.errors import DataError, UsageError
from chatwright.records import Dataset, Preference, write_dataset

WORDS = "The session keeps the objects that you load and writes their changes to the database. "
LONG = (
    "Every page of this manual says that a connection is returned to the pool when it closes. " * 3
)


def page(title: str, body: str) -> str:
    return (
        f'<html><head><meta name="generator" content="Sphinx"><title>{title}</title></head><body>'
        f'<nav>Menu</nav><div class="body" role="main"><h1 id="top">{title}</h1>{body}</div></body>'
    )


def words(n: int) -> str:
    return "".join(f"<p>{WORDS} Number {n}, sentence {i}.</p>" for i in range(4))


PAGES = [
    ("good.html", page("Good", words(1) + f"<p>{LONG}</p>")),
    ("same.html", page("Good", words(1) + f"<p>{LONG}</p>")),
    ("SAME2.html", page("GOOD", words(1) + f"<p>{LONG}!</p>")),
    ("part.html", page("Part", words(2) + f"<h2>Pool</h2><p>{LONG}</p>")),
    ("part2.html", page("Part 2", words(3) + f"<h2>Pool</h2><p>{LONG}</p><h2>End</h2><p>x</p>")),
    ("short.html", page("Short", "<p>gone</p>")),
    ("empty.html", page("", "")),
    ("blank.txt", "  \n"),
    ("links.html", page("Index", "<p>" + "<a href=x>a link of many words</a> " * 20 + "</p>")),
    ("french.html", page("Session", "<p>La session contient les objets chargés.</p>" * 20)),
    (
        "zh.html",
        page("会话", "<p>会话保存您加载的对象，并收集对它们的修改，然后写入数据库。</p>" * 3),
    ),
    ("plain.md", "# Plain\n\n" + WORDS * 5 + "\n\n```\n<p>code</p>\n```\n"),
    ("mojibake.txt", "The cafÃ© is open. " + WORDS * 5),
    ("deep.html", "<div>" * 5_000 + WORDS * 5),
    ("replaced.txt", "\ufffd\ufffd\ufffd wrong " * 40),
]


def final_lines(dataset: Dataset) -> dict[str, tuple[str, str]]:
    """uri → (action, rule) of its last line; fails unless there is exactly one keep or drop."""
    found: dict[str, tuple[str, str]] = {}
    for entry in dataset.ledger:
        assert entry.uri not in found, "a line after the final one"
        if entry.action in ("keep", "drop"):
            found[entry.uri] = (entry.action, entry.rule)
    return found


def test_every_page_has_its_fate_and_its_reason(collected: Any, run: Any) -> None:
    collected("pages", PAGES)
    corpus = run("curate", "corpus", input="pages", workers=2, languages=["en", "zh"])
    fates = {uri.rpartition("/")[2]: fate for uri, fate in final_lines(corpus).items()}
    keep = ("keep", "curated")
    assert fates == {
        "good.html": keep,
        "same.html": ("drop", "duplicate-document"),
        "SAME2.html": ("drop", "duplicate-document"),
        "part.html": keep,
        "part2.html": keep,
        "short.html": ("drop", "word_count"),
        "empty.html": ("drop", "empty"),
        "blank.txt": ("drop", "empty"),
        "links.html": ("drop", "link_ratio"),
        "french.html": ("drop", "language"),
        "zh.html": keep,
        "plain.md": keep,
        "mojibake.txt": keep,
        "deep.html": keep,
        "replaced.txt": ("drop", "replacement_ratio"),
    }
    rows = {row.uri.rpartition("/")[2]: row for row in corpus.rows}
    assert list(rows) == [name for name, _ in PAGES if fates[name] == keep]
    assert (
        corpus.info.counts["in"]
        == len(PAGES)
        == corpus.info.counts["kept"] + corpus.info.counts["dropped"]
    )
    # The third page with the long paragraph loses it, and the heading above it.
    assert LONG.strip() in rows["part.html"].text and "## Pool" in rows["part.html"].text
    assert LONG.strip() not in rows["part2.html"].text and "## Pool" not in rows["part2.html"].text
    assert "## End" in rows["part2.html"].text
    (edit,) = [e for e in corpus.ledger if e.rule == "duplicate-paragraphs"]
    assert (edit.value, edit.other_id) == (1, rows["good.html"].id)
    assert rows["good.html"].meta["title"] == "Good"
    assert rows["good.html"].meta["anchors"] == [["# Good", "top"]]
    assert (rows["good.html"].language, rows["zh.html"].language) == ("en", "zh")
    assert "Menu" not in rows["good.html"].text
    assert "```\n<p>code</p>\n```" in rows["plain.md"].text
    assert rows["mojibake.txt"].text.startswith("The café is open.")
    edits = Counter(e.rule for e in corpus.ledger if e.uri.endswith("mojibake.txt"))
    assert edits == {"mojibake": 1, "spaces": 1, "curated": 1}


def test_the_row_keeps_its_id_and_provenance(collected: Any, run: Any) -> None:
    pages = collected("pages", PAGES[:1])
    (before,) = pages.rows
    (after,) = run("curate", "corpus", input="pages", workers=0).rows
    assert (after.id, after.uri, after.source) == (before.id, before.uri, before.source)
    assert after.parents == []


def test_the_number_of_workers_changes_no_byte(collected: Any, run: Any) -> None:
    many = [(f"{n}-{name}", text) for n in range(3) for name, text in PAGES]
    collected("pages", many)
    digests, ledgers = [], []
    for workers in (0, 2):
        corpus = run("curate", f"corpus{workers}", input="pages", workers=workers)
        digests.append(corpus.info.content_digest)
        ledgers.append([(e.row_id, e.action, e.rule, e.value, e.other_id) for e in corpus.ledger])
        assert corpus.info.settings.get("workers") is None
    assert digests[0] and digests[0] == digests[1]
    assert ledgers[0] == ledgers[1]


def test_a_page_that_takes_too_long_is_a_line_and_not_a_crash(collected: Any, run: Any) -> None:
    slow = page("Slow", "<p>word</p>" * 100_000)
    collected("pages", [PAGES[0], ("slow.html", slow), PAGES[3]])
    corpus = run("curate", "corpus", input="pages", workers=1, page_seconds=0.05)
    fates = {uri.rpartition("/")[2]: fate for uri, fate in final_lines(corpus).items()}
    assert fates["slow.html"] == ("drop", "timeout")
    assert len(fates) == 3


def test_duplicates_can_be_kept(collected: Any, run: Any) -> None:
    collected("pages", PAGES[:5])
    kept = run(
        "curate", "c", input="pages", workers=0, dedup={"documents": False, "paragraphs": False}
    )
    assert len(kept) == 5
    strict = run(
        "curate", "d", input="pages", workers=0, dedup={"paragraphs": {"least": 50, "copies": 1}}
    )
    assert [
        e.uri.rpartition("/")[2] for e in strict.ledger if e.rule == "duplicate-paragraphs"
    ] == [
        "part.html",
        "part2.html",
    ]


def test_wrong_settings_and_inputs_are_said(collected: Any, run: Any, workspace: Any) -> None:
    collected("pages", PAGES[:1])
    with pytest.raises(UsageError, match="gofer"):
        run("curate", "corpus", input="pages", preset="gofer", workers=0)
    assert not (workspace.datasets / "test" / "corpus").exists()
    with write_dataset(
        workspace.datasets / "test" / "pairs", Preference, stage="s", fingerprint="f", settings={}
    ):
        pass
    with pytest.raises(DataError, match="takes documents"):
        run("curate", "corpus", input="pairs", workers=0)


@pytest.mark.parametrize(
    ("text", "media_type", "html"),
    [
        ("<p>x", "text/html", True),
        ("<p>x", "application/xhtml+xml", True),
        ("<html>", "text/markdown", False),
        ("<!DOCTYPE html><p>x", "text/plain", True),
        ("Write <html> first", "text/plain", False),
        ("\ufeff <!DOCTYPE html>", None, True),
        ("<p>not a page</p>", None, False),
        ("<html>", 5, True),
    ],
)
def test_what_is_read_as_html(text: str, media_type: object, html: bool) -> None:
    assert is_html(text, media_type) is html
    assert is_html(text, media_type, "none") is False


_TEXTS = st.lists(
    st.sampled_from(
        ["", "x", WORDS * 3, LONG, f"{WORDS * 3}\n\n{LONG}", f"{LONG}\n\ntail", "会话" * 40]
    ),
    max_size=12,
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_TEXTS, st.integers(1, 2))
def test_each_row_gets_exactly_one_final_line(
    collected: Any, run: Any, texts: list[str], copies: int
) -> None:
    collected("some", [(f"{n}.txt", text) for n, text in enumerate(texts)])
    paragraphs = {"least": 200, "copies": copies}
    corpus = run("curate", "result", input="some", workers=0, dedup={"paragraphs": paragraphs})
    lines = list(corpus.ledger)
    fates = final_lines(corpus)
    assert set(fates) == {f"https://docs.test/{n}.txt" for n in range(len(texts))}
    assert sum(action == "keep" for action, _ in fates.values()) == len(corpus)
    # The ledger tells the rows in the order in which they came in.
    order = [int(line.uri.rpartition("/")[2].removesuffix(".txt")) for line in lines]
    assert order == sorted(order)
    # What a page said alone on its way in is never lost to a page that was dropped in the end.
    if any(LONG in text and len(text.split()) > 60 for text in texts):
        assert any(LONG.strip() in row.text for row in corpus.rows)


def test_split_parts_are_disjoint_whole_and_of_the_right_size(collected: Any, run: Any) -> None:
    collected("pages", [(f"{n}.txt", f"text {n}") for n in range(25)])
    train = run("split", "train", input="pages", part="train", held_out=0.1)
    out = run("split", "out", input="pages", part="held_out", held_out=0.1)
    ids = [{row.id for row in part.rows} for part in (train, out)]
    assert (len(train), len(out)) == (23, 2)
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 25
    for part in (train, out):
        fates = final_lines(part)
        assert len(fates) == 25
        assert sum(action == "keep" for action, _ in fates.values()) == len(part)
    other = run("split", "out2", seed=8, input="pages", part="held_out", held_out=0.1)
    assert {row.id for row in other.rows} != ids[1]


@given(st.lists(st.text(max_size=4), max_size=40), st.floats(0, 1), st.integers(0, 5))
def test_held_out_takes_exactly_the_share(ids: list[str], share: float, seed: int) -> None:
    found = held_out(ids, share, seed)
    assert len(found) == round(share * len(ids))
    assert found == held_out(ids, share, seed)


def test_nothing_is_half_written_when_it_is_interrupted(
    collected: Any, run: Any, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected("pages", PAGES)
    first = run("curate", "corpus", input="pages", workers=0)
    digest = first.info.content_digest

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stages, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run("curate", "corpus", input="pages", workers=0)
    assert Dataset.open(first.path).info.content_digest == digest
    folder: Path = workspace.datasets / "test"
    assert sorted(p.name for p in folder.iterdir()) == ["corpus", "pages"]
