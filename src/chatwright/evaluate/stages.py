"""The `evaluate` stage of a recipe."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from chatwright.assist.describe import Retrieval
from chatwright.errors import ChatwrightError, UsageError
from chatwright.evaluate.alignment_stage import STAGES as ALIGNMENT
from chatwright.evaluate.gates import GateError, check_gate, require
from chatwright.evaluate.harness import evaluate_models
from chatwright.evaluate.stored import write_evaluation
from chatwright.evaluate.tasks import find_tasks, task_digest
from chatwright.records import fingerprint, result_fingerprint, write_atomic
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.workspace import Workspace

_MADE_OF = "made_of"
_ASSISTANT = Retrieval()  # what is measured is what is served, unless a recipe says otherwise


class EvaluateSettings(StageSettings):
    """Settings of an `evaluate` stage.

    `models` maps labels to models; the first is the baseline. `data` names held-out questions,
    `knowledge` where their answers are looked up, `text` held-out documents for bits per byte,
    `tasks` benchmarks by name or file. `metrics` are more metrics of texts for the answers to
    `data`. `gates` are demands on the figures; where one does not hold the build fails
    (`chatwright.evaluate.gates`). The rest is explained at `chatwright.evaluate.Options`.
    """

    references: ClassVar[tuple[str, ...]] = ("models", "data", "knowledge", "text")

    models: dict[str, str] = Field(min_length=1)
    data: str | None = None
    knowledge: str | None = None
    text: str | None = None
    tasks: list[str] = Field(default_factory=list)
    metrics: list[str] = Field(default_factory=list)
    gates: dict[str, str] = Field(default_factory=dict)
    limit: int | None = Field(40, ge=1)
    max_tokens: int = Field(80, ge=1)
    passages: int = Field(_ASSISTANT.passages, ge=1, le=20)
    max_words: int = Field(_ASSISTANT.max_words, ge=10, le=2_000)
    perplexity: bool = True
    window: int = Field(1024, ge=2)
    overlap: int = Field(0, ge=0)
    page_bytes: int = Field(16_384, ge=1)
    max_batch: int = Field(8, ge=1)
    task_limit: int | None = Field(None, ge=1)
    shots: int | None = Field(None, ge=0, le=64)
    chat: bool | None = None
    unsafe_code: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data is None and self.text is None and not self.tasks:
            raise ValueError("give `tasks`, `data` (questions) or `text` (documents) to measure on")
        if self.knowledge is not None and self.data is None:
            raise ValueError("`knowledge` is for answering questions: give `data` too")
        if self.overlap >= self.window:
            raise ValueError("`overlap` must be less than `window`")
        for key, demand in self.gates.items():
            problem = check_gate(key, demand)
            if problem:
                raise ValueError(problem)
        return self


def run_evaluate(settings: EvaluateSettings, context: StageContext) -> None:
    """Measure the models and write `evaluation.json` and `answers.jsonl`.

    A killed run goes on from the answers in `context.scratch`. Where a gate does not hold (or
    cannot be judged), `GateError` (`UsageError`) is raised, and answers and result are kept beside,
    in `STAGE~failed`: for people to look at, and for the next run, which asks nothing again where
    only the gates are others.
    """
    made_of = _asked(settings, context)
    failed = context.scratch.with_name(f"{context.stage}~failed")
    known = failed if _read(failed / _MADE_OF) == made_of else context.scratch
    paths = {name: str(context.inputs.get(ref, ref)) for name, ref in settings.models.items()}
    options = settings.model_dump(exclude={"models", "data", "knowledge", "text", "tasks", "gates"})
    evaluation = evaluate_models(
        paths,
        None if settings.data is None else context.dataset_path(settings.data),
        knowledge=None if settings.knowledge is None else context.dataset_path(settings.knowledge),
        text=None if settings.text is None else context.dataset_path(settings.text),
        tasks=settings.tasks,
        workspace=context.workspace,
        scratch=known,
        run=made_of,
        progress=context.progress,
        references=settings.models,
        seed=context.seed,
        **options,
    )
    # The recipe's names and not this machine's paths: the result may be passed on.
    evaluation.settings = settings.model_dump(mode="json") | {"seed": context.seed}
    error: ChatwrightError | None = None
    try:
        require(evaluation, settings.gates)
    except (GateError, UsageError) as found:
        error = found
        if known != failed:
            write_atomic(context.scratch / _MADE_OF, made_of)
            shutil.rmtree(failed, ignore_errors=True)
            context.scratch.rename(failed)
    output = failed / "result" if error else context.output
    lineage = context.lineage(settings)
    for parent in lineage["parents"]:  # as seen from where the result lies
        parent["path"] = os.path.relpath(context.output / parent["path"], output)
    write_evaluation(output, evaluation, lineage)
    for line in evaluation.table().splitlines():
        context.progress.line(line)
    if error is not None:
        error.where = str(output)
        raise error
    shutil.rmtree(failed, ignore_errors=True)


def _asked(settings: EvaluateSettings, context: StageContext) -> str:
    """Names what is asked of which models: all that the stage's fingerprint holds but its gates."""
    made_of = {
        "settings": settings.model_dump(mode="json", exclude={"gates"}),
        "seed": context.seed,
        "external": named_outside(settings, context.workspace),
    }
    return fingerprint("asked", made_of, [parent.fingerprint for parent in context.parents])


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return None


def named_outside(settings: EvaluateSettings, workspace: Workspace) -> dict[str, str]:
    """What the settings only name: tasks' files, their local items, results of other recipes."""
    tasks = find_tasks(settings.tasks, workspace)
    found = {spec.name: task_digest(path, spec) for path, spec in tasks}
    for name in settings.referenced():
        for folder in (workspace.models / name, workspace.datasets / name):
            digest = result_fingerprint(folder)
            if digest is not None:
                found[f"result {name}"] = digest
    return found


STAGES = [
    StageKind("evaluate", EvaluateSettings, run_evaluate, "runs", external=named_outside),
    *ALIGNMENT,
]
