"""JSON Lines of `/v1/files`: checked when they are uploaded, row by row, as OpenAI does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from chatwright.errors import DataError

_MOST_ROWS = 100_000
_ROW_BYTES = 1 << 20
_MESSAGES = 500
_ROLES = ("system", "user", "assistant", "tool", "developer")


def check_rows(data: bytes, purpose: str) -> int:
    """How many rows a file for fine-tuning (or a batch) has.

    A row of fine-tuning is `{"messages": […]}` with an answer to learn, `{"prompt", "completion"}`,
    or, for preferences, `{"input": {"messages": […]}, "preferred_output", "non_preferred_output"}`.
    Raises `DataError` that names the row (from 1) and the field, and never repeats the text.
    """
    count = 0
    for number, row in _rows(data):
        try:
            if purpose == "batch":
                _batch(row)
            elif "input" in row:
                _preference(row)
            elif "prompt" in row or "completion" in row:
                _completion(row)
            else:
                _conversation(row)
        except _WrongError as error:
            raise DataError(f"row {number}: {error}", hint="see docs/guides/knowledge.md") from None
        count += 1
    if not count:
        raise DataError("the file has no rows", hint="one JSON object a line")
    return count


class _WrongError(Exception):
    pass


def _rows(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        if number > _MOST_ROWS:
            raise DataError(f"the file has more than {_MOST_ROWS:,} rows", hint="split it")
        if len(line) > _ROW_BYTES:
            raise DataError(f"row {number}: longer than {_ROW_BYTES:,} bytes", hint="split it")
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_refuse)
        except UnicodeDecodeError:
            raise DataError(f"row {number}: not UTF-8", hint="save the file as UTF-8") from None
        except (ValueError, RecursionError):
            raise DataError(
                f"row {number}: not valid JSON", hint="one JSON object a line"
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"row {number}: not a JSON object", hint="one JSON object a line")
        yield number, row


def _refuse(name: str) -> None:
    raise ValueError(name)


def _conversation(row: dict[str, Any]) -> None:
    _only(row, {"messages", "tools", "parallel_tool_calls", "functions"}, "")
    messages = _messages(row.get("messages"), "messages")
    if not any(m["role"] == "assistant" and m.get("weight", 1) for m in messages):
        raise _WrongError("messages: no answer of the assistant to learn from")


def _completion(row: dict[str, Any]) -> None:
    _only(row, {"prompt", "completion"}, "")
    for name in ("prompt", "completion"):
        if not isinstance(row.get(name), str):
            raise _WrongError(f"{name}: must be a text")
    if not row["completion"].strip():
        raise _WrongError("completion: is empty")


def _preference(row: dict[str, Any]) -> None:
    _only(row, {"input", "preferred_output", "non_preferred_output"}, "")
    given = row["input"]
    if not isinstance(given, dict):
        raise _WrongError("input: must be an object with messages")
    _messages(given.get("messages"), "input.messages")
    for name in ("preferred_output", "non_preferred_output"):
        if _messages(row.get(name), name)[-1]["role"] != "assistant":
            raise _WrongError(f"{name}: must end with the assistant's answer")


def _batch(row: dict[str, Any]) -> None:
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if not isinstance(row.get(name), kind):
            raise _WrongError(f"{name}: is missing or of the wrong type")


def _messages(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MESSAGES:
        raise _WrongError(f"{where}: must be a list of 1 to {_MESSAGES} messages")
    for number, message in enumerate(value):
        here = f"{where}[{number}]"
        if not isinstance(message, dict):
            raise _WrongError(f"{here}: must be an object")
        _only(message, {"role", "content", "name", "weight", "tool_calls", "tool_call_id"}, here)
        if message.get("role") not in _ROLES:
            raise _WrongError(f"{here}.role: must be one of {', '.join(_ROLES)}")
        calls = message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and message["role"] == "assistant"):
            raise _WrongError(f"{here}.tool_calls: only the assistant's, as a list")
        content = message.get("content")
        if not isinstance(content, str) and not (content is None and calls):
            raise _WrongError(f"{here}.content: must be a text")
        if message.get("weight", 1) not in (0, 1):
            raise _WrongError(f"{here}.weight: must be 0 or 1")
    found: list[dict[str, Any]] = value
    return found


def _only(row: dict[str, Any], known: set[str], where: str) -> None:
    for name in row:
        if name not in known:
            raise _WrongError(f"{where or 'row'}: unknown field {name[:60]!r}")
