"""The items on which two models differ: counted, and put in order by rule."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatwright.evaluate.recompute import full_name, short_name
from chatwright.evaluate.results import BY_NAME, Evaluation, Metric

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Items of one kind ("only base is right"): how many there are, and some of them."""

    title: str
    count: int
    lines: list[Line]
    css: str = ""


@dataclass(slots=True)
class Contrast:
    """A task's items split by which of two models did better (or, of one, by right and wrong).

    `binary`: every item is right or wrong; otherwise scores are graded. `counts` are in the order
    of `names`, for the bar; the groups are the kinds that are shown item by item.
    """

    name: str
    title: str
    metric: Metric
    binary: bool
    names: tuple[str, ...]
    counts: tuple[int, ...]
    groups: list[Group]

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def parts(self) -> list[tuple[str, int, str, float]]:
        """The bar's parts: name, count, style, per cent."""
        if not self.names:
            return []
        styles: tuple[str, ...] = ("first", "same", "second")
        if self.binary:
            styles = (
                ("both", "first", "second", "none") if len(self.names) == 4 else ("both", "first")
            )
        total = max(1, self.total)
        return [
            (name, count, css, round(100 * count / total, 2))
            for name, count, css in zip(self.names, self.counts, styles, strict=True)
        ]


def contrasts(
    evaluation: Evaluation, lines: Sequence[Line], models: Sequence[str]
) -> list[Contrast]:
    """One contrast per task (and one for questions), of one model or two; empty ones left out."""
    by_task: dict[str, list[Line]] = {}
    for line in lines:
        if all(m in line.get("answers", {}) for m in models):
            by_task.setdefault(line.get("task", ""), []).append(line)
    records = {t.name: t for t in evaluation.tasks}
    out = []
    for name, own in by_task.items():
        if name and name not in records:
            continue
        record = records.get(name)
        primary = short_name(name, record.primary) if record else "token_f1"
        metric = _metric(evaluation, full_name(name, primary) if name else primary)
        if metric is None or metric.better == "neither":
            continue
        made = contrast(
            own,
            primary,
            metric,
            models,
            title=record.title if record else "Questions",
            name=name,
        )
        if made is not None:
            out.append(made)
    order = {t.name: i for i, t in enumerate(evaluation.tasks)}
    return sorted(out, key=lambda c: order.get(c.name, -1))


def contrast(
    lines: Sequence[Line],
    primary: str,
    metric: Metric,
    models: Sequence[str],
    *,
    title: str,
    name: str = "",
) -> Contrast | None:
    """Split the items of a task by the score `primary` of one model or two.

    A metric whose every score is 0 or 1 makes items right or wrong; another makes them better or
    worse. Each kind is ordered by margin (see `margin`), widest first; two models' margins are
    subtracted. None where no item has a score.
    """
    scored = [q for q in lines if all(score_of(q, m, primary) is not None for m in models)]
    if not scored:
        return None
    binary = metric.unit == "share" and all(
        score_of(q, m, primary) in (0.0, 1.0) for q in scored for m in models
    )
    split = _Split(primary, metric, scored)
    if len(models) == 1:
        names, counts, groups = split.alone(models[0], binary)
    elif binary:
        names, counts, groups = split.right_and_wrong(models[0], models[1])
    else:
        names, counts, groups = split.graded(models[0], models[1])
    return Contrast(name, title, metric, binary, names, counts, groups)


_Parts = tuple[tuple[str, ...], tuple[int, ...], list[Group]]


