"""Routes: the tools there are, `/v1/moderations`, appeals and their decisions."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request

from chatwright.assist.moderation import MODEL, reason
from chatwright.serve.access import Identity, Role, allow, identity
from chatwright.serve.bodies import Body, body_schema, read_json
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.parameters import PathId, iso
from chatwright.serve.service import Service, service_of
from chatwright.serve.store.tables import Moderated, Person, now

_MOST_TEXTS = 64
_LONGEST_TEXT = 100_000
# What OpenAI names and these models do not measure: told as false and 0, and listed.
_UNMEASURED = (
    "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent",
    "self-harm", "self-harm/instructions", "self-harm/intent", "sexual/minors", "violence",
    "violence/graphic",
)  # fmt: skip

_Text = Annotated[str, Field(max_length=_LONGEST_TEXT)]


class _TextPart(Body):
    type: Literal["text"]
    text: _Text


class _ModerationBody(Body):
    input: _Text | Annotated[list[_Text | _TextPart], Field(min_length=1, max_length=_MOST_TEXTS)]
    model: str | None = Field(None, max_length=300)


class _AppealBody(Body):
    text: str = Field(min_length=1, max_length=4_000)


class _DecisionBody(Body):
    decision: Literal["upheld", "lifted"]
    note: str = Field("", max_length=4_000)


def assisting_router() -> APIRouter:
    """The routes of tools and moderation."""
    router = APIRouter()
    ours = "/v1/chatwright"

    @router.get(f"{ours}/tools", dependencies=[allow(Role.user, scope="chat")])
    async def tools(request: Request) -> dict[str, Any]:
        """The tools that the model may be given."""
        found = service_of(request).tools.definitions(identity(request))
        return {
            "data": [
                {
                    "name": one.name,
                    "title": dict(one.title),
                    "description": one.description,
                    "simulated": one.simulated,
                    "parameters": dict(one.parameters),
                }
                for one in found
            ]
        }

    @router.post(
        "/v1/moderations",
        dependencies=[allow(Role.user, scope="chat")],
        openapi_extra=body_schema(_ModerationBody),
    )
    async def moderations(request: Request) -> dict[str, Any]:
        """Judge texts, in OpenAI's form. Nothing is recorded."""
        service = service_of(request)
        asked = await read_json(request, _ModerationBody, service.limits)
        told = [asked.input] if isinstance(asked.input, str) else asked.input
        texts = [one if isinstance(one, str) else one.text for one in told]
        judged = await service.moderator.judge(texts)
        results = []
        for one in judged:
            scores = {**dict.fromkeys(_UNMEASURED, 0.0), **one.scores}
            flags = {name: name in one.categories for name in scores}
            results.append(
                {
                    "flagged": one.flagged,
                    "categories": flags,
                    "category_scores": scores,
                    "category_applied_input_types": {name: ["text"] for name in one.scores},
                }
            )
        return {
            "id": f"modr-{uuid.uuid4().hex}",
            "model": MODEL,
            "results": results,
            "chatwright": {"not_measured": list(_UNMEASURED)},
        }

    @router.post(
        f"{ours}/moderation/{{event_id}}/appeal",
        dependencies=[allow(Role.user, scope="history")],
        openapi_extra=body_schema(_AppealBody),
    )
    async def appeal(event_id: PathId, request: Request) -> dict[str, Any]:
        """Say why a text was judged wrongly; a person with the role annotator decides."""
        service = service_of(request)
        asked = await read_json(request, _AppealBody, service.limits)
        return await service.store.run(_appeal, service, identity(request), event_id, asked.text)

    @router.get(f"{ours}/admin/moderation", dependencies=[allow(Role.annotator, scope="admin")])
    async def queue(
        request: Request,
        appeal: Literal["none", "open", "upheld", "lifted"] | None = None,
        before: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        """What was flagged, the newest first. The text is shown only where its author appealed."""
        service = service_of(request)
        return await service.store.read(_queue, service, appeal, before, limit)

    @router.post(
        f"{ours}/admin/moderation/{{event_id}}",
        dependencies=[allow(Role.annotator, scope="admin")],
        openapi_extra=body_schema(_DecisionBody),
    )
    async def decide(event_id: PathId, request: Request) -> dict[str, Any]:
        """Decide an appeal; its author sees the decision and the note."""
        service = service_of(request)
        asked = await read_json(request, _DecisionBody, service.limits)
        return await service.store.run(_decide, service, identity(request), event_id, asked)

    return router


def _found(session: Session, event_id: str, person_id: str | None = None) -> Moderated:
    row = session.get(Moderated, event_id[:64])
    if row is None or person_id not in (None, row.person_id):
        raise not_found("record of moderation", code="moderation_not_found")
    return row


def _appeal(
    session: Session, service: Service, who: Identity, event_id: str, text: str
) -> dict[str, Any]:
    row = _found(session, event_id, who.person_id)
    if row.appeal in ("upheld", "lifted"):
        raise ApiError(409, "this was decided already", code="already_decided")
    sealer = service.store.keys.sealer(session, who.person_id)
    row.appeal = "open"
    row.sealed_appeal = sealer.seal(text, context=f"moderated.appeal:{row.id}")
    return _told(session, service, row)


def _decide(
    session: Session, service: Service, who: Identity, event_id: str, asked: _DecisionBody
) -> dict[str, Any]:
    row = _found(session, event_id)
    if row.appeal == "none":
        raise ApiError(409, "nobody appealed against this", code="no_appeal")
    sealer = service.store.keys.sealer(session, row.person_id)
    row.appeal, row.decided_by, row.decided_at = asked.decision, who.person_id, now()
    if asked.note:
        row.sealed_note = sealer.seal(asked.note, context=f"moderated.note:{row.id}")
    if service.audit is not None:
        service.audit.record(
            session, who, "moderation_decided", target=row.id, details={"decision": asked.decision}
        )
    return _told(session, service, row)


def _queue(
    session: Session, service: Service, appeal: str | None, before: str | None, limit: int
) -> dict[str, Any]:
    asked = select(Moderated).order_by(Moderated.created_at.desc(), Moderated.id.desc())
    if appeal is not None:
        asked = asked.where(Moderated.appeal == appeal)
    if before is not None and (last := session.get(Moderated, before)) is not None:
        asked = asked.where(Moderated.created_at < last.created_at)
    rows = session.scalars(asked.limit(limit)).all()
    return {"data": [_told(session, service, row, named=True) for row in rows]}


def _told(
    session: Session, service: Service, row: Moderated, *, named: bool = False
) -> dict[str, Any]:
    sealer = service.store.keys.sealer(session, row.person_id)

    def opened(value: bytes | None, cell: str) -> str | None:
        context = f"moderated.{cell}:{row.id}"
        return None if value is None else sealer.open_text(value, context=context)

    told: dict[str, Any] = {
        "id": row.id,
        "direction": row.direction,
        "blocked": row.blocked,
        "categories": row.categories,
        "reason": {one: reason(row.categories, one) for one in ("en", "zh")},
        "scores": row.scores,
        "appeal": {
            "state": row.appeal,
            "text": opened(row.sealed_appeal, "appeal"),
            "note": opened(row.sealed_note, "note"),
        },
        "created_at": iso(row.created_at),
        "decided_at": iso(row.decided_at),
    }
    if named:
        # Whoever appeals lets the text be read; nobody else's text is shown to others.
        person = session.get(Person, row.person_id)
        told["person"] = {"id": row.person_id, "name": person.name if person else ""}
        told["text"] = opened(row.sealed_text, "text") if row.appeal != "none" else None
    return told
