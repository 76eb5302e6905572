"""From the command's settings to an application: the same in one process and in each worker."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chatwright.errors import UsageError
from chatwright.serve.limits import Limits
from chatwright.serve.service import OidcSettings, ServeOptions
from chatwright.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI

    from chatwright.serve.registry import Registry
    from chatwright.serve.store import Store

_WEAKEST = 16  # characters of a secret that is given to us


@dataclass(frozen=True, slots=True)
class StartSettings:
    """What is served and how. Plain values, so that a worker's process can be given it.

    `models` are the options of `load_assistant`. `database` is an address, or None for `chat.db` in
    the workspace.
    """

    names: tuple[str, ...] = ()
    workspace: Path | None = None
    host_names: tuple[str, ...] = ()
    models: Mapping[str, Any] = field(default_factory=dict)
    database: str | None = None
    options: ServeOptions = field(default_factory=ServeOptions)

    @property
    def limits(self) -> Limits:
        batch = self.models.get("max_batch", Limits().beams)
        return replace(Limits(), beams=min(Limits().beams, batch))


def make_registry(settings: StartSettings) -> Registry:
    """What is served. Raises `UsageError` where there is nothing."""
    from chatwright.serve.registry import workspace_registry

    return workspace_registry(
        Workspace(settings.workspace),
        settings.names,
        most_loaded=settings.limits.loaded_models,
        **settings.models,
    )


def make_app(settings: StartSettings, registry: Registry) -> FastAPI:
    """The application over its database, which is brought to the newest schema."""
    from chatwright.serve.app import create_app
    from chatwright.serve.store import open_store

    workspace = Workspace(settings.workspace)
    return create_app(
        registry,
        limits=settings.limits,
        host_names=settings.host_names,
        workspace=workspace,
        store=open_store(settings.database, folder=workspace.root),
        options=settings.options,
    )


def chats_kept_apart(store: Store, *, accounts: bool) -> str | None:
    """What to tell whoever starts the server about chats that this way of running does not show.

    What was said without accounts belongs to nobody who could sign in, and the other way round.
    """
    from sqlalchemy import func, select

    from chatwright.serve.access import LOCAL_PERSON
    from chatwright.serve.store.tables import Chat, Person

    with store.reading() as session:
        if accounts:
            counted = select(func.count()).where(Chat.person_id == LOCAL_PERSON)
            chats = session.scalar(counted)
            if not chats:
                return None
            return (
                f"{chats} chat{'s' * (chats > 1)} made with --no-accounts will not show to those "
                "who sign in. To take them along, start with --no-accounts once more, export them "
                "(Settings, Data), and import that file when signed in."
            )
        if session.scalar(select(Person.id).where(Person.id != LOCAL_PERSON).limit(1)) is None:
            return None
        return (
            "People have accounts here. What they wrote is kept, and shows again without "
            "--no-accounts."
        )


def networks(told: Iterable[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Addresses and networks of trusted proxies. Raises `UsageError` for what is neither."""
    found = []
    for one in told:
        try:
            found.append(ipaddress.ip_network(one, strict=False))
        except ValueError as error:
            raise UsageError(
                f"{one!r} is neither an address nor a network",
                where="--trusted-proxy",
                hint="like 127.0.0.1 or 10.0.0.0/8",
            ) from error
    return tuple(found)


def checked_public_url(url: str | None) -> str | None:
    """The address that people reach the server at, without a path. Raises `UsageError`."""
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise UsageError(
            f"{url!r} is not the address of a server", where="--public-url",
            hint="like https://chat.example.org",
        )  # fmt: skip
    return f"{parts.scheme}://{parts.netloc}"


def oidc_settings(
    issuer: str | None, client_id: str | None, name: str, sign_up: bool
) -> OidcSettings | None:
    """The provider that people may sign in with; its secret is `CHATWRIGHT_OIDC_SECRET`."""
    if issuer is None and client_id is None:
        return None
    secret = os.environ.get("CHATWRIGHT_OIDC_SECRET", "")
    if issuer is None or client_id is None or not secret:
        raise UsageError(
            "a provider needs an issuer, a client id and a secret",
            where="--oidc-issuer, --oidc-client-id",
            hint="the secret goes into the environment: CHATWRIGHT_OIDC_SECRET",
        )
    return OidcSettings(name, issuer, client_id, secret, sign_up)


def secret_of(variable: str) -> str | None:
    """A secret from the environment. Raises `UsageError` for a weak one."""
    told = os.environ.get(variable)
    if told is not None and (len(told) < _WEAKEST or len(set(told)) < 6):
        raise UsageError(
            f"this secret is weak: it needs {_WEAKEST} characters that nobody can guess",
            where=variable,
            hint="python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return told
