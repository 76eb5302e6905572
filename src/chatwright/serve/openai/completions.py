"""`POST /v1/completions`: texts continued as they are, in the shape that came before chat's."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from chatwright.assist import Assistant
from chatwright.generate import Completion, Piece, SamplingParams
from chatwright.generate.params import MOST_TOP_LOGPROBS
from chatwright.serve.errors import ApiError
from chatwright.serve.generation import Event, TextGeneration
from chatwright.serve.limits import Limits
from chatwright.serve.openai.chat_request import StreamOptions
from chatwright.serve.openai.choices import finish_reason, usage
from chatwright.serve.openai.parsing import over_limit, parse
from chatwright.serve.openai.sampling import MOST, Sampling, settle
from chatwright.serve.openai.tokens import TokenLog, Told
from chatwright.serve.openai.wire import data_event

TokenNumber = Annotated[int, Field(ge=0, lt=10**9)]


def _prompts(prompt: Any) -> Any:
    """One prompt or several, each text or token ids, as a list of prompts."""
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt and all(type(one) is int for one in prompt):
        return [prompt]
    if not isinstance(prompt, list):
        raise PydanticCustomError("prompt", "a prompt is text, token ids, or a list of either")
    return prompt


Prompts = Annotated[
    list[str | list[TokenNumber]],
    BeforeValidator(
        _prompts,
        json_schema_input_type=str | list[TokenNumber] | list[str] | list[list[TokenNumber]],
    ),
]


class CompletionRequest(Sampling):
    """Texts to be continued. Fields marked as not OpenAI's are additions."""

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {"suffix": ("",)}

    prompt: Prompts = Field(
        description="Text or token ids, or a list of either. Special tokens in text are text."
    )
    stream_options: StreamOptions | None = None
    best_of: int | None = Field(
        None, ge=1, le=MOST, description="Make so many, and give the n likeliest."
    )
    echo: bool | None = Field(None, description="Give the prompt back before what follows it.")
    logprobs: int | None = Field(
        None,
        ge=0,
        le=MOST_TOP_LOGPROBS,
        description="Tell this many likeliest tokens at each place.",
    )

    def sampling(self, default: SamplingParams) -> SamplingParams:
        """The engine's settings, over the assistant's own."""
        asked = self.asked() | {"best_of": self.best_of}
        asked["logprobs"] = None if self.logprobs is None else True
        asked["top_logprobs"] = self.logprobs
        return settle(default, asked)

    def check(self, limits: Limits) -> None:
        super().check(limits)
        if not self.prompt:
            raise ApiError(400, "there is no prompt", param="prompt", code="invalid_value")
        if len(self.prompt) > limits.prompts:
            raise over_limit("prompt", f"at most {limits.prompts} prompts are accepted")
        if (self.best_of or 1) > limits.choices:
            raise over_limit("best_of", f"best_of may be at most {limits.choices}")
        if len(self.prompt) * max(self.n or 1, self.best_of or 1) > limits.prompts:
            raise over_limit("n", f"at most {limits.prompts} answers are made to all prompts")
        if self.stream and (self.best_of or 1) > (self.n or 1):
            raise ApiError(
                400,
                "the best of several are known at the end only: best_of cannot be streamed",
                param="best_of",
                code="invalid_value",
            )
        if self.echo and self.logprobs is not None:
            raise ApiError(
                400,
                "log-probabilities of the prompt are not told: leave out echo or logprobs",
                param="echo",
                code="unsupported_value",
            )


def parse_completion_request(body: bytes, limits: Limits) -> CompletionRequest:
    """Read and check a request body. Raises `ApiError` (400) with the field and the reason."""
    request = parse(body, CompletionRequest)
    request.check(limits)
    return request


class _Text:
    """One continuation as it grows."""

    def __init__(self, before: str, log: TokenLog | None) -> None:
        self.text = before
        self.tokens: list[Told] = []
        self.completion: Completion | None = None
        self.made = 0
        self._log = log

    def feed(self, piece: Piece) -> list[Told]:
        self.made += 1
        self.text += piece.text
        if self._log is None:
            return []
        done = piece.completion
        told = (
            self._log.add(piece.text, piece.chosen)
            if done is None
            else self._log.rest(piece.text, done)
        )
        self.tokens += told
        return told


