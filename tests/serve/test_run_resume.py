"""A run goes on when nobody listens; whoever comes back hears the rest, and nothing twice."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_client import ROOT, Page, ended, events, page_of, text_of

from chat_server import ScriptedEngine, until
from chatwright.serve.access import LOCAL_PERSON
from chatwright.serve.history.store import Turn, own_message, read_message
from chatwright.serve.runs.events import EventLog
from chatwright.serve.runs.stream import EventResponse
from chatwright.serve.store import Store, open_store

TEXT = "The gate opens for three hours at spring tide and five at neap. " * 6


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Page, Any]]:
    with page_of(ScriptedEngine(lambda _: TEXT, seconds=0.004)) as both:
        yield both


@pytest.fixture
def page(served: tuple[Page, Any]) -> Page:
    return served[0]


def test_cut_at_any_event_the_rest_gives_the_same_text(page: Page) -> None:
    told = page.ask(text="When is spring tide?")
    heard = page.hear(told["run_id"])
    assert text_of(heard) == TEXT.strip() and len(heard) > 8
    for cut in range(len(heard) + 1):
        rest = page.hear(told["run_id"], after=cut)
        assert [*heard[:cut], *rest] == heard
    headers = {"Last-Event-ID": "3"}
    reply = page.http.get(f"/runs/{told['run_id']}/events", headers=headers)
    assert reply.text.startswith("id: 4\n")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert page.hear(told["run_id"], after=10_000) == []


def test_cut_while_it_is_written(page: Page) -> None:
    told = page.ask(text="When is spring tide?")
    heard: list[Any] = []
    while not heard or heard[-1].kind not in ("done", "failed"):
        after = heard[-1].number if heard else 0
        for event in page.follow(told["run_id"], after):  # one event for each connection
            heard.append(event)
            break
    assert [e.number for e in heard] == list(range(1, len(heard) + 1))
    assert text_of(heard) == TEXT.strip()
    assert "".join(e.data["text"] for e in heard if e.kind == "text") == TEXT


def test_a_run_needs_no_listener(page: Page, served: tuple[Page, Any]) -> None:
    told = page.ask(text="When is spring tide?")
    until(lambda: not page.runs())
    assert text_of(page.hear(told["run_id"])) == TEXT.strip()


@pytest.mark.parametrize("number", ["-1", "x", str(2**63), "1.5", "nan"])
def test_numbers_of_events_are_checked(page: Page, number: str) -> None:
    url = "/runs/run_x/events"
    assert page.http.get(url, params={"after": number}).status_code == 400
    assert page.http.get(url, headers={"Last-Event-ID": number}).status_code == 400


def unchunked(reply: bytes) -> bytes:
    """The body of a reply, out of however many pieces it came in."""
    _, _, rest = reply.partition(b"\r\n\r\n")
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


def test_200_readers_of_one_run_hear_the_same(page: Page, served: tuple[Page, Any]) -> None:
    told = page.ask(text="When is spring tide?")

    host, port = page.address.removeprefix("http://").split(":")
    path = f"{ROOT}/runs/{told['run_id']}/events"

    async def read() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        reply = await reader.read()
        writer.close()
        assert reply.startswith(b"HTTP/1.1 200")
        return reply

    async def all_of_them() -> list[bytes]:
        return await asyncio.gather(*(read() for _ in range(200)))

    replies = [unchunked(reply) for reply in asyncio.run(all_of_them())]
    assert len(set(replies)) == 1 and replies[0].count(b"event: done") == 1
    assert text_of(list(events(iter([replies[0].decode()])))) == TEXT.strip()
    until(lambda: served[1].runs.readers == 0)


def test_one_that_reads_nothing_holds_nobody_up_and_is_given_up() -> None:
    # A reader that stops reading: more than the socket's buffers hold is waiting for it.
    engine = ScriptedEngine(lambda _: ("x" * 20_000 + " ") * 400)
    with page_of(engine) as (page, service):
        told = page.ask(text="Long, please")
        host, port = page.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            request = f"GET {ROOT}/runs/{told['run_id']}/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
            slow.sendall(request.encode())
            until(lambda: service.runs.readers == 1)
            begun = time.monotonic()
            assert ended(page.hear(told["run_id"]))["status"] == "done"  # another one is not held
            assert time.monotonic() - begun < 5
            until(lambda: service.runs.readers == 0, seconds=6)  # stall_seconds is 2


@pytest.mark.anyio
async def test_a_quiet_stream_gets_pings_and_a_late_reader_everything() -> None:
    log = EventLog()
    log.add("start", {})
    source = log.follow(0, ping=0.02)
    first = await anext(source)
    assert first.startswith(b"id: 1\nevent: start\ndata: {}\n\n")
    assert (await anext(source)).startswith(b":")
    log.add("text", {"text": "a\n\nb \ud800"})
    frame = await anext(source)
    (line,) = [part for part in frame.split(b"\n") if part.startswith(b"data: ")]
    assert json.loads(line[6:]) == {"text": "a\n\nb \ud800"}
    log.end()
    with pytest.raises(StopAsyncIteration):
        await anext(source)
    assert b"".join([part async for part in log.follow(0)]).count(b"id: ") == 2


@pytest.mark.anyio
async def test_a_reader_that_leaves_lets_go_at_once() -> None:
    log, closed = EventLog(), asyncio.Event()

    async def source() -> Any:
        try:
            async for data in log.follow(0):
                yield data
        finally:
            closed.set()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    response = EventResponse(source(), stall_seconds=1)
    await asyncio.wait_for(response({"type": "http"}, receive, send), 1)
    assert closed.is_set()


SERVER = """
import socket, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from chat_server import ScriptedEngine, scripted
from chatwright.serve import create_app
from chatwright.serve.store import open_store
import uvicorn

