"""What administrators look after: people, invitations, settings, and the audit log."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from chatwright.serve.access import Role, address_of, allow, identity
from chatwright.serve.accounts import people, sessions, setup
from chatwright.serve.accounts.cookies import base_address
from chatwright.serve.accounts.session_routes import with_accounts
from chatwright.serve.accounts.settings import (
    SettingsChange,
    change_settings,
    read_settings,
    server_settings,
)
from chatwright.serve.bodies import Body, body_schema, read_json
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.parameters import PathId
from chatwright.serve.service import service_of
from chatwright.serve.store.tables import AuditEntry, Person


class PersonChange(Body):
    """What is left out stays; `daily_tokens` is without bound where null."""

    role: Literal["user", "annotator", "admin"] | None = None
    status: Literal["active", "disabled"] | None = None
    daily_tokens: int | None = Field(default=None, ge=0, le=10**12)


class NewInvitation(Body):
    """With `email` it holds for that address only."""

    role: Literal["user", "annotator", "admin"] = "user"
    email: str | None = Field(default=None, max_length=320)
    expires_in_days: int = Field(default=7, ge=1, le=90)


def admin_router() -> APIRouter:
    """`/admin/people`, `/admin/invitations`, `/admin/settings`, `/admin/audit`."""
    router = APIRouter(prefix="/v1/chatwright/admin")
    admins = [allow(Role.admin, scope="admin")]

    @router.get("/people", dependencies=admins)
    async def list_people(
        request: Request,
        q: Annotated[str, Query(max_length=200)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 200,
        offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
    ) -> dict[str, Any]:
        """The accounts, or those whose name or address holds `q`."""
        service = with_accounts(service_of(request))
        found = await service.store.read(people.find_people, q, limit, offset)
        return {"data": [people.admin_view(person) for person in found]}

    @router.patch(
        "/people/{person_id}", dependencies=admins, openapi_extra=body_schema(PersonChange)
    )
    async def change_person(request: Request, person_id: PathId) -> dict[str, Any]:
        """Change somebody's role, bound of tokens, or whether they may come in at all."""
        service, who = with_accounts(service_of(request)), identity(request)
        told = await read_json(request, PersonChange, service.limits)
        address = address_of(request)

        def work(session: Session) -> dict[str, Any]:
            person = people.person_of(session, person_id)
            change_account(session, person, told)
            details = {name: getattr(told, name) for name in sorted(told.model_fields_set)}
            service.audit.record(
                session, who, "person_changed", target=person_id, address=address, details=details
            )
            return people.admin_view(person)

        made = await service.store.run(work)
        service.accounts.forget(person_id)
        return made

    @router.delete("/people/{person_id}", dependencies=admins, status_code=204)
    async def delete_person(request: Request, person_id: PathId) -> Response:
        """Delete an account with all that belongs to it; its key is destroyed."""
        service, who = with_accounts(service_of(request)), identity(request)
        address = address_of(request)

        def work(session: Session) -> list[str]:
            person = people.person_of(session, person_id)
            gone = people.delete_person(session, service.store.keys, person)
            service.audit.record(session, who, "person_deleted", target=person_id, address=address)
            return gone

        service.runs.stop_all(person_id=person_id)
        for collection_id in await service.store.run(work):
            service.collections.forget(collection_id)
        service.accounts.forget(person_id)
        return Response(status_code=204)

    _add_invitations(router, admins)
    _add_settings(router, admins)

    @router.get("/audit", dependencies=admins)
    async def audit(
        request: Request,
        before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
        action: Annotated[str, Query(max_length=60)] = "",
        actor: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        """The audit log, the newest first; `next` is the `before` of the page that follows."""
        service = service_of(request)
        lines = await service.store.read(read_audit, before, action, actor, limit)
        return {"data": lines, "next": lines[-1]["sequence"] if len(lines) == limit else None}

    return router


def _add_invitations(router: APIRouter, admins: list[Any]) -> None:
    @router.get("/invitations", dependencies=admins)
    async def list_invitations(request: Request) -> dict[str, Any]:
        """Invitations that can be used, and those used lately."""
        service = with_accounts(service_of(request))
        return {"data": await service.store.read(setup.list_invitations)}

    @router.post(
        "/invitations",
        dependencies=admins,
        openapi_extra=body_schema(NewInvitation),
        status_code=201,
    )
    async def invite(request: Request) -> dict[str, Any]:
        """Invite somebody: `url` is told this once."""
        service, who = with_accounts(service_of(request)), identity(request)
        told = await read_json(request, NewInvitation, service.limits)
        email = people.clean_email(told.email) if told.email else None
        if (await server_settings(service)).sign_up == "closed":
            raise ApiError(
                409, "sign-up is closed; set it to “by invitation” first", code="sign_up_closed"
            )

        def work(session: Session) -> tuple[dict[str, Any], str]:
            made, secret = setup.create_invitation(
                session,
                by=who.person_id,
                role=Role(told.role),
                email=email,
                days=told.expires_in_days,
            )
            service.audit.record(
                session, who, "invitation_created", target=made.id, address=address_of(request),
                details={"role": told.role},
            )  # fmt: skip
            return setup.invitation_view(made), secret

        made, secret = await service.store.run(work)
        return {**made, "url": f"{base_address(request, service.options)}/invite#{secret}"}

    @router.delete("/invitations/{invitation_id}", dependencies=admins, status_code=204)
    async def take_back(request: Request, invitation_id: PathId) -> Response:
        """Take an invitation back: its link holds no more."""
        service, who = with_accounts(service_of(request)), identity(request)

        def work(session: Session) -> None:
            if not setup.delete_invitation(session, invitation_id):
                raise not_found("invitation")
            service.audit.record(
                session, who, "invitation_deleted", target=invitation_id,
                address=address_of(request),
            )  # fmt: skip

        await service.store.run(work)
        return Response(status_code=204)


def _add_settings(router: APIRouter, admins: list[Any]) -> None:
    @router.get("/settings", dependencies=admins)
    async def settings(request: Request) -> dict[str, Any]:
        """The server's settings."""
        service = service_of(request)
        found = await service.store.read(read_settings, service.options)
        return found.model_dump()

    @router.patch("/settings", dependencies=admins, openapi_extra=body_schema(SettingsChange))
    async def change(request: Request) -> dict[str, Any]:
        """Change some of them; what is left out stays."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, SettingsChange, service.limits)
        if told.default_model is not None:
            await _known_model(request, told.default_model)

        def work(session: Session) -> dict[str, Any]:
            made = change_settings(session, told, service.options)
            if told.model_fields_set:
                service.audit.record(
                    session, who, "settings_changed", address=address_of(request),
                    details=told.model_dump(include=told.model_fields_set),
                )  # fmt: skip
            return made.model_dump()

        made = await service.store.run(work)
        service.accounts.settings.forget()
        return made


async def _known_model(request: Request, name: str) -> None:
    """Raises `ApiError` 404 for a model that this server does not have."""
    import anyio.to_thread

    await anyio.to_thread.run_sync(service_of(request).registry.get, name)


def change_account(session: Session, person: Person, told: PersonChange) -> None:
    """Raises `ApiError` 409 where no administrator would be left."""
    lower = told.role is not None and told.role != Role.admin.value
    if lower or told.status == "disabled":
        people.keep_an_admin(session, person.id)
    if told.role is not None:
        person.role = told.role
    if told.status is not None:
        person.status = told.status
        if told.status == "disabled":
            sessions.revoke_sessions(session, person.id)
    if "daily_tokens" in told.model_fields_set:
        person.daily_tokens = told.daily_tokens


def read_audit(
    session: Session, before: int | None, action: str, actor: str, limit: int
) -> list[dict[str, Any]]:
    """Lines of the audit log, the newest first, with the name of who still has an account."""
    wanted = select(AuditEntry, Person.name).join(
        Person, Person.id == AuditEntry.actor, isouter=True
    )
    if before is not None:
        wanted = wanted.where(AuditEntry.sequence < before)
    if action:
        wanted = wanted.where(AuditEntry.action == action)
    if actor:
        wanted = wanted.where(AuditEntry.actor == actor)
    rows = session.execute(wanted.order_by(AuditEntry.sequence.desc()).limit(limit))
    return [
        {
            "sequence": entry.sequence,
            "at": entry.at,
            "actor": entry.actor,
            "actor_name": name,
            "action": entry.action,
            "target": entry.target,
            "address": entry.address,
            "details": json.loads(entry.details),
        }
        for entry, name in rows
    ]
