"""What a study holds and what a judge sees and says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chatwright.records import Message

Kind = Literal["person", "model"]
Form = Literal["compare", "rate"]
Choice = Literal["left", "right", "tie", "both_bad", "skip"]

FORMS: tuple[Form, ...] = ("compare", "rate")
CHOICES: tuple[Choice, ...] = ("left", "right", "tie", "both_bad", "skip")
SCALES: tuple[str, ...] = ("helpful", "honest", "harmless", "fluent", "grounded")
LEAST_SCORE, BEST_SCORE = 1, 5


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One of the compared models. `reference` is None where its answers were brought from outside.

    `fingerprint` says which weights (or which answers file) they were.
    """

    label: str
    reference: str | None
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt. `messages` is what models answer and ends with a user's turn.

    `question` is what judges read in place of the last turn, where that one is the question with
    passages around it; `parents` are the ids of the rows that the prompt came from.
    """

    id: str
    messages: tuple[Message, ...]
    language: str | None = None
    question: str | None = None
    reference: str | None = None
    parents: tuple[str, ...] = ()
    uri: str = ""
    source: str = ""
    license: str | None = None
    consent: bool | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to an item. `text` is None where it could not be asked (`error` says why).

    `finish_reason`: "stop", "length", "given" (brought from outside) or "error". `notes` say what
    the model was not shown, in plain words.
    """

    model: str
    item: str
    text: str | None
    finish_reason: str
    error: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """How far a judge has come: `done` of `total`, skipped ones counted as done."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one prompt, side by side and without their names.

    `id` is opaque and belongs to one judge. `messages` is the conversation as judges read it (a
    system prompt included), ending with the user's turn. `context` is the whole last turn with its
    passages, where the question was put without them. `reference` is a known good answer, if any.
    Texts are a model's words: show them as text, never as markup, without control characters.
    """

    id: str
    judge: str
    messages: tuple[Message, ...]
    left: str
    right: str
    language: str | None
    context: str | None
    reference: str | None
    place: Place


@dataclass(frozen=True, slots=True)
class RatingTask:
    """One answer to be scored from 1 (worst) to 5 (best) on `scales`; otherwise as `Comparison`.

    `scales` leaves "grounded" out where the prompt has neither passages nor a reference.
    """

    id: str
    judge: str
    messages: tuple[Message, ...]
    answer: str
    scales: tuple[str, ...]
    language: str | None
    context: str | None
    reference: str | None
    place: Place


@dataclass(frozen=True, slots=True)
class Judge:
    """Somebody who votes. Models are marked as such and never counted with people."""

    name: str
    kind: Kind
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """A choice on one pair, by the models' names: not to be shown to those who still vote.

    `winner` is a label, or None. `choice` is what was pressed; with "tie", "both_bad" and "skip"
    nobody won.
    """

    sequence: int
    judge: str
    item: str
    left: str
    right: str
    choice: Choice
    reasons: tuple[str, ...] = ()
    comment: str = ""
    seconds: float | None = None
    at: str = ""

    @property
    def winner(self) -> str | None:
        return {"left": self.left, "right": self.right}.get(self.choice)

    @property
    def loser(self) -> str | None:
        return {"left": self.right, "right": self.left}.get(self.choice)


@dataclass(frozen=True, slots=True)
class Rating:
    """Scores of one answer, 1…5 by scale; a scale that does not apply is missing.

    `skipped` marks an answer that the judge would not score.
    """

    sequence: int
    judge: str
    item: str
    model: str
    scores: Mapping[str, int]
    comment: str = ""
    seconds: float | None = None
    at: str = ""

    @property
    def skipped(self) -> bool:
        return not self.scores


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model judge said about one pair, asked both ways round.

    `first` and `second` are labels ("A" stood for `left` in the first asking and for `right` in
    the second) or "tie", or None where nothing could be read out of `raw_first`, `raw_second`.
    `outcome`: "consistent" (a vote was recorded), "inconsistent" (recorded as a tie) or "none" (no
    vote). `error`: why the pair could not be asked.
    """

    judge: str
    item: str
    left: str
    right: str
    first: str | None
    second: str | None
    raw_first: str
    raw_second: str
    outcome: Literal["consistent", "inconsistent", "none"]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StudyInfo:
    """What a list of studies shows. Says which models take part: not for a judge's page."""

    name: str
    forms: tuple[Form, ...]
    models: tuple[str, ...]
    items: int
    answers: int
    votes: int
    ratings: int
    judges: tuple[Judge, ...] = ()
    problem: str | None = None  # why the study cannot be opened; everything else is then empty


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are made: greedy unless told otherwise."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256

    def to_json(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
        }


@dataclass(frozen=True, slots=True)
class Description:
    """`study.json`. `key` orders items and sides: it must never leave this machine with a page."""

    name: str
    models: tuple[ModelEntry, ...]
    forms: tuple[Form, ...]
    guidelines: Mapping[str, str]
    seed: int
    key: str
    sampling: Sampling
    overlap: float
    prompts: Mapping[str, Any] = field(default_factory=dict)
