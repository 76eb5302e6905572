"""What a training took: operations, energy, CO₂; an estimate with its range and its assumptions.

Nothing here was measured at the plug. Operations follow Kaplan et al. 2020 (6·N·D); energy is power
times time as in Strubell et al. 2019 and Lacoste et al. 2019. Every factor has a low, a middle and
a high value, and the range of the product says how little is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Range:
    """Low, likely and high."""

    low: float
    value: float
    high: float

    def times(self, other: Range | float) -> Range:
        """The product: low with low, high with high."""
        if not isinstance(other, Range):
            other = Range(other, other, other)
        return Range(self.low * other.low, self.value * other.value, self.high * other.high)


@dataclass(frozen=True, slots=True)
class Factors:
    """What is assumed; each may be replaced by what is known of a place.

    `core_watts`: per busy core with its share of memory and board; from 3.75 W (AMD EPYC 9654,
    360 W for 96 cores) over 6.25 W (Intel Xeon 8480+, 350 W for 56) to 10.6 W (Ryzen 7950X, 170 W
    for 16), a logical core being half of one at best, and up to half as much again for memory.
    `load`: the share of an accelerator's rated power that it draws while training.
    `pue`: power of the whole site per power of its machines; 1.0 at a desk, 1.56 the mean of the
    industry (Uptime Institute 2024). `grid`: kg CO₂e per kWh; the world's mean of 2023 was 0.48
    (Ember 2024), and countries lie between 0.03 and 0.7. `joules_per_flop` is used only where the
    machine is not known: 1 to 30 GFLOP/s per watt.
    """

    core_watts: Range = Range(2.0, 6.0, 15.0)
    load: Range = Range(0.4, 0.7, 1.0)
    host_watts: Range = Range(40.0, 100.0, 300.0)
    pue: Range = Range(1.0, 1.2, 1.56)
    grid: Range = Range(0.03, 0.48, 0.7)
    joules_per_flop: Range = Range(1 / 30e9, 1 / 5e9, 1 / 1e9)
    grid_source: str = "world mean 2023, Ember 2024"


# Rated board power in watts, from the makers' data sheets; the first name that fits counts.
_ACCELERATORS: tuple[tuple[str, float], ...] = (
    ("B200", 1000), ("H200", 700), ("H100 PCIe", 350), ("H100", 700), ("A100-PCI", 300),
    ("A100", 400), ("L40S", 350), ("L40", 300), ("L4", 72), ("A10G", 150), ("A10", 150), ("T4", 70),
    ("V100", 300), ("P100", 250), ("RTX 5090", 575), ("RTX 4090", 450), ("RTX 4080", 320),
    ("RTX 3090", 350), ("RTX 3080", 320), ("RTX A6000", 300),
)  # fmt: skip
_ANY_ACCELERATOR = Range(70.0, 300.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Energy:
    """An estimate. `flops`: operations; `kwh` and `kg_co2e` with their ranges.

    `seconds` is None where the training did not record it; the energy then follows from the
    operations alone. `assumptions` are sentences that must be shown with the figures.
    """

    flops: float
    kwh: Range
    kg_co2e: Range
    seconds: float | None
    assumptions: list[str] = field(default_factory=list)


def training_flops(parameters: int, tokens: int, *, lora: bool = False) -> float:
    """6·N·D: two operations per weight and token forward, four backward (Kaplan et al. 2020).

    With LoRA the frozen weights need no gradient of their own, which leaves 4·N·D. Attention over
    the context is left out: a few per cent at these lengths.
    """
    return (4.0 if lora else 6.0) * parameters * tokens


def estimate_energy(
    parameters: int,
    tokens: int,
    *,
    seconds: float | None = None,
    machine: Mapping[str, Any] | None = None,
    lora: bool = False,
    factors: Factors | None = None,
) -> Energy:
    """Energy of a training of `tokens` tokens that took `seconds` on `machine`.

    `machine` is what `describe_machine` says: `cores`, `threads`, `accelerator` (its name or None).
    Without it or without `seconds`, the operations stand in, with a wider range.
    """
    f = factors or Factors()
    flops = training_flops(parameters, tokens, lora=lora)
    rule = "4·N·D: the frozen weights of LoRA have no gradient" if lora else "6·N·D"
    said = [
        f"operations: {rule}, N = {parameters:,} parameters and D = {tokens:,} tokens, padding "
        "included, attention over the context left out"
    ]
    if seconds is not None and machine:
        watts, how = _power(machine, f)
        said.append(f"power: {how}; for {seconds:,.0f} s, the computing steps of this training")
        joules = watts.times(seconds)
    else:
        lacking = "the machine" if seconds is not None else "the time"
        said.append(
            f"{lacking} was not recorded, so energy follows from the operations, at "
            f"{1e-9 / f.joules_per_flop.high:.0f}–{1e-9 / f.joules_per_flop.low:.0f} GFLOP per "
            "joule"
        )
        joules = f.joules_per_flop.times(flops)
    kwh = joules.times(f.pue).times(1 / 3.6e6)
    said.append(f"cooling and losses of the site (PUE): {_shown(f.pue)}")
    said.append(f"grid: {_shown(f.grid)} kg CO₂e per kWh ({f.grid_source})")
    said.append(
        "left out: data preparation, evaluation, trials before this run, the base model's own "
        "training, and the making of the machine"
    )
    return Energy(flops, kwh, kwh.times(f.grid), seconds, said)


def _power(machine: Mapping[str, Any], f: Factors) -> tuple[Range, str]:
    """Watts while training, and in words where they come from."""
    name = machine.get("accelerator")
    if isinstance(name, str) and name:
        rated = next((watts for part, watts in _ACCELERATORS if part in name), None)
        board = _ANY_ACCELERATOR if rated is None else f.load.times(rated)
        words = (
            f"{name}, not in our table, at {_shown(board)} W"
            if rated is None
            else f"{name} (rated {rated:g} W) at {_shown(f.load)} of it"
        )
        total = Range(*(getattr(board, k) + getattr(f.host_watts, k) for k in Range.__slots__))
        return total, f"{words}, and {_shown(f.host_watts)} W for its host"
    counts = [machine.get(key) for key in ("threads", "cores")]
    known = [count for count in counts if isinstance(count, int) and count > 0]
    cores = min(known, default=1)
    return (
        f.core_watts.times(cores),
        f"{cores} CPU cores at {_shown(f.core_watts)} W each, memory included",
    )


def _shown(values: Range) -> str:
    return f"{values.value:g} ({values.low:g}–{values.high:g})"


def from_metrics(metrics: Sequence[Mapping[str, Any]]) -> tuple[int | None, float | None]:
    """Tokens and seconds of a training, from the last line of its `metrics.jsonl`."""
    last: Mapping[str, Any] = metrics[-1] if metrics else {}
    tokens, seconds = last.get("tokens"), last.get("seconds")
    return (
        tokens if isinstance(tokens, int) and tokens > 0 else None,
        float(seconds) if isinstance(seconds, (int, float)) and seconds > 0 else None,
    )
