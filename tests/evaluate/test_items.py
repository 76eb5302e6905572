"""Choosing a part of the items: the same part for the same seed, whatever else is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatwright.evaluate.items import choose

ROWS = [f"row-{n}" for n in range(20)]


def test_the_choice_of_a_seed_stays_what_it_was() -> None:
    """Figures of earlier runs rest on these."""
    chosen = choose(ROWS, 5, 7, str)
    assert chosen == ["row-4", "row-6", "row-7", "row-13", "row-18"]
    assert choose(ROWS, 5, 8, str) != chosen


@given(st.lists(st.text(), unique=True), st.integers(0, 30), st.integers())
def test_a_part_in_its_own_order(rows: list[str], limit: int, seed: int) -> None:
    chosen = choose(rows, limit, seed, str)
    assert len(chosen) == min(limit, len(rows))
    assert chosen == [row for row in rows if row in set(chosen)]
    assert choose(rows, None, seed, str) == rows
    # A row's lot is its own: what was chosen from all is chosen from fewer.
    assert choose([row for row in rows if row in chosen or row < "m"], limit, seed, str) == chosen


def test_rows_with_the_same_key_count_each() -> None:
    assert choose(["a", "a", "a"], 2, 0, str) == ["a", "a"]
