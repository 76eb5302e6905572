"""From votes and scores to results: pure functions, people and model judges apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np

from chatwright.curate.label.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
from chatwright.evaluate.arena.bradley_terry import bootstrap_strengths, elo
from chatwright.evaluate.arena.forms import summarise_scales
from chatwright.evaluate.arena.proportions import even_chance_p_value
from chatwright.evaluate.arena.results import (
    Agreement,
    JudgePair,
    JudgeSummary,
    PairResult,
    PositionBias,
    Section,
    Strength,
    StudyResults,
    VerdictCounts,
)
from chatwright.evaluate.arena.schedule import Unit
from chatwright.evaluate.arena.shapes import Judge, Kind, Rating, Vote
from chatwright.evaluate.statistics import wilson

if TYPE_CHECKING:
    from chatwright.evaluate.arena.study import Study

_FIRST, _SECOND, _NEITHER = 0, 1, 2
_FEW_VOTES = 30  # under that, intervals are so wide that a ranking says little


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all sections rest on: models in order, item languages, pairs that said the same."""

    models: tuple[str, ...]
    languages: Mapping[str, str | None]
    identical: Sequence[Unit]
    seed: int
    resamples: int


def summarise(study: Study, *, seed: int = 0, resamples: int = 1_000) -> StudyResults:
    """All results of a study. The same votes and `seed` give the same results."""
    identical = study.desk.identical()
    languages = {item.id: item.language for item in study.items}
    frame = _Frame(study.models, languages, identical, seed, resamples)
    people, people_votes = _section_of(study, "person", frame)
    machines, machine_votes = _section_of(study, "model", frame)
    answers = study.answers
    said = {m: sum(a.text is not None for k, a in answers.items() if k[0] == m)
            for m in study.models}  # fmt: skip
    failed = {m: sum(a.text is None for k, a in answers.items() if k[0] == m)
              for m in study.models}  # fmt: skip
    notes = [
        f"{model} could not be asked {count} of the prompts; no judge sees those"
        for model, count in failed.items()
        if count
    ]
    missing = len(study.items) * len(study.models) - len(answers)
    if missing:
        notes.append(f"{missing} answers are not made yet: generate again")
    return StudyResults(
        name=study.name,
        models=study.models,
        items=len(study.items),
        answered=said,
        unanswered=failed,
        identical=len(identical),
        people=people,
        model_judges=machines,
        verdicts=_verdict_counts(study),
        with_people=with_people(people_votes, machine_votes, study.models),
        notes=tuple(notes),
    )


def _section_of(study: Study, kind: Kind, frame: _Frame) -> tuple[Section, list[Vote]]:
    votes, ratings = study.votes(kind), study.ratings(kind)
    judges = [judge for judge in study.judges if judge.kind == kind]
    return section(kind, judges, votes, ratings, frame), votes


def section(
    kind: Kind,
    judges: Sequence[Judge],
    votes: Sequence[Vote],
    ratings: Sequence[Rating],
    frame: _Frame,
) -> Section:
    """What judges of one kind found."""
    decided = [vote for vote in votes if vote.choice != "skip"]
    scored = [rating for rating in ratings if not rating.skipped]
    found, notes = strengths(decided, frame.models, seed=frame.seed, resamples=frame.resamples)
    position = position_bias(decided)
    if position.biased:
        notes.append(
            f"the left answer won {position.left} of {position.count} decisions, more often or "
            "more seldom than chance gives; sides are balanced, so no model gains by it"
        )
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for vote in decided:
        if vote.winner is not None:
            reasons[vote.winner].update(vote.reasons)
    by_language: dict[str, list[Vote]] = defaultdict(list)
    for vote in decided:
        by_language[frame.languages.get(vote.item) or "unknown"].append(vote)
    return Section(
        kind=kind,
        judges=tuple(_judge_summary(judge, votes, ratings) for judge in judges),
        votes=len(decided),
        skips=len(votes) - len(decided) + len(ratings) - len(scored),
        ratings=len(scored),
        strengths=tuple(found),
        matrix=tuple(matrix(decided, frame.models, frame.identical)),
        agreement=agreement(decided, frame.models),
        position=position,
        reasons={model: dict(sorted(counts.items())) for model, counts in sorted(reasons.items())},
        by_language={
            language: tuple(matrix(group, frame.models, ()))
            for language, group in sorted(by_language.items())
        },
        scales=tuple(summarise_scales(scored, frame.models, frame.seed, frame.resamples)),
        notes=tuple(notes),
    )


