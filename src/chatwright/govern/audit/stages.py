"""The recipe's stages of this package: `canaries` before training, `audit` after it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from chatwright.errors import DataError
from chatwright.govern.audit.canaries import LANGUAGES, canary_rows, make_canaries
from chatwright.govern.audit.keeping import FILE, as_json
from chatwright.govern.audit.results import PARTS, Part
from chatwright.govern.audit.runner import AuditOptions, audit_model
from chatwright.govern.audit.show import as_text
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    LedgerEntry,
    atomic_folder,
    disk_errors,
    result_fingerprint,
)
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.workspace import Workspace

_DEFAULT = AuditOptions()


class CanariesSettings(StageSettings):
    """Settings of a `canaries` stage: `count` made-up secrets among the rows of `input`.

    They go round through `copies`: how often each is put in. Train on this dataset in place of
    `input`; the audit finds the canaries by `meta.canary`.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    count: int = Field(12, ge=1, le=10_000)
    copies: tuple[int, ...] = Field((1, 4, 16), min_length=1)
    languages: tuple[str, ...] = Field(LANGUAGES, min_length=1)

    @field_validator("copies")
    @classmethod
    def _at_least_one(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError("a canary is put in once or more often")
        return value

    @field_validator("languages")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [language for language in value if language not in LANGUAGES]
        if unknown:
            raise ValueError(f"{unknown[0]!r} has no canaries; there are: {', '.join(LANGUAGES)}")
        return value


def run_canaries(settings: CanariesSettings, context: StageContext) -> None:
    """The input's rows with canaries between them; each canary row has a ledger line."""
    source = Dataset.open(context.dataset_path(settings.input))
    kind = source.row_type
    if kind is not Document and kind is not Conversation:
        raise DataError(
            f"canaries are documents or conversations, and these are {source.info.kind} rows",
            where=str(source.path),
        )
    canaries = make_canaries(
        settings.count,
        copies=settings.copies,
        languages=settings.languages,
        seed=context.seed,
    )
    name = f"chatwright:canaries/{context.recipe}/{context.stage}"
    rows = [row for canary in canaries for row in canary_rows(canary, kind, name)]
    # Spread out: in one heap at the end, they would stand in each other's context in pretraining.
    random = np.random.default_rng([context.seed, len(source)])
    order = random.permutation(len(rows))
    places = np.sort(random.integers(0, len(source) + 1, len(rows)))
    with context.write_rows(kind, settings) as out:
        done = 0
        for position, row in enumerate([*source.rows, None]):
            while done < len(rows) and places[done] == position:
                canary = rows[order[done]]
                out.write(canary)
                out.log(_line(canary, context.stage, "canary", canary.meta["canary"]["id"]))
                done += 1
            if row is not None:
                out.write(row)
                out.log(_line(row, context.stage, "not_a_canary", None))
        out.counts = {"in": len(source), "kept": len(source), "canaries": len(rows)}


def _line(row: Document | Conversation, stage: str, rule: str, detail: str | None) -> LedgerEntry:
    return LedgerEntry(row.id, row.uri, stage, "keep", rule, detail=detail)


class AuditSettings(StageSettings):
    """Settings of an `audit` stage.

    `model` is what is audited; `train` and `held_out` name its rows where its lineage does not, and
    `reference` a model that was not trained on them. The rest is explained at
    `chatwright.govern.audit.AuditOptions`.
    """

    references: ClassVar[tuple[str, ...]] = ("model", "train", "held_out", "reference")

    model: str
    train: tuple[str, ...] = ()
    held_out: str | None = None
    reference: str | None = None
    only: tuple[Part, ...] = Field(PARTS, min_length=1)
    limit: int = Field(_DEFAULT.limit, ge=2)
    prefixes: tuple[int, ...] = Field(_DEFAULT.prefixes, min_length=1)
    suffix: int = Field(_DEFAULT.suffix, ge=1)
    window: int = Field(_DEFAULT.window, ge=2)
    candidates: int = Field(_DEFAULT.candidates, ge=1, le=100_000)
    bias_languages: tuple[str, ...] = Field(_DEFAULT.bias_languages, min_length=1)
    bias_samples: int = Field(_DEFAULT.bias_samples, ge=1)
    bias_tokens: int = Field(_DEFAULT.bias_tokens, ge=1)
    max_batch: int = Field(_DEFAULT.max_batch, ge=1)


def run_audit(settings: AuditSettings, context: StageContext) -> None:
    """Audit the model and write `audit.json`; a killed run goes on from `context.scratch`."""
    names = {"model", "train", "held_out", "reference"}
    audit = audit_model(
        context.inputs.get(settings.model, settings.model),
        train=[context.dataset_path(name) for name in settings.train],
        held_out=context.dataset_path(settings.held_out) if settings.held_out else None,
        reference=_model(settings.reference, context),
        workspace=context.workspace,
        scratch=context.scratch,
        run=context.fingerprint,
        progress=context.progress,
        label=settings.model,
        seed=context.seed,
        **settings.model_dump(exclude=names),
    )
    with disk_errors(context.output), atomic_folder(context.output) as folder:
        (folder / FILE).write_text(as_json(audit, context.lineage(settings)), encoding="utf-8")
    for line in as_text(audit).splitlines():
        context.progress.line(line)


def _model(name: str | None, context: StageContext) -> str | None:
    return None if name is None else str(context.inputs.get(name, name))


def _external(settings: AuditSettings, workspace: Workspace) -> dict[str, str]:
    """Fingerprints of models and datasets that are named and are no stages of the recipe."""
    found = {}
    for name in dict.fromkeys(settings.referenced()):
        for folder in (workspace.models / name, workspace.datasets / name):
            digest = result_fingerprint(folder)
            if digest is not None:
                found[name] = digest
                break
    return found


STAGES = [
    StageKind("canaries", CanariesSettings, run_canaries, "datasets"),
    StageKind("audit", AuditSettings, run_audit, "runs", external=_external),
]
