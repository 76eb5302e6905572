"""Moderation of an answer while it is written: sentence by sentence, beside the stream."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from chatwright.serve.runs.parts import Verdict

_END = re.compile("[.!?](?=\\s)|[\u3002\uff01\uff1f\n]")
_LEAST = 60  # characters: shorter sentences are looked at together
_LEAST_LATER = 180  # the same once there was a look: each costs as much as many tokens' writing
_LONGEST = 600  # without an end of sentence, so many are one stretch
_BEFORE = 300  # characters before a stretch that are shown with it

Look = Callable[[str], Awaitable[Verdict]]


class OutputCheck:
    """Looks at each stretch of an answer that is complete; the text does not wait for it.

    `blocked(start, verdict)` is called once, with where the stretch begins, and nothing more is
    looked at. One look is under way at a time; what comes meanwhile is the next stretch.
    """

    def __init__(self, look: Look, blocked: Callable[[int, Verdict], None]) -> None:
        self._look = look
        self._blocked = blocked
        self._text = ""
        self._checked = 0  # up to here
        self._task: asyncio.Task[None] | None = None
        self.over = False

    def push(self, text: str) -> None:
        """More of the answer."""
        self._text += text
        if not self.over and (self._task is None or self._task.done()):
            end = self._complete()
            if end > self._checked:
                self._task = asyncio.create_task(self._check(end))

    async def finish(self) -> None:
        """Look at the rest, and wait for it. Raises what a look raised."""
        if self._task is not None:
            await self._task
        if not self.over and self._text[self._checked :].strip():
            await self._check(len(self._text))

    async def close(self) -> None:
        """Leave it: the answer was stopped."""
        self.over = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    def _complete(self) -> int:
        fresh = self._text[self._checked :]
        if len(fresh) < (_LEAST_LATER if self._checked else _LEAST):
            return self._checked
        ends = [found.end() for found in _END.finditer(fresh)]
        if ends:
            return self._checked + ends[-1]
        return len(self._text) if len(fresh) >= _LONGEST else self._checked

    async def _check(self, end: int) -> None:
        start = self._checked
        # What stands before helps to judge what is split by an end of sentence.
        verdict = await self._look(self._text[max(0, start - _BEFORE) : end])
        if self.over:
            return
        self._checked = end
        if verdict.blocked:
            self.over = True
            self._blocked(start, verdict)
