"""One's own account: settings, password, sessions, keys, second factor, deletion."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from chatwright.serve.access import Identity, Role, Scope, address_of, allow, identity
from chatwright.serve.accounts import apikeys, people, sessions, totp
from chatwright.serve.accounts.cookies import DEVICE, SESSION, clear_cookie, set_cookie
from chatwright.serve.accounts.passwords import check_password
from chatwright.serve.accounts.session_routes import with_accounts
from chatwright.serve.accounts.signing import confirm_password
from chatwright.serve.bodies import Body, body_schema, read_json
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.parameters import PathId
from chatwright.serve.service import Service, service_of
from chatwright.serve.store.tables import Person, now


class ProfileChange(Body):
    """What is left out stays; `language` and `theme` are the browser's own where null."""

    name: str | None = Field(default=None, max_length=200)
    language: Literal["en", "zh"] | None = None
    theme: Literal["light", "dark", "system"] | None = None
    memory_enabled: bool | None = None
    training_consent: bool | None = None
    instructions: str | None = Field(default=None, max_length=8000)


class PasswordChange(Body):
    """The password that holds, and the one that shall."""

    current: str = Field(default="", max_length=200)
    new: str = Field(max_length=200)


class PasswordProof(Body):
    """Shows that the person at the keyboard is the owner of the account."""

    password: str = Field(default="", max_length=200)


class NewKey(Body):
    """`scopes`: what the key may do; without `expires_in_days` it holds until it is revoked."""

    name: str = Field(min_length=1, max_length=200)
    scopes: list[Scope] = Field(default=["chat"], min_length=1, max_length=20)
    expires_in_days: int | None = Field(default=None, ge=1, le=3650)


class Code(Body):
    """A code of the authenticator app."""

    code: str = Field(max_length=64)


def me_router() -> APIRouter:
    """`/me` and what is under it. Credentials are changed by a session only, never by a key."""
    router = APIRouter(prefix="/v1/chatwright/me")
    own = [allow(Role.user, scope="account")]

    @router.get("", dependencies=own)
    async def me(request: Request) -> dict[str, Any]:
        """One's own account."""
        service, who = service_of(request), identity(request)
        return await service.store.read(_view, service, who)

    @router.patch("", dependencies=own, openapi_extra=body_schema(ProfileChange))
    async def change(request: Request) -> dict[str, Any]:
        """Change name, language, theme, memory, consent or instructions."""
        service, who = service_of(request), identity(request)
        told = await read_json(request, ProfileChange, service.limits)

        def work(session: Session) -> dict[str, Any]:
            _change(session, service, _person(session, who), told)
            if told.model_fields_set:
                service.audit.record(
                    session, who, "person_changed", target=who.person_id,
                    address=address_of(request),
                    details=_what_changed(told),
                )  # fmt: skip
            session.flush()
            return _view(session, service, who)

        made = await service.store.run(work)
        service.accounts.forget(who.person_id)
        return made

    _add_password(router, own)
    _add_sessions(router, own)
    _add_keys(router, own)
    _add_totp(router, own)
    return router


def _add_password(router: APIRouter, own: list[Any]) -> None:
    @router.delete("", dependencies=own, openapi_extra=body_schema(PasswordProof), status_code=204)
    async def delete(request: Request) -> Response:
        """Delete one's account with all that belongs to it; its key is destroyed."""
        service, who = by_session(request)
        told = await read_json(request, PasswordProof, service.limits)
        await confirm_password(service, who, told.password)
        address = address_of(request)

        def work(session: Session) -> list[str]:
            gone = people.delete_person(session, service.store.keys, _person(session, who))
            service.audit.record(
                session, who, "person_deleted", target=who.person_id, address=address
            )
            return gone

        service.runs.stop_all(person_id=who.person_id)
        for collection_id in await service.store.run(work):
            service.collections.forget(collection_id)
        service.accounts.forget(who.person_id)
        response = Response(status_code=204)
        for name in (SESSION, DEVICE):
            clear_cookie(response, service.options, name)
        return response

    @router.post("/password", dependencies=own, openapi_extra=body_schema(PasswordChange))
    async def password(request: Request) -> Response:
        """Change the password. All other sessions end, and this one gets another cookie."""
        service, who = by_session(request)
        told = await read_json(request, PasswordChange, service.limits)
        await confirm_password(service, who, told.current, param="current")
        person = await service.store.read(_person, who)
        check_password(told.new, name=person.name, email=person.email, param="new")
        hashed = await service.accounts.passwords.hash(told.new)
        address, agent = address_of(request), request.headers.get("user-agent", "")

        def work(session: Session) -> str:
            changed = _person(session, who)
            changed.password_hash = hashed
            sessions.revoke_sessions(session, who.person_id)
            service.audit.record(
                session, who, "password_changed", target=who.person_id, address=address
            )
            return sessions.start_session(session, changed, address=address, agent=agent)

        secret = await service.store.run(work)
        service.accounts.forget(who.person_id)
        response = JSONResponse({"changed": True})
        set_cookie(response, service.options, SESSION, secret, seconds=sessions.COOKIE_SECONDS)
        return response


def _add_sessions(router: APIRouter, own: list[Any]) -> None:
    @router.get("/sessions", dependencies=own)
    async def list_sessions(request: Request) -> dict[str, Any]:
        """Where one is signed in."""
        service, who = with_accounts(service_of(request)), identity(request)
        read = sessions.list_sessions
        return {"data": await service.store.read(read, who.person_id, who.credential_id)}

    @router.delete("/sessions/{session_id}", dependencies=own, status_code=204)
    async def end_session(request: Request, session_id: PathId) -> Response:
        """Sign out somewhere else, or here."""
        service, who = by_session(request)

        def work(session: Session) -> None:
            if not sessions.revoke_session(session, who.person_id, session_id):
                raise not_found("session")
            service.audit.record(
                session, who, "sign_out", target=session_id, address=address_of(request)
            )

        await service.store.run(work)
        service.accounts.forget(who.person_id)
        response = Response(status_code=204)
        if session_id == who.credential_id:
            clear_cookie(response, service.options, SESSION)
        return response


