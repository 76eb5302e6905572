"""The events of one run: numbered, kept in memory, read by anybody at their own pace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

PING_SECONDS = 15.0
PING = b": still here\n\n"
_MOST_BYTES = 1 << 16  # handed to a reader at once


class EventLog:
    """What has happened in a run, as server-sent events numbered from 1.

    Belongs to one event loop. A reader is but a number, so a slow one holds nothing up.
    """

    __slots__ = ("_frames", "_waiters", "ended", "size")

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self.ended = False
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, kind: str, data: dict[str, Any]) -> int:
        """Tell an event; returns its number."""
        number = len(self._frames) + 1
        frame = encode(number, kind, data)
        self._frames.append(frame)
        self.size += len(frame)
        self._tell()
        return number

    def replace(self, number: int, kind: str, data: dict[str, Any]) -> None:
        """Tell later readers something else: for what was withdrawn."""
        frame = encode(number, kind, data)
        self.size += len(frame) - len(self._frames[number - 1])
        self._frames[number - 1] = frame

    def end(self) -> None:
        """There will be no more."""
        self.ended = True
        self._tell()

    def take(self, after: int) -> tuple[bytes, int]:
        """Events after a number, as many as may be sent at once, and the number of their last."""
        size, upto = 0, after
        while upto < len(self._frames) and (size == 0 or size < _MOST_BYTES):
            size += len(self._frames[upto])
            upto += 1
        return b"".join(self._frames[after:upto]), upto

    async def more(self, after: int, seconds: float | None = None) -> bool | None:
        """Wait for an event after that number: False when none will come, None when it takes
        longer than so many seconds.
        """
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while len(self._frames) <= after and not self.ended:
            # A bare future and a timer: thousands of readers may be waiting.
            waiter = loop.create_future()
            self._waiters.add(waiter)
            timer = None if end is None else loop.call_at(end, _wake, waiter)
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
                self._waiters.discard(waiter)
            if end is not None and loop.time() >= end and len(self._frames) <= after:
                return False if self.ended else None
        return len(self._frames) > after

    async def follow(self, after: int, *, ping: float = PING_SECONDS) -> AsyncIterator[bytes]:
        """The bytes of a stream from there on to the end, with a comment when it is quiet."""
        at = min(max(after, 0), len(self._frames))
        while True:
            more = await self.more(at, ping)
            if more is None:
                yield PING
                continue
            if not more:
                return
            frames, at = self.take(at)
            yield frames

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def encode(number: int, kind: str, data: dict[str, Any]) -> bytes:
    """One server-sent event. JSON holds no bare line end, so one `data:` line is enough."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # A lone surrogate is no text: it goes as JSON's escape.
    return f"id: {number}\nevent: {kind}\ndata: ".encode() + _utf8(body) + b"\n\n"


def _utf8(body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeEncodeError:
        return json.dumps(json.loads(body)).encode()
