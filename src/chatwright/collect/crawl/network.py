"""Connections that go only where they may: a name is resolved once, checked, and held to that."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore2

from chatwright.errors import SourceError

Resolve = Callable[[str, int], Sequence[str]]
_PREFIX64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: IPv4 behind IPv6


@functools.cache
def certificates() -> ssl.SSLContext:
    """Whom to believe: the system, or the file that the environment names."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    told = next((os.environ[name] for name in names if os.environ.get(name)), None)
    try:
        return ssl.create_default_context(cafile=told)
    except (OSError, ssl.SSLError) as error:
        raise SourceError(f"the certificates cannot be read: {error}", where=told) from error


class ForbiddenAddressError(Exception):
    """A name that leads to this machine, its network, or to no public place."""


def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a name, in the system's order."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public internet.

    Addresses that carry another one (IPv4-mapped, 6to4, Teredo, NAT64) are as public as that.
    """
    ip = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _PREFIX64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


class PinnedBackend(httpcore2.NetworkBackend):
    """Connects to the very address that was checked, so that a second answer of the name server
    cannot lead elsewhere; and ends every request at `deadline`, however slowly its bytes drip.

    All addresses of a name have to be public: one that is not is a sign of rebinding.
    """

    def __init__(self, *, allow_private: bool, resolve: Resolve = resolve) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._inner = httpcore2.SyncBackend()
        self._open: set[_Timed] = set()
        self.deadline = float("inf")  # time.monotonic()
        self.ip: str | None = None  # of the newest connection

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"no such host: {error}") from error
        if not self._allow_private:
            for ip in found:
                if not is_public(ip):
                    raise ForbiddenAddressError(f"{host} is at {ip}")
        last: Exception = httpcore2.ConnectError("the name has no address")
        for ip in found:
            try:
                stream = self._inner.connect_tcp(ip, port, self.left(timeout), local_address,
                                                 socket_options)  # fmt: skip
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
                continue
            self.ip = ip
            return self._timed(stream)
        raise last

    def _timed(self, stream: httpcore2.NetworkStream) -> httpcore2.NetworkStream:
        timed = _Timed(stream, self)
        self._open.add(timed)
        return timed

    def left(self, timeout: float | None) -> float:
        """Seconds that an operation may take: its own limit, or what is left of the request's."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the page took too long")
        return left if timeout is None else min(timeout, left)

    def closed(self, stream: _Timed) -> None:
        self._open.discard(stream)

    def abort(self) -> None:
        """Wake up whoever waits for a byte: called from another thread on Ctrl-C."""
        self.deadline = 0.0
        for stream in list(self._open):
            stream.abort()


class _Timed(httpcore2.NetworkStream):
    """A stream whose every wait ends with the request's deadline."""

    def __init__(self, inner: httpcore2.NetworkStream, backend: PinnedBackend) -> None:
        self._inner = inner
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._backend.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._backend.left(timeout))

    def close(self) -> None:
        self._backend.closed(self)
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        stream = self._inner.start_tls(ssl_context, server_hostname, self._backend.left(timeout))
        self._backend.closed(self)  # the socket is the new stream's now
        return self._backend._timed(stream)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def abort(self) -> None:
        sock = self._inner.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
