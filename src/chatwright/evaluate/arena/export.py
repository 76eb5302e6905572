"""Votes as a dataset of preferences, for reward models and DPO, with a ledger."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.errors import DataError, UsageError
from chatwright.evaluate.arena.schedule import Unit
from chatwright.evaluate.arena.shapes import Item, Kind, Vote
from chatwright.records import (
    LedgerEntry,
    Parent,
    Preference,
    canonical_json,
    content_id,
    fingerprint,
    write_dataset,
)

if TYPE_CHECKING:
    from chatwright.evaluate.arena.study import Study

_STAGE = "arena"


@dataclass(frozen=True, slots=True)
class Exported:
    """Where the dataset is, how many rows it has, and how many pairs gave none, by reason."""

    path: Path
    rows: int
    left_out: Mapping[str, int]


def export_preferences(
    study: Study, path: Path, *, kind: Kind = "person", each_vote: bool = False
) -> Exported:
    """Write a `Preference` row for each pair that a majority decided, or for each decided vote.

    A majority is more votes for the one answer than for the other; ties and "both bad" are no
    preference. A row names its judges, their reasons and the models, and its `parents` are the
    rows that the prompt came from and the item. Every pair of answers has one line in the ledger.
    Votes of people and of models (`kind`) are never exported together.

    Raises `DataError` where nothing was decided, `UsageError` where `path` is something else.
    """
    if path.exists() and not (path / "dataset.json").exists():
        raise UsageError("this is there already and is no dataset", where=str(path))
    votes = sorted(study.votes(kind), key=lambda v: v.sequence)
    by_unit: dict[tuple[str, frozenset[str]], list[Vote]] = defaultdict(list)
    for vote in votes:
        by_unit[vote.item, frozenset((vote.left, vote.right))].append(vote)
    items = {item.id: item for item in study.items}
    rows: list[Preference] = []
    ledger: list[LedgerEntry] = []
    left_out: Counter[str] = Counter()
    same = set(study.desk.identical())
    for unit in sorted(study.desk.order("compare")):
        item = items[unit[0]]
        given = by_unit[unit[0], frozenset(unit[1:])]
        reason = "identical-answers" if unit in same else _undecided(study, unit, given, each_vote)
        if reason:
            left_out[reason] += 1
            ledger.append(_line(study, unit, item, given, reason))
            continue
        kept = _rows(study, item, unit, given, kind=kind, each_vote=each_vote)
        rows += kept
        rule = "each-vote" if each_vote else "majority"
        ledger.append(replace(_line(study, unit, item, given, rule), action="keep",
                              other_id=kept[0].id))  # fmt: skip
    if not rows:
        why = ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))
        raise DataError(
            f"no pair of answers was decided, so there is nothing to export ({why})",
            where=str(study.path),
            hint="judge some with `chatwright arena vote`",
        )
    settings = {"study": study.name, "kind": kind, "each_vote": each_vote}
    parents = _parents(study, path)
    said = [[v.judge, v.item, v.left, v.right, v.choice, list(v.reasons)] for v in votes]
    name = fingerprint(_STAGE, {**settings, "votes": said}, [p.fingerprint for p in parents])
    with write_dataset(
        path, Preference, stage=_STAGE, fingerprint=name, settings=settings, parents=parents
    ) as out:
        for row in rows:
            out.write(row)
        for line in ledger:
            out.log(line)
        out.counts = {"pairs": len(ledger), "left_out": dict(sorted(left_out.items()))}
    return Exported(path, len(rows), dict(left_out))


def _undecided(study: Study, unit: Unit, votes: Sequence[Vote], each_vote: bool) -> str | None:
    """Why a pair gives no preference, as a ledger rule; None where it gives one."""
    answers = [study.answers.get((model, unit[0])) for model in unit[1:]]
    if any(answer is None or answer.text is None for answer in answers):
        return "unanswered"
    said = [vote for vote in votes if vote.choice != "skip"]
    if not said:
        return "no-vote"
    wins = Counter(vote.winner for vote in said if vote.winner)
    first, second = unit[1:]
    if not wins or (wins[first] == wins[second] and not each_vote):
        return "tie"
    better = list(wins) if each_vote else [first if wins[first] > wins[second] else second]
    good = any((study.answers[model, unit[0]].text or "").strip() for model in better)
    return None if good else "empty-answer"


def _rows(
    study: Study, item: Item, unit: Unit, votes: Sequence[Vote], *, kind: Kind, each_vote: bool
) -> list[Preference]:
    if each_vote:
        return [
            _row(study, item, (vote.winner, vote.loser), [vote], kind)
            for vote in votes
            if vote.winner
            and vote.loser
            and (study.answers[vote.winner, item.id].text or "").strip()
        ]
    wins = Counter(vote.winner for vote in votes if vote.winner)
    chosen, rejected = sorted(unit[1:], key=lambda model: -wins[model])
    said = [vote for vote in votes if vote.choice != "skip"]
    return [_row(study, item, (chosen, rejected), said, kind)]


def _row(
    study: Study, item: Item, pair: tuple[str, str], votes: Sequence[Vote], kind: Kind
) -> Preference:
    chosen, rejected = pair
    texts = [study.answers[model, item.id].text or "" for model in pair]
    judges = sorted({vote.judge for vote in votes})
    for_it = [vote for vote in votes if vote.winner == chosen]
    reasons = Counter(reason for vote in for_it for reason in vote.reasons)
    meta: dict[str, Any] = {
        "study": study.name,
        "item": item.id,
        "judge_kind": kind,
        "chosen_model": chosen,
        "rejected_model": rejected,
        "votes_for": len(for_it),
        "votes_against": sum(vote.winner == rejected for vote in votes),
        "votes_for_neither": sum(vote.winner is None for vote in votes),
        "reasons": dict(sorted(reasons.items())),
        "comments": [vote.comment for vote in votes if vote.comment],
    }
    source = f"arena:{study.name}"
    prompt = [[m.role, m.content] for m in item.messages]
    return Preference(
        id=content_id(source, canonical_json([prompt, *texts, judges])),
        prompt=list(item.messages),
        chosen=texts[0],
        rejected=texts[1],
        judge=", ".join(judges),
        uri=item.uri or f"{source}/{item.id}",
        source=source,
        license=item.license,
        language=item.language,
        collected_at=max(datetime.fromisoformat(vote.at) for vote in votes),
        parents=[*item.parents, item.id],
        meta=meta,
        consent=item.consent,
    )


def _line(study: Study, unit: Unit, item: Item, votes: Sequence[Vote], rule: str) -> LedgerEntry:
    """What became of one pair of answers, and how it was judged."""
    said = Counter(vote.winner or vote.choice for vote in votes)
    detail = ", ".join(f"{what}: {count}" for what, count in sorted(said.items()))
    return LedgerEntry(
        row_id=content_id(f"arena:{study.name}", canonical_json(list(unit))),
        uri=item.uri or f"arena:{study.name}/{item.id}",
        stage=_STAGE,
        action="drop",
        rule=rule,
        value=float(len(votes)),
        detail=f"{unit[1]} or {unit[2]}; {detail or 'no votes'}",
    )


def _parents(study: Study, path: Path) -> list[Parent]:
    """The dataset that the prompts came from."""
    origin = study.description.prompts
    if "dataset" not in origin:
        return []
    folder = Path(str(origin["dataset"]))
    relative = os.path.relpath(folder, path.absolute())
    return [Parent(folder.name, str(origin["fingerprint"]), Path(relative).as_posix())]
