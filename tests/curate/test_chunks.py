from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate.chunks import chunk_documents, chunk_markdown, chunk_title
from chatwright.curate.sections import (
    heading_name,
    parse_blocks,
    parse_signature,
    sections,
    split_sentences,
)
from chatwright.curate.words import count_words
from chatwright.records import Document

PAGE = """# Session API

The session holds objects.

## Session

### `class app.orm.Session`

Manages persistence.

#### `method app.orm.Session.flush(objects: list | None = None) → None`

Write all pending changes to the database.

**Parameters:**

- **objects** – the objects to write

#### `attribute app.orm.Session.new`

All new objects.

## Usage

Text before code:

```python
# not a heading
session.flush()
```

| a | b |
| --- | --- |
| 1 | 2 |
"""


def words_of(n: int, start: int = 0) -> str:
    return " ".join(f"word{i}" for i in range(start, start + n))


def test_blocks_of_every_kind() -> None:
    kinds = [block.kind for block in parse_blocks(PAGE)]
    assert kinds.count("code") == 1 and kinds.count("table") == 1 and kinds.count("list") == 1
    assert kinds.count("heading") == 6  # "# not a heading" is inside a fence


def test_a_fence_that_never_closes_runs_to_the_end() -> None:
    blocks = parse_blocks("text\n\n```\n# a\n\nb")
    assert [b.kind for b in blocks] == ["paragraph", "code"]


def test_sections_take_their_anchors_though_headings_repeat_or_were_removed() -> None:
    page = "# A\n\nx\n\n## Usage\n\ny\n\n# B\n\n## Usage\n\nz"
    anchors = [("# A", "a"), ("## Usage", "use-1"), ("# Gone", "gone"), ("# B", None),
               ("## Usage", "use-2")]  # fmt: skip
    found = {s.headings: s.anchor for s in sections(page, anchors)}
    assert found == {("A",): "a", ("A", "Usage"): "use-1", ("B",): None, ("B", "Usage"): "use-2"}


def test_headings_that_share_one_text_become_one_section() -> None:
    (section,) = sections("## 1.x style\n\n## 2.0 style\n\nThese terms are new.")
    assert section.headings == ("1.x style, 2.0 style",)


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("`method a.orm.Session.get(entity: type, ident) → T | None`", "Session.get()"),
        ("`method a.AsyncSession.async close() → None`", "AsyncSession.close()"),
        ("`attribute a.orm.Session.new`", "Session.new"),
        ("`class a.orm.Session`", "Session"),
        ("`function a.create_engine(url: str, **kw: Any) → Engine`", "create_engine()"),
        ("`exception a.exc.NoResultFound`", "NoResultFound"),
        ("`Session.execute()`", "Session.execute()"),
    ],
)
def test_signatures_are_called_by_a_short_name(heading: str, name: str) -> None:
    assert heading_name(heading)[0] == name
    assert heading_name(heading)[1] == heading.strip("`")


@pytest.mark.parametrize("heading", ["Using `select()` here", "Basic Use", "会话管理", "1.4.0"])
def test_other_headings_are_no_signatures(heading: str) -> None:
    assert heading_name(heading)[1] is None


def test_longer_names_tell_equal_ones_apart() -> None:
    signature = parse_signature("class sqlalchemy.dialects.postgresql.ENUM")
    assert signature is not None
    assert [signature.name(n) for n in (0, 1)] == ["ENUM", "postgresql.ENUM"]


def test_sentences_in_both_languages() -> None:
    text = "会话保存\n对象。它会提交！ Use e.g. `a. B` now. It works? Yes."
    assert split_sentences(text) == [
        "会话保存对象。", "它会提交！", "Use e.g. `a. B` now.", "It works?", "Yes.",
    ]  # fmt: skip


def test_a_definition_stands_alone_with_its_signature_first() -> None:
    chunks = {c.headings[-1]: c for c in chunk_markdown(PAGE)}
    flush = chunks["Session.flush()"]
    assert flush.text.startswith("`method app.orm.Session.flush(objects")
    assert "the objects to write" in flush.text
    assert "All new objects." not in flush.text


def test_a_small_section_joins_its_neighbour_and_keeps_its_heading() -> None:
    page = f"# T\n\n## A\n\n{words_of(40)}\n\n## B\n\nshort text\n\n# U\n\nother part"
    texts = [c.text for c in chunk_markdown(page, small=10)]
    assert len(texts) == 2 and "## B\n\nshort text" in texts[0]
    assert "other part" not in texts[0]  # another top heading is not crossed


def test_code_and_tables_stay_whole_when_they_fit() -> None:
    code = "```python\n" + "\n".join(f"line_{i} = {i}" for i in range(20)) + "\n```"
    page = f"# T\n\n{words_of(50)}\n\n{code}\n\n{words_of(50)}"
    assert any(code in c.text for c in chunk_markdown(page, words=60))


