"""Executors: shards by processes and by Ray; rows that hang, die, eat memory or raise."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chatwright.curate.executors import Executor, Failure, Guard, Limits, make_executor
from chatwright.curate.executors.local import LocalExecutor
from chatwright.errors import ChatwrightError, SourceError

ROWS = 4


@dataclass(frozen=True)
class Work:
    """A task whose rows do what they are told: position → (what, argument)."""

    orders: dict[int, tuple[str, str]]
    in_batch: bool = False

    def __call__(self, shard: int, guard: Guard) -> list[str]:
        out = []
        positions = range(shard * ROWS, (shard + 1) * ROWS)
        if self.in_batch and not guard.one_by_one:
            with guard.batch():
                return [self.do(position) for position in positions]
        for position in positions:
            failure = guard.failed.get(position)
            if failure is not None:
                out.append(failure.kind)
                continue
            with guard.row(position):
                out.append(self.do(position))
        return out

    def do(self, position: int) -> str:
        what, argument = self.orders.get(position, ("", ""))
        if what == "sleep":
            time.sleep(float(argument))
        elif what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "die once":
            mark = Path(argument)
            if not mark.exists():
                mark.touch()
                os._exit(3)
        elif what == "eat":
            eaten = bytearray(600 << 20)
            time.sleep(30)
            return str(len(eaten))
        elif what == "raise":
            raise ValueError(argument)
        return f"{position}"


def plain(shard: int) -> list[str]:
    return [str(position) for position in range(shard * ROWS, (shard + 1) * ROWS)]


def everything(executor: Executor, work: Work, shards: int) -> dict[int, list[str]]:
    with executor:
        return dict(executor.run(work, range(shards)))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_shard_once(workers: int) -> None:
    found = everything(make_executor("local", workers, Limits()), Work({}), 5)
    assert found == {shard: plain(shard) for shard in range(5)}


def test_ray_does_the_same(ray: Any, tmp_path: Path) -> None:
    orders = {1: ("die once", str(tmp_path / "mark")), 6: ("sleep", "60"), 9: ("die", "")}
    with make_executor("ray", None, Limits()) as every:
        assert every._size == 2  # type: ignore[attr-defined]
    # One more than there are cores: it never gets its place, and nobody waits for it.
    executor = make_executor("ray", 3, Limits(seconds=1))
    assert everything(executor, Work(orders), 3) == {
        0: plain(0),
        1: ["4", "5", "timeout", "7"],
        2: ["8", "died", "10", "11"],
    }


def test_a_cluster_that_is_not_there_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(SourceError, match=r"RAY_ADDRESS=127\.0\.0\.1:1: Ray cannot be used"):
        everything(make_executor("ray", 1, Limits()), Work({}), 1)


def test_bad_rows_fail_alone(tmp_path: Path) -> None:
    orders = {
        1: ("sleep", "60"),
        2: ("die", ""),
        5: ("die once", str(tmp_path / "mark")),
        10: ("eat", ""),
    }
    start = time.monotonic()
    executor = make_executor("local", 2, Limits(seconds=3, memory=500 << 20))
    assert everything(executor, Work(orders), 3) == {
        0: ["0", "timeout", "died", "3"],
        1: plain(1),
        2: ["8", "9", "memory", "11"],
    }
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("order", [("die", ""), ("eat", "")])
def test_a_batch_that_dies_is_done_row_by_row(order: tuple[str, str]) -> None:
    executor = make_executor("local", 1, Limits(seconds=20, memory=500 << 20))
    found = everything(executor, Work({2: order}, in_batch=True), 2)
    assert found == {0: ["0", "1", {"die": "died", "eat": "memory"}[order[0]], "3"], 1: plain(1)}


def test_what_a_task_raises_goes_through() -> None:
    with pytest.raises(ValueError, match="no good") as caught:
        everything(make_executor("local", 1, Limits()), Work({1: ("raise", "no good")}), 2)
    where, traceback = caught.value.__notes__
    assert where == "in shard 0" and "in do" in traceback


@dataclass(frozen=True)
class Dies:
    """Outside of any row."""

    def __call__(self, shard: int, guard: Guard) -> None:
        os._exit(9)


def test_a_shard_that_always_dies_ends_the_run() -> None:
    with pytest.raises(ChatwrightError, match=r"shard 0 could not be finished.*3 times"):
        everything(make_executor("local", 1, Limits()), Dies(), 1)  # type: ignore[arg-type]


def test_a_reader_that_stops_leaves_no_process() -> None:
    before = set(multiprocessing.active_children())
    with make_executor("local", 2, Limits()) as executor:
        results = executor.run(Work({}), range(40))
        next(iter(results))
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it there")
def test_a_worker_never_hears_ctrl_c() -> None:
    """Not even while it starts, when Python would print a traceback."""
    with LocalExecutor(2, Limits()) as executor:
        results = executor.run(Work({}), range(8))
        next(results)
        for worker in executor._workers:
            status = Path(f"/proc/{worker.process.pid}/status").read_text()
            (blocked,) = [line.split()[1] for line in status.splitlines() if "SigBlk" in line]
            assert int(blocked, 16) >> (signal.SIGINT - 1) & 1
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_worker_ends_when_its_parent_is_gone() -> None:
    """The kernel's alarm ends a process that hangs in C code and hears nothing."""
    guard = Guard(state=[-1.0, 0.0], seconds=5)
    with guard.row(3):
        assert 5 < signal.alarm(0) <= 35
    assert signal.alarm(0) == 0
    assert Failure("timeout", "x").kind == "timeout"
