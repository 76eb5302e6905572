"""What runs in the processes that the supervisor starts: the engine, or one worker."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI


def main() -> None:
    """Read from standard input who this is, and be that until SIGTERM or the parent's end."""
    told = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if told["socket"] is None:
        asyncio.run(_engine(told))
    else:
        _worker(told)


def _end_with_parent() -> None:
    while os.read(0, 64):  # not through `sys.stdin`, whose lock would outlive the interpreter
        pass
    os.kill(os.getpid(), signal.SIGTERM)


async def _engine(told: dict[str, Any]) -> None:
    from chatwright.serve.workers.engine_server import EngineServer

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stopping.set)
    registry = _named(told["registry"])(told["settings"])
    server = EngineServer(registry, told["secret"], most_streams=told["most_streams"])
    path = engine_path(Path(told["folder"]))
    path.unlink(missing_ok=True)  # of a process that died
    await server.start(path)
    await stopping.wait()
    await server.close()


def _worker(told: dict[str, Any]) -> None:
    from chatwright.serve.connections import serve_app
    from chatwright.serve.workers.link import EngineLink
    from chatwright.serve.workers.registry import RemoteRegistry

    folder, name = Path(told["folder"]), told["name"]
    registry = RemoteRegistry(EngineLink(engine_path(folder), told["secret"]))
    app = _named(told["app"])(registry, told["settings"], name)
    among_peers(app, folder, told["workers"], name, told["secret"])
    with socket.socket(fileno=told["socket"]) as listening:
        serve_app(app, listening, tls=told["settings"].get("tls"))


def among_peers(app: FastAPI, folder: Path, names: list[str], own: str, secret: str) -> None:
    """Let the other workers reach this one's runs, and it theirs."""
    from chatwright.serve.workers.peers import PeerClient, PeerServer, peer_path

    runs = app.state.service.runs
    runs.peers = PeerClient(folder, names, own, secret)
    server = PeerServer(runs, secret)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(one: FastAPI) -> AsyncIterator[Any]:
        async with inner(one) as state:
            await server.start(peer_path(folder, own))
            try:
                yield state
            finally:
                await server.close()

    app.router.lifespan_context = lifespan


def engine_path(folder: Path) -> Path:
    """Where the engine's process listens."""
    return folder / "engine.sock"


def _named(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