engine = ScriptedEngine(lambda _: {text!r}, seconds=0.02)
registry, _ = scripted(engine, None)
store = open_store(None, folder=Path({folder!r}))
app = create_app(registry, store=store)
app.state.service.moderator = None
listening = socket.socket(fileno=int(sys.argv[1]))
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
"""


def start(folder: Path) -> tuple[subprocess.Popen[bytes], Page]:
    here = Path(__file__).parent
    code = SERVER.format(paths=[str(here), str(here.parent)], text=TEXT * 4, folder=str(folder))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(16)
    number = listening.fileno()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(number)],
        pass_fds=[number],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    page = Page(f"http://127.0.0.1:{listening.getsockname()[1]}")
    listening.close()
    return process, page


def test_a_killed_server_loses_a_second_at_most(tmp_path: Path) -> None:
    process, page = start(tmp_path)
    try:
        told = page.ask(text="When is spring tide?")
        heard = []
        for event in page.follow(told["run_id"]):
            heard.append((time.monotonic(), event))
            if len(text_of([e for _, e in heard])) > 400:
                break
        killed = time.monotonic()
        process.send_signal(signal.SIGKILL)
        process.wait()
        surely = text_of([e for at, e in heard if killed - at > 1.3])
        shown = text_of([e for _, e in heard])
    finally:
        process.kill()
    engine = ScriptedEngine(lambda _: " and so on", seconds=0.001)
    store = open_store(None, folder=tmp_path)
    with page_of(engine, store=store) as (page, _):
        assert page.runs() == []
        assert page.http.get(f"/runs/{told['run_id']}/events").status_code == 404
        message = kept(store, told["answer_id"])
        assert (message.status, message.content.finish_reason) == ("stopped", "interrupted")
        assert message.text.startswith(surely) and len(surely) > 50
        assert message.text.startswith(shown) or shown.startswith(message.text)
        # What was cut off can be continued.
        _, done = page.answer(action="continue", message_id=told["answer_id"])
        assert done["text"] == message.text + " and so on"


def kept(store: Store, message_id: str) -> Turn:
    with store.begin() as session:
        sealer = store.keys.sealer(session, LOCAL_PERSON)
        return read_message(sealer, own_message(session, LOCAL_PERSON, message_id))


def test_all_stop_when_the_service_goes_down() -> None:
    engine = ScriptedEngine(lambda _: TEXT * 10, seconds=0.02)
    with page_of(engine) as (page, service):
        told = page.ask(text="When is spring tide?")
        run = service.runs._runs[told["run_id"]]
        until(lambda: run.draft.text != "")
    assert (run.draft.status, run.draft.finish_reason) == ("stopped", "interrupted")
    assert engine.active == 0


def test_an_answer_that_cannot_be_kept_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with page_of(ScriptedEngine(lambda _: TEXT, seconds=0.001)) as (page, _):
        monkeypatch.setattr("chatwright.serve.runs.run.end", full)
        _, done = page.answer(text="When is spring tide?")
    assert done["text"] == TEXT.strip() and "could not be saved" in done["notes"][-1]
