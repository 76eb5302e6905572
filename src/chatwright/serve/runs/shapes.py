"""What a page may ask of an answer, checked strictly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from chatwright.generate.params import SamplingParams
from chatwright.serve.bodies import Body
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits
from chatwright.serve.parameters import BodyId

Name = Annotated[str, Field(min_length=1, max_length=300)]

MOST_TEXT = 200_000  # characters of a question, or of a turn of a temporary chat
_MOST_SEED = 2**63 - 1


class SamplingShape(Body):
    """How the answer is sampled; what is missing is the assistant's own."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=100_000)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    repetition_penalty: float | None = Field(default=None, ge=0.5, le=2)
    seed: int | None = Field(default=None, ge=0, le=_MOST_SEED)

    def over(self, own: SamplingParams, limits: Limits) -> SamplingParams:
        """The assistant's own sampling with these in place."""
        from dataclasses import replace

        told = self.model_dump(exclude_none=True)
        changed = replace(own, **told)
        return replace(changed, max_tokens=min(changed.max_tokens, limits.max_tokens))


class TurnShape(Body):
    """A turn of a temporary chat, which only the page keeps."""

    role: Literal["user", "assistant"]
    content: str = Field(max_length=MOST_TEXT)


class AnswerRequest(Body):
    """The body of `POST /v1/chatwright/answers`.

    `ask` writes `text` below `parent_id` (none: the beginning); without a `conversation_id` a new
    conversation is made. `edit` asks the question `message_id` in other words, beside it.
    `regenerate` answers the question of the answer `message_id` (or that question itself) once
    more. `continue` writes on where the answer `message_id` was cut off. `compare` asks and makes
    two answers, by two `models` where they are named. A `temporary` chat is kept nowhere: its
    `messages` come with each request.
    """

    action: Literal["ask", "regenerate", "edit", "continue", "compare"] = "ask"
    conversation_id: BodyId | None = None
    temporary: bool = False
    messages: list[TurnShape] | None = Field(default=None, min_length=1, max_length=10_000)
    parent_id: BodyId | None = None
    message_id: BodyId | None = None
    text: str | None = Field(default=None, max_length=MOST_TEXT)
    attachments: list[BodyId] = Field(default=[], max_length=10)
    model: Name | None = None
    models: list[Name] | None = Field(default=None, min_length=2, max_length=2)
    params: SamplingShape = SamplingShape()
    instructions: str | None = Field(default=None, max_length=20_000)
    persona_id: BodyId | None = None
    collections: list[BodyId] = Field(default=[], max_length=10)
    tools: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default=[], max_length=20
    )
    memory: bool = True

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_nothing(cls, value: Any) -> Any:
        """`null` means the same as a field that is left out."""
        if isinstance(value, dict):
            return {name: told for name, told in value.items() if told is not None}
        return value


def check_request(asked: AnswerRequest, limits: Limits) -> None:
    """What of the fields belongs together. Raises `ApiError` 400."""
    if (asked.params.max_tokens or 0) > limits.max_tokens:
        raise _wrong("params.max_tokens", f"it may be at most {limits.max_tokens}")
    if asked.models is not None and asked.action != "compare":
        raise _wrong("models", "two models are for comparing")
    if asked.temporary:
        _check_temporary(asked, limits)
        return
    if asked.messages is not None:
        raise _wrong("messages", "only a temporary chat brings its messages")
    if asked.action in ("ask", "compare", "edit") and not (asked.text or "").strip():
        raise _wrong("text", "there is no question")
    if asked.action in ("regenerate", "edit", "continue"):
        if asked.message_id is None:
            raise _wrong("message_id", "say which message is meant")
        if asked.parent_id is not None:
            raise _wrong("parent_id", "this action takes a message_id")
    elif asked.message_id is not None:
        raise _wrong("message_id", "a new question has none")
    if asked.action in ("regenerate", "continue") and (asked.text or asked.attachments):
        raise _wrong("text", "this action asks nothing new")
    if asked.parent_id is not None and asked.conversation_id is None:
        raise _wrong("conversation_id", "say in which conversation the parent is")


def _check_temporary(asked: AnswerRequest, limits: Limits) -> None:
    given = (asked.conversation_id, asked.parent_id, asked.message_id, asked.text)
    if any(one is not None for one in given):
        raise _wrong("temporary", "a temporary chat has no ids: all of it is in `messages`")
    if asked.action in ("regenerate", "edit"):
        raise _wrong("action", "ask again with the messages up to the question")
    if not asked.messages:
        raise _wrong("messages", "a temporary chat brings its messages")
    if len(asked.messages) > limits.messages:
        raise _wrong("messages", f"at most {limits.messages} are accepted")
    last = "assistant" if asked.action == "continue" else "user"
    if asked.messages[-1].role != last or not asked.messages[-1].content.strip():
        raise _wrong("messages", f"the last must be the {last}'s, with text")
    if asked.action == "continue" and not any(m.role == "user" for m in asked.messages):
        raise _wrong("messages", "there is no question")


def _wrong(param: str, message: str) -> ApiError:
    return ApiError(400, f"{param}: {message}", param=param, code="invalid_value")
