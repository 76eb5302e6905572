"""From a request to the bytes of its answer, whole or streamed, in whichever of the shapes."""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import anyio
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from chatwright.assist import Assistant, Prepared
from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError, as_api_error, short_name
from chatwright.serve.generation import Event, Walk
from chatwright.serve.service import Service

log = logging.getLogger("chatwright.serve")

_PING_SECONDS = 15.0
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx: pass each event on at once
]


class Wire(Protocol):
    """How one API tells an answer. `start` begins it; then events are read until it is `over`."""

    model: str
    streamed: bool
    form_field: str  # which field of the request says what the answer must look like

    async def start(self, assistant: Assistant, tenant: str) -> Walk:
        """Begin generating. Raises `ApiError` for what the model cannot do."""
        ...

    def read(self, events: Sequence[Event]) -> bytes:
        """Take in what happened; the bytes that tell it in a stream."""
        ...

    @property
    def over(self) -> bool:
        """Whether every answer is whole."""
        ...

    def last(self) -> bytes:
        """The bytes that end the stream."""
        ...

    def failed(self, error: ApiError) -> bytes:
        """The bytes that end a stream in which something went wrong."""
        ...

    def whole(self) -> dict[str, Any]:
        """The answer that is not streamed."""
        ...

    def used(self) -> tuple[int, int]:
        """How many tokens were read, and made, so far."""
        ...

    def asked_texts(self) -> list[str]:
        """What the caller said, for moderation."""
        ...

    def said_texts(self) -> list[str]:
        """What the model said, for moderation."""
        ...

    def withhold(self) -> None:
        """Moderation refuses what the model said."""
        ...


class WireResponse(Response):
    """Generates while it responds, and stops generating when the client goes away.

    The status line waits for the first piece, so that a question that does not fit, or a model
    that cannot be loaded, still gets its proper status in a streamed request too.
    """

    def __init__(self, wire: Wire, service: Service, who: Identity) -> None:
        super().__init__()
        self._wire = wire
        self._service = service
        self._who = who
        self._started = False
        self._writing_since: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            async def watch_writing() -> None:
                """Give up on a client that reads nothing. A timer for each chunk costs more."""
                most = self._service.limits.stall_seconds
                while True:
                    await anyio.sleep(most / 4)
                    since = self._writing_since
                    if since is not None and time.monotonic() - since > most:
                        # The response stays unfinished, and the server hangs up.
                        group.cancel_scope.cancel()

            group.start_soon(watch)
            if self._wire.streamed:
                group.start_soon(watch_writing)
            await self._respond(scope, receive, send)
            group.cancel_scope.cancel()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, wire = self._service, self._wire
        try:
            with service.slots.one(self._who):
                if service.meter is not None:
                    await _settled(service.meter.check(self._who))
                if await self._refused(wire.asked_texts(), "input"):
                    raise ApiError(
                        400,
                        "the request was refused by this server's moderation",
                        param="messages",
                        code="content_filter",
                    )
                async with service.registry.lease(wire.model) as assistant:
                    await self._answer(assistant, scope, receive, send)
        except Exception as error:
            told = as_api_error(error)
            if told.param == "response_format":
                told.param = wire.form_field
            if told.status >= 500:
                log_failure("an answer failed", error)
            if not self._started:
                await told.response()(scope, receive, send)
                return
            # Too late for a status: clients raise at this event.
            await self._write(send, wire.failed(told), more=False)

    async def _answer(
        self, assistant: Assistant, scope: Scope, receive: Receive, send: Send
    ) -> None:
        wire = self._wire
        generation = await wire.start(assistant, self._who.tenant)
        try:
            with self._service.slots.running(generation):
                if wire.streamed:
                    await self._stream(generation, send)
                else:
                    while not wire.over:
                        wire.read(await generation.batch())
                    await self._judge()
                    await JSONResponse(wire.whole())(scope, receive, send)
        finally:
            # The assistant stays leased until its threads have let go of the engine.
            with anyio.move_on_after(10, shield=True):
                await generation.finished.wait()
                await self._count(generation)

    async def _stream(self, generation: Walk, send: Send) -> None:
        wire = self._wire
        events: list[Event] = []
        while not events or isinstance(events[-1], Prepared):
            events += await generation.batch()
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM_HEADERS})
        self._started = True
        while True:
            data = wire.read(events) if events else b": still here\n\n"
            if wire.over:
                break
            if data:
                await self._write(send, data)
            events = await generation.batch(_PING_SECONDS)
        await self._judge()
        await self._write(send, data + wire.last(), more=False)

    async def _judge(self) -> None:
        if await self._refused(self._wire.said_texts(), "output"):
            self._wire.withhold()

    async def _refused(self, texts: list[str], direction: str) -> bool:
        moderator = self._service.moderator
        if moderator is None or not any(text.strip() for text in texts):
            return False
        verdict = await moderator.check(
            texts, direction=direction, identity=self._who, conversation_id=None, message_id=None
        )
        return bool(verdict.blocked)

    async def _count(self, generation: Walk) -> None:
        """Tokens are paid for whether or not somebody stayed to read them."""
        with suppress(Exception):  # what went wrong was told already
            while not self._wire.over and (events := await generation.batch(0.0)):
                self._wire.read(events)
        if self._service.meter is not None:
            await _settled(self._service.meter.add(self._who, self._wire.model, *self._wire.used()))

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        """Send; a client that reads nothing for `stall_seconds` is given up."""
        self._writing_since = time.monotonic()
        await send({"type": "http.response.body", "body": data, "more_body": more})
        self._writing_since = None


def data_event(body: dict[str, Any]) -> bytes:
    """One server-sent event. JSON holds no bare newline, so one `data:` line is enough."""
    return b"data: " + to_json(body) + b"\n\n"


def to_json(value: Any) -> bytes:
    """Compact UTF-8 JSON. What is no text (a lone surrogate of the caller's) becomes a mark."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def log_failure(what: str, error: BaseException) -> None:
    """Tell where an error came from, and not its text: that may hold a piece of a message."""
    cause = error.__cause__ if isinstance(error, ApiError) and error.__cause__ else error
    log.error("%s: %s", what, short_name(cause), exc_info=cause)


async def _settled(value: Any) -> None:
    if inspect.isawaitable(value):
        await value
