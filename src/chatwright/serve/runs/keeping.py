"""Runs and the database: what a request is about, its messages, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError
from chatwright.serve.history.content import Content
from chatwright.serve.history.store import (
    Status,
    add_message,
    create_chat,
    own_chat,
    own_message,
    read_message,
    read_path,
    set_title,
    update_message,
)
from chatwright.serve.history.store import Turn as KeptTurn
from chatwright.serve.runs.prompt import MOST_MEMORIES, Attached, Instructions, Turn
from chatwright.serve.runs.shapes import AnswerRequest
from chatwright.serve.store import Keyring
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import (
    Chat,
    ChatMessage,
    Memory,
    Person,
    Persona,
    ServerValue,
    StoredFile,
    now,
)
from chatwright.serve.store.tables import Run as RunRow

DEAD_SECONDS = 30.0  # without a sign of life from its worker a run is over


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, as read from the database before anything is written.

    `turns` are the conversation up to and with the question. `model` is what the persona or the
    conversation prefers. `parent_id` is where a new question goes; `question_id` the question that
    is answered again; `kept` the answer that is continued.
    """

    turns: list[Turn] = field(default_factory=list)
    told: Instructions = field(default_factory=Instructions)
    model: str | None = None
    conversation_id: str | None = None
    parent_id: str | None = None
    question_id: str | None = None
    kept: KeptTurn | None = None
    attachments: tuple[Attached, ...] = ()
    persona_params: dict[str, Any] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An answer as it is to be written down."""

    message_id: str
    person_id: str
    content: Content
    status: Status
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def read_subject(session: Session, keys: Keyring, who: Identity, asked: AnswerRequest) -> Subject:
    """What is asked, from whom. Raises `ApiError` 404 for anything that is not this person's."""
    person = session.get(Person, who.person_id)
    if person is None:
        raise ApiError(401, "this account is gone", code="not_signed_in")
    sealer = keys.sealer(session, who.person_id)
    persona = _persona(session, sealer, who, asked.persona_id)
    told = Instructions(
        persona=str(persona.get("instructions") or ""),
        chat=asked.instructions or "",
        person=_own_instructions(sealer, person),
        memories=_memories(session, sealer, person) if asked.memory else (),
    )
    files = _attached(session, sealer, who, asked.attachments)
    params = persona.get("params")
    made = Subject(
        told=told,
        model=persona.get("model") or None,
        attachments=tuple(files),
        persona_params=params if isinstance(params, dict) else {},
    )
    if asked.temporary:
        turns = [Turn(m.role, m.content) for m in asked.messages or []]
        if files and turns[-1].role == "user":
            turns[-1] = replace(turns[-1], attachments=tuple(files))
        return replace(made, turns=turns)
    return _in_conversation(session, sealer, who, asked, made)


def _in_conversation(
    session: Session, sealer: Sealer, who: Identity, asked: AnswerRequest, made: Subject
) -> Subject:
    if asked.conversation_id is not None:
        chat = own_chat(session, who.person_id, asked.conversation_id)
        made = replace(made, conversation_id=chat.id, model=made.model or chat.model)
    if asked.message_id is None:
        path = []
        if asked.parent_id is not None and asked.conversation_id is not None:
            path = read_path(session, sealer, asked.conversation_id, asked.parent_id)
        question = Turn("user", asked.text or "", made.attachments)
        turns = [*_turns(session, sealer, who, path), question]
        return replace(made, turns=turns, parent_id=asked.parent_id)

    return _about_message(session, sealer, who, asked, made)


def _about_message(
    session: Session, sealer: Sealer, who: Identity, asked: AnswerRequest, made: Subject
) -> Subject:
    """For what begins at a message that is there: `edit`, `regenerate`, `continue`."""
    message = own_message(session, who.person_id, asked.message_id or "")
    if asked.conversation_id not in (None, message.conversation_id):
        raise ApiError(404, "there is no such message", code="message_not_found")
    chat = own_chat(session, who.person_id, message.conversation_id)
    made = replace(made, conversation_id=chat.id, model=made.model or chat.model)
    path = read_path(session, sealer, chat.id, message.id)
    if asked.action == "edit":
        if message.role != "user":
            raise _wrong("only a question can be asked in other words")
        if not made.attachments and path[-1].content.attachments:
            ids = [str(one.get("id")) for one in path[-1].content.attachments]
            made = replace(made, attachments=tuple(_still_there(session, sealer, who, ids)))
        question = Turn("user", asked.text or "", made.attachments)
        turns = [*_turns(session, sealer, who, path[:-1]), question]
        return replace(made, turns=turns, parent_id=message.parent_id)
    kept: KeptTurn | None = None
    if asked.action == "continue":
        if message.role != "assistant":
            raise _wrong("only an answer can be continued")
        if message.status == "writing":
            raise ApiError(409, "this answer is still being written", code="still_writing")
        kept = path[-1]
    if message.role == "assistant":
        path = path[:-1]
    if not path or path[-1].role != "user":
        raise _wrong("there is no question that this answers")
    turns = _turns(session, sealer, who, path)
    return replace(made, turns=turns, question_id=path[-1].id, kept=kept)


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
    return Begun(chat.id, question_id, answer_ids, is_new)


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
            update_message(session, sealer, message.id, content=content, status="stopped")
        session.delete(row)
    return len(rows)


