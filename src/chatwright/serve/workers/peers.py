"""Workers among themselves: a run lives in one of them, and its reader may come to another."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.errors import DataError
from chatwright.serve.access import Identity, Role
from chatwright.serve.workers import framing

if TYPE_CHECKING:
    from chatwright.serve.runs import RunService

_SECONDS = 5.0  # to connect, to say hello, to answer
_READ_BYTES = 1 << 16


class PeerServer:
    """Lets the other workers follow and stop the runs of this one."""

    def __init__(self, runs: RunService, secret: str) -> None:
        self._runs = runs
        self._secret = secret
        self._server: asyncio.Server | None = None

    async def start(self, path: Path) -> None:
        path.unlink(missing_ok=True)  # of a worker that died
        self._server = await asyncio.start_unix_server(self._connected, path)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                asked = await framing.read(reader)
            if asked is None or not hmac.compare_digest(str(asked.get("secret")), self._secret):
                return
            await self._answer(asked, reader, writer)
        except (DataError, OSError, TimeoutError, KeyError):
            return  # the other worker hears that the connection ended
        finally:
            writer.close()

    async def _answer(
        self, asked: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        who = Identity(str(asked["person_id"]), "", Role.user, "session")
        operation = asked["op"]
        if operation == "runs":
            writer.write(framing.encode({"data": self._runs.here(who)}))
            await writer.drain()
            return
        run = self._runs.own(who, str(asked["run_id"]))
        writer.write(framing.encode({"found": run is not None}))
        if run is not None and operation == "stop":
            run.stop("stopped")
        elif run is not None and operation == "follow":
            await self._follow(run.log.follow(int(asked["after"])), reader, writer)
        await writer.drain()

    async def _follow(
        self,
        source: AsyncIterator[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        async def send() -> None:
            async for data in source:
                writer.write(data)
                await writer.drain()

        sending = asyncio.create_task(send())
        leaving = asyncio.create_task(reader.read(1))  # the other side never says more
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (sending, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await task


class PeerClient:
    """The other workers, as `RunService.peers`. `names` are all workers, `own` is this one."""

    def __init__(self, folder: Path, names: list[str], own: str, secret: str) -> None:
        self._folder = folder
        self._names = names
        self._own = own
        self._secret = secret

    async def follow(
        self, worker: str, who: Identity, run_id: str, after: int
    ) -> AsyncIterator[bytes] | None:
        """The events as the other worker sends them; None where it has no such run."""
        if worker not in self._names:
            return None
        asked = {"op": "follow", "run_id": run_id, "after": after}
        opened = await self._ask(worker, who, asked)
        if opened is None:
            return None
        told, reader, writer = opened
        if not told.get("found"):
            writer.close()
            return None
        return _relayed(reader, writer)

    async def stop(self, worker: str, who: Identity, run_id: str) -> bool:
        if worker not in self._names:
            return False
        told = await self._tell(worker, who, {"op": "stop", "run_id": run_id})
        return bool(told.get("found"))

    async def under_way(self, who: Identity) -> list[dict[str, Any]]:
        others = [name for name in self._names if name != self._own]
        told = await asyncio.gather(*(self._tell(n, who, {"op": "runs"}) for n in others))
        return [row for one in told for row in one.get("data", [])]

    async def _tell(self, worker: str, who: Identity, asked: dict[str, Any]) -> dict[str, Any]:
        opened = await self._ask(worker, who, asked)
        if opened is None:
            return {}
        told, _, writer = opened
        writer.close()
        return told

    async def _ask(
        self, worker: str, who: Identity, asked: dict[str, Any]
    ) -> tuple[dict[str, Any], asyncio.StreamReader, asyncio.StreamWriter] | None:
        message = {**asked, "person_id": who.person_id, "secret": self._secret}
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_SECONDS):
                path = peer_path(self._folder, worker)
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(framing.encode(message))
                await writer.drain()
                told = await framing.read(reader)
        except (OSError, DataError, TimeoutError):
            told = None
        if told is None:  # it has died, and its runs with it
            if writer is not None:
                writer.close()
            return None
        assert writer is not None
        return told, reader, writer


async def _relayed(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> AsyncIterator[bytes]:
    try:
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                yield data
    finally:
        writer.close()


def peer_path(folder: Path, worker: str) -> Path:
    """Where a worker listens for the others."""
    return folder / f"{worker}.sock"
