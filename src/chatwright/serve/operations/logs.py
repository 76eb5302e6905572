"""Structured logs. What may be in a line is listed; whatever else is given is left out.

So no secret and no message can get into a log by being handed along, and an error is told by its
type and the lines of code it came through, never by its text.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Literal, TextIO

_ALLOWED = frozenset(
    {
        "event", "level", "timestamp", "logger", "request_id", "method", "route", "status", "ms",
        "person", "via", "worker", "error", "at", "count", "kind", "job", "model",
    }
)  # fmt: skip
# Control characters, and the marks that turn the reading direction: a line is one line.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LONGEST = 500
_OURS = Path(__file__).parents[2]


def set_up_logs(style: Literal["off", "json", "plain"], *, stream: TextIO | None = None) -> None:
    """Send the service's log to `stream` (standard error): a JSON object or plain text a line.

    "off" tells warnings and errors alone, in plain text.
    """
    import structlog

    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        only_allowed,
    ]
    last: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=_ALLOWED), *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_without_texts)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("chatwright").setLevel(logging.WARNING if style == "off" else logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        one = logging.getLogger(name)
        one.handlers.clear()
        one.propagate = True
        one.setLevel(logging.WARNING)


def only_allowed(_: Any, __: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: drops what is not listed, and what a line may not hold of the rest."""
    return {
        name: _clean(value)
        for name, value in values.items()
        if (name in _ALLOWED and value is not None) or name.startswith("_")
    }


def told_error(error: BaseException) -> tuple[str, str]:
    """An error's type, and the lines of our code that it came through, then where it arose."""
    through = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in through if Path(frame.filename).is_relative_to(_OURS)]
    frames = [*ours[-5:], *(frame for frame in through[-1:] if frame not in ours)]
    at = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return type(error).__name__, at


def _without_texts(record: logging.LogRecord) -> bool:
    """Replace an exception by its type and place: its text may hold what somebody wrote."""
    if record.exc_info and record.exc_info[1] is not None:
        kind, at = told_error(record.exc_info[1])
        record.msg = f"{_clean(record.getMessage())} [{kind} at {at}]"
        record.args = ()
    record.exc_info = None
    record.exc_text = None
    record.stack_info = None
    return True


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSHOWN.sub("\ufffd", value)[:_LONGEST]
    return value
