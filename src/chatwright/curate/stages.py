"""The recipe's stages of this room, from `curate` to what comes after it."""

from __future__ import annotations

import re
import shutil
from functools import partial
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from chatwright.curate.augment_stage import AUGMENT
from chatwright.curate.balance.stage import MIX
from chatwright.curate.bias.counterfactual import COUNTERFACTUAL
from chatwright.curate.bias.reweigh import REWEIGH
from chatwright.curate.bias.stage import BIAS
from chatwright.curate.decontaminate.stage import DECONTAMINATE
from chatwright.curate.dedup.settings import DedupSettings
from chatwright.curate.executors import ExecutorName, Limits, make_executor
from chatwright.curate.extract import Extractor
from chatwright.curate.lang.settings import LanguageSettings
from chatwright.curate.learned.settings import LearnedRule
from chatwright.curate.learned.step import model_folder
from chatwright.curate.learned.train import PERPLEXITY_MODEL, QUALITY_MODEL
from chatwright.curate.lists import ListSettings
from chatwright.curate.normal.settings import NormaliseSettings
from chatwright.curate.page import How
from chatwright.curate.privacy.settings import PrivacySettings
from chatwright.curate.quality import load_presets
from chatwright.curate.questions import QUESTIONS
from chatwright.curate.recipe_steps import external, make_stages
from chatwright.curate.safety.settings import SafetySettings
from chatwright.curate.split import held_out
from chatwright.errors import DataError
from chatwright.records import Conversation, Dataset, Document, LedgerEntry
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.workspace import Workspace

_LANGUAGE_CODE = re.compile(r"[a-z]{2,3}")


class CurateSettings(StageSettings):
    """Settings of `kind: curate`.

    `languages` and `language_confidence` are short for `language: {keep, confidence}`. `executor`,
    `workers`, `memory` and `worker_memory` (MiB) are about who does the work.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    preset: str | list[str] = "documentation"
    lists: ListSettings | None = None
    extract: How = "auto"
    extractor: Extractor = "chatwright"
    normalise: NormaliseSettings | None = None
    languages: list[str] | None = None
    language_confidence: float = Field(default=0.0, ge=0, le=1)
    language: LanguageSettings | None = None
    learned: list[LearnedRule] = Field(default_factory=list)
    safety: SafetySettings | None = None
    privacy: PrivacySettings | None = None
    dedup: DedupSettings = DedupSettings()
    page_seconds: float = Field(default=60, gt=0)
    executor: ExecutorName = Field(default="local", exclude=True)
    workers: int | None = Field(default=None, ge=0, exclude=True)
    memory: int = Field(default=1024, ge=64, exclude=True)
    worker_memory: int = Field(default=1024, ge=256, exclude=True)

    @model_validator(mode="after")
    def _one_language(self) -> Self:
        if self.language is not None and (self.languages is not None or self.language_confidence):
            raise ValueError("give `language`, or `languages` and `language_confidence`; not both")
        for code in self.languages or ():
            if not _LANGUAGE_CODE.fullmatch(code):
                raise ValueError(f"{code!r} is no language code: two or three letters, as en or zh")
        return self

    @property
    def language_rules(self) -> LanguageSettings:
        return self.language or LanguageSettings(
            keep=self.languages, confidence=self.language_confidence
        )

    def referenced(self) -> list[str]:
        return [*super().referenced(), *(rule.model for rule in self.learned)]


class SplitSettings(StageSettings):
    """Settings of `kind: split`: the two parts of one input with one share never overlap."""

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    part: Literal["train", "held_out"]
    held_out: float = Field(default=0.1, ge=0, le=1)


def run_curate(settings: CurateSettings, context: StageContext) -> None:
    """Rows in, curated rows and their ledger out."""
    from chatwright.curate.run import Curation

    source = Dataset.open(context.dataset_path(settings.input))
    if source.row_type not in (Document, Conversation):
        raise DataError(
            f"curate takes documents or conversations, and this holds {source.info.kind} rows",
            where=str(source.path),
        )
    preset = load_presets(settings.preset)
    find = partial(model_folder, workspace=context.workspace, inputs=context.inputs)
    stages, again = make_stages(settings, preset, find, of_pages=source.row_type is Document)
    dedup = settings.dedup.resolved(preset.duplicate_paragraphs)
    if source.row_type is Conversation:  # a line of a conversation is somebody's turn
        dedup = dedup.model_copy(update={"paragraphs": False, "lines": False, "urls": False})
    curation = Curation(
        source,
        context.stage,
        stages,
        again,
        dedup if dedup.any else None,
        context.scratch / "shards",
        settings.memory << 20,
        context.progress,
    )
    limits = Limits(settings.page_seconds + 2, settings.worker_memory << 20)
    with (
        context.write_rows(source.row_type, settings) as out,
        make_executor(settings.executor, settings.workers, limits) as executor,
    ):
        curation.run(executor, out)
    shutil.rmtree(curation.scratch, ignore_errors=True)


def run_split(settings: SplitSettings, context: StageContext) -> None:
    """One part of a dataset; the other part's rows are in its ledger as dropped."""
    source = Dataset.open(context.dataset_path(settings.input))
    ids = source.table(["id"]).column("id").to_pylist()
    out_of_training = held_out(ids, settings.held_out, context.seed)
    bound = f"{settings.held_out:g} of the rows"
    with context.write_rows(source.row_type, settings) as out:
        kept = 0
        for position, row in enumerate(source.rows):
            is_out = position in out_of_training
            keep = is_out == (settings.part == "held_out")
            if keep:
                out.write(row)
                kept += 1
            detail = "held out" if is_out else "for training"
            action: Literal["keep", "drop"] = "keep" if keep else "drop"
            out.log(
                LedgerEntry(
                    row.id, row.uri, context.stage, action, "held-out", None, bound, None, detail
                )
            )
        out.counts = {"in": len(ids), "kept": kept, "dropped": len(ids) - kept}


def _external(settings: CurateSettings, workspace: Workspace) -> Any:
    """What the settings do not hold: a changed rule, list, model or key is a changed result."""
    return [load_presets(settings.preset).model_dump(mode="json"), *external(settings, workspace)]


STAGES: list[StageKind] = [
    StageKind("curate", CurateSettings, run_curate, "datasets", revision=2, external=_external),
    StageKind("split", SplitSettings, run_split, "datasets"),
    QUESTIONS,
    AUGMENT,
    QUALITY_MODEL,
    PERPLEXITY_MODEL,
    DECONTAMINATE,
    MIX,
    BIAS,
    COUNTERFACTUAL,
    REWEIGH,
]