def _add_keys(router: APIRouter, own: list[Any]) -> None:
    @router.get("/keys", dependencies=own)
    async def list_keys(request: Request) -> dict[str, Any]:
        """One's API keys; the keys themselves are not known any more."""
        service, who = with_accounts(service_of(request)), identity(request)
        return {"data": await service.store.read(apikeys.list_keys, who.person_id)}

    @router.post("/keys", dependencies=own, openapi_extra=body_schema(NewKey), status_code=201)
    async def create_key(request: Request) -> dict[str, Any]:
        """A new API key: `key` is told this once."""
        service, who = by_session(request)
        told = await read_json(request, NewKey, service.limits)
        if "admin" in told.scopes and not who.role.covers(Role.annotator):
            raise ApiError(
                403, "only those who administer have keys for it", param="scopes",
                code="role_required",
            )  # fmt: skip
        name = people.clean_name(told.name)
        scopes: list[str] = sorted(set(told.scopes))

        def work(session: Session) -> dict[str, Any]:
            made = apikeys.create_key(
                session, who.person_id, name=name, scopes=scopes, days=told.expires_in_days
            )
            service.audit.record(
                session, who, "key_created", target=made["id"], address=address_of(request),
                details={"scopes": scopes},
            )  # fmt: skip
            return made

        return await service.store.run(work)

    @router.delete("/keys/{key_id}", dependencies=own, status_code=204)
    async def revoke_key(request: Request, key_id: PathId) -> Response:
        """Revoke a key: it holds no more, at once."""
        service, who = by_session(request)

        def work(session: Session) -> None:
            if not apikeys.revoke_key(session, who.person_id, key_id):
                raise not_found("key")
            service.audit.record(
                session, who, "key_revoked", target=key_id, address=address_of(request)
            )

        await service.store.run(work)
        service.accounts.forget(who.person_id)
        return Response(status_code=204)


def _add_totp(router: APIRouter, own: list[Any]) -> None:
    @router.post("/totp", dependencies=own)
    async def start(request: Request) -> dict[str, Any]:
        """Begin with a second factor: a secret for an authenticator app, also as a QR code."""
        service, who = by_session(request)

        def work(session: Session) -> dict[str, Any]:
            return totp.start_totp(service.store.keys, _person(session, who))

        return await service.store.run(work)

    @router.post("/totp/confirm", dependencies=own, openapi_extra=body_schema(Code))
    async def confirm(request: Request) -> dict[str, Any]:
        """Switch it on with a first code. The recovery codes are told this once."""
        service, who = by_session(request)
        told = await read_json(request, Code, service.limits)
        await service.rates.attempt("totp", account=who.person_id)

        def work(session: Session) -> list[str]:
            codes = totp.confirm_totp(session, service.store.keys, _person(session, who), told.code)
            service.audit.record(
                session, who, "totp_enabled", target=who.person_id, address=address_of(request)
            )
            return codes

        codes = await service.store.run(work)
        await service.rates.passed("totp", account=who.person_id)
        return {"recovery_codes": codes}

    @router.delete(
        "/totp", dependencies=own, openapi_extra=body_schema(PasswordProof), status_code=204
    )
    async def remove(request: Request) -> Response:
        """Switch it off; this takes the password."""
        service, who = by_session(request)
        told = await read_json(request, PasswordProof, service.limits)
        await confirm_password(service, who, told.password)

        def work(session: Session) -> None:
            totp.remove_totp(session, _person(session, who))
            service.audit.record(
                session, who, "totp_disabled", target=who.person_id, address=address_of(request)
            )

        await service.store.run(work)
        return Response(status_code=204)


def by_session(request: Request) -> tuple[Service, Identity]:
    """For what a leaked key must not be able to do. Raises `ApiError` 403 for a key."""
    service, who = with_accounts(service_of(request)), identity(request)
    if who.via != "session":
        raise ApiError(403, "sign in for this; a key may not do it", code="session_required")
    return service, who


def _person(session: Session, who: Identity) -> Person:
    person = session.get(Person, who.person_id)
    if person is None:
        raise ApiError(401, "you are signed out; sign in again", code="session_expired")
    return person


def _view(session: Session, service: Service, who: Identity) -> dict[str, Any]:
    return people.own_view(session, service.store.keys, _person(session, who))


def _change(session: Session, service: Service, person: Person, told: ProfileChange) -> None:
    said = told.model_fields_set
    if told.name is not None:
        person.name = people.clean_name(told.name)
    if "language" in said:
        person.language = told.language
    if "theme" in said:
        person.theme = told.theme
    if told.memory_enabled is not None:
        person.memory_enabled = told.memory_enabled
    if told.training_consent is not None and told.training_consent != person.training_consent:
        person.training_consent = told.training_consent
        person.consent_at = now()
    if told.instructions is not None:
        people.set_instructions(session, service.store.keys, person, told.instructions.strip())


def _what_changed(told: ProfileChange) -> dict[str, Any]:
    """For the audit log: which settings, and of those that are no content also how."""
    details: dict[str, Any] = {"changed": sorted(told.model_fields_set)}
    if told.training_consent is not None:
        details["training_consent"] = told.training_consent
    return details
