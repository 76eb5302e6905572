"""The answer of `POST /v1/responses`: the response object, and the events of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from chatwright.assist import Answer, Assistant
from chatwright.assist.tools.protocol import ToolCall
from chatwright.generate import SamplingParams
from chatwright.serve.errors import ApiError
from chatwright.serve.generation import Event, Generation
from chatwright.serve.limits import Limits
from chatwright.serve.openai.chat_reply import Conversing
from chatwright.serve.openai.choices import News, numbered
from chatwright.serve.openai.responses_request import InputMessage, ResponsesRequest
from chatwright.serve.openai.tokens import Told
from chatwright.serve.openai.wire import to_json


class _Message:
    """The message item of the answer while it is written; what follows a call is a new one."""

    def __init__(self, place: int) -> None:
        self.id = f"msg_{uuid.uuid4().hex}"
        self.place = place
        self.said: list[str] = []
        self.tokens: list[Told] = []

    @property
    def text(self) -> str:
        return "".join(self.said)


class ResponsesWire(Conversing):
    """One response's id, time and settings, and every event that tells of it."""

    def __init__(self, asked: ResponsesRequest, limits: Limits) -> None:
        super().__init__(asked.model, bool(asked.stream), "text")
        self._asked = asked
        self._limits = limits
        self._id = f"resp_{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._params: SamplingParams | None = None
        self._number = 0  # of the next event
        self._output: list[dict[str, Any]] = []  # finished items
        self._open: _Message | None = None

    async def start(self, assistant: Assistant, tenant: str) -> Generation:
        self._params = self._asked.sampling(assistant.settings.sampling)
        return await self.ask(self._asked, self._limits, assistant, tenant)

    def read(self, events: Sequence[Event]) -> bytes:
        opening = self.prepared is None
        news = self.take(events)
        out: list[bytes] = []
        if opening and self.prepared is not None:
            state = self._response("in_progress")
            out += [self._event("response.created", response=state)]
            out += [self._event("response.in_progress", response=state)]
        for _, new in news:
            out += self._news(new)
        return b"".join(out) if self.streamed else b""

    def last(self) -> bytes:
        out = self._close() if self.choices[0].calls or self._open else self._empty()
        status, _ = self._status()
        kind = "response.completed" if status == "completed" else "response.incomplete"
        return b"".join([*out, self._event(kind, response=self._response(status))])

    def failed(self, error: ApiError) -> bytes:
        told = error.body()["error"]
        return self._event(
            "error", code=told["code"] or told["type"], message=told["message"], param=told["param"]
        )

    def whole(self) -> dict[str, Any]:
        """The `response` object of an answer that is not streamed."""
        if self.choices[0].flagged:
            self._output, self._open = [], None
        if self._open or not self._output:
            self._close() if self._open else self._empty()
        return self._response(self._status()[0])

    def asked_texts(self) -> list[str]:
        said = [i.content for i in self._asked.input if isinstance(i, InputMessage)]
        return [*said[-1:], *([self._asked.instructions] if self._asked.instructions else [])]

    # -- events ----------------------------------------------------------------------------------

    def _news(self, news: News) -> list[bytes]:
        out: list[bytes] = []
        tokens = news.tokens if self._asked.logprobs else []
        for part in news.parts:
            if isinstance(part, ToolCall):
                out += self._close()
                out += self._call(part)
                continue
            if self._open is None:
                out += self._begin()
            assert self._open is not None
            self._open.said.append(part)
            self._open.tokens += tokens
            out.append(
                self._event(
                    "response.output_text.delta",
                    **self._place(self._open),
                    delta=part,
                    logprobs=[told.entry() for told in tokens],
                )
            )
            tokens = []
        return out

    def _empty(self) -> list[bytes]:
        """An answer without a word is a message all the same."""
        return [*self._begin(), *self._close()]

    def _begin(self) -> list[bytes]:
        message = self._open = _Message(len(self._output))
        item = {**_item(message, []), "status": "in_progress"}
        return [
            self._event("response.output_item.added", output_index=message.place, item=item),
            self._event(
                "response.content_part.added", **self._place(message), part=_part("", [], [])
            ),
        ]

    def _close(self) -> list[bytes]:
        message, self._open = self._open, None
        if message is None:
            return []
        answer = self.choices[0].answer
        logprobs = [told.entry() for told in message.tokens]
        # What white space there is at the ends of a whole answer says nothing.
        text = message.text if self.streamed else message.text.strip()
        part = _part(text, _annotations(text, answer), logprobs)
        item = _item(message, [part])
        self._output.append(item)
        place = self._place(message)
        return [
            self._event("response.output_text.done", **place, text=text, logprobs=logprobs),
            self._event("response.content_part.done", **place, part=part),
            self._event("response.output_item.done", output_index=message.place, item=item),
        ]

    def _call(self, call: ToolCall) -> list[bytes]:
        place = len(self._output)
        item = {
            "id": f"fc_{uuid.uuid4().hex}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        self._output.append(item)
        where = {"item_id": item["id"], "output_index": place}
        begun = item | {"status": "in_progress", "arguments": ""}
        kind = "response.function_call_arguments"
        return [
            self._event("response.output_item.added", output_index=place, item=begun),
            self._event(f"{kind}.delta", **where, delta=call.arguments),
            self._event(f"{kind}.done", **where, name=call.name, arguments=call.arguments),
            self._event("response.output_item.done", output_index=place, item=item),
        ]

    def _place(self, message: _Message) -> dict[str, Any]:
        return {"item_id": message.id, "output_index": message.place, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> bytes:
        if not self.streamed:
            return b""
        body = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + to_json(body) + b"\n\n"

    # -- the object ------------------------------------------------------------------------------

    def _status(self) -> tuple[str, dict[str, str] | None]:
        reason = self.choices[0].finish_reason()
        if reason == "length":
            return "incomplete", {"reason": "max_output_tokens"}
        if reason == "content_filter":
            return "incomplete", {"reason": "content_filter"}
        return "completed", None

    def _response(self, status: str) -> dict[str, Any]:
        asked, params = self._asked, self._params
        over = status != "in_progress"
        choice = self.choices[0]
        form = asked.text.format if asked.text else None
        told_form = form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
        tool_choice = asked.tool_choice or "auto"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": self._status()[1] if over else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": self.model,
            "output": list(self._output),
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": params.temperature if params else None,
            "top_p": params.top_p if params else None,
            "text": {"format": told_form},
            "tool_choice": tool_choice
            if isinstance(tool_choice, str)
            else tool_choice.model_dump(),
            "tools": [tool.model_dump() for tool in asked.tools or []],
            "truncation": asked.truncation or "disabled",
            "usage": self._usage() if over else None,
            "metadata": asked.metadata or {},
            "chatwright": {
                "citations": choice.citations(),
                "retrieved": numbered(self.prepared.passages) if self.prepared else [],
                "left_out": list(self.prepared.left_out) if self.prepared else [],
            },
        }

    def _usage(self) -> dict[str, Any]:
        told = self.usage()
        return {
            "input_tokens": told["prompt_tokens"],
            "input_tokens_details": told["prompt_tokens_details"],
            "output_tokens": told["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": told["total_tokens"],
        }


def _item(message: _Message, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": message.id,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }


def _part(text: str, annotations: list[Any], logprobs: list[Any]) -> dict[str, Any]:
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": logprobs,
    }


def _annotations(text: str, answer: Answer | None) -> list[dict[str, Any]]:
    """Citations as OpenAI tells them: where `[number]` first stands, and the page it is from."""
    found = []
    for citation in answer.citations if answer is not None else []:
        mark = f"[{citation.number}]"
        if (at := text.find(mark)) >= 0:
            found.append(
                {
                    "type": "url_citation",
                    "start_index": at,
                    "end_index": at + len(mark),
                    "title": citation.passage.title,
                    "url": citation.passage.uri,
                }
            )
    return found