def strengths(
    votes: Sequence[Vote], models: Sequence[str], *, seed: int, resamples: int
) -> tuple[list[Strength], list[str]]:
    """Ratings of the models that have votes, the best of each group first, and what to know."""
    if not votes:
        return [], []
    place = {model: number for number, model in enumerate(models)}
    items = {item: number for number, item in enumerate(sorted({vote.item for vote in votes}))}
    by_item = np.zeros((len(items), len(models), len(models)))
    for vote in votes:
        left, right, row = place[vote.left], place[vote.right], items[vote.item]
        share = {"left": 1.0, "right": 0.0}.get(vote.choice, 0.5)
        by_item[row, left, right] += share
        by_item[row, right, left] += 1 - share
    fit, low, high = bootstrap_strengths(by_item, resamples=resamples, seed=seed)
    counts = Counter(model for vote in votes for model in (vote.left, vote.right))
    values = zip(elo(fit.strengths), elo(low), elo(high), strict=True)
    found = [
        Strength(model, round(value, 1), round(lower, 1), round(upper, 1), counts[model], group)
        for model, group, (value, lower, upper) in zip(models, fit.groups, values, strict=True)
        if counts[model]
    ]
    notes = []
    if len({strength.group for strength in found}) > 1:
        notes.append("no vote links some of the models: ratings hold within a group only")
    unseen = [model for model in models if not counts[model]]
    if unseen:
        notes.append(f"no vote yet on {', '.join(unseen)}")
    if fit.bounded:
        notes.append(
            "a model won (or lost) everything against the others, which says no more than that it "
            "is better (or worse): its rating is a bound, as if half a tie more had been voted"
        )
    if len(votes) < _FEW_VOTES:
        notes.append(f"{len(votes)} votes are few: read the intervals, not the order")
    return sorted(found, key=lambda s: (s.group, -s.rating, s.model)), notes


def matrix(
    votes: Sequence[Vote], models: Sequence[str], identical: Iterable[Unit]
) -> list[PairResult]:
    """How every model did against every other. Pairs that said the same are no votes."""
    choices: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for vote in votes:
        if vote.winner is not None and vote.loser is not None:
            choices[vote.winner, vote.loser]["win"] += 1
            choices[vote.loser, vote.winner]["loss"] += 1
        else:
            choices[vote.left, vote.right][vote.choice] += 1
            choices[vote.right, vote.left][vote.choice] += 1
    same = Counter(pair for _, a, b in identical for pair in ((a, b), (b, a)))
    found = []
    for model, other in permutations(models, 2):
        counts = choices[model, other]
        wins, losses = counts["win"], counts["loss"]
        halves = counts["tie"] + counts["both_bad"]
        total = wins + losses + halves
        won = wilson(wins + halves / 2, total) if total else None
        rate, low, high = (won.value, won.low, won.high) if won else (None, None, None)
        ties, bad = counts["tie"], counts["both_bad"]
        found.append(
            PairResult(model, other, wins, losses, ties, bad, same[model, other], rate, low, high)
        )
    return found


def judged_units(votes: Iterable[Vote], models: Sequence[str]) -> dict[Unit, dict[str, int]]:
    """(item, model, model) → judge → which of the two models won, or neither."""
    place = {model: number for number, model in enumerate(models)}
    found: dict[Unit, dict[str, int]] = defaultdict(dict)
    for vote in votes:
        if vote.choice == "skip":
            continue
        first, second = sorted((vote.left, vote.right), key=place.__getitem__)
        won = {first: _FIRST, second: _SECOND}.get(vote.winner or "", _NEITHER)
        found[vote.item, first, second][vote.judge] = won
    return found


