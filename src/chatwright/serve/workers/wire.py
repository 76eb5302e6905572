"""Requests, pieces and errors as JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from chatwright import errors
from chatwright.assist import AssistantSettings
from chatwright.errors import ChatwrightError
from chatwright.generate.params import Chosen, Completion, Constraint, Piece, SamplingParams
from chatwright.records import Message
from chatwright.records.grounding import Passage
from chatwright.serve.errors import ApiError
from chatwright.serve.registry import Served

_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ChatwrightError)
}


def params_out(params: SamplingParams) -> dict[str, Any]:
    """What differs from the defaults."""
    plain = SamplingParams()
    told = {
        f.name: getattr(params, f.name)
        for f in fields(params)
        if getattr(params, f.name) != getattr(plain, f.name)
    }
    if params.constraint is not None:
        told["constraint"] = [params.constraint.kind, params.constraint.text]
    return told


def params_in(told: dict[str, Any]) -> SamplingParams:
    """Raises `UsageError` for values that cannot be."""
    given = dict(told)
    if given.get("constraint") is not None:
        given["constraint"] = Constraint(*given["constraint"])
    if "logit_bias" in given:
        given["logit_bias"] = tuple((token, bias) for token, bias in given["logit_bias"])
    return SamplingParams(**given)


def messages_out(messages: Sequence[Message | Mapping[str, Any]]) -> list[list[str]]:
    """Role and content of each."""
    return [
        [m.role, m.content] if isinstance(m, Message) else [m["role"], m["content"]]
        for m in messages
    ]


def messages_in(told: list[list[str]]) -> list[Message]:
    """Back."""
    return [Message(role, content) for role, content in told]  # type: ignore[arg-type]


def piece_out(piece: Piece) -> dict[str, Any]:
    """What a piece has besides defaults."""
    told: dict[str, Any] = {"text": piece.text}
    if piece.index:
        told["index"] = piece.index
    if piece.chosen:
        told["chosen"] = [[c.token, c.logprob, c.top] for c in piece.chosen]
    if piece.completion is not None:
        told["completion"] = asdict(piece.completion)
    return told


def piece_in(told: dict[str, Any]) -> Piece:
    """Back."""
    completion = None
    if "completion" in told:
        completion = Completion(**told["completion"])
        if completion.top_logprobs is not None:
            top = [[(t, p) for t, p in row] for row in completion.top_logprobs]
            completion = replace(completion, top_logprobs=top)
    return Piece(
        told["text"],
        None if completion is None else completion.finish_reason,
        completion,
        told.get("index", 0),
        tuple(Chosen(t, p, [(a, b) for a, b in top]) for t, p, top in told.get("chosen", ())),
    )


def settings_out(settings: AssistantSettings) -> dict[str, Any]:
    """An assistant's manners."""
    told = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {**told, "sampling": params_out(settings.sampling)}


def settings_in(told: dict[str, Any]) -> AssistantSettings:
    """Back."""
    given = {**told, "sampling": params_in(told["sampling"]), "examples": tuple(told["examples"])}
    return AssistantSettings(**given)


def served_out(entry: Served) -> dict[str, Any]:
    """An entry of the list of models."""
    return {**asdict(entry), "knowledge": str(entry.knowledge) if entry.knowledge else None}


def served_in(told: dict[str, Any]) -> Served:
    """Back."""
    knowledge = Path(told["knowledge"]) if told["knowledge"] else None
    return Served(**{**told, "examples": tuple(told["examples"]), "knowledge": knowledge})


def passages_in(told: list[Any]) -> list[tuple[Passage, float]]:
    """Back."""
    return [(Passage(*fields_), score) for fields_, score in told]


def passages_out(found: Sequence[tuple[Passage, float]]) -> list[Any]:
    """What a search has found, with scores."""
    return [[[p.id, p.title, p.uri, p.text], score] for p, score in found]


def error_out(error: BaseException) -> dict[str, Any]:
    """An error for another process. Of one that is not ours only the kind goes over."""
    if isinstance(error, ApiError):
        return {
            "kind": "ApiError",
            "status": error.status,
            "message": error.message,
            "param": error.param,
            "code": error.code,
        }
    if isinstance(error, ChatwrightError):
        kind = next(name for name in _mro(error) if name in _KINDS)
        return {"kind": kind, "message": error.message, "where": error.where, "hint": error.hint}
    return {"kind": "", "message": type(error).__name__}


def error_in(told: dict[str, Any]) -> Exception:
    """Back: ours as they were, any other as an `EngineError`."""
    if told["kind"] == "ApiError":
        return ApiError(told["status"], told["message"], param=told["param"], code=told["code"])
    kind = _KINDS.get(told["kind"])
    if kind is None:
        return EngineError(told["message"])
    return kind(told["message"], where=told["where"], hint=told["hint"])


class EngineError(RuntimeError):
    """Something unexpected in the engine's process; its kind is all that is known of it."""


def _mro(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]
