"""Metrics against hand-worked examples, independent implementations and their own laws."""

from __future__ import annotations

import math
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from rouge_score.tokenizers import DefaultTokenizer

from chatwright.evaluate.metrics import (
    bits_per_byte,
    citation_score,
    exact_match,
    perplexity,
    rouge_l,
    token_f1,
)
from chatwright.evaluate.text import answer_tokens, normalise_answer, rouge_tokens

ascii_text = st.text(alphabet=string.printable, max_size=60)
some_words = ["red", "the", "a", "blue", "红", "蓝", "x1", "绿"]
words = st.lists(st.sampled_from(some_words), max_size=12).map(" ".join)
any_text = st.one_of(ascii_text, words, st.text(max_size=40))


def squad_normalise(text: str) -> str:
    """SQuAD's definition, written another way: token by token, over ASCII."""
    letters = [c for c in text.lower() if c not in set(string.punctuation)]
    return " ".join(w for w in re.sub(r"\b(a|an|the)\b", " ", "".join(letters)).split())


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("The cat sat", "a cat sat down", 2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3)),
        ("Denver Broncos!", "denver broncos", 1.0),
        ("a b b", "b b b", 2 * (2 / 2) * (2 / 3) / (1 + 2 / 3)),  # "a" is an article
        ("x y", "p q", 0.0),
        ("", "", 1.0),
        ("the", "an", 1.0),  # nothing is left of either
        ("", "word", 0.0),
        ("北京是中国的首都", "中国的首都", 2 * (5 / 8) * 1 / (5 / 8 + 1)),
        ("用 Python 写", "用python写!", 1.0),
        ("ABC123", "ABC123", 1.0),
    ],
)
def test_token_f1_by_hand(answer: str, reference: str, expected: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(expected)


def test_chinese_is_split_by_character_and_latin_runs_are_kept() -> None:
    assert answer_tokens("《红楼梦》用Session提交。") == [
        "红",
        "楼",
        "梦",
        "用",
        "session",
        "提",
        "交",
    ]
    assert rouge_tokens("《红楼梦》用Session提交。") == answer_tokens("《红楼梦》用Session提交。")


@given(ascii_text)
def test_normalisation_of_ascii_is_squads(text: str) -> None:
    assert normalise_answer(text) == squad_normalise(text)


@given(ascii_text)
def test_rouge_words_of_ascii_are_the_librarys(text: str) -> None:
    assert rouge_tokens(text) == DefaultTokenizer().tokenize(text)


@given(any_text)
def test_normalisation_is_idempotent(text: str) -> None:
    once = normalise_answer(text)
    # Removing an article can leave no new article, punctuation or capital behind.
    assert normalise_answer(once) == once


@given(any_text, any_text)
def test_scores_are_symmetric_bounded_and_one_for_itself(a: str, b: str) -> None:
    for metric in (token_f1, exact_match, rouge_l):
        assert 0 <= metric(a, b) <= 1
        assert metric(a, b) == pytest.approx(metric(b, a))
    assert token_f1(a, a) == exact_match(a, a) == 1
    if rouge_tokens(a):
        assert rouge_l(a, a) == 1
    assert token_f1(a, b) >= exact_match(a, b)


@given(words, words)
def test_token_f1_ignores_order_and_rouge_l_does_not_exceed_it(a: str, b: str) -> None:
    assert token_f1(a, b) == token_f1(" ".join(reversed(a.split())), b)
    if not re.search(r"\b(the|a)\b", a + " " + b) and a and b:  # articles count for ROUGE
        assert rouge_l(a, b) <= token_f1(a, b) + 1e-12


@given(ascii_text, ascii_text)
def test_rouge_l_of_ascii_is_the_librarys(a: str, b: str) -> None:
    library = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    assert rouge_l(a, b) == library.score(b, a)["rougeL"].fmeasure


def test_rouge_l_by_hand() -> None:
    # Lin 2004, section 3: reference "police killed the gunman"; LCS 3 ("police the gunman").
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(0.5)
    assert rouge_l("我爱北京", "我很爱北京") == pytest.approx(2 * 1 * 0.8 / 1.8)


def test_citations() -> None:
    shown, gold = ["p1", "p2", "p3"], {"p2"}
    assert citation_score([2], shown, gold).right == 1
    everything = citation_score([1, 2, 3], shown, gold)
    assert (everything.any, everything.right, everything.recall) == (1, 0, 1)
    assert everything.precision == pytest.approx(1 / 3)
    assert citation_score([], shown, gold).any == 0
    assert citation_score([], shown, gold).right == 0
    assert citation_score([2, 2], shown, gold).right == 1
    assert citation_score([2, 9], shown, gold).right == 0  # cites what it was not shown
    assert citation_score([1], shown, {"elsewhere"}).recall == 0
    two = citation_score([1, 3], shown, {"p1", "p3"})
    assert (two.right, two.precision, two.recall) == (1, 1, 1)


def test_perplexity_and_bits_per_byte_of_a_uniform_guess() -> None:
    # A guess among 8 for each of 10 tokens: perplexity 8; 3 bits a token.
    nll = 10 * math.log(8)
    assert perplexity(nll, 10) == pytest.approx(8)
    assert bits_per_byte(nll, 10) == pytest.approx(3)
    with pytest.raises(ValueError):
        perplexity(1.0, 0)
    with pytest.raises(ValueError):
        bits_per_byte(1.0, 0)
