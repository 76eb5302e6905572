"""The recipe stage `counterfactual`: rows again with the groups of people exchanged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from chatwright.curate.balance.copies import row_rank
from chatwright.curate.balance.texts import row_text
from chatwright.curate.bias.swap import Dimension, held_word, swap
from chatwright.errors import DataError
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    LedgerEntry,
    Message,
    Row,
    content_id,
)
from chatwright.stage import StageContext, StageKind, StageSettings


class CounterfactualSettings(StageSettings):
    """Settings of `kind: counterfactual`.

    Of a `share` of the rows that name a group of `dimension` a copy is made with the groups
    exchanged (`swap.swap`). `mode: add` keeps the row beside its copy (Lu et al. 2018), so that all
    is said of both; `replace` puts the copy in its place (Maudslay et al. 2019: with `share: 0.5`
    the dataset keeps its size). `seed`: default the recipe's.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    dimension: Dimension = "gender"
    mode: Literal["add", "replace"] = "add"
    share: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = None


def counterfactual(row: Row, dimension: Dimension) -> tuple[Row, int] | str:
    """The row with its groups exchanged and how many words changed, or why there is none.

    All of a conversation's messages change, and of a preference prompt and both answers: what is
    said of a person must stay one story.
    """
    word = held_word(row_text(row), dimension)
    if word is not None:
        return f"it is left as it is: {word!r} stands in it"
    changed = 0

    def turned(text: str) -> str:
        nonlocal changed
        found = swap(text, dimension, key=row.id)
        if found is None:
            return text
        changed += found.words
        return found.text

    new: Row
    if isinstance(row, Document):
        new = replace(row, text=turned(row.text))
    elif isinstance(row, Conversation):
        new = replace(row, messages=[Message(m.role, turned(m.content)) for m in row.messages])
    else:
        prompt = [Message(m.role, turned(m.content)) for m in row.prompt]
        new = replace(row, prompt=prompt, chosen=turned(row.chosen), rejected=turned(row.rejected))
    if not changed:
        return "it names no group of this kind"
    new.id = content_id(row.source, f"counterfactual\n{dimension}\n{row.id}\n{row_text(new)}")
    new.parents = [row.id]
    new.meta = {**row.meta, "counterfactual": {"dimension": dimension, "words": changed}}
    return new, changed


def run_counterfactual(settings: CounterfactualSettings, context: StageContext) -> None:
    """Rows in, the same rows and their counterparts out; each copy has its row as its parent."""
    source = Dataset.open(context.dataset_path(settings.input))
    seed = context.seed if settings.seed is None else settings.seed
    numbers: Counter[str] = Counter()
    with (
        context.write_rows(source.row_type, settings) as out,
        context.progress.task("counterfactual", total=len(source)) as task,
    ):
        for row in source.rows:
            made = counterfactual(row, settings.dimension)
            why: str | None = made if isinstance(made, str) else None
            if why is None and row_rank(row.id, seed) >= settings.share * 2**64:
                made = why = "it is not among the rows that get a copy"
            keep = settings.mode == "add" or isinstance(made, str)
            if keep:
                out.write(row)
            numbers["kept" if keep else "replaced"] += 1
            has_copy = not isinstance(made, str)
            out.log(
                LedgerEntry(
                    row.id,
                    row.uri,
                    context.stage,
                    "keep" if keep else "drop",
                    "counterfactual",
                    float(has_copy),
                    settings.dimension,
                    None,
                    why if keep else "its counterpart stands in its place",
                )
            )
            if not isinstance(made, str):
                copy, words = made
                out.write(copy)
                out.log(
                    LedgerEntry(
                        copy.id,
                        copy.uri,
                        context.stage,
                        "edit",
                        "exchanged",
                        float(words),
                        settings.dimension,
                        row.id,
                        f"{words} words of {settings.dimension} exchanged",
                    )
                )
                numbers["copies"] += 1
            task.advance()
        if not len(source):
            raise DataError("there is no row to make copies of", where=str(source.path))
        out.counts = {
            "in": len(source),
            **{key: numbers[key] for key in ("kept", "replaced", "copies")},
        }


COUNTERFACTUAL = StageKind("counterfactual", CounterfactualSettings, run_counterfactual, "datasets")
