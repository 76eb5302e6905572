"""A page's side of the runs: asks, follows the events, reads the conversation."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from chat_server import ScriptedEngine, running, scripted
from chatwright.serve import Limits, create_app
from chatwright.serve.runs import RunService, runs_router
from chatwright.serve.usage import Meter, usage_router

ROOT = "/v1/chatwright"


def wired(app: FastAPI) -> FastAPI:
    """The app with runs and usage, where `create_app` has not brought them yet."""
    service = app.state.service
    if service.runs is not None:
        return app
    service.meter = Meter(service.store)
    service.runs = RunService(service)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(one: FastAPI) -> AsyncIterator[None]:
        async with inner(one):
            await service.runs.start()
            yield
            await service.runs.close()
            await service.meter.close()

    app.router.lifespan_context = lifespan
    app.include_router(runs_router())
    app.include_router(usage_router())
    return app


@dataclass(frozen=True)
class Event:
    """One event as it came."""

    number: int
    kind: str
    data: dict[str, Any]


@dataclass
class Page:
    """A browser without the screen."""

    address: str

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=f"{self.address}{ROOT}", verify=False, timeout=20)

    def ask(self, **body: Any) -> dict[str, Any]:
        reply = self.http.post("/answers", json=body)
        assert reply.status_code == 201, reply.text
        told: dict[str, Any] = reply.json()
        return told

    def refused(self, **body: Any) -> tuple[int, str]:
        reply = self.http.post("/answers", json=body)
        assert reply.status_code >= 400, reply.text
        return reply.status_code, reply.json()["error"]["code"]

    def follow(self, run: str, after: int = 0) -> Iterator[Event]:
        """Events as they come; closing the iterator cuts the connection."""
        url = f"/runs/{run}/events"
        with self.http.stream("GET", url, params={"after": after}) as reply:
            assert reply.status_code == 200, reply.read()
            yield from events(reply.iter_text())

    def hear(self, run: str, after: int = 0) -> list[Event]:
        """All events to the end."""
        return list(self.follow(run, after))

    def answer(self, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ask and wait: what the request told, and the data of the last of the answer's events."""
        told = self.ask(**body)
        heard = self.hear(told["run_id"])
        return told, ended(heard)

    def stop(self, run: str) -> int:
        return self.http.post(f"/runs/{run}/stop").status_code

    def runs(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.http.get("/runs").json()["data"]
        return rows


def events(pieces: Iterator[str]) -> Iterator[Event]:
    """Server-sent events out of text in any pieces."""
    rest = ""
    for piece in pieces:
        rest += piece
        while "\n\n" in rest:
            block, rest = rest.split("\n\n", 1)
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line[:1] != ":")
            if fields:
                yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))


def ended(heard: list[Event]) -> dict[str, Any]:
    last = [e for e in heard if e.kind in ("done", "failed")]
    assert len(last) == 1, heard
    return last[0].data


def text_of(heard: list[Event]) -> str:
    """What a page shows that has heard these events."""
    shown = ""
    for event in heard:
        if event.kind == "text":
            shown += event.data["text"]
        elif event.kind == "done":
            shown = event.data["text"]
    return shown


@contextmanager
def page_of(engine: ScriptedEngine, knowledge: Any = None, **options: Any) -> Iterator[Any]:
    """A running service over a scripted engine; yields (page, service)."""
    settings = options.pop("settings", {})
    registry, _ = scripted(engine, knowledge, **settings)
    options.setdefault("limits", Limits(stall_seconds=2))
    app = wired(create_app(registry, **options))
    with running(app) as address:
        page = Page(address)
        try:
            yield page, app.state.service
        finally:
            with suppress(Exception):
                page.http.close()


def in_threads(count: int, work: Any) -> list[Any]:
    """`work(number)` in so many threads; their results, or what they raised."""
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results
