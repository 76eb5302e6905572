"""The table of instructions that a program can verify, and how their arguments are checked."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar

from chatwright.errors import DataError

Relation = Literal["less than", "at least"]
Check = Callable[..., bool]
_Function = TypeVar("_Function", bound=Check)

CHECKS: dict[str, Check] = {}


def instruction(name: str) -> Callable[[_Function], _Function]:
    """Register a check. Its keyword arguments, by name and type, are the instruction's."""

    def register(function: _Function) -> _Function:
        CHECKS[name] = function
        return function

    return register


def compared(count: int, relation: Relation, bound: int) -> bool:
    """The two relations of IFEval."""
    return count < bound if relation == "less than" else count >= bound


def arguments(name: str, given: Mapping[str, Any], where: str | None = None) -> dict[str, Any]:
    """The instruction's arguments, checked and with whole floats as integers.

    None stands for an argument that does not apply (the published table has a column for each).
    Raises `DataError` for an unknown instruction, an argument that is missing or not the
    instruction's, and one of the wrong type.
    """
    if name not in CHECKS:
        known = ", ".join(sorted(CHECKS))
        raise DataError(f"unknown instruction {name!r}", where=where, hint=f"known are: {known}")
    wanted = _signature(name)
    present = {key: value for key, value in given.items() if value is not None}
    if strange := sorted(present.keys() - wanted.keys()):
        raise DataError(
            f"{name} has no argument {strange[0]!r}",
            where=where,
            hint=f"its arguments: {', '.join(wanted) or 'none'}",
        )
    if missing := sorted(wanted.keys() - present.keys()):
        raise DataError(f"{name} needs {missing[0]!r}", where=where)
    return {key: _typed(name, key, present[key], kind, where) for key, kind in wanted.items()}


@lru_cache(maxsize=256)
def _signature(name: str) -> dict[str, Any]:
    hints = typing.get_type_hints(CHECKS[name])
    parameters = inspect.signature(CHECKS[name]).parameters.values()
    return {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def _typed(name: str, key: str, value: Any, kind: Any, where: str | None) -> Any:
    if kind is int:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(whole, int) and not isinstance(whole, bool) and whole >= 0:
            return whole
        wanted = "a whole number of 0 or more"
    elif kind is str:
        if isinstance(value, str) and value.strip():
            return value.strip()
        wanted = "a text"
    elif kind == list[str]:
        texts = list(value) if isinstance(value, list | tuple) else []
        if texts and all(isinstance(text, str) and text.strip() for text in texts):
            return texts
        wanted = "a list of texts"
    else:
        choices = typing.get_args(kind)
        if value in choices:
            return value
        wanted = "one of " + ", ".join(map(repr, choices))
    raise DataError(f"{name}: {key!r} is {value!r} and must be {wanted}", where=where)
