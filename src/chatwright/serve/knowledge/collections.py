"""`service.collections`: what other parts ask of people's knowledge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread
from sqlalchemy.orm import Session
from starlette.requests import Request

from chatwright.assist.documents import DocumentError, Parsed, read_document
from chatwright.assist.embedder import embeddings_installed, text_embedder
from chatwright.assist.hybrid import Meaning
from chatwright.errors import ChatwrightError
from chatwright.records.grounding import Passage
from chatwright.serve.access import Identity
from chatwright.serve.knowledge import contents, files
from chatwright.serve.knowledge.indexing import Indexer, PassageEmbedder
from chatwright.serve.knowledge.limits import KnowledgeLimits, document_error
from chatwright.serve.knowledge.multipart import Upload, Uploads
from chatwright.serve.knowledge.searching import Searcher
from chatwright.serve.service import Service, service_of
from chatwright.serve.store import Store

_SEARCHES = 4  # at one time: each may have to build an index


class Collections:
    """Search, attachments and files, for whoever answers and trains.

    >>> found = await service.collections.search(who, ["col_…"], "when does the gate open", 3)

    What is found is data: it is shown to the model as numbered passages (`records.grounding`) and
    nothing in it is ever taken for an instruction of the person or the operator.
    """

    def __init__(
        self,
        store: Store,
        limits: KnowledgeLimits | None = None,
        *,
        load: Callable[[], PassageEmbedder] | None = None,
    ) -> None:
        self.limits = limits or KnowledgeLimits()
        self.store = store
        self.has_vectors = load is not None or embeddings_installed()
        self._load = load or text_embedder
        self.uploads = Uploads(self.limits.uploads, self.limits.uploads_each)
        self.indexer = Indexer(store, self._load)
        self._searcher = Searcher(store, self.limits, self._meaning)
        self._threads: anyio.CapacityLimiter | None = None

    async def start(self) -> None:
        """Take up what an earlier process left pending."""
        if self.has_vectors:
            await anyio.to_thread.run_sync(self.indexer.resume)

    def close(self) -> None:
        """End the background work. Blocking."""
        self.indexer.close()

    async def search(
        self, identity: Identity, collection_ids: Sequence[str], query: str, k: int
    ) -> list[tuple[Passage, float]]:
        """The best `k` passages of these collections with their scores (0 … 2/61), best first.

        Raises `ApiError` 404 for a collection that this person may not read.
        """
        if not collection_ids:
            return []
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_SEARCHES)
        return await anyio.to_thread.run_sync(
            self._searcher.search, identity, list(collection_ids), query, k, limiter=self._threads
        )

    async def readable(self, identity: Identity) -> list[str]:
        """Ids of all collections that this person may read, their own first."""
        found = await self.store.read(contents.list_collections, self.store.keys, identity)
        return [one.id for one in found]

    def attachment_text(
        self, session: Session, identity: Identity, file_id: str
    ) -> tuple[str, str]:
        """Name and text of one of this person's attachments. Raises `ApiError` 404."""
        return files.attachment_text(session, self.store.keys, identity, file_id)

    def open_file(self, session: Session, identity: Identity, file_id: str) -> bytes:
        """The bytes of one of this person's files of `/v1/files`. Raises `ApiError` 404."""
        return files.open_file(session, self.store.keys, identity, file_id)

    def forget(self, collection_id: str) -> None:
        """A collection was deleted: drop what is in memory of it."""
        self._searcher.forget(collection_id)

    def cached_passages(self) -> int:
        """How many passages are in memory, for the metrics."""
        return self._searcher.kept()

    def _meaning(self, query: str) -> Meaning | None:
        try:
            return self._load().meaning(query)
        except ChatwrightError:  # no model here: words alone find what they find
            return None


def here_of(request: Request) -> Collections:
    """`service.collections`, in a handler."""
    found = service_of(request).collections
    assert isinstance(found, Collections)
    return found


def parse_upload(here: Collections, upload: Upload) -> Parsed:
    """The text of an uploaded document; blocking. Raises `ApiError` 400, 413, 415 or 503."""
    try:
        return read_document(upload.name, upload.data, here.limits.document)
    except DocumentError as error:
        raise document_error(error) from error


def make_collections(service: Service, limits: KnowledgeLimits | None = None) -> Collections:
    """What `create_app` sets as `service.collections`."""
    return Collections(service.store, limits)
