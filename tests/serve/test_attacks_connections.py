"""Clients that hold the server up, by its own rules for connections: `serve.connections`."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from attack_house import attacked, rates, survives

from accounts_server import HTTP, House
from chat_server import until
from chatwright.serve import Limits, connections


class Quick(connections.TimedProtocol):
    """The same with less patience."""

    head_seconds = 0.4
    unread_seconds = 0.4


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    limits = Limits(rates=rates(), body_seconds=0.5)
    with attacked(tmp_path_factory.mktemp("slow"), limits=limits) as one:
        yield one


@pytest.fixture(scope="module")
def quick(here: House) -> Iterator[tuple[str, int]]:
    """The same application behind connections that are less patient."""
    listening = socket.socket()
    # Accepted connections inherit it: a reader's progress then shows at once.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    listening.bind(("127.0.0.1", 0))
    # The application's start and end are those of the other server.
    options = {**connections.connection_options(), "http": Quick, "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(here.app, log_level="critical", **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield listening.getsockname()
    server.should_exit = True
    thread.join(10)


@pytest.fixture(autouse=True)
def _still_serving(here: House) -> Iterator[None]:
    with survives(here):
        yield


def closed_after(one: socket.socket, seconds: float = 8) -> float:
    """How long it takes until the other side hangs up. Reads whatever comes."""
    started = time.monotonic()
    one.settimeout(seconds)
    try:
        while one.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - started


def test_the_service_runs_with_them(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[uvicorn.Config] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, **_: told.append(self.config))
    with socket.socket() as listening:
        connections.serve_app(here.app, listening)
    assert told[0].http is connections.TimedProtocol and told[0].ws == "none"
    assert 5 <= connections.HEAD_SECONDS <= 60 and connections.UNREAD_SECONDS <= 120


def test_a_head_that_never_comes(quick: tuple[str, int]) -> None:
    """Not at all, in part, or a byte at a time (slowloris)."""
    silent = socket.create_connection(quick)
    partial = socket.create_connection(quick)
    partial.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A")
    dripping = socket.create_connection(quick)
    started = time.monotonic()
    ended = None
    try:
        while time.monotonic() < started + 3:
            dripping.sendall(b"G" if ended is None else b"")
            time.sleep(0.05)
    except ConnectionError:
        ended = time.monotonic() - started
    assert ended is not None and ended < 2
    assert closed_after(silent) < 2 and closed_after(partial) < 2


def test_a_second_head_that_never_comes(quick: tuple[str, int]) -> None:
    """After an answer the wait begins anew, and more bytes do not make it longer."""
    with socket.create_connection(quick) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in one.recv(4000)
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < started + 3:
                one.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - started < 2


def test_a_body_that_nobody_wanted(quick: tuple[str, int]) -> None:
    """The answer is there, and the body still comes: it is not waited for."""
    with socket.create_connection(quick) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n")
        assert b"200 OK" in one.recv(4000)
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < started + 3:
                one.sendall(b"x")
                time.sleep(0.05)


def test_a_body_that_never_comes(here: House, quick: tuple[str, int]) -> None:
    """JSON a byte at a time: 408 when its time is over, and then the connection is closed."""
    key = here.key(here.person())
    for length in ("Content-Length: 5000", "Transfer-Encoding: chunked"):
        with socket.create_connection(quick) as one:
            one.sendall(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                f"application/json\r\nAuthorization: Bearer {key}\r\n{length}\r\n\r\n".encode()
            )
            started = time.monotonic()
            one.settimeout(0.05)
            told = b""
            while b"timeout" not in told and time.monotonic() < started + 10:
                if not told:
                    one.sendall(b"1\r\n \r\n" if "chunked" in length else b" ")
                with suppress(TimeoutError):
                    told += one.recv(4000)  # head and body may come one after the other
            assert b" 408 " in told[:20] and b"timeout" in told
            assert closed_after(one) < 8


def test_200_slow_heads_at_once_are_in_nobodys_way(quick: tuple[str, int]) -> None:
    many = [socket.create_connection(quick) for _ in range(200)]
    for one in many:
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc")
    started = time.monotonic()
    assert HTTP.get(f"http://127.0.0.1:{quick[1]}/healthz").status_code == 200
    assert time.monotonic() - started < 5
    for one in many:
        assert closed_after(one) < 8
        one.close()


def test_keep_alive_and_long_answers_are_not_cut(here: House, quick: tuple[str, int]) -> None:
    """Whoever waits for an answer waits as long as it takes."""
    engine: Any = here.service.registry._load("harbour").engine
    engine.seconds = 0.1
    person = here.person()
    headers = {"Authorization": f"Bearer {here.key(person)}"}
    body = {"model": "harbour", "messages": [{"role": "user", "content": "SAY a b c d e f g h i"}]}
    try:
        url = f"http://127.0.0.1:{quick[1]}/v1/chat/completions"
        for _ in range(2):
            reply = HTTP.post(url, json=body, headers=headers)
            assert reply.json()["choices"][0]["message"]["content"] == "a b c d e f g h i"
    finally:
        engine.seconds = 0.0


def test_a_client_that_reads_nothing_is_given_up(here: House, quick: tuple[str, int]) -> None:
    """Its answer would lie in memory for ever; and slow ones who do read get all of it."""
    person = here.person()
    key = here.key(person)
    head = f"Host: localhost\r\nAuthorization: Bearer {key}\r\n".encode()
    size = 8 << 20
    name = f"http://127.0.0.1:{quick[1]}/v1/files"
    file = HTTP.post(name, files={"file": ("a.txt", b"x" * size)}, data={"purpose": "user_data"},
                     headers={"Authorization": f"Bearer {key}"}).json()["id"]  # fmt: skip
    ask = f"GET /v1/files/{file}/content HTTP/1.1\r\n".encode() + head + b"\r\n"
    never = []
    for _ in range(4):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(quick)
        one.sendall(ask)
        never.append(one)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    slow.connect(quick)
    slow.sendall(ask)
    got = 0
    started = time.monotonic()
    slow.settimeout(5)
    while got < size:
        part = slow.recv(1 << 16)
        assert part, f"cut off after {got} bytes"
        got += len(part)
        if time.monotonic() - started < 1.5:
            time.sleep(0.02)
    assert (
        time.monotonic() - started > 1
    )  # longer than the patience with somebody who reads nothing
    for one in never:
        assert closed_after(one) < 8
        one.close()
    slow.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200_000 + b"\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX y: 1\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: localhost\n\tX: 1\r\n\r\n\x00\r\n\r\n",
        b"GARBAGE\r\n\r\n",
    ],
)
def test_heads_that_are_none(quick: tuple[str, int], head: bytes) -> None:
    """Too long, ambiguous (request smuggling) or malformed: 400, and the connection is closed."""
    with socket.create_connection(quick) as one:
        one.settimeout(5)
        try:
            one.sendall(head)
            told = one.recv(4000)
        except ConnectionError:
            return  # refused before all of it was read
        assert told[9:12] in (b"400", b"501"), told[:100]
        assert closed_after(one) < 8


def test_there_are_no_websockets(quick: tuple[str, int]) -> None:
    with socket.create_connection(quick) as one:
        one.sendall(
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 401 " in one.recv(4000)[:20]
