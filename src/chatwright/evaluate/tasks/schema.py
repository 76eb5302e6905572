"""What a task is: a short YAML file, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from chatwright.records import fingerprint
from chatwright.stage import Settings

KindName = Literal[
    "choice",
    "cloze",
    "generation",
    "code",
    "text",
    "classification",
    "instructions",
    "preference",
    "average",
]
Reader = Literal["rows", "lines", "articles", "exams", "winobias"]


class Source(Settings):
    """Where a task's items lie, and how a row of it becomes the task's fields.

    `source` is `data:PATH` (below the folder that CHATWRIGHT_DATA names), `package:FILE` (comes
    with Chatwright), `hf:owner/name[@revision]`, `https://…`, or a path relative to the task's
    file. `files` picks files of a folder, archive or hub data set by glob. `reader` says what the
    files hold: `rows` (JSON lines, JSON, CSV, Parquet; by their ending), `lines` of text,
    Wikipedia-like `articles`, `exams` (C-Eval and CMMLU: a file per subject), or
    `winobias` (its pro and anti files). `fields` maps each field of the task to an expression
    over the row's columns (Jinja2); a field that is not named is the column of the same name.
    `where` keeps only rows for which it is true.
    """

    source: str
    files: list[str] = Field(default_factory=list)
    sha256: str | None = None
    reader: Reader = "rows"
    fields: dict[str, str] = Field(default_factory=dict)
    where: str | None = None


class TaskSpec(Settings):
    """One task. What each kind needs of it is said in docs/guides/evaluate.md.

    `sources` are tried in order; the first that can be had is used. `prompt` and `answer` are
    Jinja2 templates over the fields, and `shot` (default: prompt and right answer) is how a worked
    example is written; `shots` of them, chosen by the seed, from `shot_sources` or else from the
    task's own items (which then are not scored), stand before the prompt, joined by `separator`;
    with `shots_by`, a field's name, each item is shown those of its own group (its subject, say).
    `metrics` name what is computed, the first being the one to look at; `chance` is what a guesser
    gets. `members`, of an average, are its tasks; `centred` takes chance away first.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    title: str = ""
    kind: KindName
    language: str | None = None
    citation: str = ""
    license: str | None = None
    description: str = ""

    sources: list[Source] = Field(default_factory=list)
    shot_sources: list[Source] = Field(default_factory=list)
    prompt: str = "{{ prompt }}"
    answer: str | None = None
    shot: str | None = None
    shots: int = Field(0, ge=0, le=64)
    shots_by: str | None = None
    separator: str = "\n\n"
    instruction: str = ""
    chat: bool = False
    metrics: list[str] = Field(default_factory=list)
    chance: float | None = None

    labels: dict[str, str] = Field(default_factory=dict)  # classification: gold label → its text
    unconditional: str | None = None  # choice: the prompt without the question
    max_tokens: int = Field(256, ge=1)
    stop: list[str] = Field(default_factory=list)
    extract: str | None = None  # generation: how the answer is taken out of the text
    samples: int = Field(1, ge=1, le=200)
    temperature: float = Field(0.0, ge=0)
    window: int = Field(1024, ge=2)
    overlap: int = Field(0, ge=0)
    limit: int | None = Field(None, ge=1)

    members: list[str] = Field(default_factory=list)
    centred: bool = False

    @model_validator(mode="before")
    @classmethod
    def _text_is_the_prompt(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("kind") == "text":
            return {"prompt": "{{ text }}", **raw}
        return raw

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "average":
            if not self.members:
                raise ValueError("an average needs `members`: the names of its tasks")
            return self
        if not self.sources:
            raise ValueError("`sources` says where the items come from, and there is none")
        if self.kind == "classification" and not self.labels:
            raise ValueError("a classification needs `labels`: {label: its text}")
        if self.samples > 1 and not self.temperature:
            raise ValueError("several `samples` at temperature 0 are all the same")
        if self.overlap >= self.window:
            raise ValueError("`overlap` must be less than `window`")
        return self

    @property
    def shown(self) -> str:
        """What a table calls the task."""
        return self.title or self.name

    def digest(self) -> str:
        """What the answers depend on: everything but names, texts about the task and bounds."""
        about = {"name", "title", "citation", "license", "description", "sources", "shot_sources"}
        said = self.model_dump(mode="json", exclude=about | {"metrics", "chance", "limit"})
        return fingerprint("task", said)


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a task: its fields, and its texts as the model will see them.

    `prompt` is the prompt without worked examples. `options` are (context, continuation) pairs,
    one per choice (one alone for what has no choices); worked examples go before the context.
    `bare` is question and right answer without what the templates say in every item.
    `gold` is the index of the right choice, or None where the item has none. `references` are the
    right answers as texts. `where` names file and row, for errors.
    """

    id: str
    where: str
    fields: dict[str, Any]
    prompt: str = ""
    choices: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    bare: tuple[str, str] = ("", "")
    gold: int | None = None
    references: tuple[str, ...] = ()
    language: str | None = None
    group: str = ""

    def digest(self) -> str:
        """What is asked and what is right, wherever the item stands."""
        return fingerprint("item", [self.prompt, self.options, self.gold, self.references])


@dataclass(slots=True)
class Task:
    """A task with its items, ready to be run.

    `skipped` are (where, reason) of rows that cannot be asked. `examples` are the texts that stand
    before the prompts (instruction and worked examples), by group of items. `origin` says where
    the items came from.
    """

    spec: TaskSpec
    items: list[Item] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    examples: dict[str, str] = field(default_factory=dict)
    origin: str = ""
    file: Path | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    def before(self, item: Item) -> str:
        """What stands before the item's prompt."""
        return self.examples.get(item.group, "")

    def digest(self) -> str:
        """How the items are asked, worked examples included; not which items they are."""
        return fingerprint("task-asked", [self.spec.digest(), self.examples])