class CompletionWire:
    """The `text_completion` object, whole or in the chunks of a stream."""

    def __init__(self, asked: CompletionRequest) -> None:
        self.model = asked.model
        self.form_field = "prompt"
        self.streamed = bool(asked.stream)
        self._asked = asked
        self._texts: list[_Text] = []
        self._opened = False
        self._withheld = False
        options = asked.stream_options
        self._with_usage = bool(options is not None and options.include_usage)
        self._head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.model,
        }

    async def start(self, assistant: Assistant, tenant: str) -> TextGeneration:
        params = self._asked.sampling(assistant.settings.sampling)
        tokenizer = assistant.engine.tokenizer
        for prompt in self._asked.prompt:
            before = ""
            if self._asked.echo:
                before = prompt if isinstance(prompt, str) else _decoded(tokenizer, prompt)
            for _ in range(params.n):
                log = TokenLog(tokenizer) if params.logprobs else None
                self._texts.append(_Text(before, log))
        return TextGeneration(assistant, self._asked.prompt, params, tenant=tenant)

    @property
    def over(self) -> bool:
        return bool(self._texts) and all(text.completion for text in self._texts)

    def read(self, events: Sequence[Event]) -> bytes:
        joined: dict[int, tuple[str, list[Told]]] = {}
        if self.streamed and not self._opened and self._asked.echo:
            joined = {index: (text.text, []) for index, text in enumerate(self._texts)}
        self._opened = True
        for event in events:
            if isinstance(event, Piece):
                told = self._texts[event.index].feed(event)
                text, tokens = joined.get(event.index, ("", []))
                joined[event.index] = (text + event.text, tokens + told)
            elif isinstance(event, Completion):
                self._texts[event.index].completion = event
                self._texts[event.index].made = len(event.token_ids)
        if not self.streamed:
            return b""
        return b"".join(
            self._chunk(index, text, tokens)
            for index, (text, tokens) in joined.items()
            if text or tokens
        )

    def last(self) -> bytes:
        out = [
            self._chunk(index, "", [], self._reason(text)) for index, text in enumerate(self._texts)
        ]
        if self._with_usage:
            out.append(data_event({**self._head, "choices": [], "usage": self._usage()}))
        return b"".join([*out, b"data: [DONE]\n\n"])

    def failed(self, error: ApiError) -> bytes:
        return data_event(error.body())

    def whole(self) -> dict[str, Any]:
        choices = [
            self._choice(index, *self._shown(text), self._reason(text))
            for index, text in enumerate(self._texts)
        ]
        return {**self._head, "choices": choices, "usage": self._usage()}

    def used(self) -> tuple[int, int]:
        told = self._usage()
        return told["prompt_tokens"], sum(text.made for text in self._texts)

    def asked_texts(self) -> list[str]:
        return [prompt for prompt in self._asked.prompt if isinstance(prompt, str)]

    def said_texts(self) -> list[str]:
        return [text.text for text in self._texts]

    def withhold(self) -> None:
        self._withheld = True

    def _shown(self, text: _Text) -> tuple[str, list[Told]]:
        return ("", []) if self._withheld else (text.text, text.tokens)

    def _reason(self, text: _Text) -> str:
        assert text.completion is not None
        return "content_filter" if self._withheld else finish_reason(text.completion)

    def _usage(self) -> dict[str, Any]:
        """The sum over the prompts, each of which is counted once."""
        each = max(1, len(self._texts) // len(self._asked.prompt))
        groups = [self._texts[at : at + each] for at in range(0, len(self._texts), each)]
        told = [usage([t.completion for t in group if t.completion]) for group in groups]
        total: dict[str, Any] = {
            name: sum(one[name] for one in told)
            for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        }
        cached = sum(one["prompt_tokens_details"]["cached_tokens"] for one in told)
        return total | {"prompt_tokens_details": {"cached_tokens": cached}}

    def _chunk(self, index: int, text: str, tokens: list[Told], reason: str | None = None) -> bytes:
        body = {**self._head, "choices": [self._choice(index, text, tokens, reason)]}
        return data_event({**body, "usage": None} if self._with_usage else body)

    def _choice(
        self, index: int, text: str, tokens: list[Told], reason: str | None
    ) -> dict[str, Any]:
        logprobs = None
        if self._asked.logprobs is not None and (tokens or not self.streamed):
            logprobs = {
                "tokens": [_shown(one.data) for one in tokens],
                "token_logprobs": [max(one.logprob, -9999.0) for one in tokens],
                "top_logprobs": [
                    {_shown(data): max(logprob, -9999.0) for data, logprob in one.top}
                    for one in tokens
                ],
                "text_offset": [one.offset for one in tokens],
            }
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _decoded(tokenizer: Any, prompt: list[int]) -> str:
    decode = getattr(tokenizer, "decode", None)
    if decode is None:
        raise ApiError(
            400,
            "this model does not tell the text of tokens",
            param="echo",
            code="unsupported_value",
        )
    text: str = decode(prompt)
    return text
