"""The `datasheet` stage of a recipe, and the same for any dataset: page and Croissant file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from chatwright.errors import UsageError
from chatwright.govern.datasheet.croissant import EXTRA_KEYS, croissant, json_text, open_keys
from chatwright.govern.datasheet.facts import SheetFacts
from chatwright.govern.datasheet.gather import gather_sheet
from chatwright.govern.datasheet.page import render_datasheet
from chatwright.govern.datasheet.questions import KEYS
from chatwright.records import atomic_folder, disk_errors, write_atomic
from chatwright.stage import StageContext, StageKind, StageSettings

PAGE, CROISSANT = "datasheet.html", "croissant.json"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Sheet:
    """What was written. `open`: questions that nobody has answered, and keys Croissant misses."""

    page: Path
    croissant: Path | None
    facts: SheetFacts
    open: tuple[str, ...]


class DatasheetSettings(StageSettings):
    """Settings of a `datasheet` stage.

    `input` is the dataset. `answers` are what only people know, by the keys that the page's open
    fields name, and for Croissant `url`, `creator`, `published`, `description`, `license` and
    `version` of the whole.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    answers: dict[str, str] = Field(default_factory=dict)

    @field_validator("answers")
    @classmethod
    def _known(cls, answers: dict[str, str]) -> dict[str, str]:
        if unknown := unknown_keys(answers):
            raise ValueError(f"no such question: {', '.join(unknown)}; there are {_questions()}")
        return answers


def write_datasheet(
    dataset: Path,
    *,
    name: str,
    page: Path | None = None,
    description: Path | None = None,
    answers: Mapping[str, str] | None = None,
) -> Sheet:
    """Write the data sheet of a dataset and its Croissant description.

    Without `page` both lie in the dataset's own folder; with `page`, the description is written
    where `description` says, or not at all. Its file names are relative to the dataset's folder.
    Raises `DataError` where there is no dataset or nothing can be written.
    """
    if page is None:
        page, description = dataset / PAGE, description or dataset / CROISSANT
    facts = gather_sheet(dataset, name=name)
    said = croissant(facts, answers=answers)
    with disk_errors(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(page, render_datasheet(facts, answers=answers))
    if description is not None:
        with disk_errors(description):
            description.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(description, json_text(said))
    unanswered = [key for key in KEYS if not (answers or {}).get(key, "").strip()]
    return Sheet(page, description, facts, (*unanswered, *open_keys(said)))


def read_answers(file: Path) -> dict[str, str]:
    """Answers from a YAML (or JSON) file: a mapping of keys to text. Raises `UsageError`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        with file.open("rb") as handle:
            text = handle.read(_MOST_BYTES).decode("utf-8")
        value: Any = YAML(typ="safe", pure=True).load(text)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise UsageError(f"the answers cannot be read: {error}", where=str(file)) from error
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise UsageError("answers are a mapping of keys to text", where=str(file))
    if unknown := unknown_keys(value):
        raise UsageError(
            f"no such question: {', '.join(unknown)}",
            where=str(file),
            hint=f"there are {_questions()}",
        )
    return value


def unknown_keys(answers: Mapping[str, str]) -> list[str]:
    """Keys that answer nothing."""
    return sorted(str(key) for key in answers if key not in (*KEYS, *EXTRA_KEYS))


def run_datasheet(settings: DatasheetSettings, context: StageContext) -> None:
    """Write `datasheet.html`, `croissant.json` and `lineage.json`.

    A dataset of the same recipe gets the Croissant file beside its parts as well: that is where
    those who read it look for them. It is no part of what the dataset is.
    """
    dataset = context.dataset_path(settings.input)
    name = settings.input
    mine = context.workspace.datasets / context.recipe
    if dataset.resolve().is_relative_to(context.workspace.datasets.resolve()):
        name = dataset.resolve().relative_to(context.workspace.datasets.resolve()).as_posix()
    with disk_errors(context.output), atomic_folder(context.output) as folder:
        write_datasheet(
            dataset,
            name=name,
            page=folder / PAGE,
            description=folder / CROISSANT,
            answers=settings.answers,
        )
        described = (folder / CROISSANT).read_text("utf-8")
        text = json.dumps(context.lineage(settings), ensure_ascii=False, indent=1)
        (folder / "lineage.json").write_text(text + "\n", encoding="utf-8")
    if dataset.resolve().is_relative_to(mine.resolve()):
        with disk_errors(dataset):
            write_atomic(dataset / CROISSANT, described)
    context.progress.line(f"data sheet: {context.output / PAGE}")


def _questions() -> str:
    return ", ".join((*KEYS, *EXTRA_KEYS))


DATASHEET = StageKind("datasheet", DatasheetSettings, run_datasheet, "runs")
