"""The recipe stage `augment`: a dataset and changed copies of some of its rows."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from chatwright.curate.augment import Changed, Rates, augment_row
from chatwright.curate.split import held_out
from chatwright.errors import DataError
from chatwright.records import Dataset, LedgerEntry, Row
from chatwright.stage import StageContext, StageKind, StageSettings


class AugmentSettings(StageSettings):
    """Settings of `kind: augment` (Wei and Zou 2019).

    A `share` of the rows get `copies` each, with words swapped, deleted and inserted: shares of the
    words that may be changed, together at most `max_change`. `roles` says whose messages of a
    conversation are changed. With `keep_originals: false` a row that has copies is replaced by
    them. `seed`: default the recipe's.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    swap: float = Field(default=0.1, ge=0, le=0.5)
    delete: float = Field(default=0.1, ge=0, le=0.5)
    insert: float = Field(default=0.1, ge=0, le=0.5)
    max_change: float = Field(default=0.3, gt=0, le=1)
    share: float = Field(default=1.0, ge=0, le=1)
    copies: int = Field(default=1, ge=1, le=64)
    keep_originals: bool = True
    roles: tuple[Literal["system", "user", "assistant"], ...] = Field(
        default=("user",), min_length=1
    )
    seed: int | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.swap or self.delete or self.insert):
            raise ValueError("swap, delete and insert are all 0: nothing would be changed")
        return self


def run_augment(settings: AugmentSettings, context: StageContext) -> None:
    """Rows in, the same rows and their copies out; each copy has its row as its parent."""
    source = Dataset.open(context.dataset_path(settings.input))
    seed = context.seed if settings.seed is None else settings.seed
    ids = source.table(["id"]).column("id").to_pylist()
    chosen = held_out(ids, settings.share, seed)
    rates = Rates(settings.swap, settings.delete, settings.insert, settings.max_change)
    made = kept = unchanged = 0
    with (
        context.write_rows(source.row_type, settings) as out,
        context.progress.task("augment", total=len(source)) as task,
    ):
        for position, row in enumerate(source.rows):
            copies = []
            if position in chosen:
                copies = augment_row(
                    row, rates, copies=settings.copies, seed=seed, roles=settings.roles
                )
                unchanged += not copies
            keep = settings.keep_originals or not copies
            if keep:
                out.write(row)
                kept += 1
            why = _why(position in chosen, len(copies), keep)
            action: Literal["keep", "drop"] = "keep" if keep else "drop"
            copies_bound = f"max {settings.copies}"
            number = float(len(copies))
            out.log(
                LedgerEntry(
                    row.id,
                    row.uri,
                    context.stage,
                    action,
                    "augment",
                    number,
                    copies_bound,
                    None,
                    why,
                )
            )
            for copy, changed in copies:
                out.write(copy)
                out.log(_made(copy, changed, row.id, settings, context.stage))
            made += len(copies)
            task.advance()
        if not made + kept:
            raise DataError("there is no row to make copies of", where=str(source.path))
        out.counts = {"in": len(ids), "kept": kept, "copies": made, "unchangeable": unchanged}


def _why(chosen: bool, copies: int, keep: bool) -> str | None:
    """What the line of an input row says beside the number of its copies."""
    if not chosen:
        return "not among the rows that get copies"
    if not copies:
        return "it has too few words that may be changed"
    return None if keep else "its copies stand in its place"


def _made(
    copy: Row, changed: Changed, parent: str, settings: AugmentSettings, stage: str
) -> LedgerEntry:
    """The line of a copy: what was changed in it."""
    return LedgerEntry(
        copy.id,
        copy.uri,
        stage,
        "edit",
        "augmented",
        float(changed.words),
        f"at most {settings.max_change:g} of the words",
        parent,
        f"{changed.swapped} pairs of words swapped, {changed.deleted} words left out, "
        f"{changed.inserted} inserted",
    )


AUGMENT = StageKind("augment", AugmentSettings, run_augment, "datasets")
