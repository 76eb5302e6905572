"""A page's side of the runs: asks, follows the events, reads the conversation."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from chat_server import ScriptedEngine, running, scripted
from chatwright.serve import Limits, create_app

ROOT = "/v1/chatwright"


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
    app = create_app(registry, **options)
    app.state.service.moderator = None  # its model takes a while to load; tests bring their own
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
