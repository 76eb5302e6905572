from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate.excerpts import GAP, excerpt, prompt_size

TEXT = (
    "`method a.Session.flush(objects: list | None = None) → None`\n\n"
    "Write all pending changes to the database. It runs when a query is made. "
    + " ".join(f"Filler sentence number {i} says little." for i in range(20))
    + "\n\n> **See also**\n>\n> Flushing - more about it\n\n**Members**\n\nadd(), delete()\n\n"
    "**Parameters:**\n\n- **objects** – the objects to write, all where None\n"
    "- **quiet** – say nothing about failures"
)


def test_what_is_nearest_the_question_is_kept_and_the_gap_is_marked() -> None:
    short = excerpt(TEXT, "What does the `quiet` parameter of `Session.flush()` do?", 40)
    assert "say nothing about failures" in short
    assert short.startswith("Write all pending changes to the database.")
    assert GAP in short
    assert prompt_size(short) <= 50


def test_furniture_goes_first_even_where_there_is_room() -> None:
    short = excerpt(TEXT, "What does flush do?", 10_000)
    assert "See also" not in short and "add(), delete()" not in short and "method a." not in short
    assert "Filler sentence number 19" in short and GAP not in short


def test_the_signature_stays_when_it_is_asked_for() -> None:
    assert "objects: list" in excerpt(TEXT, "Which arguments does flush take?", 10_000)


def test_a_passage_of_nothing_else_is_shown_whole() -> None:
    assert excerpt("`class a.B`", "What is B?", 50) == "`class a.B`"


def test_chinese() -> None:
    text = "会话保存对象。" + "这一句没有什么内容可说。" * 30 + "回滚会撤销事务里的全部变更。"
    short = excerpt(text, "怎么回滚事务？", 40)
    assert short.startswith("会话保存对象。") and "回滚会撤销事务里的全部变更。" in short


def test_of_a_table_the_row_asked_for_is_shown() -> None:
    rows = "\n".join(f"| name{i} | Does thing {i}. |" for i in range(60))
    short = excerpt(f"| Name | Text |\n| --- | --- |\n{rows}", "what does name42 do", 30)
    assert "Does thing 42." in short and "Does thing 41." not in short


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=1500), st.text(max_size=60), st.integers(10, 80))
def test_never_longer_than_asked(text: str, question: str, words: int) -> None:
    short = excerpt(text, question, words)
    assert prompt_size(short.replace(GAP, "")) <= 2 * words + 10
    if text.strip():
        assert short.strip()


@pytest.mark.parametrize("text", ["", "\n\n", "…"])
def test_nothing_gives_nothing_much(text: str) -> None:
    assert len(excerpt(text, "x", 20)) <= 1


def test_the_item_that_the_question_names_is_shown_with_its_text() -> None:
    items = "\n".join(
        f"- **option{i}** – the schema of option{i} is a schema. It goes on about number {i}."
        for i in range(30)
    )
    text = "A long opening about the schema of all options and schemas. " * 3 + "\n\n" + items
    short = excerpt(text, "What does the `option17` parameter of the schema do?", 40)
    assert "the schema of option17 is a schema. It goes on about number 17." in short