@dataclass(frozen=True, slots=True)
class _Split:
    """Items that all have scores, and the ways to split them: names, counts and groups."""

    primary: str
    metric: Metric
    lines: list[Line]

    def alone(self, model: str, binary: bool) -> _Parts:
        if not binary:
            worst = self._ordered(self.lines, lambda q: -self._goodness(q, model))
            return (), (), [Group("the worst first", len(worst), worst)]
        wrong = [q for q in self.lines if not self._right(q, model)]
        surest = self._ordered(wrong, lambda q: -self._margin(q, model))
        counts = (len(self.lines) - len(wrong), len(wrong))
        return ("right", "wrong"), counts, [Group("wrong, the surest first", len(wrong), surest)]

    def right_and_wrong(self, first: str, second: str) -> _Parts:
        kinds: dict[tuple[bool, bool], list[Line]] = {
            (a, b): [] for a in (True, False) for b in (True, False)
        }
        for q in self.lines:
            kinds[self._right(q, first), self._right(q, second)].append(q)
        names = ("both right", f"only {first} right", f"only {second} right", "both wrong")
        counts = tuple(
            len(kinds[k]) for k in ((True, True), (True, False), (False, True), (False, False))
        )
        return (
            names,
            counts,
            self._groups(
                (f"{second} is right, {first} is wrong", kinds[False, True]),
                (f"{first} is right, {second} is wrong", kinds[True, False]),
                lambda q: self._margin(q, second) - self._margin(q, first),
            ),
        )

    def graded(self, first: str, second: str) -> _Parts:
        def gain(q: Line) -> float:
            return self._goodness(q, second) - self._goodness(q, first)

        ahead, behind = ([q for q in self.lines if sign * gain(q) > 0] for sign in (1, -1))
        counts = (len(behind), len(self.lines) - len(ahead) - len(behind), len(ahead))
        groups = self._groups(
            (f"{second} does better", ahead), (f"{first} does better", behind), gain
        )
        return (f"{first} better", "same", f"{second} better"), counts, groups

    def _groups(
        self,
        ahead: tuple[str, list[Line]],
        behind: tuple[str, list[Line]],
        gain: Callable[[Line], float],
    ) -> list[Group]:
        return [
            Group(ahead[0], len(ahead[1]), self._ordered(ahead[1], gain), "second"),
            Group(behind[0], len(behind[1]), self._ordered(behind[1], lambda q: -gain(q)), "first"),
        ]

    def _ordered(self, lines: list[Line], key: Callable[[Line], float]) -> list[Line]:
        return sorted(lines, key=lambda q: (-key(q), _natural(q["id"])))

    def _goodness(self, line: Line, model: str) -> float:
        value = score_of(line, model, self.primary) or 0.0
        return -value if self.metric.better == "lower" else value

    def _right(self, line: Line, model: str) -> bool:
        return self._goodness(line, model) == (0.0 if self.metric.better == "lower" else 1.0)

    def _margin(self, line: Line, model: str) -> float:
        found = margin(line, model, self.primary)
        return self._goodness(line, model) if found is None else found


def margin(line: Line, model: str, primary: str) -> float | None:
    """How much probability lies on an item's right choice above its best wrong one, −1 … 1.

    Of a text that is to be continued: the probability of the right one. None where nothing is
    known of how likely they were.
    """
    gold, logprobs = line.get("gold"), line["answers"][model].get("logprobs")
    if not line.get("choices") and logprobs and len(logprobs) == 1:
        return math.exp(min(0.0, logprobs[0]))
    found = shares(logprobs, line.get("choices"), primary)
    if len(found) < 2 or not isinstance(gold, int) or not 0 <= gold < len(found):
        return None
    return found[gold] - max(p for i, p in enumerate(found) if i != gold)


def shares(
    logprobs: Sequence[float] | None, choices: Sequence[str] | None, primary: str
) -> list[float]:
    """Probability of each choice among the choices: a softmax of their log-probabilities.

    Where the metric compares them by their length in bytes (`acc_norm`), each is first brought to
    the choices' mean length, so that the largest share is what the metric counts as chosen. []
    where there is nothing to share.
    """
    if not logprobs or not choices or len(logprobs) != len(choices):
        return []
    sizes = [1.0] * len(choices)
    if primary == "acc_norm":
        sizes = [float(max(1, len(c.encode()))) for c in choices]
    mean = sum(sizes) / len(sizes)
    scaled = [v * mean / size for v, size in zip(logprobs, sizes, strict=True)]
    top = max(scaled)
    if not math.isfinite(top):
        return []
    parts = [math.exp(v - top) for v in scaled]
    return [p / sum(parts) for p in parts]


def score_of(line: Line, model: str, primary: str) -> float | None:
    """What an item counts in the metric `primary`; None where it has no such score."""
    scores = line["answers"][model].get("scores") or {}
    value = scores.get(primary)
    if value is None and "task" in line:  # an item that has no score of its own, but values
        columns = (line["answers"][model].get("values") or {}).get(primary)
        value = columns[0] / columns[1] if columns and len(columns) == 2 and columns[1] else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _metric(evaluation: Evaluation, name: str) -> Metric | None:
    try:
        return evaluation.metric(name)
    except KeyError:
        return BY_NAME.get(name)


def _natural(text: str) -> tuple[Any, ...]:
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", text))
