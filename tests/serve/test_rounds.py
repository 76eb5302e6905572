"""Answers that the event loop collects: what comes, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from chatwright.generate import Completion, Piece
from chatwright.serve.generation import Walk
from chatwright.serve.rounds import MANY, PAUSE_SECONDS, Rounds
from chatwright.serve.runs.writing import Writing


class Pieces:
    """What an engine's request is to who collects: `script` is given one item for each time."""

    def __init__(self, script: list[list[Piece] | Exception]) -> None:
        self.script = script
        self.closed = 0

    def when_ready(self, tell: Callable[[], None]) -> None:
        def run() -> None:
            while not self.over:
                time.sleep(0.01)
                tell()
            tell()

        threading.Thread(target=run, daemon=True).start()

    @property
    def over(self) -> bool:
        return not self.script or isinstance(self.script[0], Exception)

    def ready(self) -> list[Piece]:
        if self.script and isinstance(self.script[0], Exception):
            raise self.script[0]
        return self.script.pop(0) if self.script else []  # type: ignore[return-value]

    def close(self) -> None:
        self.closed += 1


def last(reason: Any = "stop") -> Piece:
    return Piece("", reason, Completion("ab", [1, 2], None, reason, 3))


def walk(pieces: Pieces) -> Walk:
    made: list[Walk] = []
    begun = threading.Event()

    def begin() -> Any:
        begun.wait(5)
        return made[0]._read(pieces, made[0]._put, 1)

    made.append(Walk([begin]))
    begun.set()
    return made[0]


async def read_walk(pieces: Pieces) -> list[str]:
    walking = walk(pieces)
    texts: list[str] = []
    try:
        while not walking.finished.is_set() or walking._items:
            texts += [event.text for event in await walking.batch(0.2)]  # type: ignore[union-attr]
    finally:
        async with asyncio.timeout(5):
            await walking.finished.wait()
    return texts


async def read_run(pieces: Pieces) -> list[str]:
    writing = Writing(lambda: pieces)  # type: ignore[arg-type,return-value]
    texts: list[str] = []
    try:
        async for batch in writing:
            texts += [piece.text for piece in batch]
    finally:
        async with asyncio.timeout(5):
            await writing.finished.wait()
    return texts


Read = Callable[[Pieces], Coroutine[Any, Any, list[str]]]


@pytest.mark.parametrize("read", [read_walk, read_run])
def test_all_comes_in_its_order(read: Read) -> None:
    told = [[Piece("a")], [], [Piece("b"), Piece("c")], [last()]]
    assert asyncio.run(read(Pieces(list(told)))) == ["a", "b", "c", ""]


@pytest.mark.parametrize("read", [read_walk, read_run])
@pytest.mark.parametrize("before", [[], [[Piece("a")]]])
def test_what_goes_wrong_is_raised(read: Read, before: list[Any]) -> None:
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(read(Pieces([*before, ValueError("broken")])))


@pytest.mark.parametrize("read", [read_walk, read_run])
def test_an_end_without_a_completion_is_an_error(read: Read) -> None:
    with pytest.raises(RuntimeError, match="without a completion"):
        asyncio.run(read(Pieces([[Piece("a")]])))


def test_what_is_cancelled_before_it_began_is_closed() -> None:
    async def run() -> int:
        pieces = Pieces([[last("cancelled")]])
        walking = walk(pieces)
        walking.cancel()
        async with asyncio.timeout(5):
            await walking.finished.wait()
        return pieces.closed

    assert asyncio.run(run()) > 0


def test_many_answers_are_asked_less_often() -> None:
    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        rounds, times = Rounds(loop), []
        stop = loop.time() + 3.5 * PAUSE_SECONDS

        def ask() -> bool:
            times.append(loop.time())
            return loop.time() > stop

        pieces = [Pieces([[Piece("a")]] * 100) for _ in range(MANY)]
        for one in pieces[1:]:
            rounds.add(one, lambda: loop.time() > stop)
        rounds.add(pieces[0], ask)
        await asyncio.sleep(6 * PAUSE_SECONDS)
        for one in pieces:
            one.script = []
        assert not rounds._asked
        return times

    times = asyncio.run(run())
    gaps = [b - a for a, b in pairwise(times)]
    assert len(gaps) >= 3 and min(gaps) >= PAUSE_SECONDS * 0.95
