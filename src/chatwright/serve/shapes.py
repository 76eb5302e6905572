"""OpenAI's chat shapes: requests read strictly, answers written exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError, from_json

from chatwright.generate import SamplingParams
from chatwright.records import Message
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits

# What OpenAI's API knows and this server does not do: accepted when it asks for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
}
# What is about the caller's account or the provider's machines, and changes no answer.
_IGNORED = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "parallel_tool_calls",
        "reasoning_effort",
        "verbosity",
    }
)


def _text(content: Any) -> str:
    """Message content: a string, or a list of text parts joined."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise PydanticCustomError("content", "content must be a string or a list of text parts")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise PydanticCustomError("content", "only parts of type 'text' are supported")
        if not isinstance(part.get("text"), str):
            raise PydanticCustomError("content", "a text part needs a string under 'text'")
        texts.append(part["text"])
    return "\n".join(texts)


def _stops(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class ChatMessage(_Shape):
    """One turn. `developer` is OpenAI's newer name of `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text)]


class StreamOptions(_Shape):
    """What a streamed answer should carry besides its text."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class ChatRequest(_Shape):
    """The body of `POST /v1/chat/completions`; `top_k` and `repetition_penalty` are additions."""

    model: str = Field(max_length=300)
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Annotated[list[Annotated[str, Field(min_length=1)]] | None, BeforeValidator(_stops)] = (
        None
    )
    seed: int | None = Field(None, ge=0, lt=2**63)

    def conversation(self) -> list[Message]:
        return [
            Message("system" if m.role == "developer" else m.role, m.content) for m in self.messages
        ]

    def sampling(self, default: SamplingParams) -> SamplingParams:
        """`default` (the assistant's own settings) with what the caller asked for put over it."""
        asked: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "stop": tuple(self.stop) if self.stop else None,
            "seed": self.seed,
        }
        return replace(default, **{name: v for name, v in asked.items() if v is not None})


def parse_chat_request(body: bytes, limits: Limits) -> ChatRequest:
    """Read and check a request body. Raises `ApiError` (400) with the field and the reason."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    _check_fields(value)
    try:
        request = ChatRequest.model_validate(value)
    except ValidationError as error:
        raise _first(error) from error
    _check_limits(request, limits)
    return request


def _check_fields(value: dict[str, Any]) -> None:
    for name, told in value.items():
        if name in ChatRequest.model_fields or name in _IGNORED or told is None:
            continue
        if name not in _NEUTRAL:
            raise ApiError(
                400, f"unknown field {name[:100]!r}", param=name[:100], code="unknown_field"
            )
        # bool is an int in Python: `n: true` must not pass for 1
        if not any(
            told == v and isinstance(told, bool) == isinstance(v, bool) for v in _NEUTRAL[name]
        ):
            wanted = " or ".join(repr(v) for v in _NEUTRAL[name])
            raise ApiError(
                400,
                f"{name!r} is not supported by this server except as {wanted}",
                param=name,
                code="unsupported_value",
            )


def _check_limits(request: ChatRequest, limits: Limits) -> None:
    def refuse(param: str, message: str) -> ApiError:
        return ApiError(400, message, param=param, code="limit_exceeded")

    if len(request.messages) > limits.messages:
        raise refuse("messages", f"at most {limits.messages} messages are accepted")
    if request.messages[-1].role != "user":
        raise ApiError(400, "the last message must be the user's", param="messages")
    for param in ("max_tokens", "max_completion_tokens"):
        if (getattr(request, param) or 0) > limits.max_tokens:
            raise refuse(param, f"{param} may be at most {limits.max_tokens}")
    stops = request.stop or []
    if len(stops) > limits.stop_strings or any(len(s) > limits.stop_length for s in stops):
        raise refuse(
            "stop",
            f"at most {limits.stop_strings} stop strings of {limits.stop_length} characters",
        )


def _first(error: ValidationError) -> ApiError:
    """The first thing wrong, by field; the value itself is not repeated."""
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = ".".join(str(part) for part in detail["loc"])
    return ApiError(400, f"{param}: {detail['msg']}", param=param or None, code="invalid_value")
