"""The events of one run: numbered, kept in memory, read by anybody at their own pace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio

PING_SECONDS = 15.0
PING = b": still here\n\n"
_MOST_BYTES = 1 << 16  # handed to a reader at once


class EventLog:
    """What has happened in a run, as server-sent events numbered from 1.

    Belongs to one event loop. A reader is but a number, so a slow one holds nothing up.
    """

    __slots__ = ("_changed", "_frames", "ended", "size")

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._changed: asyncio.Event | None = None  # made when somebody waits
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

    async def more(self, after: int) -> bool:
        """Wait for an event after that number; False when none will come."""
        while len(self._frames) <= after and not self.ended:
            if self._changed is None:
                self._changed = asyncio.Event()
            await self._changed.wait()
        return len(self._frames) > after

    async def follow(self, after: int, *, ping: float = PING_SECONDS) -> AsyncIterator[bytes]:
        """The bytes of a stream from there on to the end, with a comment when it is quiet."""
        at = min(max(after, 0), len(self._frames))
        while True:
            more = None
            with anyio.move_on_after(ping):
                more = await self.more(at)
            if more is None:
                yield PING
                continue
            if not more:
                return
            frames, at = self.take(at)
            yield frames

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


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
