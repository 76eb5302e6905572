"""Runs in the database: begun, written down while they grow, ended, and recovered after a crash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from chatwright.assist.memory import asked_to_remember
from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError
from chatwright.serve.history.content import Content
from chatwright.serve.history.memories import add_memory
from chatwright.serve.history.store import (
    Status,
    add_message,
    create_chat,
    own_chat,
    read_message,
    set_title,
    update_message,
)
from chatwright.serve.runs.shapes import AnswerRequest
from chatwright.serve.runs.subject import Subject
from chatwright.serve.store import Keyring
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Chat, ChatMessage, Person, now
from chatwright.serve.store.tables import Run as RunRow

DEAD_SECONDS = 30.0  # without a sign of life from its worker a run is over


@dataclass(frozen=True, slots=True)
class Order:
    """A request that may be begun: what is asked, of which models, under which names."""

    who: Identity
    asked: AnswerRequest
    subject: Subject
    models: list[str]
    run_ids: list[str]


@dataclass(frozen=True, slots=True)
class Begun:
    """The messages that a request has made: a question (or the one answered again) and answers."""

    conversation_id: str
    question_id: str
    answer_ids: list[str]
    is_new: bool
    remembered: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An answer as it is to be written down."""

    message_id: str
    person_id: str
    content: Content
    status: Status
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def begin(session: Session, keys: Keyring, order: Order, worker: str) -> Begun:
    """Write the question and an empty answer for each model; note the runs.

    Raises `ApiError` where what `read_subject` saw is gone, or an answer is being written already.
    """
    who, asked, subject = order.who, order.asked, order.subject
    sealer = keys.sealer(session, who.person_id)
    is_new = subject.conversation_id is None
    if subject.conversation_id is None:
        chat = create_chat(
            session, sealer, who.person_id, model=asked.model, settings=_settings(asked)
        )
    else:
        chat = own_chat(session, who.person_id, subject.conversation_id)
        if chat.current_leaf is None:
            is_new = True
    at = now()
    question_id = subject.question_id
    if question_id is None:
        files = [{"id": a.id, "name": a.name, "size": a.size} for a in subject.attachments]
        question_id = add_message(
            session,
            sealer,
            chat,
            parent_id=subject.parent_id,
            role="user",
            content=Content(asked.text or "", attachments=files),
            created_at=at,
        )
    if subject.kept is not None:
        answer_ids = [_take_up(session, who, subject.kept.id)]
    else:
        answer_ids = [
            add_message(
                session,
                sealer,
                chat,
                parent_id=question_id,
                role="assistant",
                content=Content(),
                model=model,
                status="writing",
                # Siblings are told apart by their time.
                created_at=at + timedelta(microseconds=number),
                current=number == 1,
            )
            for number, model in enumerate(order.models, start=1)
        ]
    for run_id, answer_id in zip(order.run_ids, answer_ids, strict=True):
        session.add(
            RunRow(
                id=run_id,
                person_id=who.person_id,
                conversation_id=chat.id,
                message_id=answer_id,
                worker=worker,
            )
        )
    remembered = _remember(session, sealer, who, asked)
    return Begun(chat.id, question_id, answer_ids, is_new, remembered)


def _remember(session: Session, sealer: Sealer, who: Identity, asked: AnswerRequest) -> str | None:
    """Keep in mind what the question asks to; returns it, or None where it asks for nothing."""
    person = session.get(Person, who.person_id)
    if person is None or not (person.memory_enabled and asked.memory and asked.text):
        return None
    text = asked_to_remember(asked.text)
    if text is None:
        return None
    try:
        add_memory(session, sealer, who.person_id, text, by="model")
    except ApiError:  # there are too many: the answer is still wanted
        return None
    return text


def _take_up(session: Session, who: Identity, message_id: str) -> str:
    """Mark an answer as being written again; one request at a time can."""
    changed = session.execute(
        update(ChatMessage)
        .where(
            ChatMessage.id == message_id,
            ChatMessage.person_id == who.person_id,
            ChatMessage.status != "writing",
        )
        .values(status="writing")
    )
    if changed.rowcount != 1:  # type: ignore[attr-defined]
        raise ApiError(409, "this answer is being written, or gone", code="still_writing")
    return message_id


def save(session: Session, keys: Keyring, snapshots: Iterable[Snapshot]) -> set[str]:
    """Write answers down as they are; returns the ids of those that are gone."""
    gone: set[str] = set()
    for one in snapshots:
        # A key must not be made anew for somebody who was deleted.
        if session.get(ChatMessage, one.message_id) is None:
            gone.add(one.message_id)
            continue
        update_message(
            session,
            keys.sealer(session, one.person_id),
            one.message_id,
            content=one.content,
            status=one.status,
            prompt_tokens=one.prompt_tokens,
            completion_tokens=one.completion_tokens,
        )
    return gone


def save_writing(session: Session, keys: Keyring, snapshots: Sequence[Snapshot]) -> set[str]:
    """`save` for answers under way. One that has ended since the snapshot was taken stays."""
    ids = [one.message_id for one in snapshots]
    over = set(
        session.scalars(
            select(ChatMessage.id).where(ChatMessage.id.in_(ids), ChatMessage.status != "writing")
        )
    )
    return save(session, keys, [one for one in snapshots if one.message_id not in over])


def end(session: Session, keys: Keyring, run_id: str, last: Snapshot) -> None:
    """The last of an answer, and the run's row with it."""
    save(session, keys, [last])
    session.execute(delete(RunRow).where(RunRow.id == run_id))


def keep_title(session: Session, keys: Keyring, who: Identity, chat_id: str, title: str) -> bool:
    """Give a new conversation its title, unless its owner has given it one; False if it is gone."""
    chat = session.get(Chat, chat_id)
    if chat is None or chat.title_by == "person":
        return False
    set_title(session, keys.sealer(session, who.person_id), chat, title, by="model")
    return True


def alive(session: Session, run_ids: Sequence[str]) -> None:
    """Say of runs that they are still being worked on."""
    session.execute(update(RunRow).where(RunRow.id.in_(run_ids)).values(alive_at=now()))


def recover(session: Session, keys: Keyring, worker: str | None) -> int:
    """End what dead workers have left: their answers are "stopped" with what there is of them.

    `worker`: also all of that name, whatever their time (it has just been started anew).
    Returns how many there were.
    """
    late = RunRow.alive_at < now() - timedelta(seconds=DEAD_SECONDS)
    rows = list(
        session.scalars(
            select(RunRow).where(late if worker is None else late | (RunRow.worker == worker))
        )
    )
    for row in rows:
        message = session.get(ChatMessage, row.message_id) if row.message_id else None
        if message is not None and message.status == "writing":
            sealer = keys.sealer(session, message.person_id)
            # Its content again: what is finished is put into the search index.
            content = read_message(sealer, message).content
            content = replace(content, finish_reason="interrupted")
            update_message(session, sealer, message.id, content=content, status="stopped")
        session.delete(row)
    return len(rows)


def _settings(asked: AnswerRequest) -> dict[str, Any]:
    told: dict[str, Any] = {
        "params": asked.params.model_dump(exclude_none=True),
        "instructions": asked.instructions,
        "persona_id": asked.persona_id,
        "collections": asked.collections,
        "tools": asked.tools,
    }
    return {name: value for name, value in told.items() if value}
