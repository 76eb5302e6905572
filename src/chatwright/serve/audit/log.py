"""Writing the audit log: one line for each act, in the same transaction as the act."""

from __future__ import annotations

import logging
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, event, func, select, text
from sqlalchemy.orm import Session, SessionTransaction

from chatwright.errors import DataError
from chatwright.serve.access import Identity
from chatwright.serve.audit.chain import (
    CHECKPOINT,
    GENESIS,
    HEAD,
    LOST,
    Line,
    Mark,
    details_text,
    line_hash,
    plain,
    sign,
    signed,
)
from chatwright.serve.store import Store
from chatwright.serve.store.tables import AuditEntry, ServerValue, now

log = logging.getLogger("chatwright.serve")

_ACTION = re.compile(r"[a-z][a-z_]{0,59}")
_WAITING = "chatwright_audit"  # in `session.info`: acts that are written with the commit
_LOCK = 7261839452  # PostgreSQL's advisory lock for writers of the log


class Audit:
    """The audit log of a store. Safe to use from many threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(
        self,
        session: Session,
        actor: Identity | str | None,
        action: str,
        *,
        target: str = "",
        address: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        """Note that `actor` (or the person of that id) did `action` to `target` (an id).

        The line is written when the transaction commits, after all else in it: writers of the log
        wait for each other, and would otherwise do so with rows of their own locked. `details`
        must hold no content and no secret.
        """
        if not _ACTION.fullmatch(action):
            raise ValueError(f"{action!r} does not name an action")
        told = dict(details or {})
        if isinstance(actor, Identity) and actor.via == "key":
            told["key"] = actor.credential_id
        person = actor.person_id if isinstance(actor, Identity) else actor or ""
        act = {
            "at": now().isoformat(timespec="microseconds"),
            "actor": plain(person, 64),
            "action": action,
            "target": plain(target, 200),
            "address": plain(address, 64),
            "details": details_text(told),
        }
        waiting = session.info.get(_WAITING)
        if waiting is None:
            waiting = session.info[_WAITING] = []
            event.listen(session, "before_commit", self._write)
            event.listen(session, "after_soft_rollback", _forget)
        waiting.append((session.get_nested_transaction() or session.get_transaction(), act))

    def retain(self, session: Session, before: datetime) -> int:
        """Let go of lines older than `before`; a signed checkpoint stands for them. How many.

        The newest line always stays.
        """
        self._lock(session)
        head = self._mark(session, HEAD)
        limit = before.astimezone(UTC).isoformat(timespec="microseconds")
        last = session.execute(
            select(AuditEntry.sequence, AuditEntry.hash)
            .where(AuditEntry.at < limit, AuditEntry.sequence < (head.sequence if head else 0))
            .order_by(AuditEntry.sequence.desc())
            .limit(1)
        ).first()
        if last is None:
            return 0
        first_kept = select(func.min(AuditEntry.sequence)).where(AuditEntry.at >= limit)
        cut = min(last.sequence, (session.scalar(first_kept) or last.sequence + 1) - 1)
        found = session.scalar(select(AuditEntry.hash).where(AuditEntry.sequence == cut))
        if found is None:
            return 0
        self._put(session, CHECKPOINT, Mark(cut, found))
        gone = session.execute(delete(AuditEntry).where(AuditEntry.sequence <= cut))
        return int(getattr(gone, "rowcount", 0))

    def _write(self, session: Session) -> None:
        acts = [act for _, act in session.info[_WAITING]]
        if not acts or session.in_nested_transaction():
            return
        session.info[_WAITING] = []
        session.flush()
        self._lock(session)
        last = self._last(session)
        for act in acts:
            line = Line(sequence=last.sequence + 1, **act)
            made = line_hash(last.hash, line)
            session.add(AuditEntry(**asdict(line), previous=last.hash, hash=made))
            last = Mark(line.sequence, made)
        self._put(session, HEAD, last)
        session.flush()

    def _lock(self, session: Session) -> None:
        if self._store.dialect == "postgresql":  # on SQLite one transaction writes at a time
            session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})

    def _last(self, session: Session) -> Mark:
        """Where the chain goes on: at the signed head, never merely at the last row.

        So a log whose end was cut off goes on with a gap, and does not heal.
        """
        highest = session.scalar(select(func.max(AuditEntry.sequence)))
        try:
            head = self._mark(session, HEAD)
        except DataError:
            head = None
            highest = highest or 0
        if head is not None:
            return head
        if highest is None:
            return Mark(0, GENESIS)
        log.error("the audit log has lost its head; chatwright audit verify tells more")
        return Mark(highest, LOST)

    def _mark(self, session: Session, name: str) -> Mark | None:
        value = session.scalar(select(ServerValue.value).where(ServerValue.name == name))
        return None if value is None else signed(self._store.keys.server_sealer(), value, name)

    def _put(self, session: Session, name: str, mark: Mark) -> None:
        value = sign(self._store.keys.server_sealer(), mark, name)
        session.merge(ServerValue(name=name, value=value))
        session.flush()


def _forget(session: Session, undone: SessionTransaction) -> None:
    """What was rolled back did not happen: acts of that transaction, and of savepoints within."""

    def within(one: SessionTransaction | None) -> bool:
        while one is not None and one is not undone:
            one = one.parent
        return one is undone

    session.info[_WAITING] = [kept for kept in session.info[_WAITING] if not within(kept[0])]
