"""What the OpenAPI document says of these routes: bodies, answers and errors."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from chatwright.serve.bodies import body_schema


def asks(shape: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """A request body for `openapi_extra`: its schema, and one that works."""
    told = body_schema(shape)
    told["requestBody"]["content"]["application/json"]["example"] = example
    return told


_QUESTION = [{"role": "user", "content": "How long is the gate open at spring tide?"}]
CHAT_EXAMPLE = {"model": "quickstart", "messages": _QUESTION, "max_tokens": 200}
COMPLETION_EXAMPLE = {"model": "quickstart", "prompt": "Once upon a time", "max_tokens": 40}
RESPONSES_EXAMPLE = {"model": "quickstart", "input": _QUESTION[0]["content"]}


class ErrorDetail(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every error, in OpenAI's form."""

    error: ErrorDetail


class ModelFacts(BaseModel):
    """What the page shows of an assistant."""

    kind: Literal["assistant", "model"]
    title: str
    description: str
    examples: list[str]
    grounded: bool


class Model(BaseModel):
    """Something that can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    chatwright: ModelFacts


class ModelList(BaseModel):
    """All that can be asked."""

    object: Literal["list"]
    data: list[Model]


class _Open(BaseModel):
    """Newer versions may add fields."""

    model_config = ConfigDict(extra="allow")


class SourcePassage(BaseModel):
    """A passage and its number."""

    number: int
    id: str
    title: str
    uri: str
    text: str


class PromptDetails(BaseModel):
    """How many tokens of the prompt were not computed again."""

    cached_tokens: int


class Usage(BaseModel):
    """Tokens of the served model."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class TopLogprob(BaseModel):
    """A token that could have come, and its log-probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token of the answer, and the likeliest in its place."""

    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    """The tokens of the answer."""

    content: list[TokenLogprob]
    refusal: None


class CalledFunction(BaseModel):
    """The function, and the text of its arguments (a JSON object)."""

    name: str
    arguments: str


class MessageCall(BaseModel):
    """A call that the model asks for."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class AnswerMessage(BaseModel):
    """The assistant's turn. `citations`, `retrieved` and `left_out` are additions to OpenAI's."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[MessageCall] | None = None
    citations: list[SourcePassage]
    retrieved: list[SourcePassage]
    left_out: list[str]


class ChatChoice(BaseModel):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]


class ChatCompletion(BaseModel):
    """The answer to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextLogprobs(BaseModel):
    """The tokens of a continuation, and where each begins in its text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    """One continuation."""

    text: str
    index: int
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"]


class TextCompletion(BaseModel):
    """The continuations of the prompts: n of the first, then n of the second."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class OutputItem(_Open):
    """A message (`content` of `output_text` parts) or a `function_call`."""

    type: Literal["message", "function_call"]
    id: str
    status: Literal["completed"]


class ResponseUsage(_Open):
    """Tokens of the served model."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class ResponseObject(_Open):
    """The answer, and the settings that it was made with."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    model: str
    output: list[OutputItem]
    usage: ResponseUsage
    store: Literal[False] = Field(description="Nothing is stored.")


_REASONS = {
    400: "Something in the request is wrong or over a limit; `param` names it.",
    401: "No credential, or one that is not valid.",
    403: "The credential does not allow this.",
    404: "There is no model of that name.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    421: "The server does not go by the name in the Host header.",
    429: "Too many requests, no quota left, or too many answers under way.",
    500: "The server failed.",
    503: "The model cannot be loaded.",
}
Responses = dict[int | str, dict[str, Any]]


def _errors(*statuses: int) -> Responses:
    return {status: {"model": ErrorBody, "description": _REASONS[status]} for status in statuses}


ERRORS = _errors(400, 401, 403, 404, 421, 429, 500)
_ASKING = _errors(400, 401, 403, 404, 408, 413, 415, 421, 429, 500, 503)


def _answers(whole: type[BaseModel], events: str) -> Responses:
    stream = {"schema": {"type": "string", "description": events}}
    told: dict[str, Any] = {
        "model": whole,
        "description": "The answer; with `stream` server-sent events.",
        "content": {"text/event-stream": stream},
    }
    return {200: told, **_ASKING}


CHAT = _answers(
    ChatCompletion,
    "`data:` lines with `chat.completion.chunk` objects, and `data: [DONE]` at the end.",
)
COMPLETIONS = _answers(
    TextCompletion,
    "`data:` lines with `text_completion` objects, and `data: [DONE]` at the end.",
)
RESPONSES = _answers(
    ResponseObject,
    "Events `response.created`, `response.in_progress`, `response.output_item.added`, "
    "`response.content_part.added`, `response.output_text.delta`, `response.output_text.done`, "
    "`response.content_part.done`, `response.function_call_arguments.delta`, "
    "`response.function_call_arguments.done`, `response.output_item.done`, and at the end "
    "`response.completed` or `response.incomplete`; `error` where something went wrong.",
)
