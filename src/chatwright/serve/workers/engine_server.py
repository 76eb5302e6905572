"""The engine's process: holds the models, and answers the workers over a Unix socket.

Every message has an `id` of the worker's choosing, which its replies repeat:

    {op: entries}                                   -> {entries}
    {op: lease, name}                               -> {facts}; held under that id until released
    {op: release, lease}                            (no reply)
    {op: call, lease, of: tokenizer|knowledge|engine, method, …} -> {value}
    {op: stream, lease, messages|prompt, params, tenant}         -> {pieces} …, {end}
    {op: cancel, stream}                            (no reply; the stream then ends by itself)

or {error} in the place of any. A connection that is lost releases and cancels all that it held.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from chatwright.assist import Assistant
from chatwright.errors import DataError
from chatwright.generate.params import Piece
from chatwright.serve.errors import ApiError
from chatwright.serve.registry import Registry
from chatwright.serve.runs.writing import Writing
from chatwright.serve.workers import framing, wire

log = logging.getLogger("chatwright.serve")

_HELLO_SECONDS = 5.0
_MOST_REQUESTS = 4096  # under way on one connection
TOKENIZER = ("chat", "encode", "decode", "token_bytes", "token_id")
TOKENIZER_FACTS = ("chat_template", "vocab_size", "eos_ids", "special_ids")
ENGINE = ("complete", "embed")


class EngineServer:
    """Serves `registry` to whoever knows `secret`. `most_streams` bounds all workers together."""

    def __init__(self, registry: Registry, secret: str, *, most_streams: int = 64) -> None:
        self.registry = registry
        self.secret = secret
        self.most_streams = most_streams
        self.streams = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen at `path`, in a folder that is ours alone."""
        self._server = await asyncio.start_unix_server(self._connected, path)

    async def close(self) -> None:
        """Cancel what runs, and close the models."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=5)
        await anyio.to_thread.run_sync(self.registry.close)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello = await framing.read(reader)
            if hello is None or not hmac.compare_digest(str(hello.get("secret")), self.secret):
                return
            connection = _Connection(self, reader, writer)
            await connection.run()
        except (DataError, TimeoutError) as error:
            log.error("a connection to the engine was closed: %s", error)
        except asyncio.CancelledError:
            pass
        finally:
            self._connections.discard(task)
            writer.close()


class _Connection:
    """One worker."""

    def __init__(
        self, server: EngineServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._leases: dict[int, tuple[Assistant, AsyncExitStack]] = {}
        self._streams: dict[int, Writing] = {}
        self._cancelled: set[int] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Until the worker goes."""
        try:
            while (message := await framing.read(self._reader)) is not None:
                self._take(message)
        finally:
            with anyio.CancelScope(shield=True):
                await self._let_go()

    def _take(self, message: dict[str, Any]) -> None:
        operation, number = message.get("op"), message.get("id")
        if operation == "cancel":
            self._cancel(int(message["stream"]))
        elif operation == "release":
            lease = int(message["lease"])
            if lease in self._tasks:  # it is still being loaded
                self._tasks[lease].cancel()
            self._background(self._release(lease))
        elif isinstance(number, int) and number not in self._tasks:
            if len(self._tasks) >= _MOST_REQUESTS:
                raise DataError("a worker has too many requests under way")
            task = asyncio.create_task(self._handle(number, message))
            self._tasks[number] = task
            task.add_done_callback(lambda _: self._tasks.pop(number, None))
        else:
            raise DataError("a worker sent something that is no request")

    async def _handle(self, number: int, message: dict[str, Any]) -> None:
        try:
            operation = message["op"]
            if operation == "entries":
                entries = await anyio.to_thread.run_sync(self._server.registry.entries)
                await self._send({"id": number, "entries": [wire.served_out(e) for e in entries]})
            elif operation == "lease":
                await self._send({"id": number, "facts": await self._lease(number, message)})
            elif operation == "call":
                await self._send({"id": number, "value": await self._call(message)})
            elif operation == "stream":
                await self._stream(number, message)
            else:
                raise DataError("no such operation", where=str(operation)[:40])
        except Exception as error:
            if not isinstance(error, ApiError | DataError | ValueError):
                log.debug("a request to the engine failed: %s", type(error).__name__)
            with suppress(Exception):
                await self._send({"id": number, "error": wire.error_out(error)})

    async def _lease(self, number: int, message: dict[str, Any]) -> dict[str, Any]:
        name = str(message["name"])
        await anyio.to_thread.run_sync(self._server.registry.get, name)
        stack = AsyncExitStack()
        assistant = await stack.enter_async_context(self._server.registry.lease(name))
        self._leases[number] = (assistant, stack)
        engine, tokenizer = assistant.engine, assistant.engine.tokenizer
        facts: dict[str, Any] = {}
        for fact in TOKENIZER_FACTS:
            if (value := getattr(tokenizer, fact, None)) is not None:
                facts[fact] = sorted(value) if isinstance(value, frozenset | set) else value
        server = getattr(engine, "server", None)
        return {
            "settings": wire.settings_out(assistant.settings),
            "context": engine.context,
            "knows": assistant.knowledge is not None,
            "engine": [one for one in ENGINE if hasattr(engine, one)],
            "takes_ids": server is None or bool(getattr(server, "takes_token_ids", False)),
            "tokenizer": [one for one in TOKENIZER if hasattr(tokenizer, one)],
            "facts": facts,
        }

    async def _release(self, lease: int) -> None:
        task = self._tasks.get(lease)
        if task is not None:
            with suppress(asyncio.CancelledError, Exception):
                await task
        held = self._leases.pop(lease, None)
        if held is not None:
            await held[1].aclose()

    def _assistant(self, message: dict[str, Any]) -> Assistant:
        held = self._leases.get(message["lease"])
        if held is None:
            # It was held by a process before this one.
            raise ApiError(
                503, "the engine was started again; ask once more", code="engine_restarted"
            )
        return held[0]

    async def _call(self, message: dict[str, Any]) -> Any:
        assistant, of, method = self._assistant(message), message["of"], message["method"]
        given = message.get("given", {})

        def call() -> Any:
            if (of, method) == ("knowledge", "search") and assistant.knowledge is not None:
                found = assistant.knowledge.search(given["query"], given["k"])
                return wire.passages_out(found)
            if (of, method) == ("engine", "embed"):
                made = assistant.engine.embed(given["texts"], **given["more"])  # type: ignore[attr-defined]
                return made.tolist()
            if of == "tokenizer" and method in TOKENIZER:
                return _tokenizer_call(assistant.engine.tokenizer, method, given)
            raise DataError("no such call", where=f"{of}.{method}"[:80])

        return await anyio.to_thread.run_sync(call)

    async def _stream(self, number: int, message: dict[str, Any]) -> None:
        assistant = self._assistant(message)
        params = wire.params_in(message["params"])
        tenant = str(message.get("tenant", ""))
        if self._server.streams >= self._server.most_streams:
            raise ApiError(
                429,
                f"{self._server.most_streams} answers are being written already; try again in a "
                "moment",
                code="server_busy",
            )

        def start() -> Iterator[Piece]:
            engine: Any = assistant.engine
            made: Iterator[Piece]
            if "prompt" in message:
                made = engine.complete(message["prompt"], params, tenant=tenant)
            else:
                made = engine.stream(wire.messages_in(message["messages"]), params, tenant=tenant)
            return made

        self._server.streams += 1
        writing = self._streams[number] = Writing(start)
        if number in self._cancelled:
            writing.cancel()
        try:
            async for batch in writing:
                await self._send({"id": number, "pieces": [wire.piece_out(p) for p in batch]})
            await self._send({"id": number, "end": True})
        finally:
            self._server.streams -= 1
            self._cancelled.discard(number)
            await writing.let_go()
            del self._streams[number]

    def _cancel(self, number: int) -> None:
        if number in self._streams:
            self._streams[number].cancel()
        elif number in self._tasks:
            self._cancelled.add(number)

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks[-id(task)] = task
        task.add_done_callback(lambda _: self._tasks.pop(-id(task), None))

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sending:
            self._writer.write(framing.encode(message))
            await self._writer.drain()

    async def _let_go(self) -> None:
        for writing in list(self._streams.values()):
            writing.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=15)
        for _, stack in self._leases.values():
            with suppress(Exception):
                await stack.aclose()
        self._leases.clear()


def _tokenizer_call(tokenizer: Any, method: str, given: dict[str, Any]) -> Any:
    if method == "chat":
        ids = tokenizer.chat(
            wire.messages_in(given["messages"]), add_generation_prompt=given["open"]
        )
        return list(ids) if isinstance(ids, list) else {"count": len(ids)}
    if method == "encode":
        ids = tokenizer.encode(given["text"])
        return list(ids) if isinstance(ids, list) else {"count": len(ids)}
    if method == "decode":
        return tokenizer.decode(given["ids"])
    if method == "token_bytes":
        return tokenizer.token_bytes(given["id"]).hex()
    return tokenizer.token_id(given["token"])
