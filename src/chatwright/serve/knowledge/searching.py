"""Search over collections: indexes in memory, made of sealed passages and kept while true."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy.orm import Session

from chatwright.assist.hybrid import Entry, HybridIndex, Meaning, search
from chatwright.records.grounding import Passage
from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError
from chatwright.serve.knowledge.contents import (
    files_by_id,
    open_content,
    passage_uri,
    passages_of,
    visible,
)
from chatwright.serve.knowledge.limits import KnowledgeLimits
from chatwright.serve.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

_QUERY_LETTERS = 4_000
_MOST_PASSAGES = 50
VECTOR_TYPE = np.dtype("<f2")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A collection as it was at a version."""

    version: int
    passages: tuple[Passage, ...]
    index: HybridIndex
    has_vectors: bool


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is read of a collection in one transaction."""

    collection_id: str
    version: int
    passages: tuple[Passage, ...]
    entries: tuple[Entry, ...]
    vectors: NDArray[np.float16] | None


class Searcher:
    """Finds passages for somebody. Blocking; call it in a thread.

    Who may read what is asked of the database at every search; only the index is kept, by the
    collection's version, so that a change made by another worker is seen as well. `meaning`
    gives a question's vector, or None where there is no embedding model.
    """

    def __init__(
        self,
        store: Store,
        limits: KnowledgeLimits,
        meaning: Callable[[str], Meaning | None],
    ) -> None:
        self._store = store
        self._limits = limits
        self._meaning = meaning
        self._kept: OrderedDict[str, _Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._building: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def search(
        self, who: Identity, collection_ids: Sequence[str], query: str, k: int
    ) -> list[tuple[Passage, float]]:
        """The best `k` passages with their fused scores, best first.

        Raises `ApiError` 404 for a collection that the person may not read, and 400 for too many.
        """
        ids = list(dict.fromkeys(collection_ids))
        if len(ids) > self._limits.searched:
            raise ApiError(
                400,
                f"a search goes over {self._limits.searched} collections at most",
                param="collections",
                code="too_many_collections",
            )
        k = min(max(k, 0), _MOST_PASSAGES)
        loaded = self._load(who, ids)
        asked = query[:_QUERY_LETTERS].strip()
        if not k or not asked or not any(one.passages for one in loaded):
            return []
        meaning = self._meaning(asked) if any(one.has_vectors for one in loaded) else None
        hits = search([one.index for one in loaded], asked, meaning, k)
        return [(loaded[hit.index].passages[hit.row], hit.score) for hit in hits]

    def forget(self, collection_id: str) -> None:
        """Drop what is kept of a collection that was deleted."""
        with self._lock:
            self._kept.pop(collection_id, None)

    def kept(self) -> int:
        """Passages in memory."""
        with self._lock:
            return sum(len(one.passages) for one in self._kept.values())

    def _load(self, who: Identity, ids: Sequence[str]) -> list[_Loaded]:
        with self._store.reading() as session:
            versions = {one: visible(session, who, one).version for one in ids}
        found = {one: self._known(one, version) for one, version in versions.items()}
        for one in [one for one, loaded in found.items() if loaded is None]:
            with self._lock:
                building = self._building[one]
            with building:  # two searches must not build the same twice
                found[one] = self._known(one, versions[one]) or self._build(who, one)
            with self._lock:
                self._building.pop(one, None)
        return [loaded for loaded in found.values() if loaded is not None]

    def _known(self, collection_id: str, version: int) -> _Loaded | None:
        with self._lock:
            loaded = self._kept.get(collection_id)
            if loaded is None or loaded.version < version:
                return None
            self._kept.move_to_end(collection_id)
            return loaded

    def _build(self, who: Identity, collection_id: str) -> _Loaded:
        with self._store.reading() as session:
            rows = self._read(session, who, collection_id)
        index = HybridIndex(rows.entries, rows.vectors)
        loaded = _Loaded(rows.version, rows.passages, index, rows.vectors is not None)
        with self._lock:
            self._kept[collection_id] = loaded
            self._kept.move_to_end(collection_id)
            total = sum(len(one.passages) for one in self._kept.values())
            while total > self._limits.cached_passages and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                total -= len(gone.passages)
        return loaded

    def _read(self, session: Session, who: Identity, collection_id: str) -> _Rows:
        row = visible(session, who, collection_id)
        sealer = self._store.keys.sealer(session, row.id)
        files = files_by_id(session, sealer, row.id)
        passages: list[Passage] = []
        entries: list[Entry] = []
        vectors: list[NDArray[np.float16] | None] = []
        for one in passages_of(session, row.id):
            content = open_content(sealer, one)
            title, (name, ready) = str(content["title"]), files[one.file_id]
            shown = title + _pages(content["page"], content["last_page"])
            passages.append(Passage(one.id, shown, passage_uri(row.id, name), content["text"]))
            above = title.split(" › ", maxsplit=1)[0]
            entries.append(Entry((name, above, *content["headings"]), content["text"]))
            vectors.append(
                None  # half a file with vectors would push the other half down
                if one.sealed_vector is None or not ready
                else np.frombuffer(
                    sealer.open(one.sealed_vector, context=f"passages.vector:{one.id}"), VECTOR_TYPE
                )
            )
        width = next((len(vector) for vector in vectors if vector is not None), 0)
        matrix = np.zeros((len(vectors), width), np.float16) if width else None
        for number, vector in enumerate(vectors):
            if matrix is not None and vector is not None and len(vector) == width:
                matrix[number] = vector
        return _Rows(row.id, row.version, tuple(passages), tuple(entries), matrix)


def _pages(first: int | None, last: int | None) -> str:
    if first is None:
        return ""
    return f" (p. {first})" if last in (None, first) else f" (p. {first}\u2013{last})"
