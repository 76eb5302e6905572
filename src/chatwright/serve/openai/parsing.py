"""Requests read strictly: which fields there are, what is refused by name, and how large it may be.

OpenAI's clients send fields that mean nothing here. Those that change no answer are ignored, those
that would are refused unless they ask for nothing, and what nobody has heard of is a mistake.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from chatwright.serve.bodies import first_problem, load_json, nested_deeper
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits

# About the caller's account or the provider's machines.
_IGNORED = frozenset(
    {
        "user",
        "metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
# A template is a program, and the special tokens of a prompt are the server's to write.
_TEMPLATES = frozenset(
    {
        "chat_template",
        "chat_template_kwargs",
        "add_generation_prompt",
        "continue_final_message",
        "add_special_tokens",
    }
)


class Shape(BaseModel):
    """The base of OpenAI's shapes: no conversion, no NaN. Fields beyond those are let pass."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Request(Shape):
    """The base of a request's body.

    `ignored` names fields that are accepted and change nothing, `neutral` those that are accepted
    with these values alone, for then they ask for nothing.
    """

    ignored: ClassVar[frozenset[str]] = frozenset()
    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {}


R = TypeVar("R", bound=Request)


def parse(body: bytes, shape: type[R]) -> R:
    """The body as `shape`. Raises `ApiError` (400) with the field and the reason."""
    value = load_json(body)
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    _check_fields(value, shape)
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise first_problem(error) from error


def _check_fields(value: dict[str, Any], shape: type[Request]) -> None:
    for name, told in value.items():
        if name in shape.model_fields or name in _IGNORED or name in shape.ignored or told is None:
            continue
        param = name[:100]
        if name in _TEMPLATES:
            raise ApiError(
                400,
                f"{param!r} is refused: the chat template is the model's own",
                param=param,
                code="unsupported_value",
            )
        if name not in shape.neutral:
            raise ApiError(400, f"unknown field {param!r}", param=param, code="unknown_parameter")
        # bool is an int in Python: `n: true` must not pass for 1
        if not any(
            told == v and isinstance(told, bool) == isinstance(v, bool) for v in shape.neutral[name]
        ):
            wanted = " or ".join(repr(v) for v in shape.neutral[name])
            raise ApiError(
                400,
                f"{name!r} is not supported by this server" + (wanted and f" except as {wanted}"),
                param=name,
                code="unsupported_value",
            )


def over_limit(param: str, message: str) -> ApiError:
    """What to raise for more than this server takes."""
    return ApiError(400, message, param=param, code="limit_exceeded")


def check_schema(schema: dict[str, Any], limits: Limits, param: str) -> int:
    """Bounds on a JSON schema; returns its size in bytes. Raises `ApiError` (400).

    What it unfolds to is bounded where it is compiled (`generate.constraints.Budget`).
    """
    size = len(to_json(schema))
    if size > limits.schema_bytes:
        raise over_limit(param, f"a schema may have {limits.schema_bytes} bytes")
    if nested_deeper(schema, limits.schema_depth):
        raise over_limit(param, f"a schema may be {limits.schema_depth} levels deep")
    return size
