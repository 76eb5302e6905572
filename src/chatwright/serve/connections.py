"""Listening, and how long a connection may keep us waiting: for its request, for its reader."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from fastapi import FastAPI

HEAD_SECONDS = 20.0  # from the connection, or from the last answer, to the end of a request's head
UNREAD_SECONDS = 60.0  # in which a client that has an answer to read must read a part of it
GRACE_SECONDS = 3  # for requests that are under way when the server stops


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with an end to waiting.

    uvicorn by itself waits for ever for a head that comes byte by byte, and for somebody who reads
    nothing of what they asked for. Bodies have times of their own (`bodies`, `multipart`), and so
    have streams of events.
    """

    head_seconds = HEAD_SECONDS
    unread_seconds = UNREAD_SECONDS
    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answering():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which goes on with a request that has come meanwhile
        if not self._answering():
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()
        self._stop_watching()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._head = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        if self._answering():
            return
        if self.transport.get_write_buffer_size() == 0:
            self.transport.abort()
        elif self._unread is None:  # the last answer is being read still
            self._watch_reader()

    def _watch_reader(self) -> None:
        """Come back later and see whether less is waiting to be read then."""
        self._stop_watching()
        left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self.unread_seconds, self._check_reader, left)

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _check_reader(self, before: int) -> None:
        self._unread = None
        left = self.transport.get_write_buffer_size()
        if left and left >= before:
            self.transport.abort()
        elif left:  # slow, but reading
            self._watch_reader()
        elif not self._answering():
            self._wait_for_head()


def connection_options() -> dict[str, Any]:
    """What uvicorn is told of connections. There are no websockets here."""
    return {"http": TimedProtocol, "ws": "none"}


def serve_app(
    app: FastAPI, listening: socket.socket, *, tls: tuple[str | Path, str | Path] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM, then let requests end within `GRACE_SECONDS`.

    `tls` are the files of the certificate chain and its key.
    """
    # Accepted connections inherit it. asyncio sets it only for sockets that were made with the
    # protocol's number; without, each reply may wait 40 ms for the client's acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.slots.stop()  # or each answer under way would hold the program up
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        log_config=None,  # `set_up_logs` has the say: uvicorn's own would print errors' texts
        log_level="warning",
        access_log=False,  # request lines may hold names of documents; nothing needs them
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
        proxy_headers=False,  # which proxy is believed is decided by `access.address_of`
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
        **connection_options(),
    )
    with suppress(KeyboardInterrupt):  # uvicorn shuts down in order, then passes the signal on
        Server(config).run(sockets=[listening])
