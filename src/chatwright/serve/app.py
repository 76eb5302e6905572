"""The FastAPI application: the API's routes, their errors, and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from chatwright.serve.arena import Studies, arena_router
from chatwright.serve.chat import ChatResponse, read_body
from chatwright.serve.errors import ApiError
from chatwright.serve.generation import Slots
from chatwright.serve.limits import Limits
from chatwright.serve.lineage import trace
from chatwright.serve.page import STATIC, add_page
from chatwright.serve.registry import Registry
from chatwright.serve.replies import model_card
from chatwright.serve.security import Guard
from chatwright.serve.shapes import ChatRequest, parse_chat_request
from chatwright.version import __version__
from chatwright.workspace import Workspace


def create_app(
    registry: Registry,
    *,
    limits: Limits | None = None,
    host_names: Iterable[str] = (),
    static: Path = STATIC,
    workspace: Workspace | None = None,
) -> FastAPI:
    """The service over what `registry` holds, and the arena over the studies of `workspace`.

    `host_names` are names that the server goes by besides `localhost` and IP addresses; a request
    that names any other host is refused. `static` is the folder of the bundled chat page.
    """
    limits = limits or Limits()
    slots = Slots(limits.active)
    studies = Studies(workspace)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(registry.close)
        await anyio.to_thread.run_sync(studies.close)

    app = FastAPI(
        title="Chatwright",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these two load their scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(Guard, names=list(host_names))
    _add_error_handlers(app)
    app.state.slots = slots

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """Whether the server answers, and how many answers it is writing."""
        return {"status": "ok", "version": __version__, "active": slots.taken}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The assistants and models that can be asked."""
        entries = await anyio.to_thread.run_sync(registry.entries)
        return {"object": "list", "data": [model_card(entry) for entry in entries]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """One of them. 404 where there is none of that name."""
        return model_card(await anyio.to_thread.run_sync(registry.get, name))

    @app.post("/v1/chat/completions", openapi_extra=_body_schema())
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation, whole or as server-sent events, with citations."""
        asked = parse_chat_request(await read_body(request, limits), limits)
        await anyio.to_thread.run_sync(registry.get, asked.model)
        return ChatResponse(asked, registry, limits, slots)

    @app.get("/v1/chatwright/passages/{passage_id}")
    async def passage(
        passage_id: str, name: str = Query(alias="model", max_length=300)
    ) -> dict[str, Any]:
        """A cited passage, the page it comes from, and every dataset in between."""
        entry = await anyio.to_thread.run_sync(registry.get, name)
        found = None
        if entry.knowledge is not None and len(passage_id) <= 200:
            found = await anyio.to_thread.run_sync(trace, entry.knowledge, passage_id)
        if found is None:
            raise ApiError(404, f"{name!r} has no such passage", code="passage_not_found")
        return found

    app.include_router(arena_router(studies, limits))
    add_page(app, static)
    return app


def _body_schema() -> dict[str, Any]:
    """The request body for the OpenAPI document: it is read by hand, within limits."""
    schema = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    for definition in definitions.values():
        definition.pop("title", None)

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inline(definitions[value["$ref"].rsplit("/", 1)[-1]])
            return {key: inline(item) for key, item in value.items()}
        return [inline(item) for item in value] if isinstance(value, list) else value

    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": inline(schema)}},
        }
    }


def _add_error_handlers(app: FastAPI) -> None:
    """Everything that goes wrong is told in OpenAI's form."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = {404: "there is nothing at this address", 405: "this method is not allowed here"}
        told = ApiError(error.status_code, message.get(error.status_code, str(error.detail)))
        return JSONResponse(told.body(), told.status, headers=dict(error.headers or {}))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return ApiError(400, f"{name}: {first['msg']}", param=name, code="invalid_value").response()

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