def test_code_too_long_is_cut_between_lines_and_stays_code() -> None:
    code = "```python\n" + "\n".join(f"line_{i} = {i}" for i in range(200)) + "\n```"
    texts = [c.text for c in chunk_markdown(f"# T\n\n{code}", words=60)]
    assert len(texts) > 3
    assert all(t.startswith("```python\n") and t.endswith("\n```") for t in texts)
    assert sum(t.count("line_") for t in texts) == 200


def test_a_long_table_repeats_its_head() -> None:
    table = "| name | text |\n| --- | --- |\n" + "\n".join(f"| n{i} | t{i} |" for i in range(200))
    texts = [c.text for c in chunk_markdown(f"# T\n\n{table}", words=60)]
    assert len(texts) > 3 and all(t.startswith("| name | text |\n| ---") for t in texts)


def test_a_line_that_announces_goes_with_what_it_announces() -> None:
    code = "```\n" + "\n".join(f"call_{i}()" for i in range(50)) + "\n```"
    texts = [
        c.text for c in chunk_markdown(f"# T\n\n{words_of(50)}\n\nFor example:\n\n{code}", words=60)
    ]
    assert texts[1].startswith("For example:\n\n```")


def test_overlap_repeats_the_end_of_the_chunk_before() -> None:
    sentences = " ".join(f"Sentence {i} has some words." for i in range(60))
    texts = [c.text for c in chunk_markdown(f"# T\n\n{sentences}", words=50, overlap=12)]
    for before, after in pairwise(texts):
        assert split_sentences(before)[-1] in after


def test_chinese_is_cut_by_its_own_measure() -> None:
    page = "# 会话\n\n" + "会话负责保存对象并把变更写入数据库。" * 60
    chunks = chunk_markdown(page, words=100)
    assert len(chunks) > 3
    assert all(c.text.endswith("。") for c in chunks)
    assert all(count_words(c.text) <= 110 for c in chunks)


def test_rows_know_their_page_and_place() -> None:
    page = Document(
        id="p1", text=PAGE, uri="https://x.org/s.html", source="test", license="MIT", language="en",
        meta={"title": "Session API", "anchors": [("### `class app.orm.Session`", "app.Session")]},
    )  # fmt: skip
    rows = chunk_documents(page)
    assert all(row.parents == ["p1"] and row.license == "MIT" for row in rows)
    assert [row.meta["position"] for row in rows] == list(range(len(rows)))
    by_title = {row.meta["title"]: row for row in rows}
    assert by_title["Session API › Session"].uri == "https://x.org/s.html#app.Session"
    assert by_title["Session API › Session.new"].uri == "https://x.org/s.html"
    assert [r.id for r in rows] == [r.id for r in chunk_documents(page)]


def test_the_same_words_twice_are_two_rows() -> None:
    page = Document(id="p", text="# A\n\nsame\n\n# A\n\nsame", uri="u", source="s")
    rows = chunk_documents(page, small=0)
    assert len({row.id for row in rows}) == len(rows) == 2


def test_titles() -> None:
    assert chunk_title("Page", ("Page", "Part", "Entry")) == "Page › Part › Entry"
    assert chunk_title("Page", ("Page", "Session", "Session.get()")) == "Page › Session.get()"
    assert chunk_title("", ()) == ""


@pytest.mark.parametrize(
    "block",
    [
        "x" * 50_000,
        "```\n" + "x" * 50_000 + "\n```",
        "| " + "name " * 500 + "|\n| --- |",
        "- " + "y" * 50_000,
        "\n".join("  " * n + f"- item {n} of a list in a list" for n in range(300)),
        "会话" * 20_000,
    ],
    ids=["word", "line", "table head", "item", "nested list", "Chinese"],
)
def test_what_has_no_good_place_to_cut_is_cut_all_the_same(block: str) -> None:
    texts = [c.text for c in chunk_markdown(f"# T\n\n{block}", words=100)]
    assert len(texts) > 3 and max(len("".join(text.split())) for text in texts) < 6_000
    letters = sum(c.isalnum() for c in block)
    assert letters <= sum(c.isalnum() for text in texts for c in text) <= letters * 1.1


LINES = st.sampled_from(
    ["# One", "## Two", "### `class a.B`", "text here.", "", "", "- item", "  more", "```", "| a |",
     "会话保存对象。", "    code", "x" * 300, "> quote", "1. one", "#", "**Members**"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=40), st.integers(20, 60))
def test_no_letter_of_a_page_is_lost(lines: list[str], words: int) -> None:
    page = "\n".join(lines)
    kept = "".join(c.text for c in chunk_markdown(page, words=words))
    for block in parse_blocks(page):
        if block.kind == "heading":
            continue
        for word in block.text.split():
            if word.strip("|-`~.>*# "):
                assert word.strip("|-`~ ")[:200] in kept.replace("\n", "") + kept
