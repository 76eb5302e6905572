"""The recipe's stages of this room: `curate`, `split`, `questions` and `augment`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field

from chatwright.curate.augment_stage import AUGMENT
from chatwright.curate.page import How, RawPage, prepare
from chatwright.curate.pool import ordered_map
from chatwright.curate.quality import RepeatedParagraphs, load_preset
from chatwright.curate.questions import QUESTIONS
from chatwright.curate.rules import Curator
from chatwright.curate.split import held_out
from chatwright.errors import DataError
from chatwright.records import Dataset, Document, LedgerEntry, file_digest
from chatwright.stage import Settings, StageContext, StageKind, StageSettings
from chatwright.workspace import Workspace


class DuplicateSettings(Settings):
    """Which exact duplicates go. `paragraphs: null` takes the preset's bounds; false: none go."""

    documents: bool = True
    paragraphs: RepeatedParagraphs | Literal[False] | None = None


class CurateSettings(StageSettings):
    """Settings of `kind: curate`. `workers` changes the time it takes and nothing else."""

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    preset: str = "documentation"
    extract: How = "auto"
    languages: list[str] | None = None
    language_confidence: float = Field(default=0.0, ge=0, le=1)
    dedup: DuplicateSettings = DuplicateSettings()
    page_seconds: float = Field(default=60, gt=0)
    workers: int | None = Field(default=None, ge=0, exclude=True)


class SplitSettings(StageSettings):
    """Settings of `kind: split`: the two parts of one input with one share never overlap."""

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    part: Literal["train", "held_out"]
    held_out: float = Field(default=0.1, ge=0, le=1)


def run_curate(settings: CurateSettings, context: StageContext) -> None:
    """Pages in, curated pages and their ledger out."""
    source = Dataset.open(context.dataset_path(settings.input))
    if source.row_type is not Document:
        raise DataError(
            f"curate takes documents, and this holds {source.info.kind} rows",
            where=str(source.path),
        )
    preset = load_preset(settings.preset)
    repeats = settings.dedup.paragraphs
    if repeats is None:
        repeats = preset.duplicate_paragraphs
    if repeats is not False:
        preset = preset.model_copy(update={"duplicate_paragraphs": repeats})
    curator = Curator(
        stage=context.stage,
        preset=preset,
        languages=settings.languages,
        least_confidence=settings.language_confidence,
        drop_duplicates=settings.dedup.documents,
        drop_paragraphs=repeats is not False,
    )
    curator.seen.copies = preset.duplicate_paragraphs.copies
    work = partial(
        prepare,
        how=settings.extract,
        least=preset.duplicate_paragraphs.least,
        seconds=settings.page_seconds,
    )
    workers = (os.cpu_count() or 1) if settings.workers is None else settings.workers
    documents: list[Document] = []  # read ahead by the pool, a few pages at a time

    def raw_pages() -> Iterator[RawPage]:
        for document in source.rows:
            documents.append(document)
            media_type, title = document.meta.get("media_type"), document.meta.get("title")
            yield RawPage(document.uri, document.text, media_type, title)

    with (
        context.write_rows(Document, settings) as out,
        context.progress.task("curate", total=len(source)) as task,
    ):
        kept = 0
        # A little more than the page's own limit: the cooperative one gives the better message.
        seconds = settings.page_seconds + 2
        for page in ordered_map(work, raw_pages(), workers=workers, seconds=seconds):
            document, entries = curator.judge(documents.pop(0), page)
            if document is not None:
                kept += 1
                out.write(document)
            for entry in entries:
                out.log(entry)
            task.advance()
        out.counts = {
            "in": len(source),
            "kept": kept,
            "dropped": len(source) - kept,
            "rules": dict(sorted(curator.counts.items())),
        }


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


def _preset_digest(settings: CurateSettings, workspace: Workspace) -> Any:
    """What a preset says enters the fingerprint: a changed rule is a changed result."""
    from pathlib import Path

    path = Path(settings.preset)
    if settings.preset.endswith((".yaml", ".yml")) and path.exists():
        return file_digest(path)
    return load_preset(settings.preset).model_dump(mode="json")


STAGES: list[StageKind] = [
    StageKind("curate", CurateSettings, run_curate, "datasets", external=_preset_digest),
    StageKind("split", SplitSettings, run_split, "datasets"),
    QUESTIONS,
    AUGMENT,
]
