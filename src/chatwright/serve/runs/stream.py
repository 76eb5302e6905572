"""The response that sends a run's events to one reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx: pass each event on at once
]


class EventResponse(Response):
    """Sends what `source` gives until its end, or until the reader is gone or stops reading.

    A reader that takes nothing for `stall_seconds` is given up; the run knows nothing of it.
    """

    def __init__(self, source: AsyncIterator[bytes], *, stall_seconds: float) -> None:
        super().__init__()
        self._source = source
        self._stall = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await self._send_all(send, group.cancel_scope.cancel)
            group.cancel_scope.cancel()

    async def _send_all(self, send: Send, give_up: Callable[[], None]) -> None:
        """`give_up` leaves the response unfinished, and the server hangs up."""
        try:
            start: dict[str, Any] = {"type": "http.response.start", "status": 200}
            await send({**start, "headers": STREAM_HEADERS})
            async for data in self._source:
                await self._write(send, give_up, data, more=True)
            await self._write(send, give_up, b"", more=False)
        finally:
            if isinstance(self._source, AsyncGenerator):
                with anyio.CancelScope(shield=True):
                    await self._source.aclose()

    async def _write(
        self, send: Send, give_up: Callable[[], None], data: bytes, *, more: bool
    ) -> None:
        # A bare timer: a scope for each event costs more than the event.
        timer = asyncio.get_running_loop().call_later(self._stall, give_up)
        try:
            await send({"type": "http.response.body", "body": data, "more_body": more})
        finally:
            timer.cancel()
