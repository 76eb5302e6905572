"""The tools there are, and one entrance to call them: checked, timed, bounded."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import anyio
import anyio.to_thread
from pydantic import ValidationError

from chatwright.assist.tools.definition import Caller, Tool
from chatwright.errors import ChatwrightError, UsageError

log = logging.getLogger("chatwright.assist")

_SECONDS = 10.0
_RESULT_BYTES = 16 * 1024
_ARGUMENT_BYTES = 16 * 1024
_THREADS = 8


class ToolRegistry:
    """Tools by name. `seconds` bounds a call; what one gives is cut at 16 KB of JSON."""

    def __init__(self, tools: Iterable[Tool], *, seconds: float = _SECONDS) -> None:
        self._tools = {one.name: one for one in tools}
        self._seconds = seconds
        self._threads: anyio.CapacityLimiter | None = None

    def definitions(self, names: Iterable[str] | None = None) -> list[Tool]:
        """The tools of those names, or all. Raises `UsageError` for a name that is none."""
        if names is None:
            return list(self._tools.values())
        chosen = list(dict.fromkeys(names))
        for name in chosen:
            if name not in self._tools:
                raise UsageError(f"there is no tool {name[:64]!r}", where="tools")
        return [self._tools[name] for name in chosen]

    async def call(
        self, caller: Caller, name: str, arguments: Mapping[str, Any], *, allowed: Iterable[str]
    ) -> str:
        """What the tool gives, as JSON. What goes wrong is told to the model in the same way,
        `{"error": …}`: it may ask again or say so. Only tools in `allowed` are called.
        """
        try:
            tool, given = self._checked(caller, name, arguments, set(allowed))
            with anyio.fail_after(self._seconds):
                value = await self._run(tool, given)
            text = json.dumps(value, ensure_ascii=False, default=str)
            if len(text.encode("utf-8", "replace")) > _RESULT_BYTES:
                raise UsageError(f"what {name} gave is too long")
        except TimeoutError:
            return _error(f"{name} took longer than {self._seconds:g} seconds and was given up")
        except ChatwrightError as error:
            return _error(error.message)
        except Exception as error:
            log.error("a tool failed: %s: %s", name, type(error).__name__)
            return _error(f"{name} failed ({type(error).__name__})")
        return text

    def _checked(
        self, caller: Caller, name: str, arguments: Mapping[str, Any], allowed: set[str]
    ) -> tuple[Tool, dict[str, Any]]:
        """The tool and what its function is given. Raises `UsageError` with what is wrong."""
        tool = self._tools.get(name)
        if tool is None or name not in allowed:
            raise UsageError(f"there is no tool {name[:64]!r} here")
        try:
            if len(json.dumps(dict(arguments), default=str)) > _ARGUMENT_BYTES:
                raise UsageError("the arguments are too long")
            checked = tool.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "arguments"
            raise UsageError(f"{where}: {first['msg']}") from error
        except (ValueError, RecursionError) as error:
            raise UsageError("the arguments are not usable") from error
        given = {field: getattr(checked, field) for field in type(checked).model_fields}
        return tool, ({**given, "caller": caller} if tool.wants_caller else given)

    async def _run(self, tool: Tool, given: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(tool.function):
            return await tool.function(**given)
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_THREADS)
        return await anyio.to_thread.run_sync(
            lambda: tool.function(**given), limiter=self._threads, abandon_on_cancel=True
        )


def default_tools() -> list[Tool]:
    """What comes with Chatwright."""
    from chatwright.assist.tools import calculator, clock, search, shop, simulators, units

    return [
        calculator.calculator,
        clock.current_date,
        clock.date_difference,
        clock.add_days,
        units.convert_units,
        search.search_knowledge,
        shop.list_orders,
        shop.look_up_order,
        simulators.weather,
        simulators.home_state,
        simulators.home_switch,
    ]


def _error(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)
