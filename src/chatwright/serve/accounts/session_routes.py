"""Signing in and out, the first start, and sign-up."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from chatwright.serve.access import LOCAL, Role, address_of, allow, identity, public
from chatwright.serve.accounts.cookies import SESSION, clear_cookie
from chatwright.serve.accounts.sessions import revoke_session
from chatwright.serve.accounts.signing import make_account, session_state, sign_in
from chatwright.serve.bodies import Body, body_schema, read_json
from chatwright.serve.errors import ApiError
from chatwright.serve.service import Service, service_of


class SignInBody(Body):
    """`code`: of the second factor, or a recovery code, where one is on."""

    email: str = Field(max_length=320)
    password: str = Field(max_length=200)
    code: str | None = Field(default=None, max_length=64)


class SetupBody(Body):
    """`token`: from the link that the server prints at its first start."""

    token: str = Field(max_length=200)
    name: str = Field(max_length=200)
    email: str = Field(max_length=320)
    password: str = Field(max_length=200)


class SignUpBody(Body):
    """`invitation`: from the link of one."""

    name: str = Field(max_length=200)
    email: str = Field(max_length=320)
    password: str = Field(max_length=200)
    invitation: str | None = Field(default=None, max_length=200)


def session_router() -> APIRouter:
    """`/session`, `/setup` and `/sign-up`."""
    router = APIRouter(prefix="/v1/chatwright")

    @router.get("/session", dependencies=[public()])
    async def session(request: Request) -> Response:
        """Who is at the page, and whether this server is set up."""
        service = service_of(request)
        who, ended = LOCAL if not service.options.accounts else None, False
        if who is None:
            try:
                who = await service.accounts.identify(request)
            except ApiError as error:
                if error.code != "session_expired":
                    raise
                ended = True
        if who is not None and "account" not in who.scopes:
            who = None  # a key that may not know whose it is
        response = JSONResponse(await session_state(service, who))
        if ended:
            clear_cookie(response, service.options, SESSION)
        return response

    @router.post(
        "/session", dependencies=[public("sign_in")], openapi_extra=body_schema(SignInBody)
    )
    async def start(request: Request) -> Response:
        """Sign in. 401 `invalid_credentials`, `second_factor_required` or `invalid_code`."""
        service = with_accounts(service_of(request))
        told = await read_json(request, SignInBody, service.limits)
        return await sign_in(service, request, told.email, told.password, told.code)

    @router.delete("/session", dependencies=[allow(Role.user)])
    async def end(request: Request) -> Response:
        """Sign out: the session ends, here and wherever its cookie was copied to."""
        service, who = with_accounts(service_of(request)), identity(request)
        if who.via != "session":
            raise ApiError(403, "a key is revoked, not signed out", code="session_required")

        def sign_out(session: Any) -> None:
            revoke_session(session, who.person_id, who.credential_id)
            service.audit.record(
                session, who, "sign_out", target=who.person_id, address=address_of(request)
            )

        await service.store.run(sign_out)
        service.accounts.forget(who.person_id)
        response = JSONResponse(await session_state(service, None))
        clear_cookie(response, service.options, SESSION)
        return response

    @router.post(
        "/setup",
        dependencies=[public("sign_in")],
        openapi_extra=body_schema(SetupBody),
        status_code=201,
    )
    async def set_up(request: Request) -> Response:
        """Make the first administrator, who is then signed in."""
        service = with_accounts(service_of(request))
        told = await read_json(request, SetupBody, service.limits)
        return await make_account(
            service,
            request,
            name=told.name,
            email=told.email,
            password=told.password,
            setup_token=told.token,
        )

    @router.post(
        "/sign-up",
        dependencies=[public("sign_in")],
        openapi_extra=body_schema(SignUpBody),
        status_code=201,
    )
    async def sign_up(request: Request) -> Response:
        """Make an account, where that is open or with an invitation; one is then signed in."""
        service = with_accounts(service_of(request))
        told = await read_json(request, SignUpBody, service.limits)
        return await make_account(
            service,
            request,
            name=told.name,
            email=told.email,
            password=told.password,
            invitation=told.invitation or None,
        )

    return router


def with_accounts(service: Service) -> Service:
    """The service, where it has accounts. Raises `ApiError` 409 where it has none."""
    if not service.options.accounts:
        raise ApiError(409, "this server runs without accounts", code="local_mode")
    return service
