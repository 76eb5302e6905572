"""Demands on figures: how they are read, and when they hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.errors import UsageError
from chatwright.evaluate.gates import GateError, check_gate, judge, require
from chatwright.evaluate.results import (
    BY_NAME,
    Evaluation,
    Metric,
    TaskRecord,
    summarise,
)

HELLASWAG = Metric("hellaswag/acc", "HellaSwag", "higher", "share", "", task="hellaswag")
METRICS = (HELLASWAG, BY_NAME["perplexity"], BY_NAME["token_f1"])


def made(*shares: float, perplexity: tuple[float, ...] = (1.0, 1.0)) -> Evaluation:
    """Two models (or one) that are right on these shares of 100 items."""
    names = ["base", "new"][: len(shares)]
    values = {
        name: {
            "hellaswag/acc": {f"i{i:03}": (float(i < round(100 * share)), 1.0) for i in range(100)},
            "perplexity": {f"i{i:03}": (nats, 1.0) for i in range(100)},
        }
        for name, share, nats in zip(names, shares, perplexity, strict=False)
    }
    results, comparisons = summarise(values, {n: n for n in names}, metrics=METRICS, resamples=400)
    task = TaskRecord("hellaswag", "HellaSwag", "choice", "hellaswag/acc", 100)
    return Evaluation({}, 100, results, comparisons, metrics=METRICS, tasks=[task])


@pytest.mark.parametrize(
    ("demand", "holds"),
    [
        (">= base - 1", True),  # 40 % against 41 %: one point
        (">= base - 0.5", False),
        (">= base - 1 pp", True),
        (">= base", False),
        ("< base", True),
        (">= base * 0.97", True),
        (">= base * 0.99", False),
        (">= 0.4", True),
        (">= 40 %", True),
        ("> 40%", False),
        (">=41%", False),
        ("<= base + 1", True),
        ("not worse", True),
        ("Not worse", True),
    ],
)
def test_a_share_is_measured_in_points_from_base_and_by_itself_otherwise(
    demand: str, holds: bool
) -> None:
    (gate,) = judge(made(0.41, 0.40), {"hellaswag": demand})
    assert gate.holds is holds, gate
    assert gate.model == "new" and gate.metric == "hellaswag/acc"


def test_not_worse_fails_where_the_difference_is_clear() -> None:
    assert not judge(made(0.6, 0.3), {"hellaswag": "not worse"})[0].holds
    assert judge(made(0.3, 0.6), {"hellaswag": "not worse"})[0].holds


def test_a_number_is_measured_in_its_own_unit() -> None:
    worse = made(0.4, 0.4, perplexity=(1.0, 1.1))  # e and e^1.1: 2.718 and 3.004
    assert judge(worse, {"perplexity": "<= base + 0.3"})[0].holds
    assert not judge(worse, {"perplexity": "<= base + 0.2"})[0].holds


@pytest.mark.parametrize("demand", ["<= base + 2 %", "<= 3 %", "<= base + 2 pp"])
def test_a_per_cent_of_a_number_is_refused(demand: str) -> None:
    with pytest.raises(UsageError, match="leave out the %") as caught:
        judge(made(0.4, 0.4), {"perplexity": demand})
    assert "base * 1.02" in str(caught.value.hint)


def test_one_model_alone_is_judged_itself() -> None:
    (gate,) = judge(made(0.4), {"hellaswag/acc": ">= 0.3"})
    assert gate.model == "base" and gate.holds
    with pytest.raises(UsageError, match="only one model"):
        judge(made(0.4), {"hellaswag": ">= base"})
    with pytest.raises(UsageError, match="first model"):
        judge(made(0.4), {"hellaswag": "not worse"})


def test_the_error_holds_the_table_of_all_gates() -> None:
    evaluation = made(0.41, 0.35)
    with pytest.raises(GateError) as caught:
        require(evaluation, {"hellaswag": ">= base - 1", "perplexity": "<= base"})
    assert "1 of 2 gates do not hold" in caught.value.message
    assert "FAILS  hellaswag: >= base - 1  new    35.0 % >= 40.0 %" in caught.value.message
    assert "holds  perplexity: <= base" in caught.value.message
    assert [gate["holds"] for gate in evaluation.gates] == [False, True]
    require(evaluation, {"perplexity": "<= base"})


@pytest.mark.parametrize(
    "demand",
    [
        "",
        "base",
        ">= basis",
        "== 3",
        ">= base / 2",
        "<= base * 102 %",
        ">= base - ",
        ">= 0.4.1",
        "≥ 3",
    ],
)
def test_what_is_no_demand_is_refused_and_says_how_one_looks(demand: str) -> None:
    assert ">= base - 1" in (check_gate("hellaswag", demand) or "")
    with pytest.raises(UsageError, match="is no demand"):
        judge(made(0.4, 0.4), {"hellaswag": demand})


def test_a_gate_on_what_was_not_measured_names_what_was() -> None:
    with pytest.raises(UsageError) as caught:
        judge(made(0.4, 0.4), {"piqa": ">= 0.3"})
    assert "hellaswag" in str(caught.value.hint) and "perplexity" in str(caught.value.hint)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 100), st.integers(0, 100))
def test_an_exact_bound_holds_and_a_strict_one_does_not(first: int, second: int) -> None:
    """Whatever the shares, rounding in the last place decides about nothing."""
    evaluation = made(first / 100, second / 100)
    distance = first - second
    sign = "-" if distance >= 0 else "+"
    assert judge(evaluation, {"hellaswag": f">= base {sign} {abs(distance)}"})[0].holds
    assert not judge(evaluation, {"hellaswag": f"> base {sign} {abs(distance)}"})[0].holds
