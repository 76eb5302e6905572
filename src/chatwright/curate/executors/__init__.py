"""Who does the work on shards: processes of this machine, or Ray on many."""

from __future__ import annotations

from chatwright.curate.executors.local import LocalExecutor
from chatwright.curate.executors.work import (
    Executor,
    ExecutorName,
    Failure,
    Guard,
    Limits,
    cores,
)

__all__ = ["Executor", "ExecutorName", "Failure", "Guard", "Limits", "make_executor"]


def make_executor(name: ExecutorName, workers: int | None, limits: Limits) -> Executor:
    """The executor of that name; use it in a `with` block.

    `workers`: 0 does everything in this process, None takes every core that there is. Raises
    `UsageError` where Ray is asked for and not installed.
    """
    if name == "ray":
        from chatwright.curate.executors.on_ray import RayExecutor

        return RayExecutor(workers, limits)
    return LocalExecutor(cores() if workers is None else workers, limits)
