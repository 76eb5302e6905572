"""The `report` stage of a recipe: one page about everything that a result was made from."""

from __future__ import annotations

import json
from typing import ClassVar

from pydantic import Field

from chatwright.govern.contents import ModelContents, gather
from chatwright.govern.datasheet.stage import DATASHEET
from chatwright.govern.page import render_report
from chatwright.records import atomic_folder, disk_errors, write_atomic
from chatwright.records.results import walk
from chatwright.stage import StageContext, StageKind, StageSettings


class ReportSettings(StageSettings):
    """Settings of a `report` stage.

    `stages` names the results to report on; all that they were made from is in the report too, so
    the last ones are enough (`[evaluation, assistant]`). `samples` is how many answers are shown.
    With `cards`, the model cards (`README.md`) of the checkpoints are written anew with the scores.
    """

    references: ClassVar[tuple[str, ...]] = ("stages",)

    stages: list[str] = Field(min_length=1)
    title: str | None = None
    samples: int = Field(6, ge=0)
    cards: bool = True


def run_report(settings: ReportSettings, context: StageContext) -> None:
    """Write `report.html`, the model cards and `lineage.json`."""
    named = []
    for name in settings.stages:
        path = context.inputs.get(name)
        named.append((name, path if path is not None else context.workspace.dataset(name)))
    contents = gather(
        walk(named),
        title=settings.title or context.recipe,
        recipe=context.recipe,
        fingerprint=context.fingerprint,
        build_record=context.workspace.runs / context.recipe / "build.json",
        samples=settings.samples,
    )
    page = render_report(contents)
    with disk_errors(context.output), atomic_folder(context.output) as folder:
        (folder / "report.html").write_text(page, encoding="utf-8")
        for model in contents.models:
            (folder / f"{model.name}.card.md").write_text(model.card, encoding="utf-8")
        text = json.dumps(context.lineage(settings), ensure_ascii=False, indent=1)
        (folder / "lineage.json").write_text(text + "\n", encoding="utf-8")
    if settings.cards:
        for model in contents.models:
            _refresh_card(model, context)
    context.progress.line(f"report: {context.output / 'report.html'}")


def _refresh_card(model: ModelContents, context: StageContext) -> None:
    """Give a checkpoint of this workspace its card with the scores.

    The card is not part of a checkpoint's identity: weights and lineage stay untouched. Checkpoints
    of other recipes and outside the workspace are left alone.
    """
    mine = context.workspace.models / context.recipe
    if model.path.absolute().is_relative_to(mine.absolute()):
        with disk_errors(model.path):
            write_atomic(model.path / "README.md", model.card)


STAGES = [StageKind("report", ReportSettings, run_report, "runs"), DATASHEET]
