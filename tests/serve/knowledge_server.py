"""A real server with collections, where the `Authorization` header says who asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from known_people import Keys, move_in

from chat_server import ScriptedEngine, running, scripted, until
from chatwright.assist.hybrid import Meaning
from chatwright.serve import create_app
from chatwright.serve.access import SCOPES, Identity, Role
from chatwright.serve.knowledge import Collections, KnowledgeLimits, knowledge_routers
from chatwright.serve.service import ServeOptions

PEOPLE = {
    name: Identity(f"usr_{name}", name, Role(role), "key", frozenset(scopes), f"key_{name}")
    for name, role, scopes in (
        ("ann", "user", SCOPES),
        ("bob", "user", SCOPES),
        ("root", "admin", SCOPES),
        ("narrow", "user", ("history",)),
    )
}


class WordVectors:
    """Stands in for the embedding model: a text is the bag of its letters. Counts what it did."""

    def __init__(self) -> None:
        self.made = 0

    def embed_all(
        self,
        texts: Sequence[str],
        *,
        query: bool,
        background: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> np.ndarray:
        out = np.zeros((len(texts), 64), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                out[row, hashlib.blake2b(word.encode(), digest_size=1).digest()[0] % 64] += 1
        self.made += len(texts)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)

    def meaning(self, question: str) -> Meaning:
        return Meaning(self.embed_all([question], query=True)[0])


@dataclass
class Knowing:
    """The server: its address, its app, and a client for each person."""

    address: str
    app: FastAPI
    vectors: WordVectors

    @property
    def collections(self) -> Collections:
        found: Collections = self.app.state.service.collections
        return found

    def ask(self, who: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {who}"} if who else {}
        headers |= more.pop("headers", {})
        prefix = "" if path.startswith("/v1/") else "/v1/chatwright"
        return CLIENT.request(method, f"{self.address}{prefix}{path}", headers=headers, **more)

    def collection(self, who: str, name: str = "Harbour", shared: bool = False) -> str:
        made = self.ask(who, "POST", "/collections", json={"name": name, "shared": shared})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def upload(self, who: str, path: str, name: str, data: bytes, **fields: str) -> httpx.Response:
        return self.ask(who, "POST", path, files={"file": (name, data)}, data=fields)

    def add(self, who: str, collection: str, name: str, data: bytes) -> dict[str, Any]:
        made = self.upload(who, f"/collections/{collection}/files", name, data)
        assert made.status_code == 201, made.text
        body: dict[str, Any] = made.json()
        return body

    def ready(self, who: str, collection: str) -> list[dict[str, Any]]:
        """Its files, when no vector is missing any more."""
        path = f"/collections/{collection}/files"
        until(
            lambda: all(f["status"] != "pending" for f in self.ask(who, "GET", path).json()["data"])
        )
        found: list[dict[str, Any]] = self.ask(who, "GET", path).json()["data"]
        return found


CLIENT = httpx.Client(verify=False, timeout=60)


@contextmanager
def knowing(
    limits: KnowledgeLimits | None = None, *, real: bool = False, **engine: Any
) -> Iterator[Knowing]:
    registry, _ = scripted(ScriptedEngine(lambda _: "yes"), None)
    app = create_app(registry, options=ServeOptions(accounts=True), **engine)
    service = app.state.service
    vectors = WordVectors()
    wired = service.collections is not None
    if wired:
        service.collections.close()
    service.collections = Collections(service.store, limits, load=None if real else lambda: vectors)
    if not wired:
        for router in knowledge_routers():
            app.include_router(router)
    service.accounts = Keys(PEOPLE)
    move_in(service.store, PEOPLE)
    with running(app) as address:
        yield Knowing(address, app, vectors)
        service.collections.close()
