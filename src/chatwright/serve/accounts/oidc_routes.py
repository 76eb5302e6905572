"""The two redirects of signing in with a provider."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from chatwright.errors import ChatwrightError
from chatwright.serve.access import Identity, Role, address_of, public
from chatwright.serve.accounts import people
from chatwright.serve.accounts.cookies import (
    OIDC,
    base_address,
    clear_cookie,
    cookie_name,
    read_cookie,
    set_cookie,
)
from chatwright.serve.accounts.oidc import (
    STARTED_SECONDS,
    Outside,
    Provider,
    begin,
    pack,
    unpack,
)
from chatwright.serve.accounts.signing import begin_session, give_cookies
from chatwright.serve.errors import ApiError
from chatwright.serve.ids import new_id
from chatwright.serve.service import Service, service_of
from chatwright.serve.store.tables import OutsideIdentity, Person

log = logging.getLogger("chatwright.serve")

CALLBACK = "/v1/chatwright/oidc/callback"


def oidc_router() -> APIRouter:
    """`/oidc/start` and `/oidc/callback`; what goes wrong is told at `/sign-in?problem=CODE`."""
    router = APIRouter(prefix="/v1/chatwright/oidc")

    @router.get("/start", dependencies=[public("sign_in")], status_code=303)
    async def start(request: Request, link: bool = False) -> Response:
        """Send the browser to the provider; with `link`, to link that account to one's own."""
        service = service_of(request)
        provider = _provider(service)
        person_id = ""
        if link:
            who = await service.accounts.identify(request)
            if who is None or who.via != "session" or _from_elsewhere(request):
                raise ApiError(401, "sign in first", code="not_signed_in")
            person_id = who.person_id
        started = begin(person_id)
        uri = base_address(request, service.options) + CALLBACK
        try:
            there = await provider.sign_in_address(started, uri)
        except ChatwrightError as error:
            log.warning("sign-in with the provider failed: %s", error.message)
            return _problem("oidc_unreachable")
        response = RedirectResponse(there, 303)
        kept = pack(started, service.store.keys.server_sealer())
        set_cookie(response, service.options, OIDC, kept, seconds=STARTED_SECONDS)
        return response

    @router.get("/callback", dependencies=[public("sign_in")], status_code=303)
    async def callback(
        request: Request,
        code: Annotated[str, Query(max_length=4000)] = "",
        state: Annotated[str, Query(max_length=200)] = "",
        iss: Annotated[str | None, Query(max_length=500)] = None,
        error: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        """The browser comes back: sign in who the provider says it is."""
        service = service_of(request)
        provider = _provider(service)
        try:
            if error or not code:
                return _problem("oidc_refused")
            await service.rates.attempt("oidc", address=address_of(request))
            cookie = read_cookie(request, cookie_name(service.options, OIDC)) or ""
            started = unpack(cookie, service.store.keys.server_sealer())
            uri = base_address(request, service.options) + CALLBACK
            outside = await provider.finish(
                started, code=code, state=state, issuer=iss, redirect_uri=uri
            )
            if started.link:
                who = await service.accounts.identify(request)
                response = await _link(service, request, outside, who, started.link)
            else:
                response = await _enter(service, request, outside)
            await service.rates.passed("oidc", address=address_of(request))
        except ChatwrightError as problem:
            log.warning("sign-in with the provider failed: %s", problem.message)
            response = _problem("oidc_failed")
        except ApiError as problem:
            response = _problem(problem.code or "oidc_failed")
        clear_cookie(response, service.options, OIDC)
        return response

    return router


async def _enter(service: Service, request: Request, outside: Outside) -> Response:
    """Sign in who is known by issuer and subject, and nobody by an e-mail address: whoever may
    name addresses at the provider could otherwise take anybody's account.
    """

    def enter(session: Session) -> tuple[str, str]:
        known = session.get(OutsideIdentity, (outside.issuer, outside.subject))
        person = session.get(Person, known.person_id) if known is not None else None
        created = person is None
        if person is None:
            person = _new_person(session, service, outside)
        if person.status != "active":
            raise ApiError(403, "this account is disabled", code="account_disabled")
        secret = begin_session(session, service, request, person)
        for action in ["person_created"] * created + ["sign_in"]:
            service.audit.record(
                session, person.id, action,
                target=person.id, address=address_of(request), details={"by": "oidc"},
            )  # fmt: skip
        return person.id, secret

    person_id, secret = await service.store.run(enter)
    service.accounts.forget_all()
    response = RedirectResponse("/", 303)
    give_cookies(service, request, response, person_id, secret)
    return response


def _new_person(session: Session, service: Service, outside: Outside) -> Person:
    settings = service.options.oidc
    if settings is None or not settings.sign_up or not people.has_admin(session):
        raise ApiError(403, "there is no account for you here", code="no_account")
    # An address that nobody has checked is not kept: it may be somebody else's.
    email = people.clean_email(outside.email or f"{new_id('oidc')}@provider.invalid")
    taken = session.scalar(select(Person.id).where(Person.email == email))
    if taken is not None:
        raise ApiError(409, "there is an account with this address", code="email_taken")
    name = people.clean_name(outside.name or email.split("@")[0])
    person = people.create_person(
        session, service.store.keys, name=name, email=email, role=Role.user, password_hash=None
    )
    session.add(
        OutsideIdentity(issuer=outside.issuer, subject=outside.subject, person_id=person.id)
    )
    return person


async def _link(
    service: Service, request: Request, outside: Outside, who: Identity | None, wanted: str
) -> Response:
    if who is None or who.person_id != wanted:
        raise ApiError(401, "sign in first", code="not_signed_in")

    def link(session: Session) -> None:
        known = session.get(OutsideIdentity, (outside.issuer, outside.subject))
        if known is not None and known.person_id != who.person_id:
            raise ApiError(409, "it is linked to another account", code="already_linked")
        if known is None:
            session.add(
                OutsideIdentity(
                    issuer=outside.issuer, subject=outside.subject, person_id=who.person_id
                )
            )
        service.audit.record(
            session, who, "person_changed",
            target=who.person_id, address=address_of(request), details={"linked": "oidc"},
        )  # fmt: skip

    await service.store.run(link)
    return RedirectResponse("/settings/account", 303)


def _provider(service: Service) -> Provider:
    provider = service.accounts.provider
    if provider is None or not service.options.accounts:
        raise ApiError(404, "no provider is set up here", code="no_provider")
    assert isinstance(provider, Provider)
    return provider


def _from_elsewhere(request: Request) -> bool:
    """Another page's link must not begin this."""
    return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def _problem(code: str) -> Response:
    return RedirectResponse(f"/sign-in?problem={code}", 303)
