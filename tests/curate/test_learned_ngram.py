"""The n-gram model against a plain Kneser-Ney written from the paper, and what perplexity tells."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate.learned.kneser_ney import NgramShape, train_ngram
from chatwright.curate.learned.ngram import BEGIN, END, NgramModel, places, units
from chatwright.errors import DataError

Gram = tuple[str, ...]


class Plain:
    """Interpolated modified Kneser-Ney with dictionaries and loops."""

    def __init__(self, lines: Sequence[Sequence[str]], order: int, prune: int = 0) -> None:
        self.order = order
        raw: dict[int, Counter[Gram]] = {n: Counter() for n in range(1, order + 1)}
        for line in lines:
            words = ["<s>", *line, "</s>"]
            for n, counter in raw.items():
                counter.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        self.count: dict[int, dict[Gram, int]] = {order: dict(raw[order])}
        for n in range(1, order):
            before: dict[Gram, set[str]] = defaultdict(set)
            for gram in raw[n + 1]:
                before[gram[1:]].add(gram[0])
            self.count[n] = {gram: len(words) for gram, words in before.items()}
            if n > 1:
                own = {g: c for g, c in raw[n].items() if g[0] == "<s>"}
                self.count[n].update(own)
        self.vocabulary = {w for line in lines for w in line} | {"</s>"}
        self.discounts = {n: self._discounts(list(c.values())) for n, c in self.count.items()}
        self.prune = prune

    @staticmethod
    def _discounts(counts: list[int]) -> list[float]:
        n1, n2, n3, n4 = (counts.count(k) for k in (1, 2, 3, 4))
        if not (n1 and n2 and n3 and n4):
            raw = [0.5, 1.0, 1.5]
        else:
            y = n1 / (n1 + 2 * n2)
            raw = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        return [min(max(d, 0.05 * k), 0.95 * k) for k, d in enumerate(raw, start=1)]

    def probability(self, word: str, history: Gram) -> float:
        history = history[-(self.order - 1) :]
        n = len(history) + 1
        following = {g: c for g, c in self.count[n].items() if g[:-1] == history}
        total = sum(following.values())
        discounts = self.discounts[n]
        kept = {g: c for g, c in following.items() if n < 3 or c > self.prune}
        share = {g: (c - discounts[min(c, 3) - 1]) / total for g, c in kept.items()}
        rest = 1 - sum(share.values())
        uniform = 1 / (len(self.vocabulary) + 1)  # one for the unknown word
        lower = uniform if n == 1 else self.probability(word, history[1:])
        return share.get((*history, word), 0.0) + rest * lower


def shape(order: int = 3, **more: int) -> NgramShape:
    values = {"max_vocabulary": 1_000, "least_count": 1, "prune": 0, "characters": 10_000} | more
    return NgramShape("words", order, **values)


def corpus(seed: int, lines: int) -> list[list[str]]:
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(12)]
    weights = [1 / (i + 1) for i in range(12)]
    return [rng.choices(words, weights, k=rng.randint(0, 9)) for _ in range(lines)]


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("prune", [0, 1])
def test_probabilities_equal_a_plain_kneser_ney(order: int, prune: int) -> None:
    lines = corpus(order, 150)
    plain = Plain(lines, order, prune)
    model = train_ngram(lines, shape(order, prune=prune))
    tested = [*corpus(77, 25), []]
    found = model.log_probabilities(tested).tolist()
    expected = []
    for line in tested:
        words = [*line, "</s>"]
        for i, word in enumerate(words):
            history = ("<s>", *words[:i])
            expected.append(math.log(plain.probability(word, history)))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 4), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_after_any_history_the_probabilities_sum_to_one(
    seed: int, size: int, order: int, prune: int
) -> None:
    lines = corpus(seed, size)
    if not any(lines):
        return
    model = train_ngram(lines, shape(order, prune=prune))
    known = sorted({w for line in lines for w in line})
    for history in ([], known[:1], known[:3], ["never", known[0]]):
        total = 0.0
        for word in [*known, "unseen"]:
            log = model.log_probabilities([[*history, word]])[len(history)]
            spelled = model.spelling([word])[0] if word == "unseen" else 0.0
            total += math.exp(log - spelled)
        total += math.exp(model.log_probabilities([history])[-1])
        assert total == pytest.approx(1, abs=1e-4)


def test_a_vocabulary_keeps_the_frequent_and_spells_the_others() -> None:
    lines = [["a", "b"]] * 5 + [["c", "xyz"]] * 2
    model = train_ngram(lines, shape(2, max_vocabulary=2, least_count=3))
    assert len(model.vocabulary) == 2
    short, long = (model.log_probabilities([[word]])[0] for word in ("q", "qqqqqqqq"))
    # a and b stand five times, c, x, y, z twice; 14 words end; one for any other character.
    letters = 5 + 5 + 2 * 4 + 14 + 1
    assert short - long == pytest.approx(7 * math.log(letters))
    assert model.spelling(["ab"])[0] == pytest.approx(
        2 * math.log(5 / letters) + math.log(14 / letters)
    )
    assert model.log_probabilities([["a"]])[0] > short


def test_fluent_text_is_less_perplexing_than_gibberish_in_both_languages() -> None:
    english = ["the river runs through the old town and people walk by the water"] * 3
    chinese = ["河水从老城里流过人们在水边散步"] * 3
    lines = [line for text in english + chinese for line in units(text, "words", None)]
    model = train_ngram(lines, shape(3))
    good, shuffled, gibberish = model.score(
        [english[0], "water the by old through walk town the people and", "qzxv kjhgq wqpoz xxq"]
    )
    assert good < shuffled < gibberish
    fluent, wild = model.score([chinese[0], "龘靐齉爩鱻麤"])
    assert fluent < wild
    assert model.score(["", "```\ncode\n```"]) == [0.0, 0.0]
    characters = train_ngram(
        [line for text in english for line in units(text, "characters", None)],
        NgramShape("characters", 4, 500, 1, 0, 10_000),
    )
    good, bad = characters.score([english[0], "zq xv kj hgq wqpoz"])
    assert good < bad


def test_scores_hang_on_the_text_alone() -> None:
    model = train_ngram(corpus(5, 80), shape(3))
    texts = [" ".join(line) for line in corpus(6, 40)] + ["", "x" * 5_000, "w1 w2\n\nw3"]
    together = model.score(texts)
    assert together == pytest.approx([model.score([t])[0] for t in texts])
    again = train_ngram(corpus(5, 80), shape(3))
    assert again.score(texts) == together
    assert all(np.isfinite(together))


def test_what_does_not_fit_is_told() -> None:
    assert shape(3).fits and not shape(7, max_vocabulary=1_000_000).fits
    with pytest.raises(DataError, match="no text"):
        train_ngram([], shape(2))
    assert (BEGIN, END) == (2, 1)


@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30)))
def test_places_are_where_values_are(table: list[int], wanted: list[int]) -> None:
    ordered = np.array(sorted(table), np.int64)
    found = places(ordered, np.array(wanted, np.int64)).tolist()
    assert found == [sorted(table).index(w) if w in table else -1 for w in wanted]


def test_a_model_forgets_words_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatwright.curate.learned.ngram._REMEMBERED", 5)
    model: NgramModel = train_ngram(corpus(5, 80), shape(3))
    texts = [f"w1 w2 new{i} w{i}" for i in range(30)]
    assert [model.score([t])[0] for t in texts] == pytest.approx(model.score(texts))
