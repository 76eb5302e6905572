"""The body of `POST /v1/responses`, as far as a server that stores nothing can answer it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from chatwright.assist.tools.protocol import Choice, FunctionTool, ToolCall, called, result
from chatwright.generate import SamplingParams
from chatwright.generate.params import MOST_TOP_LOGPROBS, Constraint
from chatwright.records import Message
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits
from chatwright.serve.openai.chat_request import CallId
from chatwright.serve.openai.functions import (
    Arguments,
    FlatChoice,
    FlatTool,
    FunctionName,
    choice_of,
    definitions,
)
from chatwright.serve.openai.parsing import Request, Shape, check_schema, over_limit, parse
from chatwright.serve.openai.sampling import MOST, json_form, settle

_LOGPROBS = "message.output_text.logprobs"


class InputText(Shape):
    """A part of a message's content. Only text is supported."""

    type: Literal["input_text", "output_text", "text"]
    text: str


def _text(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in (
            "input_text",
            "output_text",
            "text",
        ):
            raise PydanticCustomError("content", "only parts of type 'input_text' are supported")
        if not isinstance(part.get("text"), str):
            raise PydanticCustomError("content", "a text part needs a string under 'text'")
        texts.append(part["text"])
    return "\n".join(texts)


Content = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | list[InputText])]


class InputMessage(Shape):
    """A turn of the conversation."""

    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class InputCall(Shape):
    """A call that the model made earlier."""

    type: Literal["function_call"]
    call_id: CallId
    name: FunctionName
    arguments: Arguments


class InputResult(Shape):
    """What such a call gave."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Content


def _kind(item: Any) -> str:
    """Which kind of item it is: errors then name its fields, not those of all kinds."""
    kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    return f"[{kind}]" if kind in ("function_call", "function_call_output") else "[message]"


Item = Annotated[
    Annotated[InputMessage, Tag("[message]")]
    | Annotated[InputCall, Tag("[function_call]")]
    | Annotated[InputResult, Tag("[function_call_output]")],
    Discriminator(_kind),
]


def _items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class TextFormat(Shape):
    """What the answer must look like: any text, any JSON object, or JSON of a given schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(None, max_length=64)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> TextFormat:
        if self.type == "json_schema" and self.schema_ is None:
            raise PydanticCustomError("schema", "type 'json_schema' needs the field 'schema'")
        return self


class TextSettings(Shape):
    """The form of the text."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponsesRequest(Request):
    """A conversation to be answered. Nothing is stored, so all of it is sent each time."""

    ignored: ClassVar[frozenset[str]] = frozenset({"reasoning", "stream_options"})
    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {
        "store": (False,),
        "background": (False,),
        "max_tool_calls": (),
        "previous_response_id": (),
        "conversation": (),
        "prompt": (),
    }

    model: str = Field(max_length=300, description="A name that /v1/models lists.")
    input: Annotated[
        list[Item], BeforeValidator(_items, json_schema_input_type=str | list[Item])
    ] = Field(min_length=1)
    instructions: str | None = Field(None, description="A system message before the input.")
    max_output_tokens: int | None = Field(None, ge=1, le=MOST)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    text: TextSettings | None = None
    tools: list[FlatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | FlatChoice | None = None
    parallel_tool_calls: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_TOP_LOGPROBS)
    include: list[str] | None = Field(
        None, max_length=10, description=f"{_LOGPROBS!r} tells the tokens of the answer."
    )
    truncation: Literal["auto", "disabled"] | None = Field(
        None, description="Accepted: what does not fit is left out either way, and told."
    )
    metadata: dict[str, Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16, description="Given back as it came."
    )
    stream: bool | None = Field(None, description="Server-sent events as it is written.")

    @property
    def logprobs(self) -> bool:
        return _LOGPROBS in (self.include or [])

    def conversation(self) -> list[Message]:
        turns = [Message("system", self.instructions)] if self.instructions else []
        waiting: list[ToolCall] = []  # calls in a row are one turn
        said = ""  # and what was said right before them belongs to it
        for item in self.input:
            if isinstance(item, InputCall):
                waiting.append(ToolCall(item.call_id, item.name, item.arguments))
                continue
            if waiting:
                turns.append(called(said, waiting))
                waiting, said = [], ""
            elif said:
                turns.append(Message("assistant", said))
                said = ""
            if isinstance(item, InputResult):
                turns.append(result(item.output))
            elif item.role == "assistant":
                said = item.content
            else:
                turns.append(Message("user" if item.role == "user" else "system", item.content))
        if waiting or said:
            turns.append(called(said, waiting))
        return turns

    def definitions(self, limits: Limits) -> list[FunctionTool]:
        return definitions(self.tools or [], limits)

    def choice(self, tools: list[FunctionTool]) -> Choice:
        return choice_of(self.tool_choice, tools)

    def form(self) -> Constraint | None:
        form = self.text.format if self.text else None
        return json_form(form.type, form.schema_) if form else None

    def sampling(
        self, default: SamplingParams, constraint: Constraint | None = None
    ) -> SamplingParams:
        return settle(
            default,
            {
                "temperature": self.temperature,
                "top_p": self.top_p,
                "max_tokens": self.max_output_tokens,
                "constraint": constraint,
                "logprobs": self.logprobs or None,
                "top_logprobs": self.top_logprobs if self.logprobs else None,
            },
        )

    def check(self, limits: Limits) -> None:
        """Raises `ApiError` (400) for more than this server takes, and for loose ends."""
        if len(self.input) > limits.messages:
            raise over_limit("input", f"at most {limits.messages} items are accepted")
        if (self.max_output_tokens or 0) > limits.max_tokens:
            raise over_limit(
                "max_output_tokens", f"max_output_tokens may be at most {limits.max_tokens}"
            )
        unknown = [name for name in self.include or [] if name != _LOGPROBS]
        if unknown:
            raise ApiError(
                400,
                f"only {_LOGPROBS!r} can be included",
                param="include",
                code="unsupported_value",
            )
        form = self.text.format if self.text else None
        if form is not None and form.schema_ is not None:
            check_schema(form.schema_, limits, "text")
        self.choice(self.definitions(limits))
        made: set[str] = set()
        for number, item in enumerate(self.input):
            if isinstance(item, InputCall):
                made.add(item.call_id)
            elif isinstance(item, InputResult) and item.call_id not in made:
                raise ApiError(
                    400,
                    "call_id names no function_call before it",
                    param=f"input.{number}.call_id",
                    code="invalid_value",
                )
        last = self.input[-1]
        if not (isinstance(last, InputResult) or getattr(last, "role", "") == "user"):
            raise ApiError(
                400,
                "the last item must be the user's message, or a call's output",
                param="input",
                code="invalid_value",
            )


def parse_responses_request(body: bytes, limits: Limits) -> ResponsesRequest:
    """Read and check a request body. Raises `ApiError` (400) with the field and the reason."""
    request = parse(body, ResponsesRequest)
    request.check(limits)
    return request
