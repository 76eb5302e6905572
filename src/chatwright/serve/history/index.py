"""The blind index in both kinds of database: putting a text in, and asking for candidates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import column, select, text
from sqlalchemy.orm import Session

from chatwright.serve.history.terms import blind, pieces, query_pieces
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Moment, SearchTerms


def put(
    session: Session,
    sealer: Sealer,
    *,
    person_id: str,
    conversation_id: str,
    message_id: str | None,
    said: str,
    fresh: bool = False,
) -> None:
    """Index a message's text, or (without a message) a conversation's title, in place of what was
    indexed of it before (`fresh`: there is nothing). An empty text is taken out.
    """
    row = None if fresh else _row(session, conversation_id, message_id)
    terms = blind(pieces(said), sealer.term)
    if not terms:
        if row is not None:
            session.delete(row)
            session.flush()
            sweep(session)
        return
    sweep(session)
    known = row is not None
    if row is None:
        row = SearchTerms(
            person_id=person_id, conversation_id=conversation_id, message_id=message_id
        )
        session.add(row)
        session.flush()
    if _on_postgresql(session):
        session.execute(
            text("UPDATE message_terms SET terms = :terms WHERE number = :number"),
            {"terms": terms, "number": row.number},
        )
        return
    if known:
        session.execute(text("DELETE FROM message_search WHERE rowid = :n"), {"n": row.number})
    session.execute(
        text("INSERT INTO message_search (rowid, terms) VALUES (:n, :terms)"),
        {"n": row.number, "terms": " ".join(terms)},
    )


def _row(session: Session, conversation_id: str, message_id: str | None) -> SearchTerms | None:
    return session.scalars(
        select(SearchTerms).where(
            SearchTerms.conversation_id == conversation_id, SearchTerms.message_id == message_id
        )
    ).first()


def sweep(session: Session) -> None:
    """Take out of the index what went with its message, conversation or person.

    On SQLite a trigger notes their numbers; it runs before every `put`, so that no number is used
    again before, and after every deletion of ours. On PostgreSQL there is nothing to do.
    """
    if _on_postgresql(session):
        return
    gone = session.execute(text("DELETE FROM search_gone RETURNING number")).scalars().all()
    if gone:
        session.execute(
            text("DELETE FROM message_search WHERE rowid = :n"), [{"n": number} for number in gone]
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that may hold what is looked for, still sealed; without a message: a title."""

    number: int
    conversation_id: str
    message_id: str | None
    sealed_content: bytes | None
    created_at: datetime | None
    sealed_title: bytes | None
    updated_at: datetime


def candidates(
    session: Session,
    sealer: Sealer,
    person_id: str,
    words: list[str],
    *,
    before: int | None,
    most: int,
) -> list[Candidate]:
    """Texts of a person that may hold all words, newest first; `before` is the number of the last
    one seen. One statement: what each costs is most of what a search costs.
    """
    terms = blind(set(query_pieces(words)), sealer.term)
    if not terms:
        return []
    values: dict[str, object] = {"person": person_id, "most": most}
    if before is not None:
        values["before"] = before
    if _on_postgresql(session):
        values["terms"] = terms
        number = "t.number"
        source = "message_terms t"
        wanted = "t.terms @> CAST(:terms AS text[])"
    else:
        # The terms are hexadecimal digits: nothing in them needs quoting.
        values["match"] = " AND ".join(terms)
        number = "message_search.rowid"
        # CROSS JOIN: the index leads, newest first, and ends with the limit.
        source = "message_search CROSS JOIN message_terms t ON t.number = message_search.rowid"
        wanted = "message_search MATCH :match"
    query = text(
        "SELECT t.number, t.conversation_id, t.message_id, m.sealed_content, m.created_at, "
        f"c.sealed_title, c.updated_at FROM {source} "
        "JOIN conversations c ON c.id = t.conversation_id "
        "LEFT JOIN messages m ON m.id = t.message_id "
        f"WHERE {wanted} AND t.person_id = :person "
        f"{'' if before is None else f'AND {number} < :before'} "
        f"ORDER BY {number} DESC LIMIT :most"
    ).columns(
        column("number"),
        column("conversation_id"),
        column("message_id"),
        column("sealed_content"),
        column("created_at", Moment()),
        column("sealed_title"),
        column("updated_at", Moment()),
    )
    return [Candidate(*row) for row in session.execute(query, values)]


def _on_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
