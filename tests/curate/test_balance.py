"""Mixtures: shares by hand, properties, and the stage on real small datasets."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from late_stages import chat, content, final_lines, page, run_stage, save
from pydantic import ValidationError

from chatwright.curate.balance.copies import copies_of
from chatwright.curate.balance.groups import estimated_tokens, group_of, host
from chatwright.curate.balance.plan import MixSettings
from chatwright.curate.balance.shares import (
    quotas,
    temperature_shares,
    wanted_shares,
    whole_numbers,
)
from chatwright.curate.balance.stage import FILE, MIX
from chatwright.errors import DataError
from chatwright.records import Dataset
from chatwright.records.lineage import descendants
from chatwright.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_temperature_by_hand() -> None:
    sizes = {"en": 900.0, "zh": 100.0, "none": 0.0}
    assert temperature_shares(sizes, 1) == pytest.approx({"en": 0.9, "zh": 0.1})
    # Square roots 30 and 10.
    assert temperature_shares(sizes, 2) == pytest.approx({"en": 0.75, "zh": 0.25})
    assert temperature_shares(sizes, 1000)["zh"] == pytest.approx(0.5, abs=1e-3)
    assert temperature_shares({"a": 1e300, "b": 1.0}, 0.05)["a"] == pytest.approx(1)
    assert temperature_shares({}, 1) == {}


def test_weights_by_hand() -> None:
    sizes = {"a": 10.0, "b": 90.0, "c": 30.0, "d": 10.0}
    assert wanted_shares(sizes, {"a": 3, "b": 1, "gone": 5}) == {"a": 0.75, "b": 0.25}
    assert wanted_shares(sizes, {"a": 2, "b": 0, "*": 2}) == pytest.approx(
        {"a": 0.5, "c": 0.375, "d": 0.125}
    )
    # Under temperature 1/T = 0 the others are alike.
    even = wanted_shares(sizes, {"a": 1, "*": 1}, 1e9)
    assert even == pytest.approx({"a": 0.5, "b": 1 / 6, "c": 1 / 6, "d": 1 / 6})


def test_what_is_short_is_filled_or_shrinks_the_whole() -> None:
    sizes, shares = {"a": 10.0, "b": 100.0, "c": 100.0}, {"a": 0.5, "b": 0.25, "c": 0.25}
    full = quotas(sizes, shares, size=100, max_repeats=2)
    assert full == pytest.approx({"a": 20, "b": 40, "c": 40})
    small = quotas(sizes, shares, size=100, max_repeats=2, when_short="shrink")
    assert small == pytest.approx({"a": 20, "b": 10, "c": 10})
    all_of_it = quotas(sizes, shares, size=1e9, max_repeats=1)
    assert all_of_it == pytest.approx({"a": 10, "b": 100, "c": 100})


amounts = st.dictionaries(
    st.sampled_from("abcdefgh"), st.floats(0.01, 1e6, allow_nan=False), min_size=1, max_size=8
)


@settings(max_examples=80, deadline=None)
@given(amounts, amounts, st.floats(1, 1e7), st.integers(1, 8), st.sampled_from(["fill", "shrink"]))
def test_quotas_keep_their_promises(
    sizes: dict[str, float], weights: dict[str, float], size: float, repeats: int, when: Any
) -> None:
    shares = wanted_shares(sizes, weights)
    assert sum(shares.values()) == pytest.approx(1 if shares else 0)
    found = quotas(sizes, shares, size=size, max_repeats=repeats, when_short=when)
    assert found.keys() == shares.keys()
    for group, amount in found.items():
        assert -1e-6 <= amount <= repeats * sizes[group] * (1 + 1e-9)
    most = sum(repeats * sizes[g] for g in shares)
    if when == "fill":
        assert sum(found.values()) == pytest.approx(min(size, most) if shares else 0)
        short = [g for g in found if found[g] < repeats * sizes[g] * (1 - 1e-9)]
        for a in short:  # who is not at its limit keeps its proportion to the others
            for b in short:
                assert found[a] * shares[b] == pytest.approx(found[b] * shares[a])
    else:
        whole = sum(found.values())
        assert whole <= size * (1 + 1e-9)
        assert all(found[g] == pytest.approx(shares[g] * whole) for g in found)
    numbers = whole_numbers(found)
    assert sum(numbers.values()) == round(sum(found.values()))
    assert all(abs(numbers[g] - found[g]) < 1 + 1e-6 for g in found)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.just(0.0) | st.floats(0.2, 1000)),
        min_size=1,
        max_size=40,
    ),
    st.floats(0, 50_000),
)
def test_copies_come_near_the_amount(rows: list[tuple[int, float]], amount: float) -> None:
    ranks = np.asarray([r for r, _ in rows], dtype=np.uint64)
    sizes = np.asarray([s for _, s in rows])
    found = copies_of(ranks, sizes, amount, whole_rows=False)
    if sizes.sum() > 0:
        assert abs((found * sizes).sum() - amount) <= sizes.max() / 2 + 1e-6 * amount + 1e-6
        assert found.max() - found.min() <= 1
    exact = copies_of(ranks, np.ones(len(rows)), amount, whole_rows=True)
    assert exact.sum() == round(amount)
    chosen, others = ranks[exact == exact.max()], ranks[exact < exact.max()]
    assert not len(others) or chosen.max() <= others.min()


def test_groups() -> None:
    row = page(
        "t", "https://www.Example.org:8080/a?b", language="en", meta={"a": {"b": 3}, "c": []}
    )
    assert group_of(row, ["domain", "language"], "web") == "example.org / en"
    assert group_of(row, ["dataset"], "web") == "web"
    assert group_of(row, ["meta.a.b"], "web") == "3"
    for column in ("license", "meta.c", "meta.x.y", "meta.a.b.c"):
        assert group_of(row, [column], "web") == "unknown"
    assert host("http://[bad") is None and host("file:x") is None
    assert estimated_tokens("\u5c71" * 15) == pytest.approx(10)
    assert estimated_tokens("abcd" * 21) == pytest.approx(20)


# -- the stage ----------------------------------------------------------------------------------


def two_inputs(workspace: Workspace) -> None:
    save(workspace, "web", [page(f"web page {n} " + "x" * n, f"https://w{n % 3}.test/{n}",
                                 language="en" if n % 5 else "zh") for n in range(60)])  # fmt: skip
    save(workspace, "books", [page(f"book {n}", f"https://books.test/{n}") for n in range(10)])


def mixed(workspace: Workspace, name: str, **values: Any) -> Dataset:
    made = run_stage(workspace, MIX, name, **{"inputs": ["web", "books"], **values})
    assert isinstance(made, Dataset)
    return made


def table_of(dataset: Dataset) -> dict[str, dict[str, Any]]:
    told = json.loads((dataset.path / FILE).read_text(encoding="utf-8"))["groups"]
    assert told == dataset.info.counts["groups"]
    return {entry["group"]: entry for entry in told}


def test_weights_repeat_one_dataset_and_thin_another(workspace: Workspace) -> None:
    two_inputs(workspace)
    made = mixed(workspace, "mix", weights={"web": 1, "books": 1}, size=50)
    rows = list(made.rows)
    from_books = [row for row in rows if row.text.startswith("book")]
    assert len(rows) == 50 == len({row.id for row in rows}) and len(from_books) == 25
    times = Counter(row.text for row in from_books)
    assert sorted(times.values()) == [2] * 5 + [3] * 5
    for row in from_books:
        original = row.parents[0] if row.parents else row.id
        assert (row.meta.get("repeat", 1) > 1) == (original != row.id)
    originals = {row.id for row in from_books if not row.parents}
    assert {row.parents[0] for row in from_books if row.parents} == originals
    last_first = max(i for i, row in enumerate(rows) if not row.parents)
    assert all(i > last_first for i, row in enumerate(rows) if row.parents)  # far apart
    lines = final_lines(made)
    assert len(lines) == 70 and Counter(lines.values()) == {"keep": 35, "drop": 35}
    assert sum(line.rule == "repeated" for line in made.ledger) == 15
    told = table_of(made)
    assert (told["web"]["different_rows"], told["web"]["repeats"]) == (25, 0)
    assert (told["books"]["taken_rows"], told["books"]["repeats"]) == (25, 15)
    assert told["books"]["share"] == told["books"]["wanted_share"] == 0.5
    one = made.ledger.for_row(next(iter(originals)))[0]
    assert (
        one.value in (2, 3)
        and one.detail == "group 'books': 10 of 10 rows, 15 repeats, 50.0% of the whole"
    )
    steps = {step.row_id for step in descendants(workspace, next(iter(originals)))}
    assert len(steps) == one.value  # who objects to the row finds its repeats


def test_same_seed_same_bytes_and_order_does_not_matter(workspace: Workspace) -> None:
    two_inputs(workspace)
    asked: dict[str, Any] = {"weights": {"web": 1, "books": 1}, "size": 30}
    first = content(mixed(workspace, "a", **asked))
    assert content(mixed(workspace, "a", **asked)) == first
    one = {row.id for row in mixed(workspace, "b", **asked).rows}
    turned = {row.id for row in mixed(workspace, "c", inputs=["books", "web"], **asked).rows}
    other = {row.id for row in mixed(workspace, "d", seed=99, **asked).rows}
    assert one == turned != other
    own = {row.id for row in mixed(workspace, "e", **asked, **{"seed": 7}).rows}
    assert own == one


def test_by_language_with_temperature(workspace: Workspace) -> None:
    two_inputs(workspace)
    made = mixed(workspace, "mix", inputs=["web"], by="language", temperature=2, size=30)
    told = table_of(made)
    # 48 and 12 rows: square roots 2 to 1.
    assert told["en"]["wanted_share"] == pytest.approx(2 / 3, abs=1e-6)
    assert (told["en"]["taken_rows"], told["zh"]["taken_rows"]) == (20, 10)


def test_by_domain_in_characters(workspace: Workspace) -> None:
    two_inputs(workspace)
    weights = {"w0.test": 2, "*": 1, "w2.test": 0}
    made = mixed(workspace, "mix", by=["domain"], unit="characters", size=900, weights=weights)
    told = table_of(made)
    assert told["w0.test"]["wanted_share"] == pytest.approx(2 / 3, abs=1e-6)
    assert abs(told["w0.test"]["taken"] - 600) < 40 and told["w2.test"]["taken_rows"] == 0
    whole = sum(len(row.text) for row in made.rows)
    assert abs(whole - 900) < 60 and whole == sum(entry["taken"] for entry in told.values())
    dropped = [line for line in made.ledger if line.action == "drop" and "w2" in line.uri]
    assert len(dropped) == 20 and all("has no weight" in (line.detail or "") for line in dropped)


def test_no_row_more_often_than_allowed(workspace: Workspace) -> None:
    two_inputs(workspace)
    asked: dict[str, Any] = {"weights": {"web": 1, "books": 9}, "size": 100, "max_repeats": 3}
    filled = table_of(mixed(workspace, "fill", **asked))
    assert (filled["books"]["taken_rows"], filled["web"]["taken_rows"]) == (30, 70)
    shrunk = table_of(mixed(workspace, "shrink", when_short="shrink", **asked))
    assert (shrunk["books"]["taken_rows"], shrunk["web"]["taken_rows"]) == (30, 3)


def test_left_alone_everything_is_taken_once(workspace: Workspace) -> None:
    two_inputs(workspace)
    made = mixed(workspace, "mix")
    assert len(made) == 70 and made.info.counts["repeats"] == 0


def test_a_row_in_two_inputs_is_taken_from_the_first(workspace: Workspace) -> None:
    shared = page("the same", "https://a.test/")
    save(workspace, "web", [shared, page("one")])
    save(workspace, "books", [page("two"), shared])
    made = mixed(workspace, "mix")
    assert [row.text for row in made.rows] == ["the same", "one", "two"]
    first, second = made.ledger.for_row(shared.id)
    assert (first.action, second.action, second.rule) == ("keep", "drop", "same-id")
    assert made.info.counts["same_id"] == 1


def test_conversations_and_what_is_refused(workspace: Workspace) -> None:
    two_inputs(workspace)
    save(
        workspace,
        "chats",
        [chat("Hi", "Hello.", language="en"), chat("\u4f60\u597d", "\u597d\u3002")],
    )
    made = mixed(workspace, "c", inputs=["chats"], by="language", weights={"en": 1}, unit="tokens")
    assert len(made) == 1
    with pytest.raises(DataError, match="different kinds"):
        mixed(workspace, "x", inputs=["web", "chats"])
    with pytest.raises(DataError, match="takes no row"):
        mixed(workspace, "x", weights={"wbe": 1})
    for wrong in ({"by": "colour"}, {"weights": {"a": -1}}, {"weights": {"a": 0}}, {"inputs": []},
                  {"inputs": ["a", "a"]}, {"weights": {"a": 1}, "temperature": 2},
                  {"weights": {"a": float("nan")}}):  # fmt: skip
        with pytest.raises(ValidationError):
            MixSettings(**{"inputs": ["web"], **wrong})
