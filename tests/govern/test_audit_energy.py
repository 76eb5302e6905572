"""The energy estimate: arithmetic by hand, ranges that hold, assumptions that are said."""

from __future__ import annotations

import json

import pytest
from built_house import Built
from hypothesis import given
from hypothesis import strategies as st

from chatwright.govern.cards import model_card
from chatwright.govern.energy import (
    Factors,
    Range,
    estimate_energy,
    from_metrics,
    training_flops,
)
from chatwright.govern.facts import gather_facts

CPU = {"cores": 4, "threads": 2, "accelerator": None}


def test_operations_are_six_n_d() -> None:
    # Brown et al. 2020, table D.1: GPT-3, 174.6 billion parameters, 300 billion tokens.
    assert training_flops(174_600_000_000, 300_000_000_000) == pytest.approx(3.14e23, rel=2e-3)
    assert training_flops(10, 10, lora=True) == 400


def test_a_cpu_by_hand() -> None:
    found = estimate_energy(10**6, 10**6, seconds=3600, machine=CPU)
    # Two threads at 6 W for an hour, PUE 1.2, 0.48 kg per kWh.
    assert found.kwh.value == pytest.approx(0.012 * 1.2)
    assert found.kwh.low == pytest.approx(0.004) and found.kwh.high == pytest.approx(0.03 * 1.56)
    assert found.kg_co2e.value == pytest.approx(0.012 * 1.2 * 0.48)
    text = " ".join(found.assumptions)
    for expected in ("2 CPU cores at 6 (2–15) W", "3,600 s", "Ember", "PUE", "6·N·D", "left out"):
        assert expected in text


def test_a_gpu_by_hand_and_one_that_nobody_knows() -> None:
    known = estimate_energy(1, 1, seconds=3600, machine=CPU | {"accelerator": "NVIDIA H100 80GB"})
    assert known.kwh.value == pytest.approx((0.7 * 700 + 100) / 1000 * 1.2)
    unknown = estimate_energy(1, 1, seconds=3600, machine=CPU | {"accelerator": "X9"})
    assert "not in our table" in " ".join(unknown.assumptions)
    ratio = [e.kwh.high / e.kwh.low for e in (known, unknown)]
    assert ratio[1] > ratio[0]


def test_without_time_or_machine_the_operations_stand_in() -> None:
    for seconds, machine, says in ((None, CPU, "the time"), (60.0, None, "the machine")):
        found = estimate_energy(10**8, 10**9, seconds=seconds, machine=machine)
        assert f"{says} was not recorded" in " ".join(found.assumptions)
        # 6e17 operations at 5 GFLOP per joule, PUE 1.2.
        assert found.kwh.value == pytest.approx(6e17 / 5e9 / 3.6e6 * 1.2)
        assert found.kwh.high / found.kwh.low > 30


@given(
    st.integers(1, 10**10),
    st.integers(1, 10**12),
    st.none() | st.floats(0.1, 1e8),
    st.sampled_from([None, CPU, CPU | {"accelerator": "Tesla T4"}, {"cores": None}]),
)
def test_the_likely_value_lies_in_its_range(n: int, d: int, s: float | None, m: object) -> None:
    found = estimate_energy(n, d, seconds=s, machine=m)  # type: ignore[arg-type]
    for r in (found.kwh, found.kg_co2e):
        assert 0 < r.low <= r.value <= r.high


def test_the_grid_is_a_setting() -> None:
    local = Factors(grid=Range(0.05, 0.05, 0.05), grid_source="my supplier, 2025")
    found = estimate_energy(1, 1, seconds=3600, machine=CPU, factors=local)
    assert found.kg_co2e.value == pytest.approx(found.kwh.value * 0.05)
    assert "my supplier, 2025" in " ".join(found.assumptions)


def test_metrics_may_lack_what_is_asked() -> None:
    assert from_metrics([]) == (None, None)
    assert from_metrics([{"tokens": "x", "seconds": 0}]) == (None, None)
    assert from_metrics([{"tokens": 1}, {"tokens": 7, "seconds": 2.5}]) == (7, 2.5)


def test_the_card_says_it_with_range_and_assumptions(built: Built) -> None:
    card = model_card(gather_facts(built.model))
    assert "## Energy" in card and "the time was not recorded" in card
    assert "4·N·D" in card  # LoRA
    lineage = json.loads((built.model / "lineage.json").read_text())
    (built.model / "lineage.json").write_text(json.dumps(lineage | {"machine": CPU}))
    with (built.model / "metrics.jsonl").open("a") as file:
        file.write('\n{"step": 201, "loss": 1.0, "tokens": 823296, "seconds": 300.5}\n')
    card = model_card(gather_facts(built.model))
    # 2 cores × 6 W × 300.5 s × 1.2 = 0.0012 kWh; 2 × 2 W × 1.0; 2 × 15 W × 1.56.
    assert "- energy: 0.0012 [0.00033, 0.0039] kWh" in card
    assert "2 CPU cores" in card and "Ember 2024" in card
    (built.model / "metrics.jsonl").unlink()
    assert "## Energy" not in model_card(gather_facts(built.model))
