"""Figures and version tests against references, by hand, and by simulation of true rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.evaluate.conversations.comparing import (
    Comparison,
    benjamini_hochberg,
    compare_pair,
    compare_versions,
    version_order,
)
from chatwright.evaluate.conversations.figures import BY_NAME, MEASURES, Observations, show
from chatwright.evaluate.conversations.measured import SEVERAL, Measured
from chatwright.evaluate.conversations.outcome import Outcome

PLAIN = Measured(
    id="0",
    user=None,
    at=None,
    language="en",
    model="a",
    intent=None,
    asked="",
    turns=2,
    requests=2,
    answers=2,
    words=20,
    asked_words=10,
    thumbs_up=0,
    thumbs_down=0,
    reasons=(),
    outcome=Outcome(2, "end", None),
    repeated=0,
    refused=0,
    redone=0,
    redone_recorded=0,
    sentiment=(),
    seconds=(),
    first_token_seconds=(),
)


def row(number: int = 0, **changed: Any) -> Measured:
    return replace(PLAIN, id=f"{number:05d}", **changed)


def drawn_rows(
    random: np.random.Generator, count: int, up: float = 0.7, seconds: float = 2.0, **changed: Any
) -> list[Measured]:
    """Conversations with a thumb, a refusal and a latency each, at known rates."""
    out = []
    for number in range(count):
        good = bool(random.random() < up)
        left = bool(random.random() < 0.2)
        took = seconds * np.exp(0.4 * random.standard_normal(2))
        out.append(
            row(
                number,
                thumbs_up=int(good),
                thumbs_down=int(not good),
                outcome=Outcome(None, None, "unanswered") if left else Outcome(2, "end", None),
                refused=int(random.random() < 0.1),
                seconds=tuple(took),
                **changed,
            )
        )
    return out


def pair(
    old: Sequence[Measured], new: Sequence[Measured], **settings: Any
) -> dict[str, Comparison]:
    found, _ = compare_pair(("old", old), ("new", new), **settings)
    return {c.measure: c for c in found}


# Figures.


def test_a_ratio_weighs_answers_and_not_conversations() -> None:
    rows = [row(thumbs_up=1), row(thumbs_up=0, thumbs_down=3), row()]
    seen = Observations(BY_NAME["satisfaction"], rows)
    assert (len(seen), seen.value()) == (2, 0.25)
    found = seen.estimate()
    assert (found.value, found.low, found.high, found.count) == (0.25, 0, 1, 2)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 100), min_size=1, max_size=4), min_size=1, max_size=8),
    st.integers(0, 2**31),
)
def test_a_weighted_quantile_is_numpys_of_the_values_repeated(
    lists: list[list[float]], seed: int
) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, len(lists)).astype(float)
    weights[0] = max(weights[0], 1)
    for name in ("seconds", "seconds_p95"):
        measure = BY_NAME[name]
        seen = Observations(measure, [row(seconds=tuple(values)) for values in lists])
        repeated = [v for values, w in zip(lists, weights, strict=True) for v in values * int(w)]
        expected = np.quantile(repeated, measure.q, method="inverted_cdf")
        assert seen.figure(weights[None])[0] == expected
        assert np.isnan(seen.figure(np.zeros((1, len(lists))))[0])


def test_a_quantile_of_many_values_is_the_same_looked_up_in_a_window() -> None:
    random = np.random.default_rng(4)
    rows = [row(seconds=tuple(random.lognormal(0, 1, 3))) for _ in range(700)]
    for name in ("seconds", "seconds_p95"):
        seen = Observations(BY_NAME[name], rows)
        weights = random.poisson(1.0, (40, 700)).astype(float)
        weights[0, 350:] = 0
        weights[1] = 0
        weights[2] = np.where([max(r.seconds) > 4 for r in rows], 1, 0)  # far from the others
        for found, own in zip(seen.figure(weights), weights, strict=True):
            values = [v for r, w in zip(rows, own, strict=True) for v in r.seconds * int(w)]
            if values:
                assert found == np.quantile(values, BY_NAME[name].q, method="inverted_cdf")
            else:
                assert np.isnan(found)


def test_the_interval_of_a_median_covers_the_truth() -> None:
    random = np.random.default_rng(3)
    hits = 0
    for trial in range(100):
        rows = drawn_rows(random, 60)
        found = Observations(BY_NAME["seconds"], rows).estimate(seed=trial, resamples=200)
        hits += found.low <= 2.0 <= found.high
    assert 0.88 <= hits / 100 <= 0.99


def test_people_are_drawn_whole() -> None:
    """Ten conversations of one mind are one observation: the interval must not believe them."""
    rows = [
        row(n, user=f"u{n // 10}", thumbs_up=n // 10 % 2, thumbs_down=1 - n // 10 % 2)
        for n in range(800)
    ]
    by_person = Observations(BY_NAME["satisfaction"], rows).estimate()
    alone = Observations(BY_NAME["satisfaction"], [replace(r, user=None) for r in rows]).estimate()
    assert by_person.value == alone.value == 0.5
    # √10 times as wide, since 80 people and not 800 conversations speak.
    ratio = (by_person.high - by_person.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.15)


def test_every_measure_of_a_full_conversation() -> None:
    full = row(
        thumbs_up=1,
        thumbs_down=1,
        turns=3,
        requests=3,
        repeated=1,
        redone=1,
        redone_recorded=2,
        refused=1,
        outcome=Outcome(2, "thanks", "unanswered"),
        sentiment=(-0.5, 0.0, 0.5),
        seconds=(1.0, 3.0),
        first_token_seconds=(0.2,),
    )
    found = {m.name: Observations(m, [full]).value() for m in MEASURES}
    assert found == {
        "satisfaction": 0.5,
        "rated": 1.0,
        "turns": 3.0,
        "words": 10.0,
        "asked_words": pytest.approx(10 / 3),
        "confirmed": 1.0,
        "turns_to_resolution": 2.0,
        "abandoned": 1.0,
        "repeated": 0.5,
        "redone": 0.5,
        "refusals": 0.5,
        "sentiment": 0.0,
        "sentiment_change": 1.0,
        "seconds": 1.0,
        "seconds_p95": 3.0,
        "first_token_seconds": 0.2,
    }
    assert [show(BY_NAME[n], found[n]) for n in ("rated", "turns", "seconds")] == [
        "100.0 %",
        "3.00",
        "1.00 s",
    ]
    assert show(BY_NAME["sentiment"], -0.001) == "0.00"


# Versions.


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_benjamini_hochberg_agrees_with_scipy(p_values: list[float]) -> None:
    scipy = pytest.importorskip("scipy.stats")
    expected = list(scipy.false_discovery_control(p_values)) if p_values else []
    assert benjamini_hochberg(p_values) == pytest.approx(expected)


def test_the_permutation_test_agrees_with_scipys() -> None:
    scipy = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(8)
    old, new = drawn_rows(random, 40, up=0.75), drawn_rows(random, 40, up=0.6)
    found = pair(old, new, permutations=4_000)["satisfaction"]
    values = [[r.thumbs_up for r in rows] for rows in (new, old)]
    theirs = scipy.permutation_test(
        values,
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        vectorized=True,
        alternative="less",
        n_resamples=4_000,
        rng=np.random.default_rng(1),
    )
    assert found.p_worse == pytest.approx(theirs.pvalue, abs=0.02)
    assert 0.005 < found.p_worse < 0.5


def test_equal_versions_raise_alarms_as_rarely_as_promised() -> None:
    """200 pairs without a difference: any of the measures alerting is a false alarm."""
    random = np.random.default_rng(11)
    alarms = single = 0
    for trial in range(200):
        old, new = drawn_rows(random, 40), drawn_rows(random, 40)
        found = pair(old, new, seed=trial, permutations=200)
        alarms += any(c.verdict == "worse" for c in found.values())
        single += found["satisfaction"].p_worse <= 0.05
    # Nominal 5 %: 10 of 200, standard deviation 3; the single test is exact but for ties.
    assert 1 <= alarms <= 19
    assert 2 <= single <= 19


def test_people_do_not_raise_alarms_by_talking_much() -> None:
    """No difference between versions, but every person is of one mind in ten conversations."""
    random = np.random.default_rng(12)
    alarms = naive = 0

    def version(name: str) -> list[Measured]:
        minds = [bool(random.random() < 0.6) for _ in range(12)]
        return [
            row(n, user=f"{name}{n // 10}", thumbs_up=int(minds[n // 10]),
                thumbs_down=int(not minds[n // 10]))
            for n in range(120)
        ]  # fmt: skip

    for trial in range(40):
        old, new = version("a"), version("b")
        alarms += pair(old, new, seed=trial, permutations=200)["satisfaction"].p_worse <= 0.05
        old, new = ([replace(r, user=None) for r in rows] for rows in (old, new))
        naive += pair(old, new, seed=trial, permutations=200)["satisfaction"].p_worse <= 0.05
    assert alarms <= 7
    assert naive >= 8  # what taking conversations as independent would have cost


def test_the_same_people_with_both_versions() -> None:
    """Moody people, one thumb with each version: shuffled within a person, a drop still shows."""
    random = np.random.default_rng(13)
    old, new = [], []
    for person in range(60):
        mood = float(random.random())
        for rows, drop in ((old, 0.0), (new, 0.4)):
            for _ in range(4):
                good = bool(random.random() < max(0.0, mood - drop))
                rows.append(
                    row(
                        len(rows), user=f"u{person}", thumbs_up=int(good), thumbs_down=int(not good)
                    )
                )
    found = pair(old, new)["satisfaction"]
    assert found.verdict == "worse"
    assert found.low < found.difference < found.high < 0
    same = pair(old, [replace(r, id=f"x{r.id}") for r in old])["satisfaction"]
    assert (same.difference, same.verdict) == (0, "no clear difference")


def test_a_clear_drop_is_found_and_named() -> None:
    random = np.random.default_rng(14)
    hits = 0
    for trial in range(15):
        old, new = drawn_rows(random, 120, up=0.8), drawn_rows(random, 120, up=0.55)
        hits += pair(old, new, seed=trial, permutations=400)["satisfaction"].verdict == "worse"
    assert hits >= 12
    old, new = drawn_rows(random, 200), drawn_rows(random, 200, seconds=3.0)
    found = pair(old, new)
    slow = found["seconds"]
    assert (slow.verdict, slow.old_count, slow.new_count) == ("worse", 200, 200)
    assert 0.5 < slow.low < slow.difference < slow.high < 1.5
    assert slow.difference == pytest.approx(slow.new_value - slow.old_value)
    assert slow.adjusted_worse <= 0.05 < slow.p_better
    slowest = sorted(new, key=lambda r: -max(r.seconds))
    assert slow.examples == [r.id for r in slowest[:5]]
    assert found["refusals"].examples == []
    better = pair(new, old)["seconds"]
    assert better.verdict == "better"
    assert better.examples == []


def test_the_interval_of_a_difference_covers_the_truth() -> None:
    random = np.random.default_rng(15)
    hits = 0
    for trial in range(80):
        old = [replace(r, seconds=()) for r in drawn_rows(random, 80, up=0.8)]
        new = [replace(r, seconds=()) for r in drawn_rows(random, 60, up=0.6)]
        found = pair(old, new, seed=trial, permutations=200)["satisfaction"]
        hits += found.low <= -0.2 <= found.high
    assert 0.88 <= hits / 80 <= 1


def test_too_few_are_not_compared_and_named() -> None:
    old = [row(n, thumbs_up=1) for n in range(40)]
    new = [row(n, thumbs_down=int(n < 10)) for n in range(40)]
    found, left = compare_pair(("old", old), ("new", new))
    assert "satisfaction" not in {c.measure for c in found}
    assert {(n.measure, n.reason) for n in left} == {
        ("satisfaction", "40 and 10 conversations; 30 of each are needed")
    }
    # What nobody recorded is not worth a word.
    assert "redone" not in {n.measure for n in left} | {c.measure for c in found}


def test_versions_are_compared_in_the_order_they_appeared() -> None:
    random = np.random.default_rng(17)

    def version(name: str, month: int, count: int, **rates: float) -> list[Measured]:
        at = datetime(2026, month, 1, tzinfo=UTC)
        return drawn_rows(random, count, **rates, model=name, at=at)  # type: ignore[arg-type]

    rows = [
        *version("v3", 4, 150, up=0.3),
        *version("v1", 1, 150, up=0.6),
        *version("canary", 5, 4),
        *version("v2", 2, 150, up=0.9),
        *version("tiny", 1, 3),
        row(model=None),
        row(model=SEVERAL),
    ]
    assert version_order(rows) == ["v1", "tiny", "v2", "v3", "canary"]
    found, left = compare_versions(rows, permutations=500)
    assert list(dict.fromkeys((c.old, c.new) for c in found)) == [("v1", "v2"), ("v2", "v3")]
    verdicts = {(c.new, c.measure): c.verdict for c in found}
    assert verdicts["v2", "satisfaction"] == "better"
    assert verdicts["v3", "satisfaction"] == "worse"
    assert [(n.new, n.reason) for n in left if n.measure is None] == [
        ("tiny", "3 conversations; 30 are needed"),
        ("canary", "4 conversations; 30 are needed"),
    ]
    assert (found, left) == compare_versions(rows, permutations=500)
    assert version_order([row(model="b"), row(model="a")]) == ["b", "a"]
