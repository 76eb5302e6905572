"""A small web server on this machine that misbehaves to order."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatwright.sources import download


@dataclass
class Answer:
    """What one path answers. `cut_after`: bytes after which the connection is dropped, once."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cut_after: int | None = None
    fail_first: int = 0  # this many 503s first


@dataclass
class Server:
    """`routes` maps paths to answers (or to functions of the request); `log` holds requests."""

    url: str
    routes: dict[str, Answer | Callable[[http.server.BaseHTTPRequestHandler], Answer]] = field(
        default_factory=dict
    )
    log: list[tuple[str, str, str | None]] = field(default_factory=list)


def _handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(head=True)

        def do_GET(self) -> None:
            self._answer(head=False)

        def _answer(self, head: bool) -> None:
            path = self.path.partition("?")[0]
            server.log.append((self.command, self.path, self.headers.get("Range")))
            route = server.routes.get(path, Answer(b"nothing here", 404))
            answer = route(self) if callable(route) else route
            if answer.fail_first > 0:
                answer.fail_first -= 1
                answer = Answer(b"busy", 503)
            body, status, extra = answer.body, answer.status, {}
            wanted = self.headers.get("Range")
            if wanted and answer.ranges and status == 200:
                start = int(wanted.removeprefix("bytes=").split("-")[0])
                if start >= len(body):
                    status, body = 416, b""
                else:
                    status = 206
                    extra["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                    body = body[start:]
            self.send_response(status)
            for name, value in {**extra, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if head:
                return
            if answer.cut_after is not None:
                cut, answer.cut_after = answer.cut_after, None
                self.wfile.write(body[:cut])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(body)

    return Handler


@pytest.fixture(scope="session")
def _running() -> Iterator[Server]:
    server = Server("")
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def server(_running: Server) -> Server:
    _running.routes.clear()
    _running.log.clear()
    return _running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _running: Server) -> Path:
    """An empty cache, and a pip that knows the small server only."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CHATWRIGHT_CACHE", str(folder))
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{_running.url}/simple/")
    monkeypatch.setenv("PIP_TIMEOUT", "5")
    monkeypatch.setenv("PIP_RETRIES", "3")
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    return folder
