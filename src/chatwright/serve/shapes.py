"""OpenAI's chat shapes: requests read strictly, answers written exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError, from_json, to_json

from chatwright.errors import UsageError
from chatwright.generate import SamplingParams
from chatwright.generate.params import Constraint
from chatwright.records import Message
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits

# What OpenAI's API knows and this server does not do: accepted when it asks for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
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
# What a setting of the engine is called in a request.
_OUR_NAMES = {"beams": "num_beams", "constraint": "response_format"}


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


# OpenAI writes token ids as JSON's keys are: text.
TokenId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]


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


class JsonSchema(_Shape):
    """A named JSON schema. It is followed to the letter whether `strict` is asked for or not."""

    name: str = Field(max_length=64)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Shape):
    """What the answer must look like: any text, any JSON object, or JSON of a given schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("schema", "type 'json_schema' needs the field 'json_schema'")
        return self

    def constraint(self) -> Constraint | None:
        if self.json_schema is not None and self.type == "json_schema":
            return Constraint.json_schema(self.json_schema.schema_)
        if self.type == "json_object":
            return Constraint.json_schema({"type": "object"})
        return None


class ChatRequest(_Shape):
    """The body of `POST /v1/chat/completions`.

    Additions to OpenAI's: `top_k`, `min_p`, `typical_p`, `repetition_penalty`, `no_repeat_ngram`,
    `min_tokens`, and beam search with `num_beams`, `length_penalty` and `early_stopping` (its
    temperature is 0 where none is given, and a stream of it comes in one piece, at the end).
    """

    model: str = Field(max_length=300)
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000)
    min_p: float | None = Field(None, ge=0, le=1)
    typical_p: float | None = Field(None, gt=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    no_repeat_ngram: int | None = Field(None, ge=0, le=1000)
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = None
    response_format: ResponseFormat | None = None
    num_beams: int | None = Field(None, ge=1)
    length_penalty: float | None = Field(None, ge=-10, le=10)
    early_stopping: Literal[True, False, "never"] | None = None
    min_tokens: int | None = Field(None, ge=0)
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
        """`default` (the assistant's own settings) with what the caller asked for put over it.

        Raises `ApiError` (400) for things that cannot be together, naming one of them.
        """
        asked: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "repetition_penalty": self.repetition_penalty,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "no_repeat_ngram": self.no_repeat_ngram,
            "beams": self.num_beams,
            "length_penalty": self.length_penalty,
            "early_stopping": self.early_stopping,
            "min_tokens": self.min_tokens,
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "stop": tuple(self.stop) if self.stop else None,
            "seed": self.seed,
        }
        if self.logit_bias:
            asked["logit_bias"] = {int(token): bias for token, bias in self.logit_bias.items()}
        if (self.num_beams or 1) > 1 and self.temperature is None:
            asked["temperature"] = 0.0
        try:
            if self.response_format is not None:
                asked["constraint"] = self.response_format.constraint()
            return replace(default, **{name: v for name, v in asked.items() if v is not None})
        except UsageError as error:
            name = error.where or ""
            raise ApiError(
                400, error.message, param=_OUR_NAMES.get(name, name), code="invalid_value"
            ) from error


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
    if (request.num_beams or 1) > limits.beams:
        raise refuse("num_beams", f"num_beams may be at most {limits.beams}")
    if len(request.logit_bias or {}) > limits.logit_biases:
        raise refuse("logit_bias", f"logit_bias may name at most {limits.logit_biases} tokens")
    if (form := request.response_format) is not None and form.json_schema is not None:
        size = len(to_json(form.json_schema.schema_))
        if size > limits.schema_bytes:
            raise refuse("response_format", f"a schema may have {limits.schema_bytes} bytes")
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
