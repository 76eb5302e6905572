"""What a recipe demands of a model's figures: `hellaswag: ">= base - 1"`, `toxicity: "<= 0.01"`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chatwright.errors import ChatwrightError, UsageError
from chatwright.evaluate.results import Evaluation, Metric, aligned, show

_NUMBER = r"\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+"
_GATE = re.compile(
    rf"(?P<op>>=|<=|>|<)\s*(?:(?P<base>base)\s*(?:(?P<sign>[-+])\s*(?P<by>{_NUMBER})\s*(?P<points>%|pp)?"
    rf"|\*\s*(?P<times>{_NUMBER}))?"
    rf"|(?P<value>-?(?:{_NUMBER}))\s*(?P<percent>%)?)",
    re.IGNORECASE,
)
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_NOT_WORSE = "not worse"


class GateError(ChatwrightError):
    """A model does not reach what the recipe demands of it."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One demand, for one model. `value` is what was measured, `bound` what was asked."""

    gate: str
    metric: str
    model: str
    value: float
    bound: float
    holds: bool
    text: str


def check_gate(key: str, demand: str) -> str | None:
    """Why a gate cannot be read, or None where it can."""
    if demand.strip().lower() == _NOT_WORSE or _GATE.fullmatch(demand.strip()):
        return None
    return (
        f"gate {key!r}: {demand!r} is no demand; write >= 0.4, <= 1 %, >= base - 1 (points for "
        "shares, else the figure's own unit), >= base * 0.98, or: not worse"
    )


def judge(evaluation: Evaluation, gates: Mapping[str, str]) -> list[Gate]:
    """Hold each gate to each model but the baseline (to the only model where there is one).

    A key names a task (its first metric counts), `task/metric`, or a metric of answers. A bound on
    a share is the share itself (0.4, or 40 %); a distance from `base`, the first model's figure, is
    in percentage points there. `not worse` fails only where a paired bootstrap finds the model
    worse. Raises `UsageError` for a gate that cannot be read or names nothing that was measured.
    """
    judged = evaluation.models[1:] or evaluation.models[:1]
    out: list[Gate] = []
    for key, demand in gates.items():
        problem = check_gate(key, demand)
        if problem:
            raise UsageError(problem)
        metric = _metric(evaluation, key)
        for model in judged:
            out.append(_judge_one(evaluation, metric, key, demand.strip(), model.name))
    return out


def _judge_one(evaluation: Evaluation, metric: Metric, key: str, demand: str, model: str) -> Gate:
    value = _value(evaluation, metric, model)
    if demand.lower() == _NOT_WORSE:
        found = [c for c in evaluation.comparisons if c.metric == metric.name and c.model == model]
        if not found:
            raise UsageError(f"gate {key!r}: 'not worse' needs a first model to compare with")
        bound = _value(evaluation, metric, evaluation.models[0].name)
        holds = found[0].verdict != "worse"
        text = f"p = {found[0].difference.p_value:.2g}: {found[0].verdict}"
        return Gate(f"{key}: {demand}", metric.name, model, value, bound, holds, text)
    parts = _GATE.fullmatch(demand)
    assert parts is not None
    if parts["base"]:
        if len(evaluation.models) < 2:
            raise UsageError(
                f"gate {key!r} compares with `base`, and only one model was measured",
                hint="give the model to compare with first",
            )
        bound = _value(evaluation, metric, evaluation.models[0].name)
        by = float(parts["by"] or 0) / (100 if metric.unit == "share" else 1)
        bound = bound * float(parts["times"] or 1) + (by if parts["sign"] == "+" else -by)
    else:
        bound = float(parts["value"]) / (100 if parts["percent"] else 1)
    if (parts["points"] or parts["percent"]) and metric.unit != "share":
        raise UsageError(
            f"gate {key!r}: {metric.title} is a number and not a share: leave out the % sign",
            hint="a bound relative to the first model is written: <= base * 1.02",
        )
    # Rounding in the last place must not decide about a bound that is met exactly.
    slack = 1e-9 * max(1.0, abs(bound)) * (-1 if parts["op"] in (">", "<") else 1)
    low_is_good = parts["op"].startswith("<")
    holds = _OPERATORS[parts["op"]](value, bound + (slack if low_is_good else -slack))
    text = f"{show(metric, value)} {parts['op']} {show(metric, bound)}"
    return Gate(f"{key}: {demand}", metric.name, model, value, bound, bool(holds), text)


def require(evaluation: Evaluation, gates: Mapping[str, str]) -> None:
    """Judge the gates and note them in the evaluation. Raises `GateError` where one does not hold.

    The error's message holds the table of all of them.
    """
    judged = judge(evaluation, gates)
    evaluation.gates = [asdict(gate) for gate in judged]
    failed = [gate for gate in judged if not gate.holds]
    if failed:
        raise GateError(
            f"{len(failed)} of {len(judged)} gates do not hold:\n{gate_table(judged)}",
            hint="improve the model, or lower the gate if it asks too much",
        )


def gate_table(gates: list[Gate]) -> str:
    """The gates as aligned lines."""
    rows = [["", "gate", "model", "measured"]]
    rows += [["holds" if g.holds else "FAILS", g.gate, g.model, g.text] for g in gates]
    return "\n".join(aligned(rows))


def _metric(evaluation: Evaluation, key: str) -> Metric:
    names = {metric.name: metric for metric in evaluation.shown}
    primary = {task.name: task.primary for task in evaluation.tasks}
    name = primary.get(key, key)
    if name not in names:
        known: list[Any] = [*primary, *names]
        raise UsageError(
            f"gate {key!r} names nothing that was measured",
            hint=f"measured: {', '.join(known)}",
        )
    return names[name]


def _value(evaluation: Evaluation, metric: Metric, model: str) -> float:
    for result in evaluation.models:
        if result.name == model and metric.name in result.metrics:
            return result.metrics[metric.name].value
    raise UsageError(f"{model} has no figure for {metric.name}")
