"""What a request is about: the conversation, the files and the instructions that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chatwright.assist.summary import Summary
from chatwright.serve.access import Identity
from chatwright.serve.errors import ApiError, not_found
from chatwright.serve.history.personas import usable_persona
from chatwright.serve.history.store import Turn as KeptTurn
from chatwright.serve.history.store import own_chat, own_message, read_path
from chatwright.serve.knowledge.files import ATTACHMENT
from chatwright.serve.runs.prompt import MOST_MEMORIES, Attached, Instructions, Turn
from chatwright.serve.runs.shapes import AnswerRequest
from chatwright.serve.store import Keyring
from chatwright.serve.store.sealing import Sealer
from chatwright.serve.store.tables import Memory, Person, ServerValue, StoredFile


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


def read_subject(session: Session, keys: Keyring, who: Identity, asked: AnswerRequest) -> Subject:
    """What is asked, from whom. Raises `ApiError` 404 for anything that is not this person's."""
    person = session.get(Person, who.person_id)
    if person is None:
        raise ApiError(401, "this account is gone", code="not_signed_in")
    sealer = keys.sealer(session, who.person_id)
    persona: dict[str, Any] = {}
    if asked.persona_id is not None:
        persona = usable_persona(session, keys, who.person_id, asked.persona_id)
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
        raise not_found("message")
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
        turns.append(Turn(one.role, one.text, files, calls, _summary(one)))
    return turns


def _summary(turn: KeptTurn) -> Summary | None:
    told = turn.content.details.get("summary")
    if not isinstance(told, dict):
        return None
    return Summary(int(told.get("messages", 0)), str(told.get("text", "")))


def _own_instructions(sealer: Sealer, person: Person) -> str:
    if person.sealed_instructions is None:
        return ""
    return sealer.open_text(
        person.sealed_instructions, context=f"people.sealed_instructions:{person.id}"
    )


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
            raise not_found("attachment", code="file_not_found")
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
            StoredFile.purpose == ATTACHMENT,
        )
    )
    found = {
        row.id: Attached(
            row.id,
            sealer.open_text(row.sealed_name, context=f"files.name:{row.id}"),
            row.size,
            sealer.open_text(row.sealed_text, context=f"files.text:{row.id}")
            if row.sealed_text is not None
            else "",
        )
        for row in rows
    }
    return [found[one] for one in dict.fromkeys(ids) if one in found]


def _wrong(message: str) -> ApiError:
    return ApiError(400, message, param="message_id", code="invalid_value")
