"""How long a connection may keep us waiting: for a request's head, and for its reader."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0  # from the connection, or from the last answer, to the end of a request's head
UNREAD_SECONDS = 60.0  # in which a client that has an answer to read must read a part of it


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
        self._look_again(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()
        if self._unread is not None:
            self._unread.cancel()

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
        if not self._answering():
            self.transport.abort()

    def _look_again(self, left: int) -> None:
        """Come back later and see whether less than `left` bytes are waiting then."""
        self._unread = self.loop.call_later(self.unread_seconds, self._check_reader, left)

    def _check_reader(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
        else:  # slow, but reading
            self._look_again(left)


def connection_options() -> dict[str, Any]:
    """What uvicorn is told of connections. There are no websockets here."""
    return {"http": TimedProtocol, "ws": "none"}
