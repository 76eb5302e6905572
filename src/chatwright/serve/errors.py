"""Every error that a caller can meet, in OpenAI's form and with the right status."""

from __future__ import annotations

import errno
import sqlite3
import time
from typing import Any

from starlette.responses import JSONResponse

from chatwright.errors import ChatwrightError, ContextError, UsageError

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


_BEARER = ("not_signed_in", "invalid_api_key")


class ApiError(Exception):
    """An answer that is an error: HTTP status, message, and OpenAI's `param` and `code`."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """`{"error": {"message", "type", "param", "code"}}`."""
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status, default)
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        headers = {"Retry-After": "2"} if self.status in (429, 503) else {}
        if self.code == "insufficient_quota":  # there is more at midnight UTC
            headers["Retry-After"] = str(86_400 - int(time.time()) % 86_400)
        if self.status == 401 and self.code in _BEARER:
            headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 11.6.1
        return JSONResponse(self.body(), self.status, headers)


def not_found(what: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    """404, the same for what was never there and for what is somebody else's.

    `code` is `<what>_not_found` where none is given.
    """
    code = code or f"{what.replace(' ', '_')}_not_found"
    return ApiError(404, f"there is no such {what}", param=param, code=code)


# What OpenAI calls the setting that the engine found wrong.
_FIELDS = {"constraint": "response_format", "logit_bias": "logit_bias"}


def as_api_error(error: BaseException, *, loading: bool = False) -> ApiError:
    """What to tell the caller about an error met while loading a model or answering.

    Our own errors say what was wrong; of anything else only the type is told, since its text may
    hold a path or a piece of somebody's message.
    """
    if isinstance(error, ApiError):
        return error
    if not isinstance(error, ChatwrightError):
        told = f"the server failed while answering ({type(error).__name__})"
        return _storage_error(error) or ApiError(500, told)
    if loading:
        return ApiError(503, f"the model cannot be loaded: {_plain(error)}", code="model_not_ready")
    if isinstance(error, ContextError):
        return ApiError(400, _plain(error), param="messages", code="context_length_exceeded")
    if isinstance(error, UsageError):
        return ApiError(400, _plain(error), param=_FIELDS.get(error.where or ""))
    return ApiError(500, _plain(error))


def short_name(error: BaseException) -> str:
    """An error for a line of the log: the code that callers get, or else its type."""
    return as_api_error(error).code or type(error).__name__


def _storage_error(error: BaseException) -> ApiError | None:
    """A full disk, or a database that cannot be used now; None for any other error."""
    cause = getattr(error, "orig", None)  # the driver's error, inside of SQLAlchemy's
    number = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    state = getattr(cause, "sqlstate", None)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or number == sqlite3.SQLITE_FULL or state == "53100":
        return ApiError(
            507, "the server's disk is full, and nothing was saved; tell whoever runs it",
            code="disk_full",
        )  # fmt: skip
    if number in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ApiError(503, "the database is busy; try again in a moment", code="database_busy")
    if type(error).__name__ == "OperationalError":
        return ApiError(
            503, "the database cannot be used now, and nothing was saved; try again in a moment",
            code="database_unavailable",
        )  # fmt: skip
    return None


def _plain(error: ChatwrightError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
