"""What a search leaves: a table of its trials, a summary, and the recipe with the best settings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from chatwright.records import disk_errors, write_atomic
from chatwright.train.tune.journal import Trial
from chatwright.train.tune.space import HOW_MUCH, ONE_OF, Choices, Space


def write_table(path: Path, trials: Sequence[Trial], space: Space, metric: str) -> None:
    """`trials.csv`: a line for each trial, in order, with its settings and what came of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", metric, *space, "seconds", "same_as", "reason"])
    for t in trials:
        values = [t.values.get(key) for key in space]
        writer.writerow([t.number, t.state, t.result, *values, t.seconds, t.same_as, t.reason])
    with disk_errors(path):
        write_atomic(path, text.getvalue())


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """`search.json`."""
    with disk_errors(path):
        write_atomic(path, json.dumps(summary, ensure_ascii=False, indent=1) + "\n")


def kept_values(space: Space, best: Trial) -> dict[str, Any]:
    """The best trial's settings, without a length that every trial was given.

    Short trials are how one searches; the recipe's own length is what one wants in the end.
    """
    return {
        key: value
        for key, value in best.values.items()
        if not (key in HOW_MUCH and isinstance(space[key], Choices) and _single(space[key]))
    }


def write_best(
    path: Path, recipe: Path, stage: str, values: Mapping[str, Any], comment: str
) -> None:
    """`best.yaml`: the recipe as it was written, with the best settings in its stage."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    raw = yaml.load(recipe.read_text(encoding="utf-8"))
    settings = raw["stages"][stage]
    for key, value in values.items():
        for group in ONE_OF:
            if key in group:
                for other in group:
                    settings.pop(other, None)
        *parents, last = key.split(".")
        inside = settings
        for name in parents:
            inside = inside.setdefault(name, {})
        inside[last] = value
    out = io.StringIO()
    yaml.dump(raw, out)
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    with disk_errors(path):
        write_atomic(path, head + out.getvalue())


def _single(values: Any) -> bool:
    return len(values.values) == 1
