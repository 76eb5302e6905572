"""What a run needs of other parts of the service; it goes on without those that are not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chatwright.records.grounding import Passage
from chatwright.serve.access import Identity


class Verdict(Protocol):
    """What moderation found in a text."""

    @property
    def flagged(self) -> bool: ...
    @property
    def blocked(self) -> bool: ...
    @property
    def categories(self) -> Sequence[str]: ...
    @property
    def event_id(self) -> str | None: ...


class Moderator(Protocol):
    """`service.moderator`."""

    async def check(
        self,
        texts: Sequence[str],
        *,
        direction: str,
        identity: Identity,
        conversation_id: str | None,
        message_id: str | None,
        stored: bool,
    ) -> Verdict: ...


class Collections(Protocol):
    """`service.collections`: passages of a person's documents, the nearest first."""

    async def search(
        self, identity: Identity, collection_ids: Sequence[str], query: str, k: int
    ) -> Sequence[tuple[Passage, float]]: ...
