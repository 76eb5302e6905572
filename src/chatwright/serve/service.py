"""What the routes share: one `Service` for each application, at `app.state.service`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request

from chatwright.serve.access import LOCAL, LOCAL_PERSON, Identity
from chatwright.serve.limits import Limits
from chatwright.serve.store import Store
from chatwright.serve.store.tables import Person

if TYPE_CHECKING:
    from chatwright.serve.registry import Registry
    from chatwright.workspace import Workspace


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """An OpenID Connect provider: people may sign in with their account there."""

    name: str
    issuer: str
    client_id: str
    client_secret: str
    sign_up: bool = False  # whether somebody unknown gets an account


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How the service is run. Without `accounts` one person is taken for granted."""

    accounts: bool = False
    sign_up: Literal["closed", "open", "invitation"] = "invitation"
    secure_cookies: bool = False  # over TLS: the cookie then never travels in clear
    public_url: str | None = None
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    oidc: OidcSettings | None = None
    metrics_token: str | None = None
    worker: str = "alone"
    training_jobs: int = 1  # at a time, by /v1/fine_tuning/jobs; 0: none
    cheap_passwords: bool = False  # for tests: argon2id with the least memory


class NoRates:
    """Counts nothing: for one person on their own machine."""

    async def check(self, who: Identity | None, address: str, group: str) -> None:
        """Let every request pass."""

    async def attempt(self, kind: str, *, address: str = "", account: str = "") -> None:
        """Let every guess pass: there is nothing to guess."""

    async def passed(self, kind: str, *, address: str = "", account: str = "") -> None:
        """Forget nothing."""


@dataclass(slots=True)
class Service:
    """The parts of the application. Those that other modules bring are set in `create_app`."""

    registry: Registry
    store: Store
    limits: Limits
    options: ServeOptions
    workspace: Workspace | None
    slots: Any
    audit: Any = None
    rates: Any = field(default_factory=NoRates)
    accounts: Any = None
    meter: Any = None
    runs: Any = None
    moderator: Any = None
    tools: Any = None
    collections: Any = None
    metrics: Any = None
    jobs: Any = None
    closing: list[Any] = field(default_factory=list)  # called at the end, last first

    async def identify(self, request: Request) -> Identity | None:
        """Who asks. Raises `ApiError` 401 for a credential that is no good."""
        if not self.options.accounts:
            return LOCAL
        found: Identity | None = await self.accounts.identify(request)
        return found


def service_of(request: Request) -> Service:
    """The service, in a handler."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def make_local_person(store: Store) -> None:
    """The one person of a service without accounts; made once."""
    with store.begin() as session:
        if session.get(Person, LOCAL_PERSON) is None:
            session.add(Person(id=LOCAL_PERSON, email="local@localhost", name="", role="admin"))
            session.flush()
            store.keys.sealer(session, LOCAL_PERSON)
