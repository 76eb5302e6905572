from __future__ import annotations

import pytest

from chatwright.records.grounding import (
    REFUSAL,
    REFUSAL_ZH,
    SYSTEM_PROMPT,
    SYSTEM_PROMPT_ZH,
    Passage,
    cited_numbers,
    grounded_prompt,
    refusal,
    system_prompt,
    without_citations,
)


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("It writes changes [2].", [2]),
        ("Both [1][3], and again [1].", [1, 3]),
        ("As told [1, 3] and 【2】。", [1, 3, 2]),
        ("它写入变更。[1、2]", [1, 2]),
        ("`rows[1]` is code, [1](http://x) a link, [9] not shown", []),
        ("```\nx = rows[1]\n```\nbut [2] is one", [2]),
        ("```\nunclosed rows[1]", []),
        ("nothing [0] [100] [x]", []),
    ],
)
def test_citations(answer: str, numbers: list[int]) -> None:
    assert cited_numbers(answer, 3) == numbers


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("It writes [2]. More 【1】", "It writes. More"),
        ("`rows[1]` holds [1]", "`rows[1]` holds"),
        ("无引用", "无引用"),
    ],
)
def test_the_words_alone(answer: str, words: str) -> None:
    assert without_citations(answer) == words


def test_prompt() -> None:
    passages = [Passage("a", "T1", "u1", "one"), Passage("b", "T2", "u2", "two")]
    assert grounded_prompt("Why?", passages) == "[1] T1\none\n\n[2] T2\ntwo\n\nQuestion: Why?"
    assert grounded_prompt("为什么？", passages[:1]) == "[1] T1\none\n\n问题：为什么？"


def test_instruction_and_refusal_speak_the_question_s_language() -> None:
    assert (system_prompt("Why?"), refusal("Why?")) == (SYSTEM_PROMPT, REFUSAL)
    assert (system_prompt("为什么？"), refusal("为什么？")) == (SYSTEM_PROMPT_ZH, REFUSAL_ZH)
    assert cited_numbers(REFUSAL + REFUSAL_ZH, 9) == []
