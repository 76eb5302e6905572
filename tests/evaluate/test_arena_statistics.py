"""The arena's statistics against reference implementations and published examples."""

from __future__ import annotations

import time

import choix
import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from chatwright.curate.label.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
from chatwright.evaluate.arena.bradley_terry import bootstrap_strengths, bradley_terry, elo
from chatwright.evaluate.arena.proportions import even_chance_p_value


def test_strengths_equal_choix() -> None:
    random = np.random.default_rng(1)
    for models in (2, 3, 6):
        wins = random.integers(1, 30, (models, models)).astype(float)
        wins += random.integers(0, 3, wins.shape) / 2  # ties
        np.fill_diagonal(wins, 0)
        found = bradley_terry(wins)
        expected = choix.ilsr_pairwise_dense(wins.copy(), tol=1e-12)
        np.testing.assert_allclose(found.strengths, expected - expected.mean(), atol=1e-6)
        assert not found.bounded
        assert set(found.groups) == {0}


def test_two_models_by_hand() -> None:
    """9 wins of 10: odds of 9 to 1, 381.7 Elo points apart."""
    found = bradley_terry(np.array([[0.0, 9.0], [1.0, 0.0]]))
    assert found.strengths[0] - found.strengths[1] == pytest.approx(np.log(9))
    ratings = elo(found.strengths)
    assert ratings[0] - ratings[1] == pytest.approx(381.697, abs=1e-3)
    assert ratings.mean() == pytest.approx(1000)


def test_one_that_won_everything_is_bounded_and_still_first() -> None:
    never_lost = bradley_terry(np.array([[0.0, 10.0], [0.0, 0.0]]))
    lost_once = bradley_terry(np.array([[0.0, 9.0], [1.0, 0.0]]))
    assert never_lost.bounded
    assert np.isfinite(never_lost.strengths).all()
    assert lost_once.strengths[0] < never_lost.strengths[0]
    # One that beat two others, which beat each other: bounded too, though the rest is not.
    found = bradley_terry(np.array([[0.0, 5, 5], [0, 0, 3], [0, 2, 0]]))
    assert found.bounded
    assert found.strengths[0] > found.strengths[1] > found.strengths[2]


def test_models_that_no_vote_links_are_in_groups_of_their_own() -> None:
    wins = np.zeros((5, 5))
    wins[0, 1], wins[1, 0] = 3, 1
    wins[2, 3], wins[3, 2] = 1, 3
    found = bradley_terry(wins)
    assert found.groups == (0, 0, 1, 1, 2)
    assert found.strengths[4] == 0
    np.testing.assert_allclose(found.strengths[:2], [np.log(3) / 2, -np.log(3) / 2])
    np.testing.assert_allclose(found.strengths[2:4], [-np.log(3) / 2, np.log(3) / 2])
    nothing = bradley_terry(np.zeros((3, 3)))
    assert nothing.groups == (0, 1, 2)
    assert (nothing.strengths == 0).all()


