"""How a step's prompt tokens are divided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatwright.generate.scheduler import share


@given(st.integers(0, 600), st.lists(st.integers(1, 5000), max_size=40))
def test_shares_use_the_budget_and_are_fair(budget: int, needs: list[int]) -> None:
    shares = share(budget, needs)
    assert sum(shares) == min(budget, sum(needs))
    assert all(0 <= got <= need for got, need in zip(shares, needs, strict=True))
    # Who did not get all that it needs got as much as anybody (give or take one).
    for got, need in zip(shares, needs, strict=True):
        if got < need:
            assert got >= max(shares) - 1
