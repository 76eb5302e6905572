"""How often somebody may ask: token buckets in memory, and exact counts where guessing pays."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits, Rate
from chatwright.serve.store import Store
from chatwright.serve.store.tables import Attempt, now

_MOST_BUCKETS = 20_000
_PER_PERSON = 2.0  # a person with several keys, in multiples of one key
_PER_ADDRESS = 4.0  # people behind one address, likewise


class TooManyRequestsError(ApiError):
    """429 with the seconds after which it is worth trying again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(
            429,
            f"too many requests; try again in {self.seconds} seconds",
            code="rate_limit_exceeded",
        )

    def response(self) -> Any:
        answer = super().response()
        answer.headers["Retry-After"] = str(self.seconds)
        return answer


class Buckets:
    """Token buckets by name: each fills at a rate up to a burst, and a request takes one token.

    The least recently used are forgotten first, and with them how empty they were.
    """

    def __init__(
        self, most: int = _MOST_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, wanted: Iterable[tuple[tuple[str, str], Rate]]) -> float:
        """Take one token from each bucket; or, where one is empty, from none: seconds until then.

        Runs on the event loop alone, so it needs no lock.
        """
        at = self._clock()
        left: list[tuple[tuple[str, str], float]] = []
        longest = 0.0
        for name, rate in wanted:
            tokens, since = self._buckets.get(name, (rate.burst, at))
            tokens = min(rate.burst, tokens + (at - since) * rate.per_second)
            if tokens < 1:
                longest = max(longest, (1 - tokens) / rate.per_second)
            left.append((name, tokens - 1))
        if longest > 0:
            return longest
        for name, tokens in left:
            self._buckets[name] = (tokens, at)
            self._buckets.move_to_end(name)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0.0


@dataclass(frozen=True, slots=True)
class Delays:
    """After `free` tries each further one must wait: `first` seconds, then twice as long each time,
    up to `longest`. All is forgotten `forget` seconds after the last try.
    """

    free: int
    first: float = 1.0
    longest: float = 900.0
    forget: float = 3600.0

    def before(self, tried: int) -> float:
        """Seconds between the last of `tried` tries and the next."""
        if tried < self.free:
            return 0.0
        return min(self.longest, self.first * 2.0 ** min(tried - self.free, 30))


# One account may be guessed at from many addresses, and one address may guess at many accounts.
_ACCOUNT = Delays(free=5)
_ADDRESS = Delays(free=20)
_BY_KIND: dict[str, tuple[Delays, Delays]] = {
    "sign_up": (_ACCOUNT, Delays(free=10, first=30.0)),
    "setup": (Delays(free=10), Delays(free=5)),
    "invitation": (_ACCOUNT, Delays(free=10)),
    "shared": (_ACCOUNT, Delays(free=30)),
}


class Rates:
    """The limits of a server with accounts. `check` is for every request, in memory and per
    process; `attempt` and `passed` count in the database, for all processes together.
    """

    def __init__(
        self, store: Store, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._limits = limits
        self._buckets = Buckets(clock=clock)
        self._swept = 0.0

    async def check(self, who: Identity | None, address: str, group: str) -> None:
        """Count a request. Raises `ApiError` 429 with Retry-After when there were too many."""
        rate = self._limits.rates.get(group) or self._limits.rates["api"]
        near = (group, f"address:{network(address)}")
        if who is None:
            wanted = [(near, rate)]
        else:
            wanted = [
                ((group, f"credential:{who.credential_id or who.person_id}"), rate),
                ((group, f"person:{who.person_id}"), rate.times(_PER_PERSON)),
                ((f"{group} with account", near[1]), rate.times(_PER_ADDRESS)),
            ]
        seconds = self._buckets.wait(wanted)
        if seconds > 0:
            raise TooManyRequestsError(seconds)

    async def attempt(self, kind: str, *, address: str = "", account: str = "") -> None:
        """Count something that could be a guess ("sign_in", "totp", "setup", "shared" …).

        It is counted before it is tried, so that a hundred at once are a hundred. `account` is what
        is guessed at, `address` who guesses; either may be left out. Raises `ApiError` 429 while
        one of the two has to wait; such a request is not counted, or a stranger who goes on could
        keep the owner out for ever.
        """
        wanted = self._wanted(kind, address, account)
        if self._swept < time.monotonic() - 60:
            self._swept = time.monotonic()
            await self._store.run(sweep)
        seconds = await self._store.run(count, wanted)
        if seconds > 0:
            raise TooManyRequestsError(seconds)

    async def passed(self, kind: str, *, address: str = "", account: str = "") -> None:
        """The attempt was no guess: forget those at the account, and this one of the address."""
        names = [name for name, _ in self._wanted(kind, address, account)]
        await self._store.run(forgive, names)

    def _wanted(self, kind: str, address: str, account: str) -> list[tuple[str, Delays]]:
        of_account, of_address = _BY_KIND.get(kind, (_ACCOUNT, _ADDRESS))
        wanted = []
        if account:
            wanted.append((f"{kind}:account:{account}"[:200], of_account))
        if address:
            wanted.append((f"{kind}:address:{network(address)}"[:200], of_address))
        return sorted(wanted, key=lambda one: one[0])  # one order: two never wait for each other


def network(address: str) -> str:
    """An address as it is counted: of IPv6 the /64, which one household has to itself."""
    try:
        told = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return address[:64]
    if isinstance(told, ipaddress.IPv4Address):
        return str(told)
    if told.ipv4_mapped is not None:
        return str(told.ipv4_mapped)
    return str(ipaddress.ip_network((told, 64), strict=False))


def count(session: Session, wanted: list[tuple[str, Delays]]) -> float:
    """Count one try in each bucket, or in none where one must wait: the seconds until then."""
    rows = [(_row(session, name), delays) for name, delays in wanted]
    at = now()  # only now: it may have taken a while until the rows were ours
    longest = 0.0
    for row, delays in rows:
        if row.expires_at <= at:
            row.count = 0
        if row.count >= delays.free:
            last = row.expires_at - timedelta(seconds=delays.forget)
            longest = max(longest, delays.before(row.count) - (at - last).total_seconds())
    if longest > 0:
        return longest
    for row, delays in rows:
        row.count += 1
        row.expires_at = at + timedelta(seconds=delays.forget)
    return 0.0


def forgive(session: Session, names: list[str]) -> None:
    """Forget an account's tries, and one of an address."""
    for name in names:
        row = session.scalar(select(Attempt).where(Attempt.bucket == name).with_for_update())
        if row is None:
            continue
        if ":account:" in name or row.count <= 1:
            session.delete(row)
        else:
            row.count -= 1


def sweep(session: Session) -> None:
    """Delete what is forgotten anyway."""
    session.execute(delete(Attempt).where(Attempt.expires_at < now()))


def _row(session: Session, name: str) -> Attempt:
    """The bucket's row, locked until the transaction ends."""
    insert: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else None
    insert = insert or sqlite.insert
    values = {"bucket": name, "window": 0, "count": 0, "expires_at": now()}
    session.execute(insert(Attempt).values(**values).on_conflict_do_nothing())
    return session.scalars(
        select(Attempt)
        .where(Attempt.bucket == name)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
