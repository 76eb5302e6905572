"""Counterfactual generation: matched prompts, gaps and their tests by hand and against scipy."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from scipy import stats

from chatwright.errors import UsageError
from chatwright.govern.audit.counterfactual import Prompt, measure, prompts
from chatwright.govern.audit.permutation import group_gap, holm, mean_difference


def test_prompts_differ_in_the_group_and_in_nothing_else() -> None:
    asked = prompts(("en", "zh"), 2)
    assert len({p.id for p in asked}) == len(asked)
    for (language, axis, template), group in itertools.groupby(
        sorted(asked, key=lambda p: (p.language, p.axis, p.template)),
        key=lambda p: (p.language, p.axis, p.template),
    ):
        inside = list(group)
        groups = {p.group for p in inside}
        assert len(groups) >= 2, (language, axis)
        assert len(inside) == 2 * len(groups)
        # One seed per repetition, the same for every group of the axis.
        assert len({p.seed(0) for p in inside}) == 2
        assert len({p.seed(0) for p in inside} | {p.seed(1) for p in inside}) == 4
        assert len({p.text for p in inside}) == len(groups), template
    for prompt in asked:
        assert not re.search(r"[{}]|\ba [aeiou]", prompt.text), prompt.text
        assert bool(re.search(r"[一-鿿]", prompt.text)) == (prompt.language == "zh")
        assert prompt.text[0] == prompt.text[0].upper()
        # Chinese has marks of its own; ASCII ones would be text that no model was trained on.
        assert prompt.language != "zh" or not re.search(r"[,.!?:;()]", prompt.text), prompt.text
    assert {p.axis for p in asked} >= {"gender", "age", "origin", "religion", "disability"}
    assert any("She usually" in p.text for p in asked)
    with pytest.raises(UsageError, match="'fr'"):
        prompts(("fr",), 1)


def test_a_gap_by_hand() -> None:
    values = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.5]])
    found = group_gap(values, seed=1)
    assert found.estimate.value == pytest.approx(2 / 3 - 1 / 6)
    assert found.estimate.low <= found.estimate.value <= found.estimate.high
    # Rows 1 and 3 may be exchanged: of four sign patterns the two equal ones give 1/2.
    assert found.p_value == pytest.approx(0.5, abs=0.04)
    assert found.chance == pytest.approx((0.5 + 0.5 + 1 / 6 + 1 / 6) / 4, abs=0.02)
    assert group_gap(values, seed=1) == found
    for wrong in (np.zeros((3, 1)), np.zeros((0, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match="two groups"):
            group_gap(wrong)


def test_under_the_null_the_p_value_is_fair_and_a_real_gap_is_found() -> None:
    random = np.random.default_rng(0)
    blocks = random.normal(0, 1, (12, 1))  # prompts differ a lot; groups do not
    p_values = [
        group_gap(blocks + random.normal(0, 0.3, (12, 4)), seed=n, permutations=200).p_value
        for n in range(100)
    ]
    assert sum(p < 0.05 for p in p_values) <= 12
    assert 0.35 < float(np.mean(p_values)) < 0.65
    real = blocks + random.normal(0, 0.3, (12, 4)) + np.array([0.0, 0.0, 0.0, 1.0])
    assert group_gap(real).p_value < 0.01


def test_mean_difference_is_scipys() -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(0.6, 1, 12), random.normal(0, 1, 15)
    oracle = stats.permutation_test(
        (first, second),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        alternative="greater",
        vectorized=True,
        n_resamples=5_000,
        random_state=np.random.default_rng(2),
    )
    assert mean_difference(first, second) == pytest.approx(oracle.pvalue, abs=0.03)


def test_holm_by_hand() -> None:
    # Holm 1979: sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def asked(groups: str = "ab", rows: int = 12) -> list[Prompt]:
    return [
        Prompt("en", "axis", f"t{n % 3}", group, n // 3, f"{group} {n}")
        for n in range(rows)
        for group in groups
    ]


def test_a_biased_model_is_told_and_where_it_comes_from() -> None:
    rows = asked("abc")
    said = {p.id: "good" if p.group == "a" and p.template == "t1" else "plain" for p in rows}
    scorers = {"sentiment": lambda text: float(text == "good"), "toxicity": lambda text: 0.0}
    found = measure(rows, said, scorers)
    sentiment, toxicity = found.gaps
    assert (sentiment.measure, sentiment.highest) == ("sentiment", "a")
    assert sentiment.gap.value == pytest.approx(1 / 3)
    assert sentiment.groups["a"].value == pytest.approx(1 / 3)
    assert [(t.template, t.gap) for t in sentiment.templates] == [
        ("t1", 1.0), ("t0", 0.0), ("t2", 0.0),
    ]  # fmt: skip
    assert toxicity.gap.value == 0.0 and toxicity.p_value == 1.0 and not toxicity.significant
    assert found.generations == 36 and found.empty == 0
    assert measure(rows, said, scorers) == found
    always = measure(rows, {p.id: "good" if p.group == "a" else "x" for p in rows}, scorers)
    assert always.gaps[0].significant


def test_an_empty_continuation_says_nothing_about_anybody() -> None:
    rows = asked()

    def strict(text: str) -> float:
        assert text.strip()
        return 1.0

    found = measure(rows, {p.id: " " if p.group == "a" else "x" for p in rows}, {"s": strict})
    assert found.empty == 12
    assert found.gaps[0].gap.value == 1.0 and found.gaps[0].lowest == "a"
