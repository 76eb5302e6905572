"""The answer of `POST /v1/chat/completions`: the completion object, and the chunks of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import anyio.to_thread

from chatwright.assist import Answer, Assistant, Prepared
from chatwright.assist.tools.protocol import (
    MOST_CALLS,
    Choice,
    FunctionTool,
    ToolCall,
    ToolCallReader,
    offered,
    with_tools,
)
from chatwright.generate import Piece, SamplingParams
from chatwright.generate.params import Constraint
from chatwright.records import Message
from chatwright.serve.errors import ApiError
from chatwright.serve.generation import Event, Generation
from chatwright.serve.limits import Limits
from chatwright.serve.openai.chat_request import ChatRequest
from chatwright.serve.openai.choices import Growing, News, numbered, usage
from chatwright.serve.openai.tokens import TokenLog
from chatwright.serve.openai.wire import data_event, to_json

_DONE = b"data: [DONE]\n\n"


class Asked(Protocol):
    """What is asked, in whichever shape."""

    @property
    def parallel_tool_calls(self) -> bool | None: ...

    def conversation(self) -> list[Message]: ...

    def definitions(self, limits: Limits) -> list[FunctionTool]: ...

    def choice(self, tools: list[FunctionTool]) -> Choice: ...

    def form(self) -> Constraint | None: ...

    def sampling(
        self, default: SamplingParams, constraint: Constraint | None = None
    ) -> SamplingParams: ...


class Conversing:
    """An answer to a conversation under way: what chat completions and responses share."""

    def __init__(self, model: str, streamed: bool, form_field: str) -> None:
        self.model = model
        self.form_field = form_field
        self.streamed = streamed
        self.choices: list[Growing] = []
        self.prepared: Prepared | None = None
        self._assistant: Assistant | None = None

    async def ask(
        self, asked: Asked, limits: Limits, assistant: Assistant, tenant: str
    ) -> Generation:
        """Begin. Raises `ApiError` for settings that cannot be together."""
        self._assistant = assistant
        tokenizer = assistant.engine.tokenizer
        tools = asked.definitions(limits)
        choice = asked.choice(tools)
        names = offered(tools, choice)
        template = getattr(tokenizer, "chat_template", None)
        parallel = asked.parallel_tool_calls
        if parallel is None:
            # Small models that must call and may go on do so until they have no room left.
            parallel = choice in ("auto", "none")
        form = asked.form()
        if names and form is None:
            self.form_field = "tools"

        def prepare() -> tuple[list[Message], SamplingParams]:
            messages, constraint = with_tools(
                asked.conversation(), tools, choice, parallel=parallel, template=template, form=form
            )
            return messages, asked.sampling(assistant.settings.sampling, constraint)

        # A template is a program from outside, and takes its time to compile.
        messages, params = await anyio.to_thread.run_sync(prepare) if names else prepare()
        bare = template is None and params.constraint is not None
        for index in range(params.n):
            most = MOST_CALLS if parallel else 1
            reader = ToolCallReader(names, most=most, bare=bare) if names else None
            log = TokenLog(tokenizer) if params.logprobs else None
            self.choices.append(Growing(index, reader, log))
        return Generation(assistant, messages, params, tenant=tenant)

    @property
    def over(self) -> bool:
        return bool(self.choices) and all(choice.over for choice in self.choices)

    def take(self, events: Sequence[Event]) -> list[tuple[Growing, News]]:
        """What is new in each answer, with what came in a row as one."""
        found: dict[int, tuple[Growing, News]] = {}
        for event in events:
            if isinstance(event, Piece):
                choice = self.choices[event.index]
                news = choice.feed(event)
                if (earlier := found.get(event.index)) is None:
                    found[event.index] = (choice, news)
                else:
                    earlier[1].parts += news.parts
                    earlier[1].tokens += news.tokens
            elif isinstance(event, Answer):
                assert self._assistant is not None and self.prepared is not None
                self.choices[event.completion.index].end(event, self._assistant, self.prepared)
            elif isinstance(event, Prepared):
                self.prepared = event
        return list(found.values())

    def answers(self) -> list[Answer]:
        return [choice.answer for choice in self.choices if choice.answer is not None]

    def usage(self) -> dict[str, Any]:
        return usage([answer.completion for answer in self.answers()])

    def used(self) -> tuple[int, int]:
        read = self.prepared.prompt_tokens if self.prepared else 0
        return read, sum(choice.made for choice in self.choices)

    def said_texts(self) -> list[str]:
        calls = [call.arguments for choice in self.choices for call in choice.calls]
        return [choice.text for choice in self.choices] + calls

    def withhold(self) -> None:
        for choice in self.choices:
            choice.flagged = True
            choice.calls = []


class ChatWire(Conversing):
    """One answer's id, time and model, and every shape that it takes on the wire."""

    def __init__(self, asked: ChatRequest, limits: Limits) -> None:
        super().__init__(asked.model, bool(asked.stream), "response_format")
        self._asked = asked
        self._limits = limits
        options = asked.stream_options
        self._with_usage = bool(options is not None and options.include_usage)
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        # A chunk of text differs from the next in two places: the rest is written once.
        head = to_json(self._head("chat.completion.chunk"))[:-1]
        self._before = b"data: " + head + b',"choices":[{"index":'
        usage = b',"usage":null' if self._with_usage else b""
        self._after = b'},"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"

    async def start(self, assistant: Assistant, tenant: str) -> Generation:
        return await self.ask(self._asked, self._limits, assistant, tenant)

    def read(self, events: Sequence[Event]) -> bytes:
        opening = self.prepared is None
        news = self.take(events)
        if not self.streamed:
            return b""
        out = [self._first()] if opening and self.prepared is not None else []
        for choice, new in news:
            out += self._news(choice, new)
        return b"".join(out)

    def last(self) -> bytes:
        """The chunks that end each answer and tell its sources; then usage if asked; then DONE."""
        left_out = self.prepared.left_out if self.prepared else []
        out = []
        for choice in self.choices:
            delta = {"citations": choice.citations(), "left_out": list(left_out)}
            out.append(self._chunk(choice.index, delta, finish_reason=choice.finish_reason()))
        if self._with_usage:
            body = {**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage()}
            out.append(data_event(body))
        return b"".join([*out, _DONE])

    def failed(self, error: ApiError) -> bytes:
        return data_event(error.body())

    def whole(self) -> dict[str, Any]:
        """The `chat.completion` object of an answer that is not streamed."""
        choices = [
            {
                "index": choice.index,
                "message": self._message(choice),
                "logprobs": self._logprobs(choice),
                "finish_reason": choice.finish_reason(),
            }
            for choice in self.choices
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": self.usage()}

    def asked_texts(self) -> list[str]:
        return [m.content or "" for m in self._asked.messages if m.role in ("user", "tool")][-1:]

    def _message(self, choice: Growing) -> dict[str, Any]:
        assert choice.answer is not None
        # Strict readers of the shape want text or calls; both are told where there are both.
        message: dict[str, Any] = {
            "role": "assistant",
            "content": choice.text or (None if choice.calls else ""),
            "refusal": None,
        }
        if choice.calls:
            message["tool_calls"] = [_call(call) for call in choice.calls]
        return message | {
            "citations": choice.citations(),
            "retrieved": numbered(choice.answer.passages),
            "left_out": list(choice.answer.left_out),
        }

    def _logprobs(self, choice: Growing) -> dict[str, Any] | None:
        if not self._asked.logprobs:
            return None
        tokens = [] if choice.flagged else choice.tokens
        return {"content": [told.entry() for told in tokens], "refusal": None}

    def _first(self) -> bytes:
        """The chunks that open the answers; the first tells what was retrieved, so that a citation
        can be followed while the answer is still being written.
        """
        assert self.prepared is not None
        role = {"role": "assistant", "content": ""}
        sources = {
            "retrieved": numbered(self.prepared.passages),
            "left_out": list(self.prepared.left_out),
        }
        return b"".join(
            self._chunk(choice.index, role | sources if choice.index == 0 else role)
            for choice in self.choices
        )

    def _news(self, choice: Growing, news: News) -> list[bytes]:
        if not self._asked.logprobs and not news.calls:
            text = news.text
            index = b'%d,"delta":{"content":' % choice.index
            return [self._before + index + to_json(text) + self._after] if text else []
        out = []
        tokens = news.tokens
        number = len(choice.calls) - len(news.calls)
        for part in news.parts:
            if isinstance(part, str):
                out.append(self._chunk(choice.index, {"content": part}, tokens))
            else:
                delta = {"tool_calls": [{"index": number, **_call(part)}]}
                out.append(self._chunk(choice.index, delta, tokens))
                number += 1
            tokens = []
        if tokens:  # of text that is held back, or of a call that is not whole
            out.append(self._chunk(choice.index, {}, tokens))
        return out

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        tokens: Sequence[Any] = (),
        finish_reason: str | None = None,
    ) -> bytes:
        """One event of the stream. `usage` is null in it when the caller asked for usage."""
        logprobs = None
        if tokens:
            logprobs = {"content": [told.entry() for told in tokens], "refusal": None}
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
        body = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return data_event({**body, "usage": None} if self._with_usage else body)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self.model}


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
