from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.curate.words import count_words, is_chinese, phrase_words, search_words, stem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Session.execute()", {"session.execute", "session", "execut"}),
        ("create_engine(url)", {"create_engine", "creat", "engin", "url"}),
        ("DeclarativeBase", {"declarativebas", "declarativ", "base"}),
        ("a.b.Session.get", {"a.b.session.get", "session.get", "session", "get"}),
        ("数据库会话", {"数据库", "会话"}),
        ("ＳＱＬＡｌｃｈｅｍｙ", {"sqlalchemy"}),  # full-width letters
        ("データベース", {"デー", "ベー"}),
    ],
)
def test_a_name_is_found_whole_and_by_its_parts(text: str, expected: set[str]) -> None:
    assert expected <= set(search_words(text))


def test_question_words_say_nothing_about_the_subject() -> None:
    assert search_words("What does it do, and how can I use this?") == []
    assert search_words("这是什么？怎么用？") == []


def test_a_chinese_question_and_the_page_share_words() -> None:
    asked = set(search_words("怎么回滚数据库事务？"))
    page = set(search_words("调用 rollback() 方法可以回滚当前的事务。"))
    assert {"回滚", "事务"} <= asked & page


@pytest.mark.parametrize(
    ("one", "other"),
    [("sessions", "session"), ("queries", "query"), ("logging", "log"), ("mapped", "map"),
     ("classes", "class"), ("loads", "loading")],
)  # fmt: skip
def test_endings_meet(one: str, other: str) -> None:
    assert stem(one) == stem(other)


@pytest.mark.parametrize("word", ["process", "class", "status", "this", "bus", "string", "bring"])
def test_words_that_only_look_inflected_stay(word: str) -> None:
    assert stem(word) == word


def test_phrase_words_are_a_run_in_question_and_heading() -> None:
    heading = phrase_words("Many To Many")
    question = phrase_words("how do I create a many to many relationship")
    assert any(question[i : i + len(heading)] == heading for i in range(len(question)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one two three", 3),
        ("会话管理持久化操作的全部内容", 9),
        ("", 0),
        ("Session.execute() runs", 2),
    ],
)
def test_length_in_words(text: str, words: int) -> None:
    assert count_words(text) == words


def test_is_chinese() -> None:
    assert is_chinese("`Session.flush()` 是做什么的？")
    assert not is_chinese("What does 会话 mean in the documentation of this library?")
    assert not is_chinese("")


@given(st.text(max_size=200))
def test_any_text_gives_words_that_are_stable_under_case(text: str) -> None:
    words = search_words(text)
    assert all(word and word == word.strip() for word in words)
    assert words == search_words(text)
    assert count_words(text) >= 0
