"""BLEU, chrF, ROUGE, METEOR and CIDEr against their reference implementations and by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import sacrebleu
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer

from chatwright.errors import UsageError
from chatwright.evaluate.metrics import TEXT_METRICS, Answer, rouge_1, rouge_2, rouge_l
from chatwright.evaluate.metrics import meteor as meteor_module
from chatwright.evaluate.metrics.meteor import meteor
from chatwright.evaluate.metrics.tokens import whole_words
from chatwright.evaluate.statistics import STATISTICS
from chatwright.evaluate.text import rouge_tokens

WORDS = ["the", "cat", "cats", "sat", "sitting", "on", "a", "mat", "The", "dog's", "3.5", ",", "."]
sentence = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
chinese = st.text(alphabet="我们爱北京天安门,。猫a1 ", max_size=16)
anything = st.one_of(sentence, chinese, st.text(max_size=20))


def figure(name: str, answers: list[Answer]) -> float:
    """The metric of all answers together, as an evaluation computes it."""
    one = TEXT_METRICS[name]
    rows = [row for row in one.score(answers) if row is not None]
    return float(STATISTICS[one.metric.statistic](np.array(rows).sum(axis=0, keepdims=True))[0])


def values(name: str, answers: list[Answer]) -> list[float | None]:
    return [row and row[0] / row[1] for row in TEXT_METRICS[name].score(answers)]


def pairs(text: st.SearchStrategy[str], references: int = 2) -> st.SearchStrategy:
    """Sets of (answer, as many references each)."""
    one = st.tuples(text, st.tuples(*[text] * references))
    return st.lists(one, min_size=1, max_size=6)


def streams(items: list[tuple[str, tuple[str, ...]]]) -> list[list[str]]:
    return [list(stream) for stream in zip(*(references for _, references in items), strict=True)]


def test_bleu_of_the_papers_example() -> None:
    # Papineni et al. 2002, section 2.1: candidate 2 says "the" seven times; clipped, 2 of 7 match.
    references = ("The cat is on the mat.", "There is a cat on the mat.")
    (row,) = TEXT_METRICS["bleu"].score([Answer("the the the the the the the", references)])
    assert row == (7, 7, 1, 0, 0, 0, 7, 6, 5, 4)  # sacrebleu keeps case: "The" is not "the"
    lower = tuple(r.lower() for r in references)
    (row,) = TEXT_METRICS["bleu"].score([Answer("the the the the the the the", lower)])
    assert row == (7, 7, 2, 0, 0, 0, 7, 6, 5, 4)


def test_bleu_by_hand() -> None:
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples; as long as the reference.
    value = figure("bleu", [Answer("a b c d x f", ("a b c d e f",))])
    assert value == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    # Half as long: all n-grams right, brevity penalty exp(1 - 2).
    assert figure("bleu", [Answer("a b c d", ("a b c d e f g h",))]) == pytest.approx(
        100 * math.exp(-1)
    )
    # No quadruple matches: NIST's smoothing gives it half a match.
    value = figure("bleu", [Answer("a b c x d", ("a b c y d",))])
    assert value == pytest.approx(100 * (4 / 5 * 2 / 4 * 1 / 3 * 0.5 / 2) ** 0.25)


@settings(deadline=None)
@given(pairs(sentence))
@example([("", ("", ""))])
@example([("a", ("b", "c"))])
def test_bleu_is_sacrebleus(items: list[tuple[str, tuple[str, ...]]]) -> None:
    expected = sacrebleu.corpus_bleu([said for said, _ in items], streams(items)).score
    answers = [Answer(said, references, "en") for said, references in items]
    assert figure("bleu", answers) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(deadline=None)
@given(pairs(chinese, 1))
def test_bleu_of_chinese_is_sacrebleus_with_its_tokenizer(
    items: list[tuple[str, tuple[str, ...]]],
) -> None:
    expected = sacrebleu.corpus_bleu(
        [said for said, _ in items], streams(items), tokenize="zh"
    ).score
    answers = [Answer(said, references, "zh-CN") for said, references in items]
    assert figure("bleu", answers) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_chinese_is_recognised_where_no_language_is_given() -> None:
    said, wanted = "我们爱北京的猫", "我们爱北京的狗"
    guessed = figure("bleu", [Answer(said, (wanted,))])
    assert guessed == pytest.approx(sacrebleu.corpus_bleu([said], [[wanted]], tokenize="zh").score)
    assert guessed > 50
    assert Answer("hello", ("你好吗",)).chinese
    assert not Answer("你好", (), "en").chinese


@pytest.mark.parametrize(("name", "words"), [("chrf", 0), ("chrf++", 2)])
@settings(deadline=None)
@given(items=pairs(anything))
@example(items=[("", ("", ""))])
def test_chrf_is_sacrebleus(
    name: str, words: int, items: list[tuple[str, tuple[str, ...]]]
) -> None:
    said = [answer for answer, _ in items]
    expected = sacrebleu.corpus_chrf(said, streams(items), word_order=words).score
    answers = [Answer(answer, references) for answer, references in items]
    assert figure(name, answers) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_items_may_have_different_numbers_of_references() -> None:
    said = ["the cat sat on the mat", "dogs run in a park", "left out"]
    answers = [
        Answer(said[0], ("a cat sat on the mat", "the cat is on the mat", "nothing")),
        Answer(said[1], ("the dogs run in a park",)),
        Answer(said[2]),
    ]
    columns = [[*a.references, None, None][:3] for a in answers[:2]]
    theirs = [list(stream) for stream in zip(*columns, strict=True)]
    assert figure("bleu", answers) == pytest.approx(sacrebleu.corpus_bleu(said[:2], theirs).score)
    assert figure("chrf", answers) == pytest.approx(sacrebleu.corpus_chrf(said[:2], theirs).score)


def test_corpus_figures_of_resamples_are_sacrebleus_of_the_drawn_items() -> None:
    items = [
        ("the cat sat on the mat .", "the cat sat on a mat ."),
        ("dogs run", "a dog runs in the park"),
        ("it is what it is , he said", "it is what it is , she said"),
        ("", "nothing was said"),
    ]
    answers = [Answer(said, (wanted,)) for said, wanted in items]
    random = np.random.default_rng(0)
    for name, corpus in (("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)):
        rows = np.array(TEXT_METRICS[name].score(answers))
        draws = random.integers(0, len(items), size=(50, len(items)))
        ours = STATISTICS[name](rows[draws].sum(axis=1))
        theirs = [
            corpus([items[i][0] for i in draw], [[items[i][1] for i in draw]]).score
            for draw in draws
        ]
        assert ours == pytest.approx(theirs, rel=1e-12)


@given(sentence, sentence)
def test_rouge_of_ascii_is_the_librarys(said: str, wanted: str) -> None:
    theirs = RougeScorer(["rouge1", "rouge2"], use_stemmer=False).score(wanted, said)
    assert rouge_1(said, wanted) == theirs["rouge1"].fmeasure
    assert rouge_2(said, wanted) == theirs["rouge2"].fmeasure


def test_rouge_by_hand() -> None:
    # Lin 2004, section 2 and 3: "police killed the gunman" against "police kill the gunman".
    assert rouge_1("police kill the gunman", "police killed the gunman") == 0.75
    assert rouge_2("police kill the gunman", "police killed the gunman") == pytest.approx(1 / 3)
    assert rouge_2("我爱北京", "我很爱北京") == pytest.approx(
        2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)
    )
    assert rouge_1("", "") == rouge_2("one", "one") == 0.0  # the library's: nothing to compare


def test_rouge_of_chinese_by_words_of_a_dictionary() -> None:
    assert whole_words("我们爱北京,Python 3!") == ["我们", "爱", "北京", "python", "3"]
    assert rouge_1("我们爱北京", "我们去北京", words=True) == pytest.approx(2 / 3)
    assert rouge_1("我们爱北京", "我们去北京") == pytest.approx(4 / 5)
    assert rouge_2("我们爱北京", "我们爱上海", words=True) == pytest.approx(1 / 2)
    assert rouge_l("爱我们北京", "我们爱北京", words=True) == pytest.approx(2 / 3)


@given(st.text(alphabet="abc XYZ12_,.é", max_size=40))
def test_whole_words_without_chinese_are_rouges(text: str) -> None:
    assert whole_words(text) == rouge_tokens(text)


class NoSynonyms:
    def synsets(self, word: str) -> list:
        return []


@settings(deadline=None)
@given(pairs(sentence))
def test_meteor_is_nltks(items: list[tuple[str, tuple[str, ...]]]) -> None:
    answers = [Answer(said, references) for said, references in items]
    theirs = [
        meteor_score(
            [rouge_tokens(r) for r in references], rouge_tokens(said), wordnet=NoSynonyms()
        )
        for said, references in items
    ]
    assert values("meteor", answers) == pytest.approx(theirs)


def test_meteor_by_hand() -> None:
    # 6 of 6 words in one run: Fmean 1, penalty 0.5 · (1/6)³.
    same = "the cat sat on the mat"
    assert meteor(same, same) == pytest.approx(1 - 0.5 / 6**3)
    # Two runs changed places: all words, penalty 0.5 · (2/6)³.
    assert meteor("three four five six one two", "one two three four five six") == pytest.approx(
        1 - 0.5 * (2 / 6) ** 3
    )
    # A stem is as good as the word: "running" meets "runs".
    assert meteor("he is running", "he is runs") == pytest.approx(1 - 0.5 / 3**3)
    # P 1, R 1/2: Fmean = 0.5 / (0.9 + 0.1 · 0.5), one run of two words.
    assert meteor("a b", "a b c d") == pytest.approx(0.5 / 0.95 * (1 - 0.5 / 2**3))
    assert meteor("我爱北京", "我爱北京") == pytest.approx(1 - 0.5 / 4**3)
    assert meteor("", "a") == meteor("a", "") == meteor("", "") == 0


def test_meteor_with_synonyms_uses_the_wordnet_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lemma:
        def name(self) -> str:
            return "car"

    class Synset:
        def lemmas(self) -> list[Lemma]:
            return [Lemma()]

    class Tiny:
        def synsets(self, word: str) -> list[Synset]:
            return [Synset()] if word in {"car", "auto"} else []

    monkeypatch.setattr(meteor_module, "_wordnet", Tiny)
    answer = Answer("an auto", ("an car",))
    assert values("meteor_wordnet", [answer]) == [pytest.approx(1 - 0.5 / 2**3)]
    (without,) = values("meteor", [answer])
    assert without is not None
    assert without < 0.5


def test_meteor_with_synonyms_says_what_is_missing() -> None:
    try:
        from nltk.corpus import wordnet

        wordnet.ensure_loaded()
    except LookupError:
        with pytest.raises(UsageError) as caught:
            TEXT_METRICS["meteor_wordnet"].score([Answer("a", ("a",))])
        assert "wordnet" in str(caught.value.hint)
    else:
        (row,) = TEXT_METRICS["meteor_wordnet"].score([Answer("a car", ("a automobile",))])
        assert row is not None
        assert row[0] > 0.9


CAPTIONS = [
    (
        "a man is riding a brown horse on the beach",
        ("a man rides a horse along the beach", "a person riding a horse on a beach near the sea"),
    ),
    (
        "two dogs play with a red ball in the park",
        ("two dogs are playing with a ball in the grass",),
    ),
    (
        "a cat sleeps",
        ("a cat is sleeping on a sofa", "the black cat sleeps on the couch", "a cat asleep"),
    ),
    ("the the the the the the", ("the man is riding the train", "a train in the station")),
    ("", ("an empty street at night",)),
    ("一只猫在沙发上睡觉", ("一只黑猫睡在沙发上", "猫在沙发上睡着了")),
]


def test_cider_d_is_cocos() -> None:
    # What pycocoevalcap 1.2 (the COCO caption evaluation) gives for these, Chinese cut into
    # characters; the package is 100 MB and so not a dependency of the tests.
    answers = [Answer(said, references) for said, references in CAPTIONS]
    assert values("cider_d", answers) == pytest.approx(
        [1.93136498, 2.81723924, 1.93345451, 0.15300456, 0.0, 5.43303632], abs=1e-8
    )
    assert figure("cider_d", answers) == pytest.approx(2.0446832691862626)


def plain_cider(items: list[tuple[str, tuple[str, ...]]], clipped: bool) -> list[float]:
    """Vedantam et al. 2015, equations 1–4, over dense vectors of all n-grams."""

    def grams(text: str, n: int) -> Counter:
        words = rouge_tokens(text)
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    out = []
    for said, references in items:
        total = 0.0
        for n in range(1, 5):
            sets = [[grams(r, n) for r in rs] for _, rs in items]
            vocabulary = sorted(
                {g for s in sets for c in s for g in c} | set(grams(said, n)), key=str
            )
            held = np.array([sum(any(g in c for c in s) for s in sets) for g in vocabulary])
            idf = np.log(len(items)) - np.log(np.maximum(held, 1))
            a = np.array([grams(said, n)[g] for g in vocabulary]) * idf
            for reference in references:
                b = np.array([grams(reference, n)[g] for g in vocabulary]) * idf
                norm = np.linalg.norm(a) * np.linalg.norm(b)
                if not vocabulary or norm == 0:
                    continue
                value = (np.minimum(a, b) if clipped else a) @ b / norm
                if clipped:
                    apart = grams(said, 2).total() - grams(reference, 2).total()
                    value *= math.exp(-(apart**2) / (2 * 6**2))
                total += value / len(references)
        out.append(10 * total / 4)
    return out


@settings(deadline=None, max_examples=60)
@given(st.one_of(pairs(sentence), pairs(chinese, 1)))
@example(CAPTIONS)
def test_cider_is_the_papers(items: list[tuple[str, tuple[str, ...]]]) -> None:
    answers = [Answer(said, references) for said, references in items]
    for name, clipped in (("cider", False), ("cider_d", True)):
        if len(items) < 2:
            assert values(name, answers) == [None]
        else:
            assert values(name, answers) == pytest.approx(plain_cider(items, clipped), abs=1e-9)


def test_cider_of_the_reference_itself_is_ten_and_repetition_does_not_help() -> None:
    answers = [
        Answer("a red bird sings loudly", ("a red bird sings loudly",)),
        Answer("two men play chess outside", ("two men play chess outside",)),
    ]
    assert values("cider", answers) == pytest.approx([10, 10])
    assert values("cider_d", answers) == pytest.approx([10, 10])
    gamed = [Answer("bird bird bird bird bird", answers[0].references), answers[1]]
    assert values("cider_d", gamed)[0] < values("cider", gamed)[0]


def test_the_best_of_several_references_counts() -> None:
    references = ("nothing in common here", "the cat sat on the mat", "猫")
    answer = Answer("the cat sat on the mat", references)
    for name in ("token_f1", "exact_match", "rouge_1", "rouge_2", "rouge_l", "rouge_l_words"):
        assert values(name, [answer]) == [1.0]
    assert figure("bleu", [answer]) == pytest.approx(100)
    assert figure("chrf++", [answer]) == pytest.approx(100)


def test_citations_are_no_words_where_passages_were_shown() -> None:
    shown = Answer("The sea is deep [1].", ("The sea is deep [2].",), passages=("p1", "p2"))
    code = Answer("use a[1]", ("use a",))
    assert values("exact_match", [shown, code]) == [1.0, 0.0]
    assert figure("bleu", [shown]) == pytest.approx(100)
