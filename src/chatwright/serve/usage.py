"""How many tokens each person used of each model on each day, and whether they may have more."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chatwright.serve.access import Identity, Role, allow
from chatwright.serve.errors import ApiError, short_name
from chatwright.serve.service import service_of
from chatwright.serve.store import Store
from chatwright.serve.store.tables import Person, ServerValue, Usage

log = logging.getLogger("chatwright.serve")

_WRITE_SECONDS = 1.0
_REMEMBER_SECONDS = 2.0
_MOST_REMEMBERED = 10_000

Row = tuple[str, str, str]  # day, person, model
Counts = tuple[int, int, int]  # requests, prompt tokens, completion tokens


class Meter:
    """Counts tokens and refuses people who have used up their day's.

    What was used is written in batches, a second after the first of them at the latest, and at
    `close`. A person's own `daily_tokens` goes before the server's (`daily_tokens` of its
    settings); without either there is no bound. Days are UTC's. Answers under way are not counted
    yet, so one may go over; the next is refused.
    """

    def __init__(self, store: Store, told: Callable[[str, int, int], None] | None = None) -> None:
        self._store = store
        self._told = told  # is told the model, and the tokens of each answer: for the metrics
        self._waiting: dict[Row, Counts] = {}
        self._known: dict[str, tuple[float, str, int | None, int]] = {}
        self._writer: asyncio.Task[None] | None = None
        self._writing = anyio.Lock()

    async def check(self, who: Identity) -> None:
        """Raises `ApiError` 429 `insufficient_quota` for somebody with nothing left today."""
        day = today()
        known = self._known.get(who.person_id)
        if known is None or known[1] != day or time.monotonic() - known[0] > _REMEMBER_SECONDS:
            most, used = await self._store.read(_standing, who.person_id, day)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            known = self._known[who.person_id] = (time.monotonic(), day, most, used)
        most, used = known[2], known[3]
        if most is None:
            return
        waiting = (c for (d, p, _), c in self._waiting.items() if (d, p) == (day, who.person_id))
        if used + sum(prompt + made for _, prompt, made in waiting) >= most:
            raise ApiError(
                429,
                f"your {most} tokens for today are used up; there are new ones at midnight UTC",
                code="insufficient_quota",
            )

    async def add(
        self, who: Identity, model: str, prompt_tokens: int, completion_tokens: int
    ) -> None:
        """Count one request. Returns at once."""
        self._count((today(), who.person_id, model[:300]), (1, prompt_tokens, completion_tokens))
        if self._told is not None:
            self._told(model[:300], prompt_tokens, completion_tokens)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_soon())

    async def flush(self) -> None:
        """Write down what was counted."""
        async with self._writing:
            batch, self._waiting = self._waiting, {}
            if not batch:
                return
            try:
                await self._store.run(_write, batch)
            except BaseException:
                for row, counts in batch.items():
                    self._count(row, counts)
                raise
            for person in {person for _, person, _ in batch}:
                self._known.pop(person, None)

    async def close(self) -> None:
        """Write the rest."""
        if self._writer is not None:
            self._writer.cancel()
            with suppress(asyncio.CancelledError):
                await self._writer
        await self.flush()

    def _count(self, row: Row, counts: Counts) -> None:
        before = self._waiting.get(row, (0, 0, 0))
        self._waiting[row] = tuple(a + b for a, b in zip(before, counts, strict=True))  # type: ignore[assignment]

    async def _write_soon(self) -> None:
        failing = False
        while self._waiting:
            await asyncio.sleep(_WRITE_SECONDS)
            try:
                with anyio.CancelScope(shield=True):
                    await self.flush()
                failing = False
            except Exception as error:  # the database is away: nothing is lost, it is tried again
                if not failing:  # said once, not every second
                    log.error("usage could not be written: %s", short_name(error))
                failing = True


def today() -> str:
    """The day in UTC, as ISO writes it."""
    return datetime.now(UTC).date().isoformat()


def _standing(session: Session, person_id: str, day: str) -> tuple[int | None, int]:
    """A person's bound and what they used on a day."""
    person = session.get(Person, person_id)
    most = None if person is None else person.daily_tokens
    if most is None:
        settings = session.get(ServerValue, "settings")
        told = None if settings is None else settings.value.get("daily_tokens")
        most = told if isinstance(told, int) and not isinstance(told, bool) else None
    if most is None:
        return None, 0
    used = session.scalar(
        select(func.sum(Usage.prompt_tokens + Usage.completion_tokens)).where(
            Usage.person_id == person_id, Usage.day == day
        )
    )
    return most, int(used or 0)


def _write(session: Session, batch: dict[Row, Counts]) -> None:
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    people = {person for _, person, _ in batch}
    there = set(session.scalars(select(Person.id).where(Person.id.in_(people))))
    for (day, person, model), (requests, prompt, made) in sorted(batch.items()):
        if person not in there:  # deleted meanwhile
            continue
        new = insert(Usage).values(
            day=day,
            person_id=person,
            model=model,
            requests=requests,
            prompt_tokens=prompt,
            completion_tokens=made,
        )
        session.execute(
            new.on_conflict_do_update(
                index_elements=[Usage.day, Usage.person_id, Usage.model],
                set_={
                    "requests": Usage.requests + requests,
                    "prompt_tokens": Usage.prompt_tokens + prompt,
                    "completion_tokens": Usage.completion_tokens + made,
                },
            )
        )


def read_usage(session: Session, days: int) -> list[dict[str, Any]]:
    """Rows of the last days, the newest first: day, person, model, and what was used."""
    first = (datetime.now(UTC).date() - timedelta(days=days - 1)).isoformat()
    found: Iterable[Any] = session.execute(
        select(Usage, Person.name)
        .join(Person, Person.id == Usage.person_id)
        .where(Usage.day >= first)
        .order_by(Usage.day.desc(), Usage.person_id, Usage.model)
    )
    return [
        {
            "day": row.day,
            "person_id": row.person_id,
            "name": name,
            "model": row.model,
            "requests": row.requests,
            "prompt_tokens": row.prompt_tokens,
            "completion_tokens": row.completion_tokens,
        }
        for row, name in found
    ]


def usage_router() -> APIRouter:
    """`GET /v1/chatwright/admin/usage`."""
    router = APIRouter(prefix="/v1/chatwright", tags=["admin"])

    @router.get("/admin/usage", dependencies=[allow(Role.admin, scope="admin")])
    async def usage(
        request: Request, days: Annotated[int, Query(ge=1, le=366)] = 30
    ) -> dict[str, Any]:
        """What each person used of each model on each of the last days (UTC)."""
        service = service_of(request)
        await service.meter.flush()
        return {"data": await service.store.read(read_usage, days), "days": days}

    return router
