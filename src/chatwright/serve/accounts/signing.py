"""Signing in, up and out: what happens behind the routes, step by step."""

from __future__ import annotations

import base64
import binascii
import secrets
import unicodedata
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chatwright.errors import DataError
from chatwright.serve.access import LOCAL_PERSON, Identity, Role, address_of
from chatwright.serve.accounts import people, setup, totp
from chatwright.serve.accounts.cookies import (
    DEVICE,
    SESSION,
    cookie_name,
    read_cookie,
    set_cookie,
)
from chatwright.serve.accounts.passwords import check_password
from chatwright.serve.accounts.sessions import (
    COOKIE_SECONDS,
    revoke_session,
    start_session,
)
from chatwright.serve.accounts.settings import server_settings
from chatwright.serve.errors import ApiError
from chatwright.serve.ids import token_hash
from chatwright.serve.service import Service
from chatwright.serve.store.tables import Person, SignIn, now

_DEVICE_SECONDS = 400 * 24 * 3600  # as long as browsers keep a cookie
_DEVICE_CONTEXT = "cookie:device"


async def session_state(service: Service, who: Identity | None) -> dict[str, Any]:
    """What `GET /session` tells."""

    def read(session: Session) -> tuple[bool, dict[str, Any] | None]:
        ready = service.accounts.set_up or people.has_admin(session)
        person = session.get(Person, who.person_id) if who is not None else None
        keys = service.store.keys
        return ready, None if person is None else people.own_view(session, keys, person)

    local = not service.options.accounts
    ready, person = await service.store.read(read)
    service.accounts.set_up = ready and not local
    state = "signed_in" if person is not None else "signed_out" if ready else "setup"
    oidc = service.options.oidc
    return {
        "state": state,
        "mode": "local" if local else "accounts",
        "sign_up": (await server_settings(service)).sign_up,
        "oidc": {"name": oidc.name} if oidc is not None and not local else None,
        "person": person,
    }


async def sign_in(
    service: Service, request: Request, email: str, password: str, code: str | None
) -> Response:
    """A session for who knows the password, and has the second factor where one is on.

    Unknown, wrong and disabled take the same steps and get the same answer.
    """
    rates, audit, store = service.rates, service.audit, service.store
    wrong = ApiError(401, "the address or the password is not right", code="invalid_credentials")
    address = address_of(request)
    email = unicodedata.normalize("NFKC", email).strip().lower()
    person = await store.read(_by_email, email)
    stored = person.password_hash if person is not None else None
    person_id = person.id if person is not None else ""
    # Whoever signed in from this browser before is counted apart: a stranger who guesses from
    # elsewhere cannot make its owner wait.
    device = known_device(service, request, person_id)
    account = f"device:{device}" if device else _account(service, email)
    bucket = {"account": account, "address": "" if device else address}
    await rates.attempt("sign_in", **bucket)
    right = await service.accounts.passwords.verify(stored, password)

    def failed(session: Session, reason: str) -> None:
        audit.record(
            session, None, "sign_in_failed",
            target=person_id, address=address, details={"reason": reason},
        )  # fmt: skip

    if not right or person is None or person.status != "active" or person.id == LOCAL_PERSON:
        await store.run(failed, "credentials")
        raise wrong
    if person.totp_enabled:
        if not code:
            await rates.passed("sign_in", **bucket)
            raise ApiError(
                401, "send a code of the second factor too", param="code",
                code="second_factor_required",
            )  # fmt: skip
        factor = {"account": f"device:{device}" if device else person.id}
        await rates.attempt("totp", **factor)
    fresh = None
    if stored is not None and service.accounts.passwords.outdated(stored):
        fresh = await service.accounts.passwords.hash(password)

    def complete(session: Session) -> str:
        now_there = session.get(Person, person_id)
        if now_there is None or now_there.status != "active" or now_there.password_hash != stored:
            raise wrong  # changed in the meantime
        details = {}
        if now_there.totp_enabled:
            by = second_factor(session, service, now_there, code or "")
            if by is None:
                raise ApiError(401, "the code is not right", param="code", code="invalid_code")
            details = {"second_factor": by}
        if fresh is not None:
            now_there.password_hash = fresh
        secret = begin_session(session, service, request, now_there)
        audit.record(
            session, now_there.id, "sign_in",
            target=now_there.id, address=address, details={"by": "password", **details},
        )  # fmt: skip
        return secret

    try:
        secret = await store.run(complete)
    except ApiError as error:
        await store.run(failed, "code" if error.code == "invalid_code" else "credentials")
        raise
    await rates.passed("sign_in", **bucket)
    if person.totp_enabled:
        await rates.passed("totp", **factor)
    return await signed_in(service, request, person_id, secret)


