"""The body of `POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from chatwright.assist.tools.protocol import Choice, FunctionTool, ToolCall, called, result
from chatwright.generate import SamplingParams
from chatwright.generate.params import MOST_TOP_LOGPROBS, Constraint
from chatwright.records import Message
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits
from chatwright.serve.openai.functions import (
    Arguments,
    FunctionName,
    Tool,
    ToolChoice,
    choice_of,
    definitions,
)
from chatwright.serve.openai.parsing import Shape, check_schema, over_limit, parse
from chatwright.serve.openai.sampling import MOST, Sampling, json_form, settle

CallId = Annotated[str, Field(min_length=1, max_length=200)]


class TextPart(Shape):
    """A part of a message's content. Only text is supported."""

    type: Literal["text"]
    text: str


def _text(content: Any) -> Any:
    """Message content: a string, or a list of text parts joined."""
    if content is None or isinstance(content, str):
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


Content = Annotated[
    str | None, BeforeValidator(_text, json_schema_input_type=str | list[TextPart] | None)
]


class CalledFunction(Shape):
    """What the model called, and the text of its arguments (a JSON object)."""

    name: FunctionName
    arguments: Arguments


class MadeCall(Shape):
    """A call that the assistant made earlier."""

    id: CallId
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(Shape):
    """One turn. `developer` is OpenAI's newer name of `system`; `tool` holds a call's result."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    tool_calls: list[MadeCall] | None = None
    tool_call_id: Annotated[CallId | None, Field(validate_default=True)] = None
    content: Annotated[Content, Field(validate_default=True)] = None

    @field_validator("tool_calls")
    @classmethod
    def _made_by_assistant(cls, calls: Any, info: ValidationInfo) -> Any:
        if calls and info.data.get("role", "assistant") != "assistant":
            raise PydanticCustomError("tool_calls", "only the assistant makes tool_calls")
        return calls

    @field_validator("tool_call_id")
    @classmethod
    def _answers_a_call(cls, call_id: Any, info: ValidationInfo) -> Any:
        if call_id is None and info.data.get("role") == "tool":
            raise PydanticCustomError("tool_call_id", "a tool message needs 'tool_call_id'")
        return call_id

    @field_validator("content")
    @classmethod
    def _something_said(cls, content: Any, info: ValidationInfo) -> Any:
        calling = info.data.get("role") == "assistant" and info.data.get("tool_calls")
        if content is None and not calling:
            raise PydanticCustomError("content", "this message needs content")
        return content

    def calls(self) -> list[ToolCall]:
        return [
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in self.tool_calls or []
        ]

    def message(self) -> Message:
        """The turn as the model reads it."""
        text = self.content or ""
        if self.role == "tool":
            return result(text)
        if self.tool_calls:
            return called(text, self.calls())
        return Message("system" if self.role == "developer" else self.role, text)


class StreamOptions(Shape):
    """What a streamed answer should carry besides its text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JsonSchema(Shape):
    """A named JSON schema. It is followed to the letter whether `strict` is asked for or not."""

    name: str = Field(max_length=64)
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Shape):
    """What the answer must look like: any text, any JSON object, or JSON of a given schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("schema", "type 'json_schema' needs the field 'json_schema'")
        return self

    def constraint(self) -> Constraint | None:
        return json_form(self.type, self.json_schema.schema_ if self.json_schema else None)


class ChatRequest(Sampling):
    """A conversation to be answered. Fields marked as not OpenAI's are additions."""

    ignored: ClassVar[frozenset[str]] = frozenset({"store", "reasoning_effort", "verbosity"})
    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {
        "functions": ([],),
        "function_call": ("none", "auto"),
        "modalities": (["text"],),
    }

    messages: list[ChatMessage] = Field(min_length=1)
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = Field(
        None, ge=1, le=MOST, description="The newer name of max_tokens."
    )
    response_format: ResponseFormat | None = None
    logprobs: bool | None = Field(None, description="Tell the log-probability of each token.")
    top_logprobs: int | None = Field(None, ge=0, le=MOST_TOP_LOGPROBS)
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = Field(
        None, description="false: at most one call in an answer."
    )

    def conversation(self) -> list[Message]:
        return [m.message() for m in self.messages]

    def definitions(self, limits: Limits) -> list[FunctionTool]:
        return definitions([tool.function for tool in self.tools or []], limits)

    def choice(self, tools: list[FunctionTool]) -> Choice:
        return choice_of(self.tool_choice, tools)

    def form(self) -> Constraint | None:
        """What the answer must look like, as far as `response_format` says."""
        return self.response_format.constraint() if self.response_format else None

    def sampling(
        self, default: SamplingParams, constraint: Constraint | None = None
    ) -> SamplingParams:
        """The engine's settings; `constraint` is what tools make of the `form`."""
        asked = self.asked() | {"constraint": constraint or self.form()}
        asked["logprobs"] = self.logprobs
        asked["top_logprobs"] = self.top_logprobs
        if self.max_completion_tokens is not None:
            asked["max_tokens"] = self.max_completion_tokens
        return settle(default, asked)

    def check(self, limits: Limits) -> None:
        super().check(limits)
        if len(self.messages) > limits.messages:
            raise over_limit("messages", f"at most {limits.messages} messages are accepted")
        if self.messages[-1].role not in ("user", "tool"):
            raise ApiError(
                400,
                "the last message must be the user's, or a tool's result",
                param="messages",
                code="invalid_value",
            )
        if (self.max_completion_tokens or 0) > limits.max_tokens:
            raise over_limit(
                "max_completion_tokens",
                f"max_completion_tokens may be at most {limits.max_tokens}",
            )
        if (form := self.response_format) is not None and form.json_schema is not None:
            check_schema(form.json_schema.schema_, limits, "response_format")
        self.choice(self.definitions(limits))
        self._check_calls(limits)

    def _check_calls(self, limits: Limits) -> None:
        """A result belongs to a call that was made before it."""
        made: set[str] = set()
        for number, message in enumerate(self.messages):
            if len(message.tool_calls or []) > limits.tools:
                raise over_limit(
                    f"messages.{number}.tool_calls", f"at most {limits.tools} calls are accepted"
                )
            made.update(call.id for call in message.tool_calls or [])
            if message.role == "tool" and message.tool_call_id not in made:
                raise ApiError(
                    400,
                    "tool_call_id names no call of an assistant's message before it",
                    param=f"messages.{number}.tool_call_id",
                    code="invalid_value",
                )


def parse_chat_request(body: bytes, limits: Limits) -> ChatRequest:
    """Read and check a request body. Raises `ApiError` (400) with the field and the reason."""
    request = parse(body, ChatRequest)
    request.check(limits)
    return request
