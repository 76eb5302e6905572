"""A server that speaks OpenAI's protocol over real sockets, as well or as badly as it is told."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Exchange:
    """One request as it came, and the means to answer it."""

    handler: Any
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    gone: bool = False  # the client closed the connection while it was being answered

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.bytes(json.dumps(value).encode(), status, "application/json", **headers)

    def bytes(self, raw: bytes, status: int = 200, kind: str = "text/html", **headers: str) -> None:
        self.head(status, kind, **headers)
        self.raw(raw)

    def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        """Status and headers; the body ends with the connection."""
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", kind)
        self.handler.send_header("Connection", "close")
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()

    def raw(self, data: bytes) -> None:
        with suppress(OSError):
            self.handler.wfile.write(data)
            self.handler.wfile.flush()

    def event(self, value: Any) -> None:
        self.raw(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    def say(self, text: str, **more: Any) -> None:
        """One token of an answer, in the form that was asked for."""
        chat = "messages" in self.body
        said: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
        self.event({"choices": [{"index": 0, "finish_reason": None, **said, **more}]})

    def finish(self, reason: str = "stop", usage: Mapping[str, Any] | None = None) -> None:
        empty: dict[str, Any] = {"delta": {}} if "messages" in self.body else {"text": ""}
        self.event({"choices": [{"index": 0, "finish_reason": reason, **empty}]})
        if usage is not None:
            self.event({"choices": [], "usage": usage})
        self.raw(b"data: [DONE]\n\n")

    def hang(self, seconds: float = 20.0, ping: bool = False) -> None:
        """Say nothing (or only comments) until the client goes away."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ready, _, _ = select.select([self.handler.connection], [], [], 0.02)
            if ready and not self.handler.connection.recv(1):
                self.gone = True
                return
            if ping:
                self.raw(b": ping\n\n")
        raise AssertionError("the client stayed")

    def reset(self) -> None:
        """End the connection as a crashed server does (RST)."""
        option = struct.pack("ii", 1, 0)
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        self.handler.connection.close()


Answer = Callable[[Exchange], None]


@dataclass
class Fake:
    """What the server says: by path, the answers of the next requests; the last one stays."""

    url: str = ""
    seen: list[Exchange] = field(default_factory=list)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    active: int = 0
    most: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def on(self, path: str, *answers: Answer) -> None:
        self.answers[path] = list(answers)

    def asked(self, path: str) -> list[Exchange]:
        return [e for e in self.seen if e.path == path]

    def answer(self, exchange: Exchange) -> None:
        with self.lock:
            self.seen.append(exchange)
            self.active += 1
            self.most = max(self.most, self.active)
            left = self.answers.get(exchange.path, [])
            chosen = left.pop(0) if len(left) > 1 else left[0] if left else None
        try:
            if chosen is None:
                exchange.json({"error": {"message": "Not Found"}}, 404)
            else:
                chosen(exchange)
        finally:
            with self.lock:
                self.active -= 1


CHAT = "/v1/chat/completions"
PLAIN = "/v1/completions"
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 5},
}


def says(
    tokens: Sequence[str] = ("Hel", "lo", "!"), reason: str = "stop", seconds: float = 0.0
) -> Answer:
    def answer(exchange: Exchange) -> None:
        exchange.head()
        for token in tokens:
            if seconds:
                time.sleep(seconds)
            exchange.say(token)
        exchange.finish(reason, USAGE)

    return answer


def fails(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    error = {"message": message, "type": "some_error", "code": code}
    return lambda exchange: exchange.json({"error": error}, status, **headers)


def gives(value: Any) -> Answer:
    return lambda exchange: exchange.json(value)


_ENTRIES: dict[str, dict[str, Any]] = {
    "vllm": {"owned_by": "vllm", "max_model_len": 512},
    "llama-server": {"owned_by": "llamacpp", "meta": {"n_ctx_train": 8192}},
    "llama-cpp-python": {"owned_by": "me", "permissions": []},
    "ollama": {"owned_by": "library"},
    "unknown": {"owned_by": "somebody"},
}


def as_server(fake: Fake, kind: str, model: str = "tiny") -> None:
    """Give the answers by which servers of that kind are known."""
    entry = {"id": model, "object": "model", **_ENTRIES[kind]}
    fake.on("/v1/models", gives({"object": "list", "data": [entry]}))
    if kind == "vllm":
        fake.on("/version", gives({"version": "0.11.2"}))
    if kind == "llama-server":
        fake.on("/props", gives({"default_generation_settings": {"n_ctx": 600}}))
    if kind == "ollama":
        fake.on("/api/version", gives({"version": "0.12.0"}))
        fake.on("/api/ps", gives({"models": []}))
        fake.on(
            "/api/show",
            gives({"parameters": "stop  x\nnum_ctx   300", "model_info": {"l.context_length": 9}}),
        )
    fake.on(CHAT, says())
    fake.on(PLAIN, says())


@contextmanager
def serving(kind: str = "vllm") -> Iterator[Fake]:
    """A server of that kind on a free port of 127.0.0.1."""
    fake = Fake()
    as_server(fake, kind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._answer("POST")

        def do_GET(self) -> None:
            self._answer("GET")

        def _answer(self, method: str) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw else None
            self.close_connection = True
            with suppress(OSError):
                fake.answer(Exchange(self, method, self.path, dict(self.headers), body))

        def log_message(self, *_: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: Any) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