@pytest.mark.parametrize("table", [[[0, 1]], [[0, -1], [1, 0]], [[0, np.inf], [1, 0]]])
def test_tables_that_cannot_be(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="wins"):
        bradley_terry(np.array(table))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_any_table_gives_finite_strengths_that_do_not_depend_on_order(
    models: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    wins = random.integers(0, 3, (models, models)) * (random.random((models, models)) < 0.5)
    found = bradley_terry(wins.astype(float))
    assert np.isfinite(found.strengths).all()
    order = random.permutation(models)
    again = bradley_terry(wins[np.ix_(order, order)].astype(float))
    np.testing.assert_allclose(again.strengths, found.strengths[order], atol=1e-6)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth = np.array([0.6, 0.0, -0.6])
    inside = total = 0
    began = time.monotonic()
    for trial in range(40):
        random = np.random.default_rng(trial)
        by_item = np.zeros((60, 3, 3))
        for item in range(60):
            for a, b in ((0, 1), (0, 2), (1, 2)):
                won = random.random() < 1 / (1 + np.exp(truth[b] - truth[a]))
                by_item[item, a if won else b, b if won else a] += 1
        _, low, high = bootstrap_strengths(by_item, resamples=300, seed=trial)
        inside += int(((low <= truth) & (truth <= high)).sum())
        total += 3
    assert 0.88 <= inside / total <= 1.0  # 95 % is asked; 120 intervals, not independent
    assert time.monotonic() - began < 30


def test_the_bootstrap_is_the_same_for_the_same_seed_and_finite_for_few_votes() -> None:
    by_item = np.zeros((2, 3, 3))
    by_item[0, 0, 1] = by_item[1, 1, 2] = 1
    first = bootstrap_strengths(by_item, resamples=50, seed=4)
    second = bootstrap_strengths(by_item, resamples=50, seed=4)
    for a, b in zip(first[1:], second[1:], strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)
    assert (first[1] <= first[2]).all()


# -- agreement -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_cohen_equals_scikit_learn(judged: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in judged], [b for _, b in judged]
    if len({*first, *second}) == 1:
        assert cohen_kappa(first, second, 5) is None
        return
    labels = list(range(5))
    for quadratic, weights in ((False, None), (True, "quadratic")):
        ours = cohen_kappa(first, second, 5, quadratic=quadratic)
        theirs = cohen_kappa_score(first, second, labels=labels, weights=weights)
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_cohen_where_it_is_undefined() -> None:
    assert cohen_kappa([], [], 3) is None
    with pytest.raises(ValueError, match="same units"):
        cohen_kappa([0], [0, 1], 3)


# Ten subjects, fourteen raters, five categories: the worked example by which Fleiss' kappa is
# commonly taught; kappa is 0.210.
TAUGHT = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
# Fleiss 1971, table 1: 30 patients, six psychiatrists, five diagnoses; kappa is 0.430.
FLEISS_1971 = [
    [0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0],
    [2, 0, 4, 0, 0], [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6],
    [1, 0, 0, 5, 0], [1, 1, 0, 4, 0], [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1],
    [0, 0, 5, 0, 1], [3, 0, 0, 1, 2], [5, 1, 0, 0, 0], [0, 2, 0, 4, 0], [1, 0, 2, 0, 3],
    [0, 0, 0, 0, 6], [0, 1, 0, 5, 0], [0, 2, 0, 1, 3], [2, 0, 0, 4, 0], [1, 0, 0, 4, 1],
    [0, 5, 0, 1, 0], [4, 0, 0, 0, 2], [0, 2, 0, 4, 0], [1, 0, 5, 0, 0], [0, 0, 0, 0, 6],
]  # fmt: skip


def test_fleiss_on_published_examples() -> None:
    assert fleiss_kappa(TAUGHT) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(FLEISS_1971) == pytest.approx(0.430, abs=5e-4)
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([[3, 0], [3, 0]]) is None
    with pytest.raises(ValueError, match="same number"):
        fleiss_kappa([[2, 0], [1, 2]])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=3, max_size=3),
        min_size=2,
        max_size=15,
    )
)
def test_alpha_equals_krippendorff(judged: list[list[int | None]]) -> None:
    units = [{str(j): v for j, v in enumerate(row) if v is not None} for row in judged]
    paired = [list(u.values()) for u in units if len(u) >= 2]
    if len({v for values in paired for v in values}) < 2:
        assert krippendorff_alpha(units, 5) is None
        return
    table = np.array([[np.nan if v is None else v for v in row] for row in judged], float).T
    for level in ("nominal", "ordinal"):
        theirs = krippendorff.alpha(
            reliability_data=table, value_domain=list(range(5)), level_of_measurement=level
        )
        ours = krippendorff_alpha(units, 5, level)  # type: ignore[arg-type]
        assert ours == pytest.approx(theirs, abs=1e-9)


# -- proportions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("wins", "count"), [(0, 5), (5, 5), (3, 10), (81, 263), (1, 1)])
def test_the_exact_test_equals_scipys(wins: int, count: int) -> None:
    theirs = binomtest(wins, count, 0.5)
    assert even_chance_p_value(wins, count) == pytest.approx(theirs.pvalue, rel=1e-9)


def test_shares_of_nothing() -> None:
    assert even_chance_p_value(0, 0) is None
    with pytest.raises(ValueError, match="of 2"):
        even_chance_p_value(-1, 2)
