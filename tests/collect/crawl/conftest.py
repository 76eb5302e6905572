"""A site on this machine, with all the traps that a crawler meets."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator

from chatwright.collect.crawl import host
from chatwright.collect.crawl.crawler import CrawlResult, crawl
from chatwright.collect.crawl.settings import CrawlSettings

HTML = "text/html; charset=utf-8"


@dataclass
class Reply:
    """What the site answers; `drip` sends byte by byte with so many seconds between."""

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0

    @property
    def bytes(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else self.body


class Site:
    """Answers by path: a `Reply`, a page's HTML, or a function of the request's headers."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.pages: dict[str, Any] = {}
        self.requests: list[tuple[str, dict[str, str], float]] = []
        self.fallback: Callable[[str], Reply | None] = lambda path: None
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                headers = {k.lower(): v for k, v in self.headers.items()}
                site.requests.append((self.path, headers, time.monotonic()))
                reply = site.reply(self.path, headers)
                body = reply.bytes
                self.send_response(reply.status)
                given = {k.lower() for k in reply.headers}
                if "content-type" not in given:
                    self.send_header("Content-Type", HTML)
                if reply.status != 304 and "content-length" not in given:
                    self.send_header("Content-Length", str(len(body)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    if not reply.drip:
                        self.wfile.write(body)
                        return
                    for number in range(len(body)):
                        self.wfile.write(body[number : number + 1])
                        self.wfile.flush()
                        time.sleep(reply.drip)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = f"https://site.example:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def reply(self, path: str, headers: dict[str, str]) -> Reply:
        found = self.pages.get(path)
        if callable(found):
            found = found(headers)
        if found is None:
            found = self.fallback(path) or Reply("not here", 404)
        return found if isinstance(found, Reply) else Reply(found)

    def link(self, path: str, *targets: str) -> None:
        """A page that links to others."""
        links = "".join(f'<a href="{target}">x</a>' for target in targets)
        self.pages[path] = f"<html><body><p>page {path}</p>{links}</body></html>"

    @property
    def asked(self) -> list[str]:
        return [path for path, _, _ in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


class Crawled:
    """A crawl's result, its ledger and its records."""

    def __init__(self, result: CrawlResult) -> None:
        self.result = result
        self.lines: list[dict[str, Any]] = [
            json.loads(line) for line in result.ledger.read_text().splitlines()
        ]

    def of(self, url: str) -> list[tuple[str, str]]:
        """(action, rule) of what happened to an address."""
        return [(x["action"], x["rule"]) for x in self.lines if x["uri"] == url]

    def rule(self, rule: str) -> list[str]:
        return [line["uri"] for line in self.lines if line["rule"] == rule]

    def records(self, kind: str) -> list[tuple[str, dict[str, str], bytes]]:
        """(address, headers, content) of the WARC's records of one type."""
        with self.result.warc.open("rb") as file:
            return [
                (r.headers.get("WARC-Target-URI") or "", r.headers.to_dict(), r.reader.read())
                for r in ArchiveIterator(file, parse_http=False, fsspec_args=False)
                if str(r.record_type) == kind
            ]


@pytest.fixture
def run(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Crawled]:
    monkeypatch.setattr(host, "BACKOFF", 0.01)

    def go(*seeds: str, out: str = "site.warc.gz", resolve: Any = None, **more: Any) -> Crawled:
        told = {"delay": 0.0, "sitemaps": False, "allow_private": True, "page_seconds": 5.0} | more
        settings = CrawlSettings(seeds=seeds or (site.url + "/",), **told)
        extra = {} if resolve is None else {"resolve": resolve}
        return Crawled(crawl(settings, tmp_path / out, **extra))

    return go


def packed(data: bytes) -> Reply:
    return Reply(gzip.compress(data, mtime=0), headers={"Content-Encoding": "gzip"})
