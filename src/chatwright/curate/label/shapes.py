"""What a queue of labels is made of, and what may be said to it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chatwright.errors import UsageError

Kind = Literal["person", "model"]
Purpose = Literal["item", "gold", "repeat"]

MODEL_PREFIX = "model:"
MOST_LABELS = 9  # one digit each
_LONGEST_NAME = 60
_LONGEST_LABEL = 40
_LONGEST_COMMENT = 4_000
_QUEUE_NAME = re.compile(r"[^\W_][\w.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Description:
    """What a queue asks. `per_item` people label each of the `overlap` share, one each of the rest.

    `gold_share` and `repeat_share` of what a person sees are items with a known label, and items
    that the person has labelled before. `key` orders everything and stays hidden.
    """

    name: str
    labels: tuple[str, ...]
    dataset: str
    dataset_path: str
    fingerprint: str
    question: str = ""
    per_item: int = 2
    overlap: float = 1.0
    gold_share: float = 0.1
    repeat_share: float = 0.05
    seed: int = 0
    key: str = ""
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """A row to be labelled at its hidden place; `gold` is its label where that is known."""

    number: int
    row_id: str
    uri: str
    language: str | None
    text: str
    gold: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What one labeller was shown. `at`: seconds since 1970, when."""

    task: str
    labeller: str
    item: int
    purpose: Purpose
    at: float


@dataclass(frozen=True, slots=True)
class Given:
    """What a labeller said: a label, or None for an item that was skipped."""

    task: str
    sequence: int
    labeller: str
    item: int
    purpose: Purpose
    label: str | None
    at: str
    seconds: float | None = None
    comment: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The label on which a disagreement was settled, and by whom."""

    item: int
    label: str
    labeller: str
    sequence: int
    at: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a labeller is: `done` labels given, `open` items that still want one from them."""

    done: int
    open: int


@dataclass(frozen=True, slots=True)
class Task:
    """What a labeller sees next. Why it is shown (`Shown.purpose`) is not told."""

    id: str
    text: str
    uri: str
    labels: tuple[str, ...]
    question: str
    place: Place
    votes: dict[str, int] = field(default_factory=dict)


def checked_name(name: str) -> str:
    """A queue's name, which is its file's: nothing that leads elsewhere."""
    if not _QUEUE_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a queue's name",
            hint="use letters, digits, dots, dashes and underscores; begin with a letter or digit",
        )
    return name


def checked_labeller(name: str) -> str:
    """A person's name as it is stored: trimmed, composed characters."""
    told = unicodedata.normalize("NFC", name.strip()) if isinstance(name, str) else ""
    if not told or len(told) > _LONGEST_NAME or not told.isprintable():
        raise UsageError(
            f"{str(name)[:80]!r} cannot be a labeller's name",
            where="labeller",
            hint=f"use 1 to {_LONGEST_NAME} characters that can be printed",
        )
    if told.startswith(MODEL_PREFIX):
        raise UsageError(
            f"names that begin with {MODEL_PREFIX!r} are for models and rules",
            where="labeller",
            hint="take another name",
        )
    return told


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Two to nine different labels."""
    told = tuple(unicodedata.normalize("NFC", label.strip()) for label in labels)
    fine = all(t and len(t) <= _LONGEST_LABEL and t.isprintable() and "," not in t for t in told)
    if not fine or len(set(told)) != len(told) or not 2 <= len(told) <= MOST_LABELS:
        raise UsageError(
            f"{', '.join(labels)!r} cannot be the labels",
            where="--labels",
            hint=f"2 to {MOST_LABELS} different ones of at most {_LONGEST_LABEL} characters",
        )
    return told


def checked_comment(text: str) -> str:
    """A labeller's own words, trimmed."""
    if not isinstance(text, str) or len(text) > _LONGEST_COMMENT:
        raise UsageError(
            f"a comment is text of at most {_LONGEST_COMMENT:,} characters", where="comment"
        )
    return text.strip().encode("utf-8", "replace").decode()


def checked_share(value: float, name: str) -> float:
    """A share from 0 to 1."""
    if not 0 <= value <= 1:  # NaN ends here, too
        raise UsageError(f"{name} is {value}; it must be 0 to 1", where=name)
    return float(value)


def plain(value: Any) -> str:
    """What a row's column says, as a label may be compared with it."""
    return "" if value is None else str(value).strip()
