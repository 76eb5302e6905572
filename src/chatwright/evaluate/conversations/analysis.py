"""From conversations to a report: figures by group and over time, comparisons, alerts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, get_args

from chatwright.errors import DataError, UsageError
from chatwright.evaluate.conversations.comparing import (
    LEVEL,
    MINIMUM,
    PERMUTATIONS,
    compare_versions,
    version_order,
)
from chatwright.evaluate.conversations.figures import (
    MEASURES,
    RESAMPLES,
    Measure,
    Observations,
)
from chatwright.evaluate.conversations.intents import MARK, Question, automatic_intents
from chatwright.evaluate.conversations.measured import Measured, Sentiment, measure
from chatwright.evaluate.conversations.reading import Reading, consented
from chatwright.evaluate.conversations.repeats import Similarity
from chatwright.evaluate.conversations.report import ConversationReport, Group, Period
from chatwright.evaluate.results import Skipped
from chatwright.evaluate.statistics import Estimate, Sample, estimate, wilson
from chatwright.progress import Progress, Silent
from chatwright.records import Conversation

Bucket = Literal["day", "week", "month"]
BUCKETS: tuple[str, ...] = get_args(Bucket)
DIMENSIONS = ("intent", "language", "model")
UNKNOWN = "(not known)"
_SENTIMENT_TURNS = 6  # the last stands for itself and all later ones
_LEAST_REASONS = 3  # what fewer ticked may be one person's own words


def analyse(
    rows: Iterable[Conversation | Skipped],
    *,
    by: Sequence[str] = DIMENSIONS,
    bucket: Bucket = "week",
    sentiment: Sentiment | None = None,
    similarity: Similarity | None = None,
    minimum: int = MINIMUM,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    total: int | None = None,
    progress: Progress | None = None,
) -> ConversationReport:
    """Measure the conversations whose people agreed, group them, and compare model versions.

    `by` names groupings: `intent`, `language`, `model`, or several at once as `language+model`.
    `sentiment` gives −1…1 for a text, `similarity` a cosine for two; without them the measure, or
    that part of it, is left out. The same rows and seed give the same report. Raises `DataError`
    where no row may be used, `UsageError` for an unknown grouping or bucket.
    """
    groupings = [_dimensions(name) for name in by]
    if bucket not in BUCKETS:
        raise UsageError(f"no bucket is called {bucket!r}", hint=f"one of: {', '.join(BUCKETS)}")
    reading = Reading()
    measured: list[Measured] = []
    with (progress or Silent()).task("conversations", total=total) as task:
        done = 0
        for conversation, facts in consented(rows, reading):
            measured.append(
                measure(conversation, facts, sentiment=sentiment, similarity=similarity)
            )
            task.advance(reading.rows - done)
            done = reading.rows
        task.advance(reading.rows - done)
    if not measured:
        raise DataError(
            f"none of the {reading.rows:,} rows can be used ({_reasons(reading)})",
            hint="analytics reads only rows with `consent` true and at least one user message",
        )
    if any("intent" in names for names in groupings):
        measured = _with_intents(measured, seed)
    comparisons, not_compared = compare_versions(
        measured, minimum=minimum, level=level, seed=seed, permutations=permutations
    )

    # Where nobody ever rated, there was most likely nothing to rate with: 0 % would mislead.
    rated = any(m.thumbs_up + m.thumbs_down for m in measured)
    measures = [m for m in MEASURES if rated or m.name != "rated"]

    def group(name: str, members: Sequence[Measured], with_turns: bool = False) -> Group:
        return _group(
            name,
            members,
            measures=measures,
            seed=seed,
            resamples=resamples,
            with_turns=with_turns,
        )

    return ConversationReport(
        rows=reading.rows,
        used=len(measured),
        people=len({m.user for m in measured if m.user}),
        left_out=dict(sorted(reading.left_out.items())),
        skipped=reading.skipped,
        settings={
            "by": list(by),
            "bucket": bucket,
            "minimum": minimum,
            "level": level,
            "seed": seed,
            "resamples": resamples,
            "permutations": permutations,
            "sentiment": sentiment is not None,
            "embeddings": similarity is not None,
        },
        overall=group("all", measured, True),
        groups={
            "+".join(names): [
                group(name, members, names == ("model",))
                for name, members in _split(measured, names)
            ]
            for names in groupings
        },
        versions=version_order(measured),
        periods=[
            Period(start, model, group(f"{start} {model}", members))
            for start, model, members in _periods(measured, bucket)
        ],
        comparisons=comparisons,
        not_compared=not_compared,
    )


def bucket_start(at: datetime, bucket: Bucket) -> str:
    """The first day (UTC) of the day, ISO week or month that a time lies in, as YYYY-MM-DD."""
    day = at.date()
    if bucket == "week":
        day -= timedelta(days=day.weekday())
    elif bucket == "month":
        day = day.replace(day=1)
    return day.isoformat()


def _dimensions(name: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in name.split("+"))
    unknown = [part for part in names if part not in DIMENSIONS]
    if unknown or len(set(names)) != len(names):
        raise UsageError(
            f"conversations cannot be grouped by {name!r}",
            hint=f"one of {', '.join(DIMENSIONS)}, or several at once: language+model",
        )
    return names


def _reasons(reading: Reading) -> str:
    found = [f"{reason}: {count:,}" for reason, count in sorted(reading.left_out.items())]
    if reading.skipped:
        found.append(f"the first, {reading.skipped[0].id}: {reading.skipped[0].reason}")
    return "; ".join(found) or "there are none"


def _with_intents(measured: Sequence[Measured], seed: int) -> list[Measured]:
    """The rows again, those without a stated intent with an automatic one where there is one."""
    out = list(measured)
    places = [i for i, m in enumerate(measured) if m.intent is None]
    found = automatic_intents([Question(out[i].asked, out[i].user) for i in places], seed=seed)
    for place, name in zip(places, found, strict=True):
        out[place] = replace(out[place], intent=name)
    return out


def _split(
    measured: Sequence[Measured], names: tuple[str, ...]
) -> list[tuple[str, list[Measured]]]:
    """Groups, models in their order of appearance, other names by size; what is unknown last."""
    groups: defaultdict[tuple[str, ...], list[Measured]] = defaultdict(list)
    for row in measured:
        groups[tuple(getattr(row, name) or UNKNOWN for name in names)].append(row)
    order = {model: place for place, model in enumerate(version_order(measured))}

    def key(item: tuple[tuple[str, ...], list[Measured]]) -> tuple[object, ...]:
        values, members = item
        places = [
            order.get(v, len(order)) if n == "model" else 0
            for n, v in zip(names, values, strict=True)
        ]
        size = 0 if names == ("model",) else -len(members)
        return (UNKNOWN in values, size, places, values)

    return [(" · ".join(values), rows) for values, rows in sorted(groups.items(), key=key)]


def _periods(measured: Sequence[Measured], bucket: Bucket) -> list[tuple[str, str, list[Measured]]]:
    found: defaultdict[tuple[str, str], list[Measured]] = defaultdict(list)
    for row in measured:
        if row.at is not None:
            found[bucket_start(row.at, bucket), row.model or UNKNOWN].append(row)
    return [(start, model, rows) for (start, model), rows in sorted(found.items())]


def _group(
    name: str,
    members: Sequence[Measured],
    *,
    measures: Sequence[Measure],
    seed: int,
    resamples: int,
    with_turns: bool,
) -> Group:
    figures: dict[str, Estimate] = {}
    for m in measures:
        seen = Observations(m, members)
        if len(seen):
            figures[m.name] = seen.estimate(seed=seed, resamples=resamples)
    up = sum(m.thumbs_up for m in members)
    rated = up + sum(m.thumbs_down for m in members)
    reasons = Counter(reason for m in members for reason in m.reasons)
    return Group(
        name=name,
        conversations=len(members),
        automatic=MARK in name,
        figures=figures,
        wilson=wilson(up, rated) if rated else None,
        settled_by=dict(sorted(Counter(m.outcome.sign or "not settled" for m in members).items())),
        left_by=dict(sorted(Counter(m.outcome.left for m in members if m.outcome.left).items())),
        reasons={r: n for r, n in reasons.most_common(10) if n >= _LEAST_REASONS},
        sentiment_turns=_sentiment_turns(members, seed, resamples) if with_turns else [],
    )


def _sentiment_turns(members: Sequence[Measured], seed: int, resamples: int) -> list[Estimate]:
    """Mean sentiment of the person's first, second, … turn; the last stands for all later ones."""
    import numpy as np

    out = []
    for turn in range(_SENTIMENT_TURNS):
        end = turn + 1 if turn + 1 < _SENTIMENT_TURNS else None
        said = [m.sentiment[turn:end] for m in members]
        columns = np.array([(sum(s), len(s)) for s in said if s], np.float64)
        if not len(columns):
            break
        out.append(estimate([Sample(columns)], seed=seed, resamples=resamples))
    return out
