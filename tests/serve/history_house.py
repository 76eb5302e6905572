"""A real server with people's histories, where the `Authorization` header says who asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from known_people import Keys, move_in

from chat_server import ScriptedEngine, running, scripted
from chatwright.serve import Limits, create_app
from chatwright.serve.access import Identity, Role, api_routes
from chatwright.serve.feedback.routes import feedback_router
from chatwright.serve.history.routes import history_router
from chatwright.serve.history.store import add_message, create_chat, own_chat
from chatwright.serve.service import NoRates, ServeOptions
from chatwright.serve.store import Store, open_store

ROOT = "/v1/chatwright"
PEOPLE = {
    name: Identity(f"usr_{name}", name, Role(role), "key")
    for name, role in (("ann", "user"), ("bob", "user"), ("judge", "annotator"), ("root", "admin"))
}


class Acts:
    """Stands in for the audit log: remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, dict[str, Any]]] = []

    def record(self, _: Any, actor: Any, action: str, *, target: str = "", address: str = "",
               details: dict[str, Any] | None = None) -> None:  # fmt: skip
        self.lines.append((actor.person_id, action, target, details or {}))


class House:
    """The server, its store, and a client for each person."""

    def __init__(self, address: str, store: Store, acts: Acts, folder: Path) -> None:
        self.address, self.store, self.acts, self.folder = address, store, acts, folder
        self._clients: dict[str, httpx.Client] = {}

    def __call__(self, name: str | None) -> httpx.Client:
        """Requests of one person (None: of somebody who is not signed in)."""
        key = name or ""
        if key not in self._clients:
            headers = {"Authorization": f"Bearer {name}"} if name else {}
            self._clients[key] = httpx.Client(
                base_url=self.address + ROOT, headers=headers, verify=False, timeout=60
            )
        return self._clients[key]

    def chat(self, name: str, *turns: str, title: str | None = None, **more: Any) -> list[str]:
        """A conversation of question, answer, …; returns its id and the messages' ids."""
        person = PEOPLE[name].person_id
        with self.store.begin() as session:
            sealer = self.store.keys.sealer(session, person)
            chat = create_chat(session, sealer, person, title=title, **more)
            ids: list[str] = []
            for number, text in enumerate(turns):
                ids.append(
                    add_message(
                        session,
                        sealer,
                        chat,
                        parent_id=ids[-1] if ids else None,
                        role="assistant" if number % 2 else "user",
                        content=text,
                        model="harbour" if number % 2 else None,
                    )
                )
            return [chat.id, *ids]

    def add(self, name: str, chat_id: str, parent: str | None, role: Any, content: Any,
            **more: Any) -> str:  # fmt: skip
        """Another message of a conversation; returns its id."""
        person = PEOPLE[name].person_id
        with self.store.begin() as session:
            sealer = self.store.keys.sealer(session, person)
            chat = own_chat(session, person, chat_id)
            return add_message(
                session, sealer, chat, parent_id=parent, role=role, content=content, **more
            )

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@contextmanager
def house(folder: Path, limits: Limits | None = None) -> Iterator[House]:
    """A running server over a SQLite file in `folder`."""
    store = open_store(None, folder=folder, master=bytes(range(32)))
    registry, _ = scripted(ScriptedEngine(lambda _: "Yes."), None)
    app = create_app(registry, limits=limits, store=store, options=ServeOptions(accounts=True))
    there = {route.path for route in api_routes(app.routes)}
    for router in (history_router(), feedback_router()):
        if not {route.path for route in api_routes(router.routes)} <= there:
            app.include_router(router)
    service = app.state.service
    service.accounts, service.audit, service.rates = Keys(PEOPLE), Acts(), NoRates()
    move_in(store, PEOPLE)
    with running(app) as address:
        inside = House(address, store, service.audit, folder)
        yield inside
        inside.close()
