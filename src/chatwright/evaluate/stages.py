"""The `evaluate` stage of a recipe."""

from __future__ import annotations

import json
from typing import ClassVar, Self

from pydantic import Field, model_validator

from chatwright.assist.describe import Retrieval
from chatwright.evaluate.harness import evaluate_models
from chatwright.records import atomic_folder, canonical_json, disk_errors
from chatwright.stage import StageContext, StageKind, StageSettings

_ASSISTANT = Retrieval()  # what is measured is what is served, unless a recipe says otherwise


class EvaluateSettings(StageSettings):
    """Settings of an `evaluate` stage.

    `models` maps labels to models; the first is the baseline. `data` names held-out questions,
    `knowledge` where their answers are looked up, `text` held-out documents for bits per byte. The
    rest is explained at `chatwright.evaluate.Options`.
    """

    references: ClassVar[tuple[str, ...]] = ("models", "data", "knowledge", "text")

    models: dict[str, str] = Field(min_length=1)
    data: str | None = None
    knowledge: str | None = None
    text: str | None = None
    limit: int | None = Field(40, ge=1)
    max_tokens: int = Field(80, ge=1)
    passages: int = Field(_ASSISTANT.passages, ge=1, le=20)
    max_words: int = Field(_ASSISTANT.max_words, ge=10, le=2_000)
    perplexity: bool = True
    window: int = Field(1024, ge=2)
    overlap: int = Field(0, ge=0)
    page_bytes: int = Field(16_384, ge=1)
    max_batch: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data is None and self.text is None:
            raise ValueError("give `data` (questions), `text` (documents) or both to measure on")
        if self.knowledge is not None and self.data is None:
            raise ValueError("`knowledge` is for answering questions: give `data` too")
        if self.overlap >= self.window:
            raise ValueError("`overlap` must be less than `window`")
        return self


def run_evaluate(settings: EvaluateSettings, context: StageContext) -> None:
    """Measure the models and write `evaluation.json` and `answers.jsonl`.

    A killed run goes on from the answers in `context.scratch`.
    """
    paths = {name: str(context.inputs.get(ref, ref)) for name, ref in settings.models.items()}
    options = settings.model_dump(exclude={"models", "data", "knowledge", "text"})
    evaluation = evaluate_models(
        paths,
        None if settings.data is None else context.dataset_path(settings.data),
        knowledge=None if settings.knowledge is None else context.dataset_path(settings.knowledge),
        text=None if settings.text is None else context.dataset_path(settings.text),
        workspace=context.workspace,
        scratch=context.scratch,
        run=context.fingerprint,
        progress=context.progress,
        references=settings.models,
        seed=context.seed,
        **options,
    )
    # The recipe's names and not this machine's paths: the result may be passed on.
    evaluation.settings = settings.model_dump(mode="json") | {"seed": context.seed}
    described = {**context.lineage(settings), **evaluation.to_json()}
    with disk_errors(context.output), atomic_folder(context.output) as folder:
        lines = "".join(canonical_json(line) + "\n" for line in evaluation.answers)
        (folder / "answers.jsonl").write_text(lines, encoding="utf-8")
        text = json.dumps(described, ensure_ascii=False, indent=1)
        (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    for line in evaluation.table().splitlines():
        context.progress.line(line)


STAGES = [StageKind("evaluate", EvaluateSettings, run_evaluate, "runs")]