def default_model(session: Session) -> str | None:
    """The model that the administrator has chosen for those who choose none."""
    settings = session.get(ServerValue, "settings")
    told = None if settings is None else settings.value.get("default_model")
    return told if isinstance(told, str) else None


def _turns(session: Session, sealer: Sealer, who: Identity, path: Sequence[KeptTurn]) -> list[Turn]:
    """Kept messages as the model is to see them, with the text of their files."""
    turns = []
    for one in path:
        ids = [str(a.get("id")) for a in one.content.attachments]
        files = tuple(_still_there(session, sealer, who, ids)) if ids else ()
        calls = tuple(one.content.tool_calls)
        turns.append(Turn(one.role, one.text, files, calls))
    return turns


def _settings(asked: AnswerRequest) -> dict[str, Any]:
    told: dict[str, Any] = {
        "params": asked.params.model_dump(exclude_none=True),
        "instructions": asked.instructions,
        "persona_id": asked.persona_id,
        "collections": asked.collections,
        "tools": asked.tools,
    }
    return {name: value for name, value in told.items() if value}


def _persona(
    session: Session, sealer: Sealer, who: Identity, persona_id: str | None
) -> dict[str, Any]:
    if persona_id is None:
        return {}
    row = session.scalars(
        select(Persona).where(Persona.id == persona_id, Persona.person_id == who.person_id)
    ).first()
    if row is None:
        raise ApiError(404, "there is no such persona", code="persona_not_found")
    opened = sealer.open_text(row.sealed_content, context=f"personas.content:{row.id}")
    content: dict[str, Any] = json.loads(opened)
    return content


def _own_instructions(sealer: Sealer, person: Person) -> str:
    if person.sealed_instructions is None:
        return ""
    return sealer.open_text(person.sealed_instructions, context=f"people.instructions:{person.id}")


def _memories(session: Session, sealer: Sealer, person: Person) -> tuple[str, ...]:
    if not person.memory_enabled:
        return ()
    rows = session.scalars(
        select(Memory)
        .where(Memory.person_id == person.id)
        .order_by(Memory.created_at.desc())
        .limit(MOST_MEMORIES)
    )
    texts = [sealer.open_text(r.sealed_text, context=f"memories.text:{r.id}") for r in rows]
    return tuple(reversed(texts))


def _attached(
    session: Session, sealer: Sealer, who: Identity, ids: Sequence[str]
) -> list[Attached]:
    """Files by id, in order. Raises `ApiError` 404 for one that is not this person's."""
    found = {file.id: file for file in _still_there(session, sealer, who, ids)}
    for one in ids:
        if one not in found:
            raise ApiError(404, "there is no such attachment", code="file_not_found")
    return [found[one] for one in dict.fromkeys(ids)]


def _still_there(
    session: Session, sealer: Sealer, who: Identity, ids: Sequence[str]
) -> list[Attached]:
    """Those of the files that have not been deleted, in order."""
    if not ids:
        return []
    rows = session.scalars(
        select(StoredFile).where(
            StoredFile.id.in_(ids),
            StoredFile.person_id == who.person_id,
            StoredFile.sealed_text.is_not(None),
        )
    )
    found = {
        row.id: Attached(
            row.id,
            sealer.open_text(row.sealed_name, context=f"files.name:{row.id}"),
            row.size,
            sealer.open_text(row.sealed_text or b"", context=f"files.text:{row.id}"),
        )
        for row in rows
    }
    return [found[one] for one in dict.fromkeys(ids) if one in found]


def _wrong(message: str) -> ApiError:
    return ApiError(400, message, param="message_id", code="invalid_value")
