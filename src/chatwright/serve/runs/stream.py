"""The response that sends a run's events to one reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
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
            await self._send_all(send)
            group.cancel_scope.cancel()

    async def _send_all(self, send: Send) -> None:
        try:
            start: dict[str, Any] = {"type": "http.response.start", "status": 200}
            await send({**start, "headers": STREAM_HEADERS})
            async for data in self._source:
                if not await self._written(send, data, more=True):
                    return  # nobody reads: leave the response unfinished, and the server hangs up
            await self._written(send, b"", more=False)
        finally:
            if isinstance(self._source, AsyncGenerator):
                with anyio.CancelScope(shield=True):
                    await self._source.aclose()

    async def _written(self, send: Send, data: bytes, *, more: bool) -> bool:
        try:
            async with asyncio.timeout(self._stall):
                await send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            return False
        return True
