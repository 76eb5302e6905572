"""Search over sealed text: candidates from the blind index, opened and looked at one by one."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from chatwright.errors import DataError
from chatwright.serve.history.content import unpack
from chatwright.serve.history.index import Candidate, candidates
from chatwright.serve.history.terms import matches, snippet, words_of
from chatwright.serve.parameters import iso
from chatwright.serve.store.sealing import Sealer

FOUND = 50  # at most
_SPARE = 6
_BATCH = 100
_OPENED = 1024  # candidates that are looked at: where more are no match, the rest is not found


def search(
    session: Session, sealer: Sealer, person_id: str, query: str, *, limit: int = 20
) -> list[dict[str, Any]]:
    """Messages and titles in which all words of `query` occur, the newest first.

    A word may be any piece of text without white space; case, width and white space do not count.
    """
    words = words_of(query)
    found: list[dict[str, Any]] = []
    before: int | None = None
    opened = 0
    while words and len(found) < limit and opened < _OPENED:
        # Most candidates match, so that the first batch is mostly the last one.
        most = limit + _SPARE if before is None else _BATCH
        batch = candidates(session, sealer, person_id, words, before=before, most=most)
        for candidate in batch:
            hit = _look(sealer, candidate, words)
            if hit is not None:
                found.append(hit)
            if len(found) == limit:
                break
        opened += len(batch)
        if len(batch) < most:
            break
        before = batch[-1].number
    return sorted(found, key=lambda hit: str(hit["at"]), reverse=True)


def _look(sealer: Sealer, candidate: Candidate, words: list[str]) -> dict[str, Any] | None:
    """What is shown of a candidate, or None where the words are not in it."""
    title = said = ""
    try:
        if candidate.sealed_title is not None:
            cell = f"conversations.title:{candidate.conversation_id}"
            title = said = sealer.open_text(candidate.sealed_title, context=cell)
        if candidate.sealed_content is not None:
            cell = f"messages.content:{candidate.message_id}"
            said = unpack(sealer.open(candidate.sealed_content, context=cell)).text
    except DataError:
        return None  # damaged: opening the conversation tells
    if not matches(said, words):
        return None
    return {
        "conversation_id": candidate.conversation_id,
        "message_id": candidate.message_id,
        "title": title,
        "snippet": snippet(said, words),
        "at": iso(candidate.created_at or candidate.updated_at),
    }
