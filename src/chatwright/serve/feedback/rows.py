"""The service's chats as rows to train on: of people who agreed and still do, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chatwright.collect.feedback import (
    Made,
    ServedChat,
    ServedTurn,
    conversation_of,
    preferences_of,
)
from chatwright.collect.found import Lost
from chatwright.errors import DataError
from chatwright.records.grounding import Passage
from chatwright.serve.feedback.store import language_of
from chatwright.serve.history.conversations import feedback_of
from chatwright.serve.history.native import BadConversation, in_order
from chatwright.serve.history.store import Turn, read_turns
from chatwright.serve.store import Store
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Chat, ChatMessage, Key, Person, SideBySide


def rows_for_training(store: Store) -> Iterator[Made]:
    """Conversation and preference rows, and `(uri, why)` for each chat or pair that gives none.

    One reading of the database: consent is what it is at that moment. The order depends on the
    database alone. Of people who did not agree not even a line is written.
    """
    with store.reading() as session:
        agreed = (
            select(Person.id, Person.consent_at)
            .where(Person.training_consent, Person.consent_at.is_not(None))
            .order_by(Person.id)
        )
        for person_id, consent_at in session.execute(agreed).all():
            if consent_at is None or session.get(Key, person_id) is None:
                continue  # a key that was destroyed: there is nothing to read any more
            sealer = store.keys.sealer(session, person_id)
            yield from _of_person(session, sealer, person_id, consent_at)


def _of_person(
    session: Session, sealer: Sealer, person_id: str, consent_at: datetime
) -> Iterator[Made]:
    # Made with the person's key: without it nobody can tell whose it is, and with the key it goes.
    person = sealer.term("pseudonym for training")
    chats = session.execute(
        select(Chat.id, Chat.current_leaf, Chat.imported_from)
        .where(Chat.person_id == person_id)
        .order_by(Chat.created_at, Chat.id)
    ).all()
    for chat_id, leaf, imported in chats:
        uri = f"chat:{person}/{chat_id}"
        try:
            turns = in_order(read_turns(session, sealer, chat_id))
            said = feedback_of(session, sealer, person_id, chat_id)
        except DataError as error:
            yield uri, Lost("unreadable", detail=error.message)
            continue
        except BadConversation as bad:
            yield uri, Lost("bad-conversation", detail=str(bad))
            continue
        chat = ServedChat(
            id=chat_id,
            person=person,
            consent_at=consent_at,
            turns=[_served(turn, said.get(turn.id, {})) for turn in turns],
            current_leaf=leaf,
            imported=imported is not None,
            language=_language(turns),
            votes=_votes(session, person_id, chat_id),
        )
        made = conversation_of(chat)
        yield (uri, made) if isinstance(made, Lost) else made
        yield from preferences_of(chat)
        # Rows of the session's own memory of the chat are not needed again.
        session.expunge_all()


def _served(turn: Turn, said: dict[str, Any]) -> ServedTurn:
    content = turn.content
    shown = [one for one in content.retrieved if isinstance(one, dict)]
    return ServedTurn(
        id=turn.id,
        parent_id=turn.parent_id,
        role=turn.role,
        text=content.text,
        at=turn.created_at,
        model=turn.model,
        model_fingerprint=turn.model_fingerprint,
        whole=turn.status == "done" and content.finish_reason != "length",
        blocked=bool((content.moderation or {}).get("blocked")),
        private=bool(content.attachments) or any(one.get("collection_id") for one in shown),
        calls=content.tool_calls,
        passages=[
            Passage(*(str(one.get(name) or "") for name in ("id", "title", "uri", "text")))
            for one in shown
        ],
        rating=said.get("rating"),
        reasons=said.get("reasons") or [],
        better=said.get("better"),
    )


def _votes(session: Session, person_id: str, chat_id: str) -> list[Any]:
    rows: Iterable[Any] = session.execute(
        select(SideBySide.left_id, SideBySide.right_id, SideBySide.choice)
        .join(ChatMessage, ChatMessage.id == SideBySide.left_id)
        .where(ChatMessage.conversation_id == chat_id, SideBySide.person_id == person_id)
        .order_by(SideBySide.created_at, SideBySide.id)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def _language(turns: list[Turn]) -> str | None:
    """The language of what the person wrote, where it is one that we know."""
    asked = "\n".join(turn.text[:500] for turn in turns if turn.role == "user")
    found = language_of(asked)
    return found if found in ("en", "zh") else None
