"""The recipe stage `reweigh`: rows taken more or less often until groups and words go apart.

Kamiran and Calders 2012: with the weight P(group)·P(word)/P(group, word) a row's group says nothing
any more about its words. With several kinds of words at once the weights are raked, kind by kind,
until all hold (Deming and Stephan 1940).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from chatwright.curate.balance.copies import repeat_of, row_rank
from chatwright.curate.balance.texts import row_text
from chatwright.curate.bias.lexicon import Code, Lexicon, lexicons, load_lists, sentences
from chatwright.errors import UsageError
from chatwright.records import Dataset, LedgerEntry, Row
from chatwright.stage import StageContext, StageKind, StageSettings

_ROUNDS = 100
_CLOSE = 1e-6

Class = tuple[str, int]
"""A row's class: the one group that it names, and a bit for each kind of words that it has."""


class ReweighSettings(StageSettings):
    """Settings of `kind: reweigh`.

    Rows that name exactly one group of `dimension` are taken more or less often, so that among them
    every group goes with the words of `attributes` (the names of `chatwright bias`) alike. Other
    rows are taken once. No row is taken more than `max_repeats` times. `seed`: default the
    recipe's.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    dimension: str = "gender"
    attributes: list[str] = Field(min_length=1, max_length=16)
    max_repeats: int = Field(default=4, ge=1, le=1000)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Classifier:
    """Tells the class of a row, of which sentences decide: those that name a group."""

    dimension: str
    attributes: tuple[str, ...]
    lexicons: Mapping[Code, Lexicon]

    def __call__(self, row: Row) -> Class | None:
        """The row's class; None where it names no group of the dimension, or several."""
        groups: set[str] = set()
        bits = 0
        for code, sentence in sentences(row_text(row)):
            lexicon = self.lexicons.get(code)
            if lexicon is None:
                continue
            targets = [lexicon.targets[number] for number in set(lexicon.find(sentence))]
            here = {t.name for t in targets if t.dimension == self.dimension}
            if here:
                groups |= here
                for target in targets:
                    if target.dimension is None and target.name in self.attributes:
                        bits |= 1 << self.attributes.index(target.name)
        return (next(iter(groups)), bits) if len(groups) == 1 else None


def weights_of(
    counts: Mapping[Class, int], attributes: int, most: float = float("inf")
) -> dict[Class, float]:
    """Class → weight, mean 1 over rows, under which no group goes more with any attribute.

    A class's weight is at most `most`; where that binds, what is left of a difference stays.
    """
    weights = dict.fromkeys(counts, 1.0)
    groups = sorted({group for group, _ in counts})
    total = sum(counts.values())
    for _ in range(_ROUNDS):
        moved = 0.0
        for bit in range(attributes):
            mass: defaultdict[tuple[str, bool], float] = defaultdict(float)
            for (group, bits), count in counts.items():
                on = bool(bits >> bit & 1)
                mass[group, on] += count * weights[group, bits]
            whole = sum(mass.values())
            rate = {on: sum(mass[g, on] for g in groups) / whole for on in (False, True)}
            for c in counts:
                on = bool(c[1] >> bit & 1)
                mine = mass[c[0], on]
                wanted = rate[on] * (mass[c[0], False] + mass[c[0], True])
                factor = wanted / mine if mine else 1.0
                moved = max(moved, abs(factor - 1))
                weights[c] *= factor
        scale = total / sum(counts[c] * weights[c] for c in counts)
        weights = {c: min(w * scale, most) for c, w in weights.items()}
        if moved < _CLOSE:
            break
    return weights


def copies(weight: float, rank: int) -> int:
    """How often a row of this weight is taken: the fraction decided by its rank among all rows."""
    whole = int(weight)
    return whole + (rank < (weight - whole) * 2**64)


def run_reweigh(settings: ReweighSettings, context: StageContext) -> None:
    """Rows in, rows taken 0 to `max_repeats` times out; every input row's line has its weight."""
    source = Dataset.open(context.dataset_path(settings.input))
    seed = context.seed if settings.seed is None else settings.seed
    classify = Classifier(settings.dimension, tuple(settings.attributes), _checked(settings))
    classes: list[Class | None] = []
    with context.progress.task("classes", total=len(source)) as task:
        for row in source.rows:
            classes.append(classify(row))
            task.advance()
    counts = Counter(c for c in classes if c is not None)
    weights = weights_of(counts, len(settings.attributes), settings.max_repeats) if counts else {}
    numbers: Counter[str] = Counter()
    made = [
        1 if c is None else copies(weights[c], row_rank(row.id, seed))
        for c, row in zip(classes, source.rows, strict=True)
    ]
    with context.write_rows(source.row_type, settings) as out:
        for number in range(1, max(made, default=0) + 1):
            with context.progress.task(f"reweigh {number}", total=len(source)) as task:
                for times, kind, row in zip(made, classes, source.rows, strict=True):
                    if number == 1:
                        out.log(_line(row, kind, weights, times, settings, stage=context.stage))
                        numbers["kept" if times else "dropped"] += 1
                    if times >= number:
                        taken = row if number == 1 else repeat_of(row, number)
                        out.write(taken)
                        if number > 1:
                            numbers["repeats"] += 1
                            out.log(
                                LedgerEntry(taken.id, row.uri, context.stage, "edit", "repeated",
                                            float(number), f"max {settings.max_repeats}", row.id)
                            )  # fmt: skip
                    task.advance()
        out.counts = {
            "in": len(source),
            **{key: numbers[key] for key in ("kept", "dropped", "repeats")},
            "classes": [
                {"group": c[0], "with": _named(c[1], settings.attributes), "rows": n,
                 "weight": round(weights[c], 4)}
                for c, n in sorted(counts.items())
            ],
        }  # fmt: skip


def _checked(settings: ReweighSettings) -> dict[Code, Lexicon]:
    """The word lists, where they know what was asked for."""
    lists = [load_lists("en"), load_lists("zh")]
    dimensions = sorted({name for one in lists for name in one.groups})
    attributes = sorted({name for one in lists for name in one.attributes})
    if settings.dimension not in dimensions:
        raise UsageError(
            f"there is no dimension {settings.dimension!r}",
            where="dimension",
            hint=f"there are: {', '.join(dimensions)}",
        )
    for name in settings.attributes:
        if name not in attributes:
            raise UsageError(
                f"there are no words called {name!r}",
                where="attributes",
                hint=f"there are: {', '.join(attributes)}",
            )
    return lexicons()


def _named(bits: int, attributes: Sequence[str]) -> list[str]:
    return [name for place, name in enumerate(attributes) if bits >> place & 1]


def _line(
    row: Row,
    kind: Class | None,
    weights: Mapping[Class, float],
    times: int,
    settings: ReweighSettings,
    *,
    stage: str,
) -> LedgerEntry:
    action: Literal["keep", "drop"] = "keep" if times else "drop"
    if kind is None:
        detail = f"it names no one group of {settings.dimension}"
    else:
        beside = ", ".join(_named(kind[1], settings.attributes)) or "none of the words"
        detail = f"taken {times} times: {kind[0]} with {beside}"
    weight = 1.0 if kind is None else round(weights[kind], 6)
    bound = f"max {settings.max_repeats} times"
    return LedgerEntry(row.id, row.uri, stage, action, "reweighed", weight, bound, None, detail)


REWEIGH = StageKind("reweigh", ReweighSettings, run_reweigh, "datasets")
