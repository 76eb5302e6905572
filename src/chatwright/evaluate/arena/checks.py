"""What judges and callers may say; everything else is refused with the reason."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence

from chatwright.errors import UsageError
from chatwright.evaluate.arena.shapes import BEST_SCORE, CHOICES, FORMS, LEAST_SCORE
from chatwright.evaluate.arena.texts import REASONS

MODEL_PREFIX = "model:"
_LONGEST_NAME = 60
_LONGEST_COMMENT = 4_000
_LONGEST_SECONDS = 86_400.0  # a page left open over the week-end says nothing about speed


def judge(name: str) -> str:
    """A person's name as it is stored: trimmed, composed characters."""
    if not isinstance(name, str):
        raise UsageError("a judge's name must be text", where="judge")
    told = unicodedata.normalize("NFC", name.strip())
    if not told or len(told) > _LONGEST_NAME or not told.isprintable():
        raise UsageError(
            f"{name[:80]!r} cannot be a judge's name",
            where="judge",
            hint=f"use 1 to {_LONGEST_NAME} characters that can be printed",
        )
    if told.startswith(MODEL_PREFIX):
        raise UsageError(
            f"names that begin with {MODEL_PREFIX!r} are for models that judge",
            where="judge",
            hint="take another name",
        )
    return told


def choice(value: str) -> str:
    """One of `CHOICES`."""
    if value not in CHOICES:
        raise UsageError(
            f"{value!r} is no choice", where="choice", hint=f"one of {', '.join(CHOICES)}"
        )
    return value


def reasons(values: Sequence[str]) -> list[str]:
    """Codes of `REASONS`, once each."""
    known = [reason.code for reason in REASONS]
    if isinstance(values, str) or not all(value in known for value in values):
        raise UsageError(
            f"{values!r} holds an unknown reason",
            where="reasons",
            hint=f"a list of {', '.join(known)}",
        )
    return list(dict.fromkeys(values))


def comment(text: str) -> str:
    """A judge's own words, trimmed."""
    if not isinstance(text, str) or len(text) > _LONGEST_COMMENT:
        raise UsageError(
            f"a comment is text of at most {_LONGEST_COMMENT:,} characters", where="comment"
        )
    return text.strip().encode("utf-8", "replace").decode()


def seconds(value: float | None) -> float | None:
    """How long a judgement took, at most a day."""
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise UsageError(f"{value!r} is no time in seconds", where="seconds")
    return round(min(float(value), _LONGEST_SECONDS), 3)


def scores(values: Mapping[str, int], asked: Sequence[str]) -> dict[str, int]:
    """Whole scores 1…5 on some of the scales that are asked."""
    found: dict[str, int] = {}
    for scale, score in values.items():
        if scale not in asked:
            raise UsageError(
                f"{scale!r} is not asked here", where="scores", hint=f"scales: {', '.join(asked)}"
            )
        whole = isinstance(score, int) and not isinstance(score, bool)
        if not whole or not LEAST_SCORE <= score <= BEST_SCORE:
            raise UsageError(
                f"{scale} is {score!r}; it must be {LEAST_SCORE} to {BEST_SCORE}",
                where="scores",
                hint="leave out a scale that does not apply",
            )
        found[scale] = score
    return found


def settings(forms: Sequence[str], overlap: float, limit: int | None) -> None:
    """What a study may be told."""
    if not forms or not set(forms) <= set(FORMS):
        raise UsageError(
            f"a study asks for one or more of {', '.join(FORMS)}, not {list(forms)!r}",
            where="forms",
        )
    if not 0 <= overlap <= 1:  # NaN ends here too
        raise UsageError(f"overlap is {overlap}; it must be 0 to 1", where="overlap")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it must be 1 or more", where="limit")
