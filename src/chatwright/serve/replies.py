"""Answers in OpenAI's shapes: a completion, the chunks of a stream, the list of models."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from chatwright.assist import Answer, Prepared
from chatwright.records.grounding import Passage
from chatwright.serve.registry import Served


class Reply:
    """One answer's id, time and model, and every shape that it takes on the wire."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The `chat.completion` object of an answer that is not streamed."""
        message = {"role": "assistant", "content": answer.text, "refusal": None, **sources(answer)}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _finish_reason(answer),
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage(answer)}

    def chunk(
        self, delta: dict[str, Any], finish_reason: str | None = None, *, with_usage: bool = False
    ) -> bytes:
        """One event of the stream. `usage` is null in it when the caller asked for usage."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        body = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return event({**body, "usage": None} if with_usage else body)

    def first(self, prepared: Prepared, *, with_usage: bool) -> bytes:
        """The chunk that opens the answer; it tells what was retrieved, so that a citation can be
        followed while the answer is still being written.
        """
        delta = {
            "role": "assistant",
            "content": "",
            "retrieved": _numbered(prepared.passages),
            "left_out": list(prepared.left_out),
        }
        return self.chunk(delta, with_usage=with_usage)

    def last(self, answer: Answer, *, with_usage: bool) -> bytes:
        """The chunk that ends the answer and tells its sources; then usage if asked; then DONE."""
        delta = {"citations": _citations(answer), "left_out": list(answer.left_out)}
        end = self.chunk(delta, _finish_reason(answer), with_usage=with_usage)
        if with_usage:
            body = {**self._head("chat.completion.chunk"), "choices": [], "usage": usage(answer)}
            end += event(body)
        return end + b"data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def event(body: dict[str, Any]) -> bytes:
    """One server-sent event. JSON holds no bare newline, so one `data:` line is enough."""
    return (
        b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
    )


def sources(answer: Answer) -> dict[str, Any]:
    """Our additions to a message: what it cites, what was retrieved, what was left out."""
    return {
        "citations": _citations(answer),
        "retrieved": _numbered(answer.passages),
        "left_out": list(answer.left_out),
    }


def _citations(answer: Answer) -> list[dict[str, Any]]:
    return [{"number": c.number, **asdict(c.passage)} for c in answer.citations]


def _numbered(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    return [{"number": n, **asdict(passage)} for n, passage in enumerate(passages, start=1)]


def _finish_reason(answer: Answer) -> str:
    """OpenAI knows "stop" and "length"; a cancelled answer has nobody left who would read it."""
    reason = answer.completion.finish_reason
    return {"cancelled": "stop", "timeout": "length"}.get(reason, reason)


def usage(answer: Answer) -> dict[str, int]:
    """OpenAI's `usage`, in tokens of the served model."""
    made = len(answer.completion.token_ids)
    read = answer.completion.prompt_tokens
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


def model_card(entry: Served) -> dict[str, Any]:
    """An entry of `/v1/models`; what the chat page needs is under `chatwright`."""
    return {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": "chatwright",
        "chatwright": {
            "kind": entry.kind,
            "title": entry.title,
            "description": entry.description,
            "examples": list(entry.examples),
            "grounded": entry.knowledge is not None,
        },
    }
