"""What the kinds of task share: one model with what it is measured by, and what it said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from chatwright.errors import UsageError
from chatwright.evaluate.answers import AnswerCache, answer_key
from chatwright.evaluate.results import Metric, Values
from chatwright.evaluate.tasks.schema import Item, Task, TaskSpec
from chatwright.progress import Progress

if TYPE_CHECKING:
    from chatwright.generate import Engine


@dataclass(frozen=True, slots=True)
class Bench:
    """One model, and what it is measured with. `fingerprint` names its weights and precision.

    `unsafe_code` runs generated code without a sandbox where the machine has none.
    """

    label: str
    fingerprint: str
    engine: Engine
    cache: AnswerCache
    progress: Progress
    seed: int = 0
    unsafe_code: bool = False


@dataclass(slots=True)
class Said:
    """What one model said to one task: item id → what its kind records.

    `skipped` are (item id, reason) of items that could not be put to it. `reused` of the answers
    were given before; `seconds` is what the others took.
    """

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    reused: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """A task's figures for one model: metric → values of items, and what each item shows.

    `lines[item]` goes into that model's part of the item's line in `answers.jsonl`.
    """

    values: dict[str, Values]
    lines: dict[str, dict[str, Any]]


class Kind(Protocol):
    """One kind of task. `run` asks the model; `score` is pure and needs no model."""

    def metrics(self, spec: TaskSpec) -> list[Metric]:
        """The task's metrics, named without the task. Raises `UsageError` for an unknown name."""

    def run(self, bench: Bench, task: Task) -> Said:
        """Ask every item that was not answered before."""

    def score(self, task: Task, answers: Mapping[str, dict[str, Any]]) -> Scored:
        """From what was said to values."""


def known_answers(bench: Bench, task: Task, items: Sequence[Item], said: Said) -> dict[str, str]:
    """Take over what was answered before; returns each item's key."""
    asked = task.digest()
    if task.spec.temperature:  # only then does chance have a part
        asked += f" seed {bench.seed}"
    keys = {item.id: answer_key(bench.fingerprint, asked, item.digest()) for item in items}
    found = bench.cache.get(keys.values())
    for item, key in keys.items():
        if key in found:
            said.answers[item] = found[key]
            said.reused += 1
    return keys


def choose_metrics(
    spec: TaskSpec, known: Mapping[str, Metric], default: Sequence[str]
) -> list[Metric]:
    """The metrics that the task names, or the kind's own."""
    names = spec.metrics or list(default)
    for name in names:
        if name not in known:
            raise UsageError(
                f"a {spec.kind} task has no metric {name!r}",
                where=f"task {spec.name}, metrics",
                hint=f"it may have: {', '.join(known)}",
            )
    return [known[name] for name in names]


def values_of(
    items: Sequence[Item], value: Callable[[Item], tuple[float, ...] | float | None]
) -> Values:
    """Each item's value; a plain number becomes a mean's (number, 1), None is left out."""
    out: Values = {}
    for item in items:
        found = value(item)
        if found is not None:
            out[item.id] = found if isinstance(found, tuple) else (float(found), 1.0)
    return out
