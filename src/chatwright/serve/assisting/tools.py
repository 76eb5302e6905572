"""Tools as a person of the service calls them: in their name, and over their documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from chatwright.assist.tools.definition import Caller, Tool
from chatwright.assist.tools.registry import ToolRegistry, default_tools
from chatwright.records.grounding import Passage
from chatwright.serve.access import Identity
from chatwright.serve.store.tables import Collection

if TYPE_CHECKING:
    from chatwright.serve.service import Service

_MOST_COLLECTIONS = 50


class PersonTools:
    """The tools of the service. Whoever calls is known from the session, never from the model."""

    def __init__(self, service: Service, registry: ToolRegistry | None = None) -> None:
        self._service = service
        self._registry = registry or ToolRegistry(default_tools())

    def definitions(self, identity: Identity | None = None) -> list[Tool]:
        """All tools that this person may let the model call."""
        return self._registry.definitions()

    async def call(self, identity: Identity, name: str, arguments: Mapping[str, Any]) -> str:
        """What the tool gives, as JSON; what goes wrong is in it as `error`."""
        caller = Caller(identity.person_id, identity.name, search=self._search(identity))
        allowed = [one.name for one in self.definitions(identity)]
        return await self._registry.call(caller, name, arguments, allowed=allowed)

    def _search(self, identity: Identity) -> Any:
        service = self._service
        if service.collections is None:
            return None

        async def search(query: str, count: int) -> Sequence[tuple[Passage, float]]:
            ids = await service.store.read(_readable, identity.person_id)
            if not ids:
                return []
            found: Sequence[tuple[Passage, float]] = await service.collections.search(
                identity, ids, query, count
            )
            return found

        return search


def _readable(session: Session, person_id: str) -> list[str]:
    """The collections that a person may read: their own, and the shared ones."""
    mine = or_(Collection.person_id == person_id, Collection.shared)
    found = select(Collection.id).where(mine).order_by(Collection.created_at, Collection.id)
    return list(session.scalars(found.limit(_MOST_COLLECTIONS)))
