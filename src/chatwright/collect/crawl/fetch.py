"""One request: bounded in bytes and time, its answer as it came, or why there is none."""

from __future__ import annotations

import datetime as dt
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpcore2

from chatwright.collect.crawl.addresses import target
from chatwright.collect.crawl.network import (
    ForbiddenAddressError,
    PinnedBackend,
    Resolve,
    certificates,
    resolve,
)

ACCEPT = b"text/html,application/xhtml+xml,application/xml;q=0.9,text/*;q=0.8,*/*;q=0.1"
_WAIT = 20.0  # seconds for a connection, and between two blocks
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. `body` is as sent (still gzipped, say), without transfer encoding."""

    url: str
    status: int
    reason: str
    headers: Headers
    body: bytes
    request: bytes
    ip: str | None
    time: dt.datetime

    def header(self, name: str) -> str:
        """All values of a header, joined by commas; '' where there is none."""
        wanted = name.lower().encode()
        found = [v.decode("latin-1").strip() for k, v in self.headers if k.lower() == wanted]
        return ", ".join(found)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(k.decode("latin-1"), v.decode("latin-1")) for k, v in self.headers]

    @property
    def media_type(self) -> str:
        return _media_type(self.headers)

    @property
    def charset(self) -> str | None:
        for part in self.header("Content-Type").split(";")[1:]:
            name, _, value = part.partition("=")
            if name.strip().lower() == "charset":
                return value.strip(" \"'") or None
        return None


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer, with the ledger's words for why; `again`: a later try may do better."""

    url: str
    rule: str
    detail: str
    value: float | None = None
    bound: str | None = None
    again: bool = False


class Fetcher:
    """Asks one host, one request after the other, over a connection that stays open."""

    def __init__(
        self,
        agent: str,
        *,
        page_bytes: int,
        page_seconds: float,
        allow_private: bool,
        resolve: Resolve = resolve,
    ) -> None:
        self._agent = agent.encode()
        self._page_bytes = page_bytes
        self._page_seconds = page_seconds
        self._backend = PinnedBackend(allow_private=allow_private, resolve=resolve)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=certificates(),
            max_connections=1,
            keepalive_expiry=30,
            network_backend=self._backend,
        )

    def get(
        self,
        url: str,
        more: Iterable[tuple[bytes, bytes]] = (),
        *,
        accept: Callable[[str], bool] | None = None,
    ) -> Answer | Failed:
        """GET an address; redirects are not followed.

        `accept` looks at the media type of a 200 answer before its body is read.
        """
        headers: Headers = [
            (b"Host", urlsplit(url).netloc.encode()),
            (b"User-Agent", self._agent),
            (b"Accept", ACCEPT),
            (b"Accept-Encoding", b"gzip"),
            *more,
        ]
        self._backend.deadline = time.monotonic() + self._page_seconds
        try:
            found = self._ask(url, headers, accept)
        except ForbiddenAddressError as error:
            return Failed(url, "private-address", str(error))
        except httpcore2.TimeoutException as error:
            detail = f"no whole answer in time: {error or type(error).__name__}"
            return Failed(url, "timeout", detail, self._page_seconds, again=True)
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError, ValueError) as error:
            again = not isinstance(error, (OSError, ValueError))
            detail = str(error)[:300] or type(error).__name__
            return Failed(url, "no-answer", detail, again=again)
        if isinstance(found, Answer) and unpacked(found, self._page_bytes) is None:
            return self._too_large(url, None, "bytes when unpacked")
        return found

    def _ask(
        self, url: str, headers: Headers, accept: Callable[[str], bool] | None
    ) -> Answer | Failed:
        began = dt.datetime.now(dt.UTC).replace(microsecond=0)
        request = _block(f"GET {target(url)} HTTP/1.1".encode(), headers)
        waits = {"connect": _WAIT, "read": _WAIT, "write": _WAIT, "pool": _WAIT}
        with self._pool.stream("GET", url, headers=headers, extensions={"timeout": waits}) as r:
            got: Headers = list(r.headers)
            media = _media_type(got)
            if r.status == 200 and accept is not None and not accept(media):
                return Failed(url, "not-text", media[:100])
            body = bytearray()
            for block in r.iter_stream():
                body += block
                if len(body) > self._page_bytes:
                    return self._too_large(url, len(body), "bytes so far")
            reason = r.extensions.get("reason_phrase", b"").decode("latin-1")
            ip = self._backend.ip
            return Answer(url, r.status, reason, got, bytes(body), request, ip, began)

    def _too_large(self, url: str, size: int | None, detail: str) -> Failed:
        return Failed(url, "too-large", detail, size, f"max {self._page_bytes}")

    def abort(self) -> None:
        """End the request in progress, from another thread."""
        self._backend.abort()

    def close(self) -> None:
        self._pool.close()


def unpacked(answer: Answer, bound: int) -> bytes | None:
    """The body without `Content-Encoding: gzip`; None where it swells beyond `bound` bytes."""
    if answer.header("Content-Encoding").lower() not in ("gzip", "x-gzip"):
        return answer.body
    return gunzip(answer.body, bound)


def gunzip(data: bytes, bound: int) -> bytes | None:
    """Gzip undone as far as it goes (a header may lie, a body may be cut); None beyond `bound`."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    out = bytearray()
    rest = data
    while rest.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        try:
            out += member.decompress(rest, bound + 1 - len(out))
        except zlib.error:
            break
        if len(out) > bound or (member.unconsumed_tail and not member.eof):
            return None
        rest = member.unused_data
    return bytes(out)


def _media_type(headers: Headers) -> str:
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.decode("latin-1").split(";")[0].strip().lower()
    return ""


def _block(first: bytes, headers: Headers) -> bytes:
    lines = [first, *(name + b": " + value for name, value in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"