def agreement(votes: Sequence[Vote], models: Sequence[str]) -> Agreement:
    """Agreement on who won: the one, the other, or neither (tie and both bad alike)."""
    judged = judged_units(votes, models)
    names = sorted({vote.judge for vote in votes})
    pairs = []
    for first, second in combinations(names, 2):
        both = [u for u in judged.values() if first in u and second in u]
        if both:
            pairs.append(
                judge_pair(first, second, [u[first] for u in both], [u[second] for u in both], 3)
            )
    several = [unit for unit in judged.values() if len(unit) >= 2]
    sizes = Counter(len(unit) for unit in several)
    size = max(sizes, key=lambda n: (sizes[n], n), default=0)
    counts = [
        np.bincount(list(unit.values()), minlength=3).tolist()
        for unit in several
        if len(unit) == size
    ]
    alpha = krippendorff_alpha(several, 3)
    note = ""
    if not several:
        note = "no pair of answers was judged by two judges yet"
    elif alpha is None:
        note = "every judgement was the same, so agreement beyond chance is not defined"
    return Agreement(
        pairs=tuple(pairs),
        fleiss=fleiss_kappa(counts) if counts else None,
        fleiss_units=len(counts),
        fleiss_judges=size,
        alpha=alpha,
        units=len(several),
        note=note,
    )


def judge_pair(
    first: str,
    second: str,
    mine: Sequence[int],
    yours: Sequence[int],
    categories: int,
    *,
    quadratic: bool = False,
) -> JudgePair:
    """Two judges on the same units."""
    same = sum(a == b for a, b in zip(mine, yours, strict=True)) / len(mine) if mine else None
    kappa = cohen_kappa(mine, yours, categories, quadratic=quadratic)
    return JudgePair(first, second, len(mine), same, kappa)


def with_people(
    people: Sequence[Vote], machines: Sequence[Vote], models: Sequence[str]
) -> tuple[JudgePair, ...]:
    """Each model judge against the people's majority (no majority: neither)."""
    majority = {unit: _majority(judged) for unit, judged in judged_units(people, models).items()}
    by_judge: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for unit, judged in judged_units(machines, models).items():
        for judge, won in judged.items():
            if unit in majority:
                by_judge[judge].append((majority[unit], won))
    return tuple(
        judge_pair("people", judge, [a for a, _ in both], [b for _, b in both], 3)
        for judge, both in sorted(by_judge.items())
    )


def _majority(judged: Mapping[str, int]) -> int:
    counts = Counter(judged.values())
    if counts[_FIRST] == counts[_SECOND]:
        return _NEITHER
    best = max((_FIRST, _SECOND), key=lambda side: counts[side])
    return best if counts[best] > counts[_NEITHER] else _NEITHER


def position_bias(votes: Iterable[Vote]) -> PositionBias:
    """Whether the side decides: sides are balanced, so left should win half of all decisions."""
    sides = Counter(vote.choice for vote in votes)
    left, count = sides["left"], sides["left"] + sides["right"]
    found = wilson(left, count) if count else None
    share, low, high = (found.value, found.low, found.high) if found else (None, None, None)
    return PositionBias(left, count, share, low, high, even_chance_p_value(left, count))


def _judge_summary(judge: Judge, votes: Sequence[Vote], ratings: Sequence[Rating]) -> JudgeSummary:
    mine = [vote for vote in votes if vote.judge == judge.name]
    scored = [rating for rating in ratings if rating.judge == judge.name]
    skips = sum(v.choice == "skip" for v in mine) + sum(r.skipped for r in scored)
    times = [v.seconds for v in mine] + [r.seconds for r in scored]
    took = [seconds for seconds in times if seconds is not None]
    quartiles = [float(q) for q in np.quantile(took, [0.25, 0.5, 0.75])] if took else None
    return JudgeSummary(
        judge=judge,
        votes=sum(v.choice != "skip" for v in mine),
        skips=skips,
        ratings=sum(not r.skipped for r in scored),
        left_share=position_bias(mine).share,
        seconds=(quartiles[0], quartiles[1], quartiles[2]) if quartiles else None,
    )


def _verdict_counts(study: Study) -> tuple[VerdictCounts, ...]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in study.verdicts():
        counts[verdict.judge][verdict.outcome] += 1
    return tuple(
        VerdictCounts(judge, c["consistent"], c["inconsistent"], c["none"])
        for judge, c in sorted(counts.items())
    )
