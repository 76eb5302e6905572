"""The FastAPI application: the API's routes, their errors, and the page."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from chatwright.serve.access import Role, allow, check_routes
from chatwright.serve.accounts import add_accounts
from chatwright.serve.arena import Studies, arena_router
from chatwright.serve.assisting import Moderator, PersonTools, assisting_router
from chatwright.serve.document import complete_document
from chatwright.serve.errors import ApiError, short_name
from chatwright.serve.feedback.routes import feedback_router
from chatwright.serve.generation import Slots
from chatwright.serve.history.routes import history_router
from chatwright.serve.jobs import Jobs, jobs_router
from chatwright.serve.knowledge import knowledge_routers, make_collections
from chatwright.serve.limits import Limits
from chatwright.serve.lineage import trace
from chatwright.serve.openai import openai_router
from chatwright.serve.operations import Measured, Metrics, Retention, operations_router
from chatwright.serve.page import STATIC, add_page
from chatwright.serve.registry import Registry
from chatwright.serve.runs import RunService, runs_router
from chatwright.serve.security import Guard
from chatwright.serve.service import ServeOptions, Service, make_local_person
from chatwright.serve.store import Store, memory_store
from chatwright.serve.usage import Meter, usage_router
from chatwright.version import __version__
from chatwright.workspace import Workspace

log = logging.getLogger("chatwright.serve")


def create_app(
    registry: Registry,
    *,
    limits: Limits | None = None,
    host_names: Iterable[str] = (),
    static: Path = STATIC,
    workspace: Workspace | None = None,
    store: Store | None = None,
    options: ServeOptions | None = None,
) -> FastAPI:
    """The service over what `registry` holds, and the arena over the studies of `workspace`.

    Without a `store` nothing outlives the process; without accounts (`options`) one person, who
    may do everything, is taken for granted. `host_names` are names that the server goes by besides
    `localhost` and IP addresses; a request that names any other host is refused. `static` is the
    folder of the bundled chat page.
    """
    limits = limits or Limits()
    options = options or ServeOptions()
    slots = Slots(limits.active, limits.active_of_one)
    store = store or memory_store()
    service = Service(registry, store, limits, options, workspace, slots)
    if not options.accounts:
        make_local_person(store)
    studies = Studies(workspace)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.runs.start()
        await service.collections.start()
        retention = Retention(service)
        await retention.start()
        await service.jobs.start()
        yield
        blocking = (service.collections.close, registry.close, studies.close, store.close)
        for close in (
            service.jobs.close,
            retention.close,
            service.runs.close,
            service.meter.close,
            *(partial(anyio.to_thread.run_sync, one) for one in blocking),
        ):
            try:
                await close()
            except Exception as error:  # a full disk must not keep the rest from ending well
                log.error("at the end: %s", short_name(error), exc_info=error)

    app = FastAPI(
        title="Chatwright",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these two load their scripts from elsewhere
        redoc_url=None,
    )
    service.metrics = Metrics(service)
    app.add_middleware(Guard, names=list(host_names))
    app.add_middleware(Measured, metrics=service.metrics, worker=options.worker)
    _add_error_handlers(app)
    app.state.slots = slots
    app.state.service = service

    @app.get("/v1/chatwright/passages/{passage_id}", dependencies=[allow(Role.user, scope="chat")])
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

    add_accounts(app, service)
    service.meter = Meter(store, service.metrics.used)
    service.collections = make_collections(service)
    service.moderator = Moderator(service)
    service.tools = PersonTools(service)
    service.runs, service.jobs = RunService(service), Jobs(service)
    routers = (
        *knowledge_routers(),
        openai_router(),
        assisting_router(),
        runs_router(),
        usage_router(),
        history_router(),
        feedback_router(),
        jobs_router(),
        operations_router(),
        arena_router(studies, limits),
    )
    for router in routers:
        app.include_router(router)
    add_page(app, static)
    check_routes(app)
    complete_document(app)
    return app


_NOWHERE = {
    404: ("there is nothing at this address", "not_found"),
    405: ("this method is not allowed here", "method_not_allowed"),
}


def _add_error_handlers(app: FastAPI) -> None:
    """Everything that goes wrong is told in OpenAI's form."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error.response()

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message, code = _NOWHERE.get(error.status_code, (str(error.detail), None))
        told = ApiError(error.status_code, message, code=code)
        return JSONResponse(told.body(), told.status, headers=dict(error.headers or {}))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name = str(first["loc"][-1])
        return ApiError(400, f"{name}: {first['msg']}", param=name, code="invalid_value").response()

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
