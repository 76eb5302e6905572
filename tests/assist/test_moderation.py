from __future__ import annotations

import time

import pytest

from chatwright.assist.moderation import BOUNDS, moderate, reason

HARMLESS = [
    "How do I bake bread?",
    "kill the process with signal 9",
    "I'm gay and proud",
    "Damn, this is a great answer!",
    "如何做红烧肉\uff1f",
    "请解释一下梯度下降\u3002",
    "",
]


def test_harmless_texts_pass_in_both_languages() -> None:
    assert [one.categories for one in moderate(HARMLESS)] == [()] * len(HARMLESS)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("You are a stupid idiot and I hate you", "harassment"),
        ("你这个傻逼\uff0c去死吧", "harassment"),
        ("hot naked girls xxx porn video", "sexual"),
    ],
)
def test_what_is_flagged(text: str, category: str) -> None:
    judged = moderate([text])[0]
    assert category in judged.categories
    assert judged.flagged


def test_scores_of_one_text_do_not_depend_on_the_others() -> None:
    together = moderate([*HARMLESS, "fuck you"])
    alone = [moderate([text])[0] for text in [*HARMLESS, "fuck you"]]
    for a, b in zip(together, alone, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-6)


def test_reasons_in_both_languages() -> None:
    for language in ("en", "zh"):
        assert reason(list(BOUNDS), language)
    assert reason(["harassment"], "zh-CN") != reason(["harassment"], "en")


def test_a_huge_text_takes_bounded_time() -> None:
    start = time.process_time()
    moderate(["\ud800 a" * 200_000, "(" * 1_000_000])
    assert time.process_time() - start < 5
