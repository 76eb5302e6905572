"""The recipe stage `decontaminate`: rows that hold test items go, or only their passages do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from chatwright.curate.balance.texts import row_text
from chatwright.curate.decontaminate.grams import (
    CHARACTERS,
    LEAST_CHARACTERS,
    LEAST_WORDS,
    WORDS,
    Hit,
    Index,
    Item,
    Lengths,
)
from chatwright.curate.decontaminate.items import (
    Benchmark,
    Unreadable,
    benchmark_digest,
    benchmark_items,
    dataset_items,
)
from chatwright.errors import DataError
from chatwright.records import Dataset, Document, LedgerEntry, Row
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.workspace import Workspace

_TOLD = 10  # edit lines of one row; the last one counts the rest
_SHOWN = 60  # characters of an item
_UNREADABLE_TOLD = 5


class DecontaminateSettings(StageSettings):
    """Settings of `kind: decontaminate`.

    A row of `input` that holds more than `share` of a test item's runs (0: a single one) is
    contaminated. Items are those of `benchmarks` (files) and the rows of `datasets`. A run is
    `words` words, or `characters` characters where the item is Chinese, Japanese or Korean; an item
    shorter than a run is looked for as a whole where it has `least_words` or `least_characters`.

    `action: drop` takes the row out. `cut` takes only the passages out, documents' alone: the runs
    and up to `margin` characters on each side, not beyond their lines. A document that would need
    more than `max_cuts`, or keeps fewer than `min_characters`, is dropped.
    """

    references: ClassVar[tuple[str, ...]] = ("input", "datasets")

    input: str
    benchmarks: list[Benchmark] = Field(default_factory=list)
    datasets: list[str] = Field(default_factory=list)
    words: int = Field(default=WORDS, ge=4, le=200)
    characters: int = Field(default=CHARACTERS, ge=4, le=400)
    least_words: int = Field(default=LEAST_WORDS, ge=1, le=200)
    least_characters: int = Field(default=LEAST_CHARACTERS, ge=1, le=400)
    share: float = Field(default=0.0, ge=0, lt=1)
    action: Literal["drop", "cut"] = "drop"
    margin: int = Field(default=200, ge=0)
    max_cuts: int = Field(default=10, ge=1)
    min_characters: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.benchmarks or self.datasets):
            raise ValueError("neither benchmarks nor datasets: there is nothing to look for")
        return self


@dataclass(frozen=True, slots=True)
class Cut:
    """A document's text without its items' passages. `why` says why it cannot be cut."""

    text: str
    hits: list[Hit]
    passages: int
    characters: int
    why: str | None = None


def cut(index: Index, text: str, settings: DecontaminateSettings) -> Cut:
    """Take out of `text` every passage that holds a run of a test item.

    What was apart before may meet where a passage is gone, so the rest is searched again.
    """
    all_hits: dict[int, Hit] = {}
    passages = 0
    now = text
    while True:
        hits, spans = index.spans(now, settings.share)
        if not hits:
            break
        for hit in hits:
            all_hits.setdefault(hit.item, hit)
        wider = _widened(now, spans, settings.margin)
        passages += len(wider)
        if passages > settings.max_cuts:
            break
        now = _without(now, wider)
    why = None
    if passages > settings.max_cuts:
        why = f"more than {settings.max_cuts} passages would have to be cut out"
    elif passages and len(now.strip()) < settings.min_characters:
        why = f"fewer than {settings.min_characters} characters would be left"
    gone = len(text) - len(now)
    return Cut(now, sorted(all_hits.values(), key=_worst_first), passages, gone, why)


def _worst_first(hit: Hit) -> tuple[float, int]:
    return -hit.share, hit.item


def _widened(text: str, spans: Sequence[tuple[int, int]], margin: int) -> list[tuple[int, int]]:
    """Each span with `margin` characters on either side, up to the ends of its lines; joined."""
    out: list[tuple[int, int]] = []
    for start, end in spans:
        line = text.rfind("\n", 0, start) + 1
        stop = text.find("\n", end)
        stop = len(text) if stop < 0 else stop
        wide = (max(line, start - margin), min(stop, end + margin))
        if out and wide[0] <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], wide[1]))
        else:
            out.append(wide)
    return out


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text without these spans; a line break stands in each one's place."""
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts.append(text[at:start].rstrip())
        at = end
    parts.append(text[at:])
    return "\n".join(part for part in (p.strip("\n") for p in parts) if part.strip())


