"""`POST /v1/chat/completions`: from a request's bytes to an answer, streamed or whole."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from chatwright.assist import Answer, Assistant, Prepared
from chatwright.generate import Piece
from chatwright.serve.errors import ApiError, as_api_error
from chatwright.serve.generation import Event, Generation, Slots
from chatwright.serve.limits import Limits
from chatwright.serve.registry import Registry
from chatwright.serve.replies import Reply, event
from chatwright.serve.shapes import ChatRequest

log = logging.getLogger("chatwright.serve")

_PING_SECONDS = 15.0
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx: pass each event on at once
]


async def read_body(request: Request, limits: Limits) -> bytes:
    """The JSON body. Raises `ApiError`: 415 other type, 413 too large, 408 too slow."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        # Also what keeps other web pages out: they cannot send this type without asking first.
        raise ApiError(415, "send the request as application/json", code="unsupported_media_type")
    too_large = ApiError(
        413, f"the body is larger than {limits.body_bytes} bytes", code="body_too_large"
    )
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > limits.body_bytes:
        raise too_large
    body = bytearray()
    try:
        with anyio.fail_after(limits.body_seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.body_bytes:
                    raise too_large
    except TimeoutError as error:
        raise ApiError(408, "the body did not arrive in time", code="timeout") from error
    except ClientDisconnect as error:
        raise ApiError(400, "the body was cut off", code="invalid_json") from error
    return bytes(body)


def tenant_of(scope: Scope) -> str:
    """Whose request this is, as far as that can be told: by its key and the address it comes from.

    Requests of one tenant reuse each other's prompts and take turns with those of others, so that
    nobody learns from the time what somebody else has asked. Behind a proxy that all come through,
    the key tells them apart.
    """
    key = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    address = (scope.get("client") or ("",))[0]
    return hashlib.blake2b(f"{address}\0".encode() + key, digest_size=16).hexdigest()


class ChatResponse(Response):
    """Generates while it responds, and stops generating when the client goes away.

    The status line waits for the first piece, so that a question that does not fit, or a model
    that cannot be loaded, still gets its proper status in a streamed request too.
    """

    def __init__(
        self, asked: ChatRequest, registry: Registry, limits: Limits, slots: Slots
    ) -> None:
        super().__init__()
        self._asked = asked
        self._registry = registry
        self._limits = limits
        self._slots = slots
        self._reply = Reply(asked.model)
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await self._respond(scope, receive, send)
            group.cancel_scope.cancel()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._slots.one():
                async with self._registry.lease(self._asked.model) as assistant:
                    await self._answer(assistant, scope, receive, send)
        except _StalledError:
            return  # nobody reads: leave the response unfinished, and the server hangs up
        except Exception as error:
            told = as_api_error(error)
            if told.status >= 500:
                log.error("an answer failed: %s", type(error).__name__, exc_info=error)
            if not self._started:
                await told.response()(scope, receive, send)
                return
            with suppress(_StalledError):  # too late for a status: clients raise at this event
                await self._write(send, event(told.body()), more=False)

    async def _answer(
        self, assistant: Assistant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        params = self._asked.sampling(assistant.settings.sampling)
        generation = Generation(
            assistant, self._asked.conversation(), params, tenant=tenant_of(scope)
        )
        try:
            with self._slots.running(generation):
                if self._asked.stream:
                    await self._stream(generation, send)
                else:
                    answer = await generation.answer()
                    await JSONResponse(self._reply.whole(answer))(scope, receive, send)
        finally:
            # The assistant stays leased until its thread has let go of the engine.
            with anyio.move_on_after(10, shield=True):
                await generation.finished.wait()

    async def _stream(self, generation: Generation, send: Send) -> None:
        options = self._asked.stream_options
        with_usage = options is not None and options.include_usage
        prepared = await generation.next()
        assert isinstance(prepared, Prepared)
        item: Event | None = await generation.next()
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        self._started = True
        await self._write(send, self._reply.first(prepared, with_usage=with_usage))
        while not isinstance(item, Answer):
            if item is None:
                await self._write(send, b": still here\n\n")
            elif isinstance(item, Piece) and item.text:
                chunk = self._reply.chunk({"content": item.text}, with_usage=with_usage)
                await self._write(send, chunk)
            item = None
            with anyio.move_on_after(_PING_SECONDS):
                item = await generation.next()
        await self._write(send, self._reply.last(item, with_usage=with_usage), more=False)

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        """Send; a client that reads nothing for `stall_seconds` is given up."""
        with anyio.move_on_after(self._limits.stall_seconds) as waiting:
            await send({"type": "http.response.body", "body": data, "more_body": more})
        if waiting.cancelled_caught:
            raise _StalledError


class _StalledError(Exception):
    """The client stopped reading."""
