"""The errors that Chatwright raises on purpose.

Each says what was wrong, where (file, row, key) and what to do next; the command line prints the
three parts and no traceback. Anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ChatwrightError(Exception):
    """What was wrong (`message`), where (file, row or key) and what to do next (`hint`)."""

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, where, hint)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  → {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Callable[..., ChatwrightError], tuple[Any, ...]]:
        # Pickle would call the class with three positions: it goes through process pools.
        return _again, (type(self), self.message, self.where, self.hint)


def _again(
    kind: type[ChatwrightError], message: str, where: str | None, hint: str | None
) -> ChatwrightError:
    return kind(message, where=where, hint=hint)


class DataError(ChatwrightError):
    """A data set, file or row cannot be used."""


class SourceError(ChatwrightError):
    """Something outside (package index, hub, web, file) could not be fetched or trusted."""


class ModelError(ChatwrightError):
    """A checkpoint, weight file or tokenizer is missing, corrupt or of an unknown kind."""


class ContextError(ChatwrightError):
    """A request does not fit the model's context window, or asks for what cannot be."""


class TrainingError(ChatwrightError):
    """Training cannot start or go on: no supervised token, divergence, a broken checkpoint."""


class UsageError(ChatwrightError):
    """The command or a setting is wrong (exit code 2)."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe has an unknown key, a missing key or an impossible value; names key and line."""
