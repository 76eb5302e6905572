"""The pool: order, hanging, dying and raising items."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from chatwright.curate.pool import Failure, ordered_map


def work(item: tuple[str, str]) -> str:
    """What the tests' workers do: `item` is (what to do, its argument)."""
    what, argument = item
    if what == "sleep":
        time.sleep(float(argument))
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "die once":
        mark = Path(argument)
        if not mark.exists():
            mark.touch()
            os._exit(3)
    elif what == "raise":
        raise ValueError(argument)
    return f"{what} {argument}"


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order(workers: int) -> None:
    items = [("sleep", str((7 * n % 5) / 200)) for n in range(20)]
    assert list(ordered_map(work, items, workers=workers, seconds=30)) == [
        f"sleep {argument}" for _, argument in items
    ]


def test_bad_items_fail_alone(tmp_path: Path) -> None:
    items = [
        ("a", ""),
        ("sleep", "60"),
        ("b", ""),
        ("die", ""),
        ("die once", str(tmp_path / "mark")),
        ("raise", "no good"),
        ("c", ""),
    ]
    start = time.monotonic()
    found = list(ordered_map(work, items, workers=2, seconds=1.5))
    assert time.monotonic() - start < 45
    assert [f if isinstance(f, str) else f.kind for f in found] == [
        "a ", "timeout", "b ", "died", f"die once {tmp_path / 'mark'}", "error", "c ",
    ]  # fmt: skip
    assert "no good" in found[5].detail  # type: ignore[union-attr]


def test_a_reader_that_stops_leaves_no_process() -> None:
    import multiprocessing

    before = set(multiprocessing.active_children())
    results = ordered_map(work, [("a", "")] * 50, workers=1, seconds=30)
    assert next(results) == "a "
    results.close()  # type: ignore[attr-defined]
    assert set(multiprocessing.active_children()) <= before


def test_no_items() -> None:
    assert list(ordered_map(work, [], workers=2, seconds=1)) == []


def test_in_process_errors_are_failures_too() -> None:
    (found,) = ordered_map(work, [("raise", "x")], workers=0, seconds=1)
    assert found == Failure("error", "ValueError: x")
