"""Who asks, and whether they may: every route says what it needs, and nothing else is let in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request

from chatwright.errors import ChatwrightError
from chatwright.serve.errors import ApiError

LOCAL_PERSON = "usr_local"
SCOPES = ("chat", "history", "files", "fine_tuning", "knowledge", "account", "admin")
Scope = Literal["chat", "history", "files", "fine_tuning", "knowledge", "account", "admin"]

_RANK = {"user": 0, "annotator": 1, "admin": 2}


class Role(StrEnum):
    """What somebody may do: each role may all that those before it may."""

    user = "user"
    annotator = "annotator"
    admin = "admin"

    def covers(self, other: Role) -> bool:
        return _RANK[self] >= _RANK[other]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a person, and by what they showed it.

    `via` is "session" (a browser's cookie), "key" (a program's key) or "local" (one person without
    accounts). `scopes` bound what a key may do; `credential_id` names the session or key.
    """

    person_id: str
    name: str
    role: Role
    via: Literal["session", "key", "local"]
    scopes: frozenset[str] = field(default=frozenset(SCOPES))
    credential_id: str = ""

    @property
    def tenant(self) -> str:
        """Whose requests share prompts in the engine: those of one person, and nobody else's."""
        return self.person_id


LOCAL = Identity(LOCAL_PERSON, "", Role.admin, "local")


class Access:
    """A dependency that lets a request pass or raises `ApiError` 401, 403 or 429.

    Which credential counts is decided once: a request with an `Authorization` header is judged by
    that alone, so that a bad key never falls back to a browser's cookie.
    """

    def __init__(self, role: Role | None, scope: str | None = None, *, group: str = "api") -> None:
        self.role = role
        self.scope = scope
        self.group = group

    async def __call__(self, request: Request) -> None:
        service = request.app.state.service
        address = address_of(request)
        if self.role is None:
            await service.rates.check(None, address, self.group)
            request.state.identity = None
            return
        who = await service.identify(request)
        await service.rates.check(who, address, self.group)
        if who is None:
            raise ApiError(
                401,
                "sign in, or send a key: Authorization: Bearer …",
                code="not_signed_in",
            )
        if not who.role.covers(self.role):
            raise ApiError(403, "your role does not allow this", code="role_required")
        if self.scope is not None and self.scope not in who.scopes:
            raise ApiError(
                403, f"this key may not do that: it lacks the scope {self.scope!r}",
                code="scope_required", param=self.scope,
            )  # fmt: skip
        request.state.identity = who


def allow(role: Role = Role.user, scope: Scope | None = None, *, group: str = "api") -> Any:
    """What a route needs: `dependencies=[allow(Role.user, scope="chat")]`.

    `group` names the bucket in which its requests are counted for the rate limit.
    """
    return Depends(Access(role, scope, group=group))


def public(group: str = "public") -> Any:
    """For a route that needs no account; counted by address."""
    return Depends(Access(None, group=group))


PUBLIC = public()


def identity(request: Request) -> Identity:
    """Who asks, in the handler of a route with `allow`."""
    who = request.state.identity
    assert isinstance(who, Identity), "this route is public"
    return who


def access_of(route: Any) -> Access | None:
    """What a route needs, or None where it does not say."""
    for depends in route.dependencies:
        if isinstance(depends.dependency, Access):
            return depends.dependency
    return None


def check_routes(app: FastAPI) -> None:
    """Every route must say who may come. Raises `ChatwrightError` naming those that do not."""
    open_ones = [
        f"{sorted(route.methods)} {route.path}"
        for route in api_routes(app.routes)
        if access_of(route) is None
    ]
    if open_ones:
        raise ChatwrightError(f"these routes do not say who may use them: {open_ones}")


def api_routes(routes: Iterable[Any]) -> Iterator[Any]:
    """All routes with a handler, those of included routers among them: each has `path`, `methods`,
    `endpoint` and `dependencies`.
    """
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "effective_route_contexts"):  # how FastAPI keeps an included router
            yield from route.effective_route_contexts()


def address_of(request: Request) -> str:
    """The address that a request comes from: the peer's, or, where the peer is a proxy that the
    server was told to trust, what that proxy says.
    """
    peer = request.client.host if request.client else ""
    trusted = request.app.state.service.options.trusted_proxies
    if not trusted or not _within(peer, trusted):
        return peer
    # From the right: each trusted proxy has added the address of whoever spoke to it.
    for told in reversed(request.headers.get("x-forwarded-for", "").split(",")):
        address = told.strip()
        try:
            ipaddress.ip_address(address)
        except ValueError:
            break
        if not _within(address, trusted):
            return address
        peer = address
    return peer


def _within(address: str, networks: Iterable[Any]) -> bool:
    try:
        one = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(one in network for network in networks)
