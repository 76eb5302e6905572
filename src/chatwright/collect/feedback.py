"""From a chat that was served, and what its person said of the answers, to rows to train on.

Pure: `serve.feedback.rows` reads the database and asks here. A row holds nothing from before its
person agreed (`consent_at`), nothing that was imported (another service's answers have their own
terms), nothing that moderation stopped, and no text of documents that belong to somebody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from chatwright.collect.found import Lost, clean_text
from chatwright.records import Conversation, Message, Preference, canonical_json, content_id
from chatwright.records.grounding import Passage, grounded_prompt
from chatwright.records.message import Role

Choice = Literal["left", "right", "tie", "both_bad"]


@dataclass(frozen=True, slots=True)
class ServedTurn:
    """A message of a served chat, with what was said of it.

    `calls` are tool calls (`{name, arguments, result}`); `passages` what the answer was shown;
    `private`: it rests on attachments or on somebody's own documents. `whole`: written to its end.
    """

    id: str
    parent_id: str | None
    role: Role
    text: str
    at: datetime
    model: str | None = None
    model_fingerprint: str | None = None
    whole: bool = True
    blocked: bool = False
    private: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    rating: Literal["up", "down"] | None = None
    reasons: list[str] = field(default_factory=list)
    better: str | None = None


@dataclass(frozen=True, slots=True)
class ServedChat:
    """A chat as a tree of turns (parents before what follows them). `person` is a pseudonym."""

    id: str
    person: str
    consent_at: datetime
    turns: list[ServedTurn]
    current_leaf: str | None = None
    imported: bool = False
    language: str | None = None
    votes: list[tuple[str, str, Choice]] = field(default_factory=list)  # left, right, choice

    @property
    def source(self) -> str:
        return f"chat:{self.person}"

    @property
    def uri(self) -> str:
        return f"{self.source}/{self.id}"


Made = Conversation | Preference | tuple[str, Lost]  # the row, or (uri, why there is none)


def conversation_of(chat: ServedChat) -> Conversation | Lost:
    """The branch that the person looked at, as far as it is good to learn from.

    A better answer that they wrote takes the place of the model's. The row ends before the first
    answer that was rated down, stopped or blocked, or that rests on private documents.
    """
    if chat.imported:
        return Lost("imported", detail="its answers are another service's")
    path = _path(chat, chat.current_leaf)
    messages: list[Message] = []
    kept: list[ServedTurn] = []
    facts: list[dict[str, Any]] = []
    why: Lost | None = None
    whole = 0  # messages up to the last good answer
    turns = 0
    for number, turn in enumerate(path):
        why = _closed(chat, turn)
        if why is None and turn.role == "assistant" and turn.rating == "down" and not turn.better:
            why = Lost("rated-down", detail="and no better answer was written")
        if why is not None:
            break
        after = path[number + 1] if number + 1 < len(path) else None
        for message, fact in _said(turn, after):
            messages.append(message)
            facts.append(fact)
        kept.append(turn)
        if turn.role == "assistant":
            whole, turns = len(messages), len(kept)
    messages, facts, kept = messages[:whole], facts[:whole], kept[:turns]
    if not any(message.role == "user" for message in messages) or not whole:
        return why or Lost("unanswered", detail="no question with a whole answer")
    made = [{"role": message.role, "content": message.content} for message in messages]
    meta = _meta(chat, kept)
    meta["turns"] = facts
    return Conversation(
        id=content_id(chat.source, canonical_json({"chat": chat.id, "messages": made})),
        messages=messages,
        uri=chat.uri,
        source=chat.source,
        language=chat.language,
        collected_at=kept[-1].at.replace(microsecond=0),
        parents=[turn.id for turn in kept],
        meta=meta,
        consent=True,
    )


def preferences_of(chat: ServedChat) -> Iterator[Preference | tuple[str, Lost]]:
    """Pairs of answers: votes between two, better answers that were written, and thumbs of
    versions of one answer (each that is up before each that is down), in this order.
    """
    by_id = {turn.id: turn for turn in chat.turns}
    voted: set[frozenset[str]] = set()
    for left, right, choice in chat.votes:
        one, other = by_id.get(left), by_id.get(right)
        where = f"{chat.uri}#{left}+{right}"
        voted.add(frozenset((left, right)))
        if one is None or other is None:
            yield where, Lost("bad-preference", detail="an answer is not there")
        elif choice in ("tie", "both_bad"):
            yield where, Lost(choice.replace("_", "-"))
        else:
            better, worse = (one, other) if choice == "left" else (other, one)
            yield _pair(chat, better, worse, better.text, by="vote", where=where)
    for turn in chat.turns:
        if turn.role == "assistant" and turn.better:
            where = f"{chat.uri}#{turn.id}"
            yield _pair(chat, turn, turn, turn.better, by="edit", where=where)
    for better, worse in _by_thumbs(chat):
        if frozenset((better.id, worse.id)) not in voted:
            where = f"{chat.uri}#{better.id}+{worse.id}"
            yield _pair(chat, better, worse, better.text, by="thumbs", where=where)


def _by_thumbs(chat: ServedChat) -> Iterator[tuple[ServedTurn, ServedTurn]]:
    versions: dict[str | None, list[ServedTurn]] = {}
    for turn in chat.turns:
        if turn.role == "assistant" and turn.rating is not None:
            versions.setdefault(turn.parent_id, []).append(turn)
    for rated in versions.values():
        for better in rated:
            for worse in rated:
                if better.rating == "up" and worse.rating == "down":
                    yield better, worse


def _pair(
    chat: ServedChat, better: ServedTurn, worse: ServedTurn, chosen: str, *, by: str, where: str
) -> Preference | tuple[str, Lost]:
    """A row of two answers to one prompt, which is what the model was shown (no edits in it)."""
    before = _path(chat, better.parent_id) if better.parent_id is not None else []
    lost = _unfit(chat, before, better, worse, by=by)
    if lost is not None:
        return where, lost
    prompt = [
        message
        for number, turn in enumerate(before)
        for message, _ in _said(
            turn, before[number + 1] if number + 1 < len(before) else worse, edits=False
        )
    ]
    chosen, rejected = clean_text(chosen).strip(), clean_text(worse.text).strip()
    if not chosen or not rejected:
        return where, Lost("empty-answer")
    if chosen == rejected:
        return where, Lost("tie", detail="the answers are equal")
    content = {
        "prompt": [[message.role, message.content] for message in prompt],
        "chosen": chosen,
        "rejected": rejected,
        "answers": [better.id, worse.id],
        "by": by,
    }
    used = [*before, better] if better is worse else [*before, better, worse]
    meta = _meta(chat, used)
    meta |= {"by": by, "reasons": sorted({*better.reasons, *worse.reasons})}
    return Preference(
        id=content_id(chat.source, canonical_json(content)),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        judge=f"person:{chat.person}",
        uri=where,
        source=chat.source,
        language=chat.language,
        collected_at=max(turn.at for turn in used).replace(microsecond=0),
        parents=[turn.id for turn in used],
        meta=meta,
        consent=True,
    )


def _unfit(
    chat: ServedChat, before: list[ServedTurn], better: ServedTurn, worse: ServedTurn, *, by: str
) -> Lost | None:
    """Why two answers, and what was said before them, make no row, or None."""
    if chat.imported:
        return Lost("imported", detail="its answers are another service's")
    if better.parent_id != worse.parent_id or {better.role, worse.role} != {"assistant"}:
        return Lost("prompts-differ", detail="these are not answers to one question")
    if not before or before[-1].role != "user":
        return Lost("bad-preference", detail="no question stands before the answers")
    for turn in (*before, better, worse):
        # The answer that was written anew may have been cut off: it is the one that is rejected.
        lost = _closed(chat, turn, whole=by != "edit" or turn is not worse)
        if lost is not None:
            return lost
    if better.calls or worse.calls:
        return Lost("tool-calls", detail="an answer rests on what tools returned")
    return None


def _closed(chat: ServedChat, turn: ServedTurn, *, whole: bool = True) -> Lost | None:
    """Why a turn may not be in a row, or None."""
    if turn.at < chat.consent_at:
        return Lost("before-consent", detail="written before its person agreed")
    if turn.blocked:
        return Lost("moderated", detail="moderation stopped it")
    if turn.private:
        return Lost("private-sources", detail="it rests on somebody's own documents")
    if whole and not turn.whole and not (turn.role == "assistant" and turn.better):
        return Lost("not-whole", detail="an answer was cut off")
    if not turn.text.strip() and not turn.calls and not turn.better:
        return Lost("empty-answer" if turn.role == "assistant" else "empty-turn")
    return None


def _said(
    turn: ServedTurn, after: ServedTurn | None, *, edits: bool = True
) -> Iterator[tuple[Message, dict[str, Any]]]:
    """What the model was shown or said in a turn, and what is known of it.

    A question that was answered from passages reads as the model saw it. Calls of tools stand
    before the answer, as `collect` writes them: `{"name", "arguments"}`, and what came back.
    """
    text = clean_text(turn.text)
    facts: dict[str, Any] = {"at": turn.at.isoformat(timespec="seconds")}
    if turn.role == "user" and after is not None and after.passages:
        text = clean_text(grounded_prompt(turn.text, after.passages))
    if turn.role == "assistant":
        for call in turn.calls:
            plain = {"name": call.get("name"), "arguments": call.get("arguments")}
            yield Message("assistant", clean_text(_json(plain))), {}
            yield Message("tool", clean_text(_json(call.get("result")))), {}
        if edits and turn.better:
            text = clean_text(turn.better)
            facts["edited"] = True
        facts |= {"model": turn.model, "feedback": turn.rating}
        if turn.reasons:
            facts["reasons"] = list(turn.reasons)
    yield Message(turn.role, text), facts


def _json(value: Any) -> str:
    return (
        value
        if isinstance(value, str) and value.strip()
        else json.dumps(value, ensure_ascii=False, default=str)
    )


def _meta(chat: ServedChat, turns: list[ServedTurn]) -> dict[str, Any]:
    """Where a row came from: the chat, its messages, and the models (with fingerprints)."""
    answers = [turn for turn in turns if turn.role == "assistant"]
    models = {turn.model for turn in answers if turn.model}
    meta: dict[str, Any] = {
        "user": chat.person,
        "chat": chat.id,
        "message_ids": [turn.id for turn in turns],
        "models": {
            turn.id: {"name": turn.model, "fingerprint": turn.model_fingerprint} for turn in answers
        },
        "consent_at": chat.consent_at.isoformat(timespec="seconds"),
    }
    if len(models) == 1:
        meta["model"] = models.pop()
    return meta


def _path(chat: ServedChat, leaf: str | None) -> list[ServedTurn]:
    """The turns from the first to `leaf`; without one, along the newest versions."""
    by_id = {turn.id: turn for turn in chat.turns}
    here = by_id.get(leaf or "") or (chat.turns[-1] if chat.turns else None)
    path: list[ServedTurn] = []
    while here is not None and len(path) <= len(by_id):
        path.append(here)
        here = by_id.get(here.parent_id or "")
    return path[::-1]