async def make_account(
    service: Service,
    request: Request,
    *,
    name: str,
    email: str,
    password: str,
    setup_token: str | None = None,
    invitation: str | None = None,
) -> Response:
    """A new account and a session of it: the administrator's, by invitation, or open to all."""
    kind = "setup" if setup_token is not None else "invitation" if invitation else "sign_up"
    address = address_of(request)
    name, email = people.clean_name(name), people.clean_email(email)
    check_password(password, name=name, email=email)
    if kind != "setup":
        allowed = (await server_settings(service)).sign_up
        if allowed == "closed":
            raise ApiError(403, "sign-up is closed here", code="sign_up_closed")
        if allowed == "invitation" and not invitation:
            raise ApiError(
                403, "here one needs an invitation", param="invitation", code="invitation_required"
            )
    account = "all" if kind == "setup" else ""
    await service.rates.attempt(kind, address=address, account=account)
    hashed = await service.accounts.passwords.hash(password)

    def make(session: Session) -> tuple[str, str]:
        keys = service.store.keys
        told = {"name": name, "email": email, "password_hash": hashed}
        if setup_token is not None:
            person = setup.use_setup_token(session, keys, setup_token, **told)
        elif not people.has_admin(session):
            raise ApiError(409, "this server is not set up yet", code="not_set_up")
        elif invitation:
            person = setup.use_invitation(session, keys, invitation, **told)
        else:
            person = people.create_person(session, keys, role=Role.user, **told)
        secret = begin_session(session, service, request, person)
        service.audit.record(
            session, person.id, "person_created",
            target=person.id, address=address, details={"by": kind, "role": person.role},
        )  # fmt: skip
        return person.id, secret

    person_id, secret = await service.store.run(make)
    if kind != "sign_up":  # that one counts accounts made, not only what failed
        await service.rates.passed(kind, address=address, account=account)
    return await signed_in(service, request, person_id, secret, status=201)


def second_factor(session: Session, service: Service, person: Person, code: str) -> str | None:
    """By what the code is right, or None."""
    if totp.check_totp(session, service.store.keys, person, code):
        return "totp"
    return "recovery_code" if totp.use_recovery_code(session, person, code) else None


async def confirm_password(
    service: Service, who: Identity, password: str, *, param: str = "password"
) -> None:
    """The person at the keyboard is the one who signed in. Raises `ApiError` 403.

    People who sign in with a provider have no password; for them a fresh session says so.
    """
    person = await service.store.read(Session.get, Person, who.person_id)
    if person is None:
        raise ApiError(401, "you are signed out; sign in again", code="session_expired")
    if person.password_hash is None:
        kept = await service.store.read(Session.get, SignIn, who.credential_id)
        if kept is None or _age(kept) > 600:
            raise ApiError(403, "sign in again first", code="sign_in_again")
        return
    await service.rates.attempt("password", account=who.person_id)
    if not await service.accounts.passwords.verify(person.password_hash, password):
        raise ApiError(403, "the password is not right", param=param, code="wrong_password")
    await service.rates.passed("password", account=who.person_id)


async def signed_in(
    service: Service, request: Request, person_id: str, secret: str, *, status: int = 200
) -> Response:
    """The answer to somebody who has just signed in: the session's cookie and what it is of."""
    service.accounts.forget_all()  # the session that this browser had has ended
    who = Identity(person_id, "", Role.user, "session")
    response = JSONResponse(await session_state(service, who), status)
    give_cookies(service, request, response, person_id, secret)
    return response


def give_cookies(
    service: Service, request: Request, response: Response, person_id: str, secret: str
) -> None:
    """The session's cookie, and that by which this browser is known the next time."""
    options = service.options
    set_cookie(response, options, SESSION, secret, seconds=COOKIE_SECONDS)
    if not known_device(service, request, person_id):
        told = f"{person_id}:{secrets.token_hex(8)}"
        sealed = service.store.keys.server_sealer().seal(told, context=_DEVICE_CONTEXT)
        text = base64.urlsafe_b64encode(sealed).decode("ascii").rstrip("=")
        set_cookie(response, options, DEVICE, text, seconds=_DEVICE_SECONDS)


def known_device(service: Service, request: Request, person_id: str) -> str | None:
    """What this browser is known by, where this person has signed in from it before."""
    try:
        text = read_cookie(request, cookie_name(service.options, DEVICE)) or ""
        sealed = base64.urlsafe_b64decode(text[:400] + "=" * (-len(text[:400]) % 4))
        told = service.store.keys.server_sealer().open_text(sealed, context=_DEVICE_CONTEXT)
    except (ApiError, DataError, ValueError, binascii.Error):
        return None
    owner, _, name = told.partition(":")
    return name if person_id and owner == person_id else None


def begin_session(session: Session, service: Service, request: Request, person: Person) -> str:
    """A new session; the one that this browser had ends."""
    try:
        old = read_cookie(request, cookie_name(service.options, SESSION))
    except ApiError:
        old = None
    if old:
        known = session.scalar(select(SignIn).where(SignIn.token_hash == token_hash(old)))
        if known is not None:
            revoke_session(session, known.person_id, known.id)
    agent = request.headers.get("user-agent", "")
    return start_session(session, person, address=address_of(request), agent=agent)


def _by_email(session: Session, email: str) -> Person | None:
    return session.scalar(select(Person).where(Person.email == email[: people.EMAIL_LENGTH]))


def _account(service: Service, email: str) -> str:
    """An address in the name of a bucket: as a keyed hash, known or not."""
    return service.store.keys.server_sealer().term(email)


def _age(kept: SignIn) -> float:
    return (now() - kept.created_at).total_seconds()
