"""The page's routes for feedback, and its figures for those who look after the models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from chatwright.serve.access import Role, allow, identity
from chatwright.serve.bodies import body_schema, read_json
from chatwright.serve.feedback.figures import figures
from chatwright.serve.feedback.reasons import REASONS
from chatwright.serve.feedback.store import (
    ComparisonIn,
    FeedbackIn,
    delete_feedback,
    put_comparison,
    put_feedback,
)
from chatwright.serve.parameters import PathId
from chatwright.serve.service import service_of


def feedback_router() -> APIRouter:
    """Everything of `serve.feedback` below `/v1/chatwright`."""
    router = APIRouter(prefix="/v1/chatwright", tags=["feedback"])
    own = [allow(Role.user, scope="history")]

    @router.get("/feedback/reasons", dependencies=own)
    async def reasons() -> dict[str, Any]:
        """Why an answer may be good or bad: codes, and how they read in English and Chinese."""
        return {
            "data": [
                {"rating": rating, **asdict(reason)}
                for rating, group in REASONS.items()
                for reason in group
            ]
        }

    @router.put(
        "/messages/{message_id}/feedback", dependencies=own, openapi_extra=body_schema(FeedbackIn)
    )
    async def rate(request: Request, message_id: PathId) -> dict[str, Any]:
        """What one thinks of an answer, in place of what one said before."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, FeedbackIn, service.limits)

        def work(session: Session) -> dict[str, Any]:
            sealer = service.store.keys.sealer(session, who.person_id)
            return put_feedback(session, sealer, who.person_id, message_id, told)

        return await service.store.run(work)

    @router.delete("/messages/{message_id}/feedback", status_code=204, dependencies=own)
    async def take_back(request: Request, message_id: PathId) -> None:
        """Take it back."""
        service, who = service_of(request), identity(request)
        await service.store.run(delete_feedback, who.person_id, message_id)

    @router.post(
        "/comparisons", status_code=201, dependencies=own, openapi_extra=body_schema(ComparisonIn)
    )
    async def compare(request: Request) -> dict[str, Any]:
        """Which of two answers to one question is better, in place of an earlier vote on them."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, ComparisonIn, service.limits)
        return {"id": await service.store.run(put_comparison, who.person_id, told)}

    @router.get("/admin/feedback", dependencies=[allow(Role.annotator, scope="admin")])
    async def feedback_figures(
        request: Request, days: Annotated[int, Query(ge=1, le=3650)] = 30
    ) -> dict[str, Any]:
        """Counts per day, model, reason and language; no text and no name."""

        def work(session: Session) -> dict[str, Any]:
            return figures(session, days=days)

        return await service_of(request).store.read(work)

    return router
