"""Routes for whoever runs the service: is it up, is it ready, what does it count."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, PlainTextResponse, Response

from chatwright.serve.access import PUBLIC, Role, address_of, allow
from chatwright.serve.errors import ApiError
from chatwright.serve.service import service_of
from chatwright.version import __version__


def operations_router() -> APIRouter:
    """`/healthz`, `/readyz` and `/metrics`."""
    router = APIRouter()

    @router.get("/healthz", dependencies=[PUBLIC])
    async def healthz(request: Request) -> dict[str, Any]:
        """Whether the server answers, and how many answers it is writing."""
        active = service_of(request).slots.taken
        return {"status": "ok", "version": __version__, "active": active}

    @router.get("/readyz", dependencies=[PUBLIC], response_model=None)
    async def readyz(request: Request) -> Response:
        """Whether the database can be reached; 503 where it cannot."""
        try:
            await service_of(request).store.read(_ping)
        except Exception as error:
            return JSONResponse({"status": "database", "error": type(error).__name__}, 503)
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", dependencies=[PUBLIC], response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        """Figures for Prometheus: for this machine, or with the token that the server was given."""
        service = service_of(request)
        token = service.options.metrics_token
        told = request.headers.get("authorization", "")
        if token is not None:
            if not hmac.compare_digest(told.encode(), f"Bearer {token}".encode()):
                raise ApiError(401, "this needs the token of the metrics", code="not_signed_in")
        elif not _is_loopback(address_of(request)) or "x-forwarded-for" in request.headers:
            # A proxy on this machine that is not known as one must not make everybody local.
            raise ApiError(403, "figures are told to this machine alone", code="not_local")
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @router.get("/v1/chatwright/admin/status", dependencies=[allow(Role.admin, scope="admin")])
    async def status(request: Request) -> dict[str, Any]:
        """What an administrator sees at a glance."""
        service = service_of(request)
        return {
            "version": __version__,
            "database": service.store.dialect,
            "active": service.slots.taken,
            "worker": service.options.worker,
        }

    return router


def _ping(session: Session) -> None:
    session.execute(text("SELECT 1"))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
