"""How far a queue is, how good each labeller is, and how far they agree."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from chatwright.curate.label.agreement import (
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    wilson,
)
from chatwright.curate.label.queue import Queue
from chatwright.curate.label.shapes import Given, Kind

Interval = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class LabellerStatus:
    """One labeller: labels and skips; gold items and repeats, and how many of them were right.

    `gold` and `repeats` are shares with their 95 % intervals (Wilson), None where there were none.
    """

    name: str
    kind: Kind
    labels: int
    skips: int
    gold_seen: int
    gold: Interval | None
    repeats_seen: int
    repeats: Interval | None
    median_seconds: float | None
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two labellers' agreement on the items that both have labelled."""

    first: str
    second: str
    items: int
    same: float
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """People together: `same` of all pairs of labels of one item; the rest beyond chance.

    `fleiss` is over the `fleiss_items` that have the commonest number of labels (two or more),
    `alpha` over all items with two or more.
    """

    items: int
    same: float | None
    fleiss: float | None
    fleiss_items: int
    alpha: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """All of it."""

    name: str
    dataset: str
    labels: tuple[str, ...]
    items: int
    gold_items: int
    wanted: int
    given: int
    complete: int
    disputes: int
    decided: int
    labellers: tuple[LabellerStatus, ...]
    pairs: tuple[Pair, ...]
    people: Agreement
    models: tuple[Pair, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def status(queue: Queue) -> Status:
    """Where a queue stands. Models are compared with what people settled on, never mixed in."""
    state = queue.store.read()
    by_labeller: dict[str, list[Given]] = defaultdict(list)
    for given in sorted(state.given.values(), key=lambda g: g.sequence):
        by_labeller[given.labeller].append(given)
    said = {
        name: {g.item: g.label for g in answers if g.purpose == "item" and g.label is not None}
        for name, answers in by_labeller.items()
    }
    gold = {item.number: item.gold for item in queue.items if item.gold is not None}
    people = sorted(n for n, kind in state.labellers.items() if kind == "person" and n in said)
    models = sorted(n for n, kind in state.labellers.items() if kind == "model" and n in said)
    have = queue.counts(state)
    settled = settle(queue)
    final = {number: label for number, (label, how) in settled.items() if how != "open"}
    return Status(
        name=queue.name,
        dataset=queue.description.dataset,
        labels=queue.labels,
        items=len(queue.items) - len(gold),
        gold_items=len(gold),
        wanted=sum(queue.wanted),
        given=sum(min(h, w) for h, w in zip(have, queue.wanted, strict=True)),
        complete=sum(0 < w <= h for h, w in zip(have, queue.wanted, strict=True)),
        disputes=len(queue.disputes(state)),
        decided=len(state.decisions),
        labellers=tuple(
            _labeller(name, state.labellers[name], by_labeller[name], gold, queue.labels)
            for name in [*people, *models]
        ),
        pairs=tuple(
            pair
            for a, b in combinations(people, 2)
            if (pair := _pair((a, said[a]), (b, said[b]), queue.labels)) is not None
        ),
        people=_agreement([said[name] for name in people], queue.labels),
        models=tuple(
            pair
            for name in models
            if (pair := _pair((name, said[name]), ("people", final), queue.labels)) is not None
        ),
    )


def settle(queue: Queue) -> dict[int, tuple[str, str]]:
    """Item → (label, how) for all that people have said something of.

    How: "adjudicated" (decided), "agreed" (two or more said the same), "single" (one said it),
    "majority" (more than half said it), or "open" (the label is then empty).
    """
    state = queue.store.read()
    out: dict[int, tuple[str, str]] = {}
    for number, votes in enumerate(queue.votes(state)):
        if number in state.decisions:
            out[number] = (state.decisions[number].label, "adjudicated")
        elif votes:
            label, most = max(votes.items(), key=lambda entry: (entry[1], entry[0]))
            total = sum(votes.values())
            if len(votes) == 1:
                out[number] = (label, "agreed" if total > 1 else "single")
            elif 2 * most > total:
                out[number] = (label, "majority")
            else:
                out[number] = ("", "open")
    return out


def _labeller(
    name: str,
    kind: Kind,
    answers: Sequence[Given],
    gold: Mapping[int, str | None],
    labels: Sequence[str],
) -> LabellerStatus:
    on_gold = [g for g in answers if g.item in gold and g.label is not None]
    first: dict[int, str | None] = {}
    same: list[bool] = []
    for given in answers:
        if given.label is None:
            continue
        if given.purpose == "repeat" and given.item in first:
            same.append(first[given.item] == given.label)
        first.setdefault(given.item, given.label)
    counted = [g for g in answers if g.purpose == "item" and g.label is not None]
    counts = Counter(str(g.label) for g in counted)
    times = [g.seconds for g in answers if g.seconds is not None and g.label is not None]
    return LabellerStatus(
        name=name,
        kind=kind,
        labels=len(counted),
        skips=sum(g.label is None for g in answers),
        gold_seen=len(on_gold),
        gold=wilson(sum(g.label == gold[g.item] for g in on_gold), len(on_gold)),
        repeats_seen=len(same),
        repeats=wilson(sum(same), len(same)),
        median_seconds=statistics.median(times) if times else None,
        counts={label: counts[label] for label in labels},
    )


_Said = tuple[str, Mapping[int, str]]


def _pair(first: _Said, second: _Said, labels: Sequence[str]) -> Pair | None:
    both = sorted(first[1].keys() & second[1].keys())
    if not both:
        return None
    a = [labels.index(first[1][number]) for number in both]
    b = [labels.index(second[1][number]) for number in both]
    same = sum(x == y for x, y in zip(a, b, strict=True)) / len(both)
    return Pair(first[0], second[0], len(both), same, cohen_kappa(a, b, len(labels)))


def _agreement(said: Sequence[Mapping[int, str]], labels: Sequence[str]) -> Agreement:
    units: dict[int, dict[str, int]] = defaultdict(dict)
    for judge, answers in enumerate(said):
        for number, label in answers.items():
            units[number][str(judge)] = labels.index(label)
    several = [unit for unit in units.values() if len(unit) > 1]
    sizes = Counter(len(unit) for unit in several)
    usual = max(sizes, key=lambda size: (sizes[size], size)) if sizes else 0
    rows = [
        [list(unit.values()).count(place) for place in range(len(labels))]
        for unit in several
        if len(unit) == usual
    ]
    pairs = same = 0
    for unit in several:
        for a, b in combinations(unit.values(), 2):
            pairs += 1
            same += a == b
    return Agreement(
        items=len(several),
        same=same / pairs if pairs else None,
        fleiss=fleiss_kappa(rows) if rows else None,
        fleiss_items=len(rows),
        alpha=krippendorff_alpha(several, len(labels)),
    )
