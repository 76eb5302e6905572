"""What callers send about their history, checked strictly, and what they are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from chatwright.serve.bodies import Body
from chatwright.serve.history.store import TITLE_CHARACTERS, Turn
from chatwright.serve.parameters import BodyId, iso

NAME_CHARACTERS = 100
INSTRUCTIONS_CHARACTERS = 20_000
MEMORY_CHARACTERS = 1000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _one_line(text: str) -> str:
    """A name as it is kept: no control character, nothing that turns the writing direction."""
    plain = " ".join(_CONTROL.sub(" ", text).split())
    if not plain:
        raise ValueError("this is empty")
    return plain


Name = Annotated[str, Field(max_length=NAME_CHARACTERS), AfterValidator(_one_line)]
ModelName = Annotated[
    str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")
]  # as the registry names it; whether it is there is asked when it is used


class Params(Body):
    """How answers are sampled; what is missing is the model's own."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=100_000)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    repetition_penalty: float | None = Field(None, ge=0.5, le=2)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)


class ChatSettings(Body):
    """What holds for a whole conversation."""

    model: ModelName | None = None
    instructions: str | None = Field(None, max_length=INSTRUCTIONS_CHARACTERS)
    params: Params | None = None
    persona_id: BodyId | None = None
    collections: list[BodyId] | None = Field(None, max_length=10)
    tools: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        None, max_length=20
    )
    memory: bool | None = None


class ConversationIn(Body):
    """A conversation to be made."""

    title: Annotated[str, Field(max_length=TITLE_CHARACTERS), AfterValidator(_one_line)] | None = (
        None
    )
    model: ModelName | None = None
    folder_id: BodyId | None = None
    settings: ChatSettings | None = None


class ConversationPatch(Body):
    """What changes of a conversation; what is not sent stays. `folder_id` null: in no folder."""

    title: Annotated[str, Field(max_length=TITLE_CHARACTERS), AfterValidator(_one_line)] | None = (
        None
    )
    model: ModelName | None = None
    folder_id: BodyId | None = None
    tags: list[BodyId] | None = Field(None, max_length=50)
    pinned: bool | None = None
    archived: bool | None = None
    current_leaf: BodyId | None = None
    settings: ChatSettings | None = None


class Named(Body):
    """A folder or a tag."""

    name: Name


class PersonaIn(Body):
    """A persona: instructions under a name. `shared`: everybody may use it (administrators)."""

    name: Name
    instructions: str = Field(max_length=INSTRUCTIONS_CHARACTERS)
    model: ModelName | None = None
    params: Params | None = None
    shared: bool = False


class PersonaPatch(Body):
    """What changes of a persona."""

    name: Name | None = None
    instructions: str | None = Field(None, max_length=INSTRUCTIONS_CHARACTERS)
    model: ModelName | None = None
    params: Params | None = None
    shared: bool | None = None


class MemoryIn(Body):
    """Something to keep in mind."""

    text: Annotated[
        str, Field(min_length=1, max_length=MEMORY_CHARACTERS), AfterValidator(_one_line)
    ]


class ShareIn(Body):
    """`leaf`: the message up to which the conversation is shared; none: the one looked at."""

    leaf: BodyId | None = None


def message_json(turn: Turn, feedback: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A message for the page."""
    content = turn.content
    usage = None
    if turn.completion_tokens is not None or turn.prompt_tokens is not None:
        usage = {
            "prompt_tokens": turn.prompt_tokens or 0,
            "completion_tokens": turn.completion_tokens or 0,
        }
    return {
        "id": turn.id,
        "parent_id": turn.parent_id,
        "role": turn.role,
        "text": content.text,
        "model": turn.model,
        "status": turn.status,
        "citations": content.citations,
        "retrieved": content.retrieved,
        "notes": content.notes,
        "attachments": content.attachments,
        "tool_calls": content.tool_calls,
        "moderation": content.moderation,
        "summary": content.details.get("summary"),
        "finish_reason": content.finish_reason,
        "usage": usage,
        "feedback": feedback,
        "created_at": iso(turn.created_at),
    }
