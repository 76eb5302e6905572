"""The page's routes for answers: ask, follow, stop, and which models there are."""

from __future__ import annotations

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from chatwright.serve.access import Role, allow, identity
from chatwright.serve.bodies import body_schema, read_json
from chatwright.serve.errors import ApiError
from chatwright.serve.parameters import PathId
from chatwright.serve.runs.shapes import AnswerRequest
from chatwright.serve.runs.stream import EventResponse
from chatwright.serve.runs.subject import default_model
from chatwright.serve.service import service_of

_MOST_EVENTS = 2**31 - 1


def runs_router() -> APIRouter:
    """`/v1/chatwright/answers`, `/runs` and `/models`."""
    router = APIRouter(prefix="/v1/chatwright", tags=["answers"])
    chat = [allow(Role.user, scope="chat")]

    @router.post(
        "/answers", status_code=201, dependencies=chat, openapi_extra=body_schema(AnswerRequest)
    )
    async def answers(request: Request) -> dict[str, Any]:
        """Begin an answer. It is written whether or not anybody follows its events."""
        service = service_of(request)
        asked = await read_json(request, AnswerRequest, service.limits)
        told: dict[str, Any] = await service.runs.answer(identity(request), asked)
        return told

    @router.get("/runs", dependencies=chat)
    async def runs(request: Request) -> dict[str, Any]:
        """The answers that are being written now."""
        return {"data": await service_of(request).runs.under_way(identity(request))}

    @router.get(
        "/runs/{run_id}/events",
        dependencies=chat,
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(
        request: Request,
        run_id: PathId,
        after: Annotated[int | None, Query(ge=0, le=_MOST_EVENTS)] = None,
        last_event_id: Annotated[str | None, Header(max_length=20)] = None,
    ) -> Response:
        """What happens in a run, as server-sent events, from the one after number `after` on."""
        service = service_of(request)
        at = after if after is not None else _number(last_event_id)
        source = await service.runs.follow(identity(request), run_id, at)
        return EventResponse(source, stall_seconds=service.limits.stall_seconds)

    @router.post("/runs/{run_id}/stop", status_code=204, dependencies=chat)
    async def stop(request: Request, run_id: PathId) -> None:
        """End an answer with what there is of it."""
        await service_of(request).runs.stop(identity(request), run_id)

    @router.get("/models", dependencies=chat)
    async def models(request: Request) -> dict[str, Any]:
        """Who can be asked, for the page's list."""
        service = service_of(request)
        entries = await anyio.to_thread.run_sync(service.registry.entries)
        preferred = await service.store.read(default_model)
        names = [entry.name for entry in entries]
        default = preferred if preferred in names else next(iter(names), None)
        return {
            "data": [
                {
                    "id": entry.name,
                    "title": entry.title,
                    "kind": entry.kind,
                    "description": entry.description,
                    "examples": list(entry.examples),
                    "grounded": entry.knowledge is not None,
                    "context": service.runs.context_of(entry.name),
                    "default": entry.name == default,
                    "vision": False,
                }
                for entry in entries
            ]
        }

    return router


def _number(told: str | None) -> int:
    if told is None or not told.strip():
        return 0
    if not (told.isascii() and told.isdigit()) or int(told) > _MOST_EVENTS:
        raise ApiError(400, "Last-Event-ID is no number of an event", code="invalid_value")
    return int(told)
