"""Checking the audit log: nothing changed, nothing missing, nothing added behind its back."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from chatwright.errors import DataError
from chatwright.serve.audit.chain import CHECKPOINT, GENESIS, HEAD, Line, Mark, line_hash, signed
from chatwright.serve.store import Store
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import AuditEntry, ServerValue

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Verified:
    """The log is whole: lines `first` to `last` are there; `hash` is that of the last."""

    lines: int
    first: int
    last: int
    hash: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The log was tampered with or damaged at line `sequence`."""

    sequence: int
    why: str


def verify(store: Store, *, expected: Mark | None = None) -> Verified | Broken:
    """Follow the chain from its checkpoint to its signed head.

    `expected` is a line and its hash as somebody noted them earlier, elsewhere: a database that
    was put back as a whole to an earlier state shows in nothing else.
    """
    with store.reading() as session:
        if store.dialect == "postgresql":  # one view of it, while others write
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        return _verify(session, store.keys.server_sealer(), expected)


def _verify(  # noqa: PLR0911
    session: Session, sealer: Sealer, expected: Mark | None
) -> Verified | Broken:
    try:
        start = _mark(session, sealer, CHECKPOINT) or Mark(0, GENESIS)
        head = _mark(session, sealer, HEAD)
    except DataError as error:
        return Broken(0, f"{error.where}: {error.message}")
    at = start
    met = expected is None or expected == start
    while lines := _lines_after(session, at.sequence):
        for entry in lines:
            line = Line(
                entry.sequence, entry.at, entry.actor, entry.action, entry.target, entry.address,
                entry.details,
            )  # fmt: skip
            if entry.sequence != at.sequence + 1:
                missing = f"{at.sequence + 1} to {entry.sequence - 1}"
                return Broken(at.sequence + 1, f"lines {missing} are missing")
            if entry.previous != at.hash:
                return Broken(entry.sequence, "it does not follow from the line before it")
            if entry.hash != line_hash(at.hash, line):
                return Broken(entry.sequence, "it was changed after it was written")
            at = Mark(entry.sequence, entry.hash)
            met = met or at == expected
        session.expunge_all()
    if head is None:
        if at.sequence > 0:
            return Broken(at.sequence, "the signed head is gone")
    elif head.sequence > at.sequence:
        return Broken(at.sequence + 1, f"lines {at.sequence + 1} to {head.sequence} are missing")
    elif head != at:
        return Broken(head.sequence + 1, "lines follow that the server did not write")
    if not met:
        assert expected is not None
        return Broken(expected.sequence, "it is not the line that was noted")
    return Verified(at.sequence - start.sequence, start.sequence + 1, at.sequence, at.hash)


def _lines_after(session: Session, sequence: int) -> list[AuditEntry]:
    return list(
        session.scalars(
            select(AuditEntry)
            .where(AuditEntry.sequence > sequence)
            .order_by(AuditEntry.sequence)
            .limit(_AT_ONCE)
        )
    )


def _mark(session: Session, sealer: Sealer, name: str) -> Mark | None:
    value = session.scalar(select(ServerValue.value).where(ServerValue.name == name))
    return None if value is None else signed(sealer, value, name)
