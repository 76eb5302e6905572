"""A tool: a plain Python function, and what a model is told of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from chatwright.records.grounding import Passage


class Search(Protocol):
    """Searches the documents that the caller may read."""

    async def __call__(self, query: str, count: int) -> Sequence[tuple[Passage, float]]: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a tool is called. It comes from the session, never from what the model wrote."""

    person_id: str
    name: str = ""
    language: str = "en"
    search: Search | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function with its schema. `simulated` ones say so in every answer."""

    name: str
    description: str
    title: Mapping[str, str]
    arguments: type[BaseModel]
    function: Callable[..., Any | Awaitable[Any]]
    wants_caller: bool
    simulated: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


def tool(
    *, title: Mapping[str, str], simulated: bool = False
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function: its docstring describes it, its annotations are the schema.

    A parameter called `caller` is filled from the session and is not in the schema. Bounds of the
    others are given with `Annotated[…, Field(…)]`.
    """

    def made(function: Callable[..., Any]) -> Tool:
        hints = get_type_hints(function, include_extras=True)
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            if name == "caller":
                continue
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (hints[name], default)
        arguments = create_model(
            f"{function.__name__}_arguments",
            __config__=ConfigDict(extra="forbid", allow_inf_nan=False),
            **fields,
        )
        return Tool(
            name=function.__name__,
            description=" ".join((inspect.getdoc(function) or "").split()),
            title=title,
            arguments=arguments,
            function=function,
            wants_caller="caller" in hints,
            simulated=simulated,
            parameters=schema_of(arguments),
        )

    return made


def schema_of(arguments: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, without the titles that pydantic adds."""
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    for told in schema.get("properties", {}).values():
        told.pop("title", None)
    schema.setdefault("properties", {})
    return schema


__all__ = ["Caller", "Search", "Tool", "schema_of", "tool"]
