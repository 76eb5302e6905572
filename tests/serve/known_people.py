"""People whom a server knows by the `Authorization` header alone: a key is its owner's name."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError
from chatwright.serve.store import Store
from chatwright.serve.store.tables import Person


class Keys:
    """Stands in for `service.accounts`."""

    def __init__(self, people: Mapping[str, Identity]) -> None:
        self._people = people

    async def identify(self, request: Request) -> Identity | None:
        told = request.headers.get("authorization", "").removeprefix("Bearer ")
        if told and told not in self._people:
            raise ApiError(401, "this key is not known", code="invalid_api_key")
        return self._people.get(told)


def move_in(store: Store, people: Mapping[str, Identity]) -> None:
    """Give each an account, and a key that their things are sealed under."""
    with store.begin() as session:
        for name, who in people.items():
            address = f"{name}@example.org"
            session.add(Person(id=who.person_id, email=address, name=name, role=who.role.value))
        session.flush()
        for who in people.values():
            store.keys.sealer(session, who.person_id)