def run_decontaminate(settings: DecontaminateSettings, context: StageContext) -> None:
    """Rows in, the rows without test items out; every input row has a line that says what it was.

    Rows are read one batch at a time; the index of the items stays in memory (`grams.Index`).
    """
    source = Dataset.open(context.dataset_path(settings.input))
    if settings.action == "cut" and source.row_type is not Document:
        raise DataError(
            f"only documents can be cut, and this holds {source.info.kind} rows",
            where=str(source.path),
            hint="`action: drop` takes contaminated rows out",
        )
    index, told = _read_items(settings, context)
    bound = f"at most {settings.share:g} of an item's runs" if settings.share else "none"
    numbers: Counter[str] = Counter()
    found: set[int] = set()
    with (
        context.write_rows(source.row_type, settings) as out,
        context.progress.task("decontaminate", total=len(source)) as task,
    ):
        for row in source.rows:
            kept, lines, hits = _judge(row, index, settings, bound, context.stage)
            found.update(hit.item for hit in hits)
            if kept is not None:
                out.write(kept)
            numbers["kept" if kept is not None else "dropped"] += 1
            numbers["cut"] += kept is not None and len(lines) > 1
            for line in lines:
                out.log(line)
            task.advance()
        for name, counts in told.items():
            counts["found"] = sum(index.items[number].benchmark == name for number in found)
        out.counts = {
            "in": len(source),
            **{key: numbers[key] for key in ("kept", "dropped", "cut")},
            "benchmarks": told,
        }


def _judge(
    row: Row, index: Index, settings: DecontaminateSettings, bound: str, stage: str
) -> tuple[Row | None, list[LedgerEntry], list[Hit]]:
    """The row as it goes on (None: dropped), its ledger lines, and the items found in it."""

    def line(action: Literal["keep", "drop", "edit"], value: float, **more: Any) -> LedgerEntry:
        return LedgerEntry(row.id, row.uri, stage, action, "test-item", value, bound, **more)

    hits = index.find(row_text(row))
    worst = hits[0].share if hits else 0.0
    guilty = [hit for hit in hits if hit.share > settings.share]
    if not guilty:
        detail = f"the nearest: {_name(index, hits[0])}" if hits else None
        return row, [line("keep", worst, detail=detail)], []
    why = ""
    if settings.action == "cut":
        assert isinstance(row, Document)
        made = cut(index, row.text, settings)
        guilty = made.hits
        if made.why is None:
            lines = [
                line("edit", hit.share, other_id=_row_id(index, hit), detail=_name(index, hit))
                for hit in guilty[:_TOLD]
            ]
            more = len(guilty) - len(lines)
            note = f"{made.passages} passages, {made.characters} characters cut out" + (
                f"; {more} more items" if more else ""
            )
            cuts = {"passages": made.passages, "characters": made.characters}
            kept = replace(row, text=made.text, meta={**row.meta, "decontaminated": cuts})
            return kept, [*lines, line("keep", 0.0, detail=note)], guilty
        why = f"; {made.why}"
    first = guilty[0]
    more = len(guilty) - 1
    detail = _name(index, first) + (f"; and {more} more items" if more else "") + why
    return None, [line("drop", first.share, other_id=_row_id(index, first), detail=detail)], guilty


def _row_id(index: Index, hit: Hit) -> str | None:
    return index.items[hit.item].row_id


def _name(index: Index, hit: Hit) -> str:
    """How a line names an item: benchmark, file and line, and how it begins."""
    item = index.items[hit.item]
    begins = item.texts[0]
    begins = begins[:_SHOWN] + ("\u2026" if len(begins) > _SHOWN else "")
    where = (
        item.where if item.where.startswith(item.benchmark) else f"{item.benchmark} {item.where}"
    )
    return f"{where}: {begins!r}, {hit.found} of its {hit.total} runs"


def _read_items(
    settings: DecontaminateSettings, context: StageContext
) -> tuple[Index, dict[str, dict[str, int]]]:
    """The index of all items, and for each benchmark how many it has and how many are too short."""
    told: dict[str, dict[str, int]] = {}
    lengths = Lengths(
        settings.words,
        settings.characters,
        min(settings.least_words, settings.words),
        min(settings.least_characters, settings.characters),
    )
    index = Index.of(_items(settings, context, told), lengths)
    for number in index.short:
        told[index.items[number].benchmark]["short"] += 1
    for name, counts in told.items():
        if counts["short"]:
            short, of = counts["short"], counts["items"]
            context.progress.line(f"{name}: {short} of {of} items are too short to look for")
    return index, told


def _items(
    settings: DecontaminateSettings, context: StageContext, told: dict[str, dict[str, int]]
) -> Iterator[Item]:
    """The items of all benchmarks, counted in `told`; rows that give none are told of."""
    sources: list[tuple[str, Iterator[Item | Unreadable]]] = [
        (benchmark.label, benchmark_items(benchmark, context.progress))
        for benchmark in settings.benchmarks
    ]
    for name in settings.datasets:
        dataset = Dataset.open(context.dataset_path(name))
        sources.append((name, dataset_items(name, dataset)))
    for name, found in sources:
        counts = told.setdefault(name, {"items": 0, "short": 0, "unreadable": 0})
        for item in found:
            if isinstance(item, Item):
                counts["items"] += 1
                yield item
                continue
            counts["unreadable"] += 1
            if counts["unreadable"] <= _UNREADABLE_TOLD:
                context.progress.line(f"! {item}")


def _digests(settings: DecontaminateSettings, workspace: Workspace) -> Any:
    """The benchmarks' files enter the fingerprint."""
    return [benchmark_digest(benchmark) for benchmark in settings.benchmarks]


DECONTAMINATE = StageKind(
    "decontaminate", DecontaminateSettings, run_decontaminate, "datasets", external=_digests
)
