"""Who asks: from a cookie or a key to a person, with few questions to the database."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.requests import Request

from chatwright.serve.access import Identity, address_of
from chatwright.serve.accounts import apikeys, sessions
from chatwright.serve.accounts.cookies import (
    SESSION,
    cookie_name,
    read_cookie,
    refuse_doubled_headers,
    require_same_origin,
)
from chatwright.serve.accounts.oidc import Provider
from chatwright.serve.accounts.passwords import Passwords
from chatwright.serve.accounts.settings import SettingsCache
from chatwright.serve.errors import ApiError
from chatwright.serve.ids import token_hash
from chatwright.serve.service import Service
from chatwright.serve.store.tables import now

FRESH_SECONDS = 1.5  # for so long another process's revocation may go unseen
_KEPT = 4096
_LONGEST_TOKEN = 200

Found = tuple[Identity, datetime | None, bool]


class IdentityCache:
    """Identities by the hash of their credential, for a moment. Runs on the event loop alone."""

    def __init__(
        self, seconds: float = FRESH_SECONDS, most: int = _KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._kept: OrderedDict[str, tuple[Identity, float]] = OrderedDict()
        self.changes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, hashed: str) -> Identity | None:
        who, until = self._kept.get(hashed, (None, 0.0))
        return who if self._clock() < until else None

    def put(self, hashed: str, who: Identity, changes: int, ends: datetime | None) -> None:
        """Keep an identity that was read when `changes` was so: not where somebody's rights have
        changed since, for it may be theirs.
        """
        if changes != self.changes:
            return
        left = self._seconds if ends is None else (ends - now()).total_seconds()
        self._kept[hashed] = (who, self._clock() + min(self._seconds, left))
        self._kept.move_to_end(hashed)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, person_id: str) -> None:
        """Somebody's rights have changed: ask the database again."""
        self.changes += 1
        for hashed in [h for h, (who, _) in self._kept.items() if who.person_id == person_id]:
            del self._kept[hashed]

    def forget_all(self) -> None:
        """Ask the database again for everybody."""
        self.changes += 1
        self._kept.clear()


class Accounts:
    """What a server knows of its people. One for each application, at `service.accounts`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.settings = SettingsCache()
        self.passwords = Passwords(cheap=service.options.cheap_passwords)
        self.provider = Provider(service.options.oidc) if service.options.oidc else None
        self.set_up = False  # whether an administrator was seen: there is one ever after
        self._cache = IdentityCache()

    async def identify(self, request: Request) -> Identity | None:
        """Who asks; None where the request shows nothing.

        An `Authorization` header decides alone: one that is no good is never made up for by a
        cookie. Raises `ApiError` 401 for a credential that is no good, 400 for two of a kind, 403
        where a cookie came with a request that another page may have sent.
        """
        refuse_doubled_headers(request)
        told = request.headers.get("authorization")
        if told is not None:
            scheme, _, secret = told.strip().partition(" ")
            secret = secret.strip() if scheme.lower() == "bearer" else ""
            who = None
            if secret.startswith(apikeys.START):
                who = await self._known(secret, request, apikeys.find_key)
            if who is None:
                await self._count_bad(request)
                raise ApiError(
                    401, "this API key is not valid, or no longer", code="invalid_api_key"
                )
            return who
        options = self.service.options
        secret = read_cookie(request, cookie_name(options, SESSION)) or ""
        if not secret:
            return None
        require_same_origin(request, options)
        who = await self._known(secret, request, sessions.find_session)
        if who is None:
            await self._count_bad(request)
            raise ApiError(401, "you are signed out; sign in again", code="session_expired")
        return who

    def forget(self, person_id: str) -> None:
        """Somebody's role, status or credentials have changed: that holds at once here, and within
        two seconds in other processes.
        """
        self._cache.forget(person_id)

    def forget_all(self) -> None:
        """The same for everybody: after a change whose owner is not at hand."""
        self._cache.forget_all()

    async def _known(
        self,
        secret: str,
        request: Request,
        find: Callable[[Session, str], Found | None],
    ) -> Identity | None:
        if len(secret) > _LONGEST_TOKEN:
            return None
        hashed = token_hash(secret)
        who = self._cache.get(hashed)
        if who is not None:
            return who
        changes = self._cache.changes
        found = await self.service.store.read(find, hashed)
        if found is None:
            return None
        who, ends, due = found
        if due:
            await self._note(who, address_of(request))
        self._cache.put(hashed, who, changes, ends)
        return who

    async def _note(self, who: Identity, address: str) -> None:
        run: Any = self.service.store.run
        try:
            if who.via == "key":
                await run(apikeys.note_key, who.credential_id)
            else:
                await run(sessions.note_session, who.credential_id, address)
        except OperationalError:
            pass  # the database is busy: the next request will note it

    async def _count_bad(self, request: Request) -> None:
        await self.service.rates.check(None, address_of(request), "credentials")
