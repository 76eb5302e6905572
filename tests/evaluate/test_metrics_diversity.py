"""Diversity of answers (distinct-n, self-BLEU) and repetition: plain definitions and nltk."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from chatwright.evaluate.metrics import TEXT_METRICS, Answer, aggregate
from chatwright.evaluate.metrics.diversity import longest_repeat
from chatwright.evaluate.text import rouge_tokens

few_words = st.lists(st.sampled_from(["a", "b", "c", "猫", "狗"]), max_size=25).map(" ".join)
texts = st.lists(few_words, min_size=2, max_size=6)


def value(name: str, text: str) -> float | None:
    (row,) = TEXT_METRICS[name].score([Answer(text)])
    return row and row[0] / row[1]


def test_distinct_by_hand() -> None:
    # Li et al. 2016: different ones over all, in the whole set: a b c over a b a c b a b.
    answers = [Answer("a b a"), Answer("c b"), Answer("a b"), Answer("")]
    assert aggregate(answers, ["distinct_1"])["distinct_1"].value == pytest.approx(3 / 7)
    # Pairs: ab ba cb ab.
    assert aggregate(answers, ["distinct_2"])["distinct_2"].value == pytest.approx(3 / 4)
    found = aggregate(answers, ["distinct_3"])["distinct_3"]
    assert (found.value, found.count) == (1.0, 1)
    assert aggregate([Answer("我爱我")], ["distinct_1"])["distinct_1"].value == pytest.approx(2 / 3)


@given(texts, st.sampled_from([1, 2, 3]))
def test_distinct_is_the_plain_count(said: list[str], n: int) -> None:
    grams = [
        tuple(words[i : i + n])
        for words in map(rouge_tokens, said)
        for i in range(len(words) - n + 1)
    ]
    rows = [r for r in TEXT_METRICS[f"distinct_{n}"].score([Answer(t) for t in said]) if r]
    assert len(rows) == sum(len(rouge_tokens(t)) >= n for t in said)
    assert sum(r[0] for r in rows) == pytest.approx(len(set(grams)))
    assert sum(r[1] for r in rows) == len(grams)


@settings(deadline=None)
@given(texts)
def test_self_bleu_is_nltks(said: list[str]) -> None:
    tokens = [rouge_tokens(t) for t in said]
    smoothing = SmoothingFunction().method1
    expected = [
        sentence_bleu(tokens[:i] + tokens[i + 1 :], tokens[i], smoothing_function=smoothing)
        for i in range(len(tokens))
    ]
    rows = TEXT_METRICS["self_bleu"].score([Answer(t) for t in said])
    assert [row and row[0] for row in rows] == pytest.approx(expected)


def test_self_bleu_tells_a_parrot_from_a_poet() -> None:
    parrot = [Answer("I am only a language model and cannot say")] * 5
    assert aggregate(parrot, ["self_bleu"])["self_bleu"].value == pytest.approx(1)
    poet = [Answer(t) for t in ("the sea is grey today", "bread rises slowly", "两只黄鹂鸣翠柳")]
    assert aggregate(poet, ["self_bleu"])["self_bleu"].value < 0.1
    assert TEXT_METRICS["self_bleu"].score(parrot[:1]) == [None]


def test_repetition_by_hand() -> None:
    # Welleck et al. 2020: 1 - different / all; pairs of "a b a b c": ab ba ab bc.
    assert value("rep_2", "a b a b c") == pytest.approx(1 / 4)
    assert value("rep_4", "a b a b c") == 0
    # Every word of a loop of three stands in a run of four that comes again.
    assert value("repetition", "a b c a b c a b c") == 1
    assert value("repetition", "我不知道。我不知道。") == 1
    # "one two three four" twice, with two words between: 8 of 10.
    assert value("repetition", "one two three four x y one two three four") == pytest.approx(0.8)
    assert value("repetition", "all words differ here entirely") == 0
    for name in ("rep_2", "rep_3", "rep_4"):
        assert value(name, "one") is None
    for name in ("repetition", "longest_repeat"):
        assert value(name, "😀 …") is None


def test_longest_repeat_by_hand() -> None:
    assert value("longest_repeat", "one two three x one two three y") == 3
    assert value("longest_repeat", "a a a a") == 3  # the two may overlap
    assert value("longest_repeat", "all differ") == 0
    assert value("longest_repeat", "一二三四一二三") == 3


@given(few_words)
def test_longest_repeat_is_the_plain_search(text: str) -> None:
    words = rouge_tokens(text)
    longest = 0
    for length in range(1, len(words)):
        runs = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
        if len(set(runs)) < len(runs):
            longest = length
    assert longest_repeat(Answer(text)) == (longest if words else None)


@given(few_words)
def test_repetition_lies_between_0_and_1_and_agrees_with_the_longest_repeat(text: str) -> None:
    shares = [value(f"rep_{n}", text) for n in (2, 3, 4)]
    for share in shares:
        assert share is None or 0 <= share <= 1
    inside, longest = value("repetition", text), value("longest_repeat", text)
    if inside is not None and longest is not None:
        assert 0 <= inside <= 1
        assert (inside > 0) == (longest >= 4)
    # A longer run that is repeated repeats the shorter ones in it.
    for shorter, longer in pairwise(shares):
        assert longer is None or shorter is None or longer == 0 or shorter > 0


def test_a_very_long_loop_is_measured_quickly() -> None:
    text = "again and " * 20_000
    assert value("longest_repeat", text) == 39_998
    assert value("repetition", text) == 1
    rare = " ".join(map(str, np.random.default_rng(0).permutation(40_000)))
    assert value("longest_repeat", rare) == 0
