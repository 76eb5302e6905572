"""The recipe stage `mix`: one dataset out of several, each group with its share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chatwright.curate.balance.copies import repeat_of, row_rank
from chatwright.curate.balance.groups import group_of, size_of
from chatwright.curate.balance.plan import MixSettings, Plan, Portion, Seen, make_plan
from chatwright.curate.balance.shares import OTHERS
from chatwright.errors import DataError
from chatwright.records import Dataset, DatasetWriter, LedgerEntry, Row
from chatwright.stage import StageContext, StageKind

FILE = "mixture.json"
_TOLD = 50  # groups in `dataset.json`; all of them are in mixture.json


Source = tuple[str, Dataset]


def run_mix(settings: MixSettings, context: StageContext) -> None:
    """Rows of all inputs in, the mixture out; every input row has a line that says what it gave.

    The inputs are read once to be counted, and once more for each time that a row is repeated, so
    that a row and its repeats lie far apart.
    """
    sources = [(name, Dataset.open(context.dataset_path(name))) for name in settings.inputs]
    if len({dataset.row_type for _, dataset in sources}) > 1:
        said = ", ".join(f"{name} ({dataset.info.kind})" for name, dataset in sources)
        raise DataError(f"the inputs hold rows of different kinds: {said}")
    plan = make_plan(settings, _seen(settings, sources, context))
    _warn(settings, context, plan)
    if not (plan.copies > 0).any():
        raise DataError(
            "the mixture takes no row",
            where=context.stage,
            hint="its groups are: " + ", ".join(repr(p.group) for p in plan.portions[:10]),
        )
    with context.write_rows(sources[0][1].row_type, settings) as out:
        writing = _Writing(settings, context, sources, plan, out)
        for number in range(1, int(plan.copies.max()) + 1):
            writing.write(number)
        table = [portion.to_json() for portion in plan.portions]
        told = {"unit": settings.unit, "by": settings.by, "groups": table}
        text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
        (out.folder / FILE).write_text(text, encoding="utf-8")
        taken = np.maximum(plan.copies, 0)
        out.counts = {
            "in": len(taken),
            "kept": int((taken > 0).sum()),
            "dropped": int((taken == 0).sum()),
            "same_id": int((plan.copies < 0).sum()),
            "repeats": int(np.maximum(taken - 1, 0).sum()),
            "unit": settings.unit,
            "groups": table[:_TOLD],
        }


def _seen(settings: MixSettings, sources: list[Source], context: StageContext) -> Seen:
    """One pass over all rows, for what the plan needs to know."""
    seen = Seen()
    seed = context.seed if settings.seed is None else settings.seed
    total = sum(len(dataset) for _, dataset in sources)
    with context.progress.task("counting", total=total) as task:
        for name, row in _rows(sources):
            group = group_of(row, settings.by, name)
            seen.group.append(seen.groups.setdefault(group, len(seen.groups)))
            seen.size.append(size_of(row, settings.unit))
            seen.rank.append(row_rank(row.id, seed))
            digest = hashlib.blake2b(row.id.encode("utf-8", "surrogatepass"), digest_size=8)
            seen.name.append(int.from_bytes(digest.digest(), "big"))
            task.advance()
    return seen


def _rows(sources: list[Source]) -> Iterator[tuple[str, Row]]:
    for name, dataset in sources:
        for row in dataset.rows:
            yield name, row


def _warn(settings: MixSettings, context: StageContext, plan: Plan) -> None:
    known = {portion.group for portion in plan.portions}
    for name in settings.weights or {}:
        if name not in known and name != OTHERS:
            context.progress.line(f"! no row is of the group {name!r}, which has a weight")
    if plan.taken < 0.99 * plan.asked:
        context.progress.line(
            f"! {plan.taken:,.0f} of {plan.asked:,.0f} {settings.unit}: there is not more, each "
            f"row being taken {settings.max_repeats} times at most"
        )


@dataclass(frozen=True, slots=True)
class _Writing:
    """Writes rows, their repeats, and a line for each."""

    settings: MixSettings
    context: StageContext
    sources: list[Source]
    plan: Plan
    out: DatasetWriter

    def write(self, number: int) -> None:
        """The `number`-th time that rows are taken; the first time, all rows' lines as well."""
        copies = self.plan.copies
        portions = {portion.group: portion for portion in self.plan.portions}
        at = 0
        title = "mix" if number == 1 else f"mix, repeat {number - 1}"
        with self.context.progress.task(title, total=len(copies)) as task:
            for name, dataset in self.sources:
                if number > 1 and not (copies[at : at + len(dataset)] >= number).any():
                    at += len(dataset)
                    task.advance(len(dataset))
                    continue
                for row in dataset.rows:
                    times = int(copies[at])
                    if number == 1:
                        group = self.plan.groups[self.plan.group[at]]
                        self._line(row, name, times, portions[group])
                        if times > 0:
                            self.out.write(row)
                    elif times >= number:
                        self._repeat(row, number)
                    at += 1
                    task.advance()

    def _repeat(self, row: Row, number: int) -> None:
        again = repeat_of(row, number)
        self.out.write(again)
        bound = f"max {self.settings.max_repeats}"
        stage = self.context.stage
        self.out.log(
            LedgerEntry(again.id, row.uri, stage, "edit", "repeated", float(number), bound, row.id)
        )

    def _line(self, row: Row, dataset: str, copies: int, portion: Portion) -> None:
        """What became of an input row, and of its group."""
        action: Literal["keep", "drop"] = "keep" if copies > 0 else "drop"
        group = f"group {portion.group!r}"
        if copies < 0:
            detail = f"a row with this id is in the mixture already; this one came with {dataset}"
        elif not portion.wanted:
            detail = f"{group} has no weight"
        else:
            detail = (
                f"{group}: {portion.different_rows:,} of {portion.rows:,} rows, "
                f"{portion.repeats:,} repeats, {portion.share:.1%} of the whole"
            )
        bound = f"wanted {portion.wanted:.1%}, max {self.settings.max_repeats} times"
        rule = "same-id" if copies < 0 else "mixture"
        stage, value = self.context.stage, float(max(copies, 0))
        self.out.log(LedgerEntry(row.id, row.uri, stage, action, rule, value, bound, None, detail))


MIX = StageKind("mix", MixSettings, run_mix, "datasets")
