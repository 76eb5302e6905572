"""The routes of OpenAI's API."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from chatwright.serve.access import Role, allow, identity
from chatwright.serve.bodies import read_body
from chatwright.serve.openai.chat_reply import ChatWire
from chatwright.serve.openai.chat_request import ChatRequest, parse_chat_request
from chatwright.serve.openai.completions import (
    CompletionRequest,
    CompletionWire,
    parse_completion_request,
)
from chatwright.serve.openai.documents import (
    CHAT,
    CHAT_EXAMPLE,
    COMPLETION_EXAMPLE,
    COMPLETIONS,
    ERRORS,
    RESPONSES,
    RESPONSES_EXAMPLE,
    Model,
    ModelList,
    asks,
)
from chatwright.serve.openai.responses_reply import ResponsesWire
from chatwright.serve.openai.responses_request import ResponsesRequest, parse_responses_request
from chatwright.serve.openai.wire import Wire, WireResponse
from chatwright.serve.registry import Served
from chatwright.serve.service import Service, service_of


def openai_router() -> APIRouter:
    """`/v1/models`, `/v1/chat/completions`, `/v1/completions` and `/v1/responses`."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])
    chat = [allow(Role.user, scope="chat")]

    @router.get(
        "/models", dependencies=chat, response_model=ModelList, responses=ERRORS, name="models"
    )
    async def models(request: Request) -> dict[str, Any]:
        """The assistants and models that can be asked."""
        registry = service_of(request).registry
        entries = await anyio.to_thread.run_sync(registry.entries)
        return {"object": "list", "data": [model_card(entry) for entry in entries]}

    @router.get(
        "/models/{name:path}",
        dependencies=chat,
        response_model=Model,
        responses=ERRORS,
        name="model",
    )
    async def model(name: str, request: Request) -> dict[str, Any]:
        """One of them. 404 where there is none of that name."""
        registry = service_of(request).registry
        return model_card(await anyio.to_thread.run_sync(registry.get, name))

    @router.post(
        "/chat/completions",
        dependencies=chat,
        response_class=Response,
        responses=CHAT,
        openapi_extra=asks(ChatRequest, CHAT_EXAMPLE),
    )
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation, whole or as server-sent events, with citations."""
        service = service_of(request)
        asked = parse_chat_request(await read_body(request, service.limits), service.limits)
        return await _answer(request, service, ChatWire(asked, service.limits))

    @router.post(
        "/completions",
        dependencies=chat,
        response_class=Response,
        responses=COMPLETIONS,
        openapi_extra=asks(CompletionRequest, COMPLETION_EXAMPLE),
    )
    async def completions(request: Request) -> Response:
        """Continue texts as they are, without a chat template or sources."""
        service = service_of(request)
        asked = parse_completion_request(await read_body(request, service.limits), service.limits)
        return await _answer(request, service, CompletionWire(asked))

    @router.post(
        "/responses",
        dependencies=chat,
        response_class=Response,
        responses=RESPONSES,
        openapi_extra=asks(ResponsesRequest, RESPONSES_EXAMPLE),
    )
    async def responses(request: Request) -> Response:
        """OpenAI's newer form of chat completions. Nothing is stored: send what was said before."""
        service = service_of(request)
        asked = parse_responses_request(await read_body(request, service.limits), service.limits)
        return await _answer(request, service, ResponsesWire(asked, service.limits))

    return router


async def _answer(request: Request, service: Service, wire: Wire) -> Response:
    await anyio.to_thread.run_sync(service.registry.get, wire.model)
    return WireResponse(wire, service, identity(request))


def model_card(entry: Served) -> dict[str, Any]:
    """An entry of `/v1/models`; what the chat page needs is under `chatwright`."""
    return {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": "chatwright",
        "chatwright": {
            "kind": entry.kind,
            "title": entry.title,
            "description": entry.description,
            "examples": list(entry.examples),
            "grounded": entry.knowledge is not None,
        },
    }
