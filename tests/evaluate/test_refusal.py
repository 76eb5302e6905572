"""Refusals, told apart from answers, on hand-labelled sentences."""

from __future__ import annotations

import pytest

from chatwright.evaluate.refusal import is_refusal

REFUSALS = [
    "The passages do not say.",
    "The passages do not hold the answer.",
    "The passages don't say what the default pool size is.",
    "I don't know.",
    "I do not have enough information to answer this.",
    "Sorry, the provided text does not mention how to do that.",
    "I could not say: there is no information about that in the passages.",
    "I cannot answer this question from the given passages.",
    "This is not mentioned in the passages.",
    "The context does not contain information about pooling.",
    "段落中没有提到这个问题的答案。",
    "根据所给的段落,无法回答这个问题。",
    "文中没有说明默认的连接池大小。",
    "我不知道。",
    "没有找到相关信息。",
    "这些资料没有给出答案。",
]
ANSWERS = [
    "",
    "It returns the current session [1].",
    "You cannot use a Session in more than one thread at a time [2].",
    "The default is not to commit; call commit() yourself [1].",
    "It does not include the primary key unless asked to [3].",
    "Rows that are not found in the identity map are loaded [1].",
    "Raises NoResultFound when there is no result [1].",
    "默认的连接池大小是 5 [1]。",
    "不能在多个线程中共享一个 Session [1]。",
    "该方法没有返回值 [2]。",
    "如果没有找到行,则返回 None [1]。",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers(text: str) -> None:
    assert not is_refusal(text)
