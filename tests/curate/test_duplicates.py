"""Exact duplicates, with the first to say something keeping it."""

from __future__ import annotations

from pathlib import Path

import pytest
from dedup_corpus import deduplicate, left, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate.dedup import DedupSettings, Verdict, apply_verdict
from chatwright.curate.dedup.paragraphs import length, paragraph_keys, paragraphs, text_key
from chatwright.curate.normalise import normalise
from chatwright.curate.quality import RepeatedParagraphs

LONG = "The same sentence about sessions, said again in two pages of the manual. " * 3
LONG_ZH = (
    "\u540c\u4e00\u6bb5\u5173\u4e8e\u4f1a\u8bdd\u7684\u6587\u5b57\uff0c\u5728\u624b\u518c\u7684"
    "\u4e24\u4e2a\u9875\u9762\u91cc\u5404\u51fa\u73b0\u4e00\u6b21\uff0c\u4e00\u4e2a\u5b57\u4e5f"
    "\u6ca1\u6709\u6539\u52a8\u3002"
) * 3


def asked(least: int = 100, copies: int = 1) -> DedupSettings:
    return DedupSettings(documents=False, paragraphs=RepeatedParagraphs(least=least, copies=copies))


def test_keys_ignore_case_width_spacing_and_punctuation_only() -> None:
    assert text_key("Hello,  World!") == text_key("hello world")
    assert text_key("\uff21\uff22\uff23\uff0c\u4f1a\u8bdd\u3002") == text_key("abc \u4f1a\u8bdd")
    assert text_key("Caf\u00c9, no") == text_key("CAFE\u0301 NO!")
    assert text_key("\u4f1a\u8bdd") != text_key("\u7ed8\u753b")
    assert text_key("!!!") != text_key("???")


@pytest.mark.parametrize("said", [LONG, LONG_ZH], ids=["en", "zh"])
def test_repeated_paragraphs_go_from_later_pages_with_their_bare_headings(
    said: str, tmp_path: Path
) -> None:
    first = f"# A\n\n{said.strip()}\n"
    second = f"# B\n\nown text\n\n## Copied\n\n{said.strip()}\n\n## Bare\n\n## Kept\n\nmore\n"
    rows = rows_of([first, second])
    found = deduplicate(rows, asked(), tmp_path)
    assert left(rows, found) == [first, "# B\n\nown text\n\n## Bare\n\n## Kept\n\nmore\n"]
    assert list(found) == [1]
    text, notes = apply_verdict(second, found[1])
    note = notes[0]
    share = 1 - sum(map(length, paragraphs(text))) / sum(map(length, paragraphs(second)))
    assert len(notes) == 1
    assert note[:4] == (
        "duplicate-paragraphs", 1, "in at most 1 of the pages, from 100 letters on", "id-0",
    )  # fmt: skip
    assert note.detail == f"{share:.1%} of its letters"


def test_headings_code_short_and_inner_repeats_stay(tmp_path: Path) -> None:
    code = "```python\n" + "x = session.execute(select(User))\n" * 10 + "```"
    text = f"# {LONG.strip()}\n\n{code}\n\nshort\n\n{LONG.strip()}\n\n{LONG.strip()}\n"
    rows = rows_of([text, text])
    after = left(rows, deduplicate(rows, asked(), tmp_path))
    assert after == [text, f"# {LONG.strip()}\n\n{code}\n\nshort\n"]


def test_copies_says_in_how_many_pages_a_paragraph_may_stand(tmp_path: Path) -> None:
    rows = rows_of([f"{LONG.strip()}\n"] * 4)
    after = left(rows, deduplicate(rows, asked(copies=2), tmp_path))
    assert [bool(text) for text in after] == [True, True, False, False]


def test_a_dropped_document_gives_its_words_back(tmp_path: Path) -> None:
    rows = rows_of([f"{LONG.strip()}\n"] * 3)
    found = deduplicate(rows, asked(), tmp_path / "all")
    assert sorted(found) == [1, 2]
    assert found[2].paragraphs == ((0, "id-0"),)
    found = deduplicate(rows, asked(), tmp_path / "less", without={0})
    assert sorted(found) == [2]
    assert found[2].paragraphs == ((0, "id-1"),)


def test_a_row_without_verdict_keeps_its_bytes() -> None:
    text = "  a\n\n\n\nb  \r\n"
    assert apply_verdict(text, Verdict()) == (text, [])


def test_a_chinese_character_counts_as_three_letters() -> None:
    assert length("abc, d") == 4
    assert length("\u4f1a\u8bdd\u3002") == 6


_PARAGRAPH = st.sampled_from(
    [
        "alpha beta gamma",
        "delta epsilon",
        "# H",
        "## I",
        "```\ncode\n```",
        "x",
        "\u4f1a\u8bdd\u5bf9\u8c61",
    ]
)
_PAGES = st.lists(st.lists(_PARAGRAPH, min_size=1, max_size=6).map("\n\n".join), max_size=8)


@settings(max_examples=15, deadline=None)
@given(_PAGES, st.integers(1, 3))
def test_against_a_plain_oracle(
    tmp_path_factory: pytest.TempPathFactory, pages: list[str], copies: int
) -> None:
    """A long paragraph survives in the first `copies` pages that have it, and nowhere else."""
    texts = [normalise(page).text for page in pages]
    rows = rows_of(texts)
    found = deduplicate(rows, asked(least=8, copies=copies), tmp_path_factory.mktemp("oracle"))
    out = [text or "" for text in left(rows, found)]
    for said in ("alpha beta gamma", "delta epsilon", "\u4f1a\u8bdd\u5bf9\u8c61"):
        holding = [n for n, text in enumerate(texts) if said in paragraphs(text)]
        assert [n for n, text in enumerate(out) if said in paragraphs(text)] == holding[:copies]
    for before, after in zip(texts, out, strict=True):
        assert after.count("code") == before.count("code")


@given(st.lists(st.text(alphabet="ab `~#\n", max_size=10), max_size=8).map("\n".join))
def test_paragraphs_rejoin_to_the_same_paragraphs(text: str) -> None:
    text = normalise(text).text
    parts = paragraphs(text)
    assert paragraphs("\n\n".join(parts)) == parts
    assert len(paragraph_keys(parts, 1)) == len(parts)
