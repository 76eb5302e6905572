"""Functions that a caller offers to the model, in both of OpenAI's spellings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from chatwright.assist.tools.protocol import Choice, FunctionTool, Named
from chatwright.serve.errors import ApiError
from chatwright.serve.limits import Limits
from chatwright.serve.openai.parsing import Shape, check_schema, over_limit

MOST_DESCRIPTION = 8192
FunctionName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]


def _arguments(text: Any) -> Any:
    """The text of a JSON object: it goes into the prompt as the model's own words."""
    if isinstance(text, str):
        try:
            if isinstance(json.loads(text or "{}"), dict):
                return text or "{}"
        except (ValueError, RecursionError):
            pass
        raise PydanticCustomError("arguments", "arguments must be the text of a JSON object")
    return text


Arguments = Annotated[str, BeforeValidator(_arguments)]


class Function(Shape):
    """A function: its name, what it does, and the JSON schema of its arguments."""

    name: FunctionName
    description: str | None = Field(None, max_length=MOST_DESCRIPTION)
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Shape):
    """A function as chat completions spell it."""

    type: Literal["function"]
    function: Function


class NamedFunction(Shape):
    """The name of one function."""

    name: FunctionName


class ToolChoice(Shape):
    """The one function that must be called."""

    type: Literal["function"]
    function: NamedFunction


class _Typed(Shape):
    type: Literal["function"]


class FlatTool(Function, _Typed):
    """A function as the Responses API spells it."""


class FlatChoice(NamedFunction, _Typed):
    """The one function that must be called, as the Responses API spells it."""


def definitions(functions: Sequence[Function], limits: Limits) -> list[FunctionTool]:
    """What the model is told of. Raises `ApiError` (400) for too many, or too large ones."""
    if len(functions) > limits.tools:
        raise over_limit("tools", f"at most {limits.tools} tools are accepted")
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        raise ApiError(400, "two tools have the same name", param="tools", code="invalid_value")
    made = []
    total = 0
    for function in functions:
        schema = function.parameters or {"type": "object", "properties": {}}
        if schema.get("type", "object") != "object":
            raise ApiError(
                400,
                "the parameters of a tool must be a schema of type 'object'",
                param="tools",
                code="invalid_value",
            )
        total += check_schema(schema, limits, "tools")
        made.append(
            FunctionTool(function.name, function.description or "", {"type": "object", **schema})
        )
    if total > limits.schema_bytes:
        raise over_limit(
            "tools", f"the schemas of all tools may have {limits.schema_bytes} bytes together"
        )
    return made


def choice_of(told: str | ToolChoice | FlatChoice | None, tools: Sequence[FunctionTool]) -> Choice:
    """What was chosen. Raises `ApiError` (400) where that is not offered."""
    name = None
    if isinstance(told, ToolChoice):
        name = told.function.name
    elif isinstance(told, FlatChoice):
        name = told.name
    if name is not None:
        if all(tool.name != name for tool in tools):
            raise ApiError(
                400,
                "tool_choice names a tool that is not in 'tools'",
                param="tool_choice",
                code="invalid_value",
            )
        return Named(name)
    if told == "required":
        if not tools:
            raise ApiError(
                400,
                "tool_choice 'required' needs 'tools'",
                param="tool_choice",
                code="invalid_value",
            )
        return "required"
    return "none" if told == "none" else "auto"
