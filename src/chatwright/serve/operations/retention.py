"""What is kept for so many days and no longer, as the administrators have set it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, exists, select
from sqlalchemy.orm import Session

from chatwright.serve.errors import short_name
from chatwright.serve.history import index
from chatwright.serve.store.tables import (
    Attempt,
    Chat,
    Feedback,
    Invitation,
    Job,
    Moderated,
    Run,
    ServerValue,
    SideBySide,
    SignIn,
    StoredFile,
    Usage,
    now,
)

if TYPE_CHECKING:
    from chatwright.serve.service import Service

log = logging.getLogger("chatwright.serve")

EVERY = timedelta(hours=1)
_LOOK_SECONDS = 60.0
_NAME = "retention"
_GONE = timedelta(days=30)  # sessions, invitations and runs that have long been over


class Retention:
    """Applies the rules once an hour, in one worker of all."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look(self) -> None:
        while True:
            try:
                await self.once()
            except Exception as error:  # the database is away: there is a next time
                log.error("retention could not be applied: %s", short_name(error))
            await asyncio.sleep(_LOOK_SECONDS)

    async def once(self) -> dict[str, int]:
        """Apply the rules, where an hour has passed since anybody did."""
        from chatwright.serve.accounts import server_settings

        settings = await server_settings(self._service)
        return await self._service.store.run(self._turn, dict(settings.retention))

    def _turn(self, session: Session, rules: Mapping[str, int | None]) -> dict[str, int]:
        moment = now()
        kept = session.scalar(
            select(ServerValue).where(ServerValue.name == _NAME).with_for_update()
        )
        if kept is not None and datetime.fromisoformat(kept.value["at"]) > moment - EVERY:
            return {}
        gone = apply_rules(session, rules, moment)
        if (days := rules.get("audit")) is not None and self._service.audit is not None:
            gone["audit"] = self._service.audit.retain(session, moment - timedelta(days=days))
        session.merge(ServerValue(name=_NAME, value={"at": moment.isoformat()}))
        told: dict[str, Any] = {kind: count for kind, count in gone.items() if count}
        if told and self._service.audit is not None:
            self._service.audit.record(session, None, "retention_applied", details=told)
        return gone


def apply_rules(
    session: Session, rules: Mapping[str, int | None], moment: datetime
) -> dict[str, int]:
    """Delete what is older than its kind's days; how many rows of each kind went.

    A conversation's age is that of its last change. Pinned ones stay: their owner said so.
    """

    def before(kind: str) -> datetime | None:
        days = rules.get(kind)
        return None if days is None else moment - timedelta(days=days)

    gone: dict[str, int] = {}

    def drop(kind: str, table: Any, *conditions: Any) -> None:
        done: Any = session.execute(delete(table).where(and_(*conditions)))
        gone[kind] = gone.get(kind, 0) + done.rowcount

    if (bound := before("conversations")) is not None:
        drop("conversations", Chat, Chat.updated_at < bound, Chat.pinned.is_(False))
    if (bound := before("files")) is not None:
        drop("files", StoredFile, StoredFile.created_at < bound)
    if (bound := before("feedback")) is not None:
        drop("feedback", Feedback, Feedback.created_at < bound)
        drop("feedback", SideBySide, SideBySide.created_at < bound)
    if (bound := before("moderation")) is not None:
        # An appeal that nobody has decided yet is not forgotten.
        drop("moderation", Moderated, Moderated.created_at < bound, Moderated.appeal != "open")
    if (bound := before("usage")) is not None:
        drop("usage", Usage, Usage.day < bound.date().isoformat())
    if (bound := before("jobs")) is not None:
        drop("jobs", Job, Job.finished_at < bound)
    index.sweep(session)
    drop("sessions", SignIn, SignIn.expires_at < moment - _GONE)
    drop("invitations", Invitation, Invitation.expires_at < moment - _GONE)
    drop("attempts", Attempt, Attempt.expires_at < moment)
    drop("runs", Run, Run.created_at < moment - _GONE, ~exists().where(Run.status == "running"))
    return gone
