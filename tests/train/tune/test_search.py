"""The search over functions whose best point is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatwright.errors import DataError, UsageError
from chatwright.train.tune import search as search_module
from chatwright.train.tune.journal import Journal, Trial
from chatwright.train.tune.search import (
    Plan,
    Pruned,
    Run,
    TrialFailed,
    best_of,
    importances,
    search,
)
from chatwright.train.tune.space import Choices, Range

SPACE = {
    "rate": Range(1e-5, 1e-1, log=True),
    "rank": Range(1, 8, whole=True),
    "shape": Choices(("round", "flat", None)),
    "steps": Choices((7,)),
}


def bowl(run: Run) -> float:
    """Best at rate 1e-3, rank 1, shape round; falls towards its end like a loss."""
    end = (math.log10(run.values["rate"]) + 3) ** 2 + 0.01 * run.values["rank"]
    end += 0.0 if run.values["shape"] == "round" else 0.2
    for tenth in range(1, 10):
        run.report(tenth, end + 0.1 * (10 - tenth))
    return end


def searched(folder: Path, plan: Plan, train: Callable[[Run], float] = bowl) -> list[Trial]:
    return search(plan, train, Journal(folder / "trials.jsonl", {"what": "this"}))


def timeless(trials: list[Trial]) -> list[Trial]:
    return [replace(trial, seconds=0.0) for trial in trials]


def test_it_finds_the_bottom_and_says_what_mattered(tmp_path: Path) -> None:
    plan = Plan(SPACE, 30, seed=1)
    trials = searched(tmp_path, plan)
    assert [t.number for t in trials] == list(range(1, 31))
    best = best_of(trials, maximise=False)
    assert best is not None and best.result is not None
    assert best.result < 0.1 and 3e-4 < best.values["rate"] < 3e-3
    assert best.values["steps"] == 7
    # What a person reads and pastes has four digits.
    assert all(t.values["rate"] == float(f"{t.values['rate']:.4g}") for t in trials)
    # A good part need not be finished.
    pruned = [t for t in trials if t.state == "pruned"]
    assert 5 <= len(pruned) <= 25
    shares = importances(plan, trials)
    assert max(shares, key=lambda key: shares[key]) == "rate"
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(plan, trials[:5]) == {}


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_interrupted_it_tries_what_it_would_have_tried(tmp_path: Path, pruner: Any) -> None:
    plan = Plan(SPACE, 14, seed=3, pruner=pruner, first={"rate": 0.05})
    whole = searched(tmp_path / "whole", plan)
    calls = 0

    def interrupted(run: Run) -> float:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise KeyboardInterrupt
        return bowl(run)

    for _ in range(40):
        try:
            parts = searched(tmp_path / "parts", plan, interrupted)
            break
        except KeyboardInterrupt:
            continue
    assert timeless(parts) == timeless(whole)
    assert whole[0].values["rate"] == 0.05
    other = searched(tmp_path / "other", replace(plan, seed=4, trials=3))
    assert timeless(other)[1:] != timeless(whole)[1:3]


def test_more_trials_go_on_where_fewer_stopped(tmp_path: Path) -> None:
    few = searched(tmp_path, Plan(SPACE, 6, seed=2))
    more = searched(tmp_path, Plan(SPACE, 12, seed=2))
    assert more[:6] == few and len(more) == 12
    assert timeless(more) == timeless(searched(tmp_path / "once", Plan(SPACE, 12, seed=2)))
    assert searched(tmp_path, Plan(SPACE, 3, seed=2)) == more  # all there already


def test_a_small_space_is_gone_through_once(tmp_path: Path) -> None:
    space = {"a": Choices((1, 2, 3)), "b": Range(0, 0.2, step=0.1), "c": Choices(("x",))}
    plan = Plan(space, 50, first={"a": 2, "b": 0.1})
    trials = searched(tmp_path, plan, lambda run: run.values["a"] + run.values["b"])
    points = {(t.values["a"], t.values["b"]) for t in trials}
    assert len(trials) == len(points) == 9
    assert (trials[0].values["a"], trials[0].values["b"]) == (2, 0.1)
    best = best_of(trials, maximise=True)
    assert best is not None and best.values == {"a": 3, "b": 0.2, "c": "x"}


def test_the_same_values_are_not_trained_twice(tmp_path: Path) -> None:
    # Whole numbers up to 3, but more points than trials: proposals come again.
    space = {"a": Range(1, 3, whole=True), "b": Range(1, 3, whole=True)}
    trained: list[dict[str, Any]] = []

    def train(run: Run) -> float:
        trained.append(run.values)
        return float(run.values["a"] + run.values["b"])

    trials = searched(tmp_path, Plan(space, 8, seed=0), train)
    assert len(trials) == 8
    copies = [t for t in trials if t.same_as is not None]
    assert len(trained) == 8 - len(copies)
    assert len({tuple(values.items()) for values in trained}) == len(trained)
    for copy in copies:
        assert copy.same_as is not None
        first = trials[copy.same_as - 1]
        assert (first.values, first.result) == (copy.values, copy.result)


def test_failures_are_kept_and_stop_nothing(tmp_path: Path) -> None:
    def train(run: Run) -> float:
        if run.values["rate"] > 1e-2:
            raise TrialFailed("training diverged at step 3")
        if run.values["shape"] is None:
            return math.nan
        return bowl(run)

    trials = searched(tmp_path, Plan(SPACE, 12, seed=5), train)
    failed = [t for t in trials if t.state == "failed"]
    assert {t.reason for t in failed} == {"training diverged at step 3", "the result is nan"}
    assert all(t.result is None for t in failed)
    assert all(t.values["rate"] > 1e-2 or t.values["shape"] is None for t in failed)
    assert best_of(failed, maximise=False) is None
    # And the journal gives them back.
    again = Journal(tmp_path / "trials.jsonl", {"what": "this"})
    assert again.trials == trials


def test_other_errors_end_the_search_and_the_trial_is_gone_on_with(tmp_path: Path) -> None:
    def full(run: Run) -> float:
        if run.number == 3:
            raise DataError("the disk is full")
        return bowl(run)

    with pytest.raises(DataError, match="full"):
        searched(tmp_path, Plan(SPACE, 5), full)
    journal = Journal(tmp_path / "trials.jsonl", {"what": "this"})
    assert [t.state for t in journal.trials][-1] == "running"
    asked = journal.trials[-1].values
    seen: list[dict[str, Any]] = []
    searched(tmp_path, Plan(SPACE, 5), lambda run: seen.append(run.values) or bowl(run))
    assert seen[0] == asked and len(seen) == 3


def test_the_median_rule(tmp_path: Path) -> None:
    """Worse than the median of the others at the same tenth ends a trial, from the second on."""
    ends = [5.0, 4.0, 3.0, 2.0, 9.0, 1.0]
    worse = 50.0

    def train(run: Run) -> float:
        end = ends[run.number - 1]
        run.report(1, end + worse)
        run.report(2, end)
        run.report(3, end)
        return end

    trials = searched(tmp_path, Plan({"rate": Range(0, 1)}, 6), train)
    assert [t.state for t in trials] == ["complete"] * 4 + ["pruned", "complete"]
    assert (trials[4].measured, trials[4].result) == ({1: 59.0, 2: 9.0}, 9.0)
    assert trials[4].reason == "stopped at 20 % of the training"
    # The other way round, what is less than the median ends.
    worse = -50.0
    plan = Plan({"rate": Range(0, 1)}, 6, maximise=True)
    high = searched(tmp_path / "high", plan, train)
    assert [t.state for t in high] == ["complete"] * 4 + ["complete", "pruned"]
    best = best_of(high, maximise=True)
    assert best is not None and best.result == 9.0


def test_what_was_reported_before_an_interruption_prunes_nothing_again(tmp_path: Path) -> None:
    class Never:
        def report(self, value: float, step: int) -> None: ...

        def should_prune(self) -> bool:
            return True

    run = Run(1, {}, Never())  # type: ignore[arg-type]
    run.report(1, 2.0, again=True)
    with pytest.raises(Pruned):
        run.report(2, 2.0)
    assert run.measured == {1: 2.0, 2: 2.0}


def test_after_its_time_no_trial_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(search_module.time, "monotonic", lambda: now)

    def train(run: Run) -> float:
        nonlocal now
        now += 40.0
        return bowl(run)

    assert len(searched(tmp_path, Plan(SPACE, 10, timeout=100), train)) == 3
    assert len(searched(tmp_path, Plan(SPACE, 10, timeout=100), train)) == 6


# -- journal ---------------------------------------------------------------------------------------


def test_a_journal_cut_anywhere_goes_on(tmp_path: Path) -> None:
    plan = Plan(SPACE, 6, seed=2)
    whole = searched(tmp_path / "whole", plan)
    text = (tmp_path / "whole" / "trials.jsonl").read_bytes()
    assert text.count(b"\n") == 1 + 2 * 6
    for cut in range(0, len(text), 331):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "trials.jsonl").write_bytes(text[:cut])
        assert timeless(searched(folder, plan)) == timeless(whole), cut


def test_another_search_is_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    Journal(path, {"metric": "loss", "seed": 0})
    with pytest.raises(UsageError, match="differs in: metric, seed") as raised:
        Journal(path, {"metric": "reward", "seed": 1})
    assert raised.value.hint is not None and "--fresh" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"other": 1}\n', "no journal"),
        ('{"search": {}}\nnonsense\n{"number": 1}\n', "jsonl:2"),
        ('{"search": {}}\n{"number": 1}\n{"number": 2}\n', "no trial"),
        ('{"search": {}}\n[1]\n[2]\n', "no trial"),
    ],
)
def test_a_file_that_somebody_changed(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as raised:
        Journal(path, {})
    assert said in str(raised.value)
