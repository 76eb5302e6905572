"""Labels as a dataset: its rows with what was said of them, and a line for every row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatwright.curate.label.models import dataset_of
from chatwright.curate.label.queue import Queue, model_name
from chatwright.curate.label.summary import settle
from chatwright.errors import DataError, UsageError
from chatwright.records import LedgerEntry, Parent, fingerprint, write_dataset

STAGE = "label"


@dataclass(frozen=True, slots=True)
class Exported:
    """Where the dataset is, how many rows it has by label, and how many were left out and why."""

    path: Path
    rows: int
    labels: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)


def export_labels(
    queue: Queue,
    path: Path,
    *,
    only: tuple[str, ...] = (),
    by: str | None = None,
    least: int = 1,
    gold: bool = True,
) -> Exported:
    """Write the labelled rows; `meta.label` says the label, how it came about and all votes.

    `only` takes some labels: two exports give the positive and the negative examples that a quality
    model is trained on. `by` takes a model's labels in place of people's. `least`: the fewest
    people who must have labelled a row, unless somebody decided. Items on which people disagree
    without a majority wait for `adjudicate`. Raises `DataError` where no row is left.
    """
    for label in only:
        if label not in queue.labels:
            raise UsageError(
                f"{label!r} is no label here", where="only", hint=f"of {', '.join(queue.labels)}"
            )
    source = dataset_of(queue)
    found = _labels(queue, by, least, gold)
    ids = {item.row_id: item.number for item in queue.items}
    settings = {
        "queue": queue.name,
        "only": list(only),
        "by": by,
        "least": least,
        "gold": gold,
        "question": queue.description.question,
    }
    content = sorted((queue.items[n].row_id, *values[:2]) for n, values in found.items())
    relative = Parent(queue.description.dataset, source.fingerprint, _relative(source.path, path))
    name = fingerprint("labels", {**settings, "labels": content}, [source.fingerprint])
    labels: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    with write_dataset(
        path, source.row_type, stage=STAGE, fingerprint=name, settings=settings, parents=[relative]
    ) as out:
        for row in source.rows:
            number = ids.get(row.id)
            label, how, votes = ("", "not in the queue", {}) if number is None else found[number]
            keep = bool(label) and (not only or label in only)
            if keep:
                told: dict[str, Any] = {"label": label, "how": how, "queue": queue.name}
                row.meta = {**row.meta, "label": {**told, "votes": votes} if votes else told}
                out.write(row)
                labels[label] += 1
            else:
                how = f"labelled {label!r}, which was not asked for" if label else how
                left_out[how] += 1
            share = votes.get(label, 0) / sum(votes.values()) if votes and label else None
            out.log(
                LedgerEntry(
                    row.id,
                    row.uri,
                    STAGE,
                    "keep" if keep else "drop",
                    "label",
                    share,
                    f"one of {', '.join(only or queue.labels)}",
                    None,
                    f"{label} ({how})" if keep else how,
                )
            )
        if not labels:
            raise DataError(
                "no row has a label to be exported",
                where=str(queue.path),
                hint="; ".join(f"{count:,}: {why}" for why, count in left_out.most_common(4)),
            )
        kept = sum(labels.values())
        out.counts = {
            "in": len(source),
            "kept": kept,
            "dropped": len(source) - kept,
            "labels": dict(sorted(labels.items())),
            "left_out": dict(sorted(left_out.items())),
        }
    return Exported(path, kept, dict(sorted(labels.items())), dict(sorted(left_out.items())))


def _labels(
    queue: Queue, by: str | None, least: int, gold: bool
) -> dict[int, tuple[str, str, dict[str, int]]]:
    """Item → (label or "", how it came about or why there is none, votes)."""
    state = queue.store.read()
    settled = settle(queue)
    votes = queue.votes(state)
    model: dict[int, str] = {}
    if by is not None:
        name = by if state.labellers.get(by) == "model" else model_name(by)
        if name not in state.labellers:
            models = sorted(n for n, kind in state.labellers.items() if kind == "model")
            raise UsageError(
                f"no model has labelled here as {by!r}",
                hint=f"there are: {', '.join(models)}"
                if models
                else "see `chatwright label model`",
            )
        model = {g.item: g.label for g in state.answers_of(name) if g.label is not None}
    out: dict[int, tuple[str, str, dict[str, int]]] = {}
    for item in queue.items:
        number = item.number
        if item.gold is not None:
            out[number] = (item.gold, "gold", {}) if gold else ("", "a gold item", {})
        elif by is not None:
            label = model.get(number, "")
            out[number] = (label, by if label else f"no label by {by}", {})
        elif number not in settled:
            out[number] = ("", "not labelled yet", {})
        else:
            label, how = settled[number]
            if how == "open":
                how = "people disagree, and nobody has decided"
            elif how != "adjudicated" and sum(votes[number].values()) < least:
                label, how = "", f"fewer than {least} people have labelled it"
            out[number] = (label, how, votes[number])
    return out


def _relative(target: Path, start: Path) -> str:
    import os

    return os.path.relpath(target.resolve(), start.absolute())
