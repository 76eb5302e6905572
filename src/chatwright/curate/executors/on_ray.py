"""Ray: the same tasks by actors of a cluster, each with one supervised process of its own."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Self

from chatwright.curate.executors.local import LocalExecutor
from chatwright.curate.executors.work import Limits, Raised, Task, cores
from chatwright.errors import ChatwrightError, SourceError, UsageError

_RESTARTS = 3
_PLACE_SECONDS, _REACH_SECONDS = 300.0, 20.0
_STORE_BYTES = 128 << 20  # tasks go through it, and names of files
_SETTINGS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}


class _Actor:
    """Does shards, one after the other."""

    def __init__(self, limits: Limits) -> None:
        self._executor = LocalExecutor(1, limits)

    def ready(self) -> None:
        """Answers once the actor has a place to run."""

    def do(self, task: Task[Any], shard: int) -> Any:
        try:
            [(_, result)] = self._executor.run(task, [shard])
        except Exception as error:
            return Raised.of(error)
        return result


def _reach(address: str | None) -> None:
    """Raise `OSError` at once where nobody answers: Ray itself tries for minutes."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()


class RayExecutor:
    """See `Executor`. Joins the cluster that RAY_ADDRESS names; without it, starts Ray here.

    `workers`: None takes every core of the cluster, 0 is one.

    All machines must see the workspace under the same path, and have Chatwright installed. An
    actor whose machine is lost is started again elsewhere, and its shard done again.
    """

    def __init__(self, workers: int | None, limits: Limits) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError(
                "the executor `ray` needs Ray, which is not installed",
                where="executor",
                hint="pip install 'chatwright[ray]'; or use `executor: local`",
            ) from error
        self._ray: Any = ray
        self._size = workers if workers is None else max(1, workers)
        self._limits = limits
        self._ours = False
        self._actors: list[Any] = []

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            self._init(os.environ.get("RAY_ADDRESS"))
            self._ours = True
        if self._size is None:
            self._size = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        return self

    def _init(self, address: str | None) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        here: dict[str, Any] = {
            "num_cpus": self._size or cores(),
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        }
        try:
            _reach(address)
            self._ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else here),
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            why = str(error).splitlines()[0] if str(error) else repr(error)
            raise SourceError(
                f"Ray cannot be used: {why}",
                where=f"RAY_ADDRESS={address}" if address else "executor",
                hint="start a cluster there (`ray start --head`), or unset RAY_ADDRESS",
            ) from error

    def __exit__(self, *what: object) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()
        if self._ours:
            self._ray.shutdown()

    def run(self, task: Task[Any], shards: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Results of `task`, as they are ready, each with its shard's number."""
        kind = self._ray.remote(num_cpus=1, max_restarts=_RESTARTS, max_task_retries=_RESTARTS)
        while len(self._actors) < min(self._size or 1, len(shards)):
            self._actors.append(kind(_Actor).remote(self._limits))
        shared = self._ray.put(task)
        waiting = deque(shards)
        # What each actor is at; None: it waits for its place, and gets no shard before.
        running: dict[Any, tuple[Any, int | None]] = {
            actor.ready.remote(): (actor, None) for actor in self._actors
        }
        placed = not running
        while any(shard is not None for _, shard in running.values()) or waiting:
            timeout = None if placed else _PLACE_SECONDS
            ready, _ = self._ray.wait(list(running), num_returns=1, timeout=timeout)
            if not ready:
                raise ChatwrightError(
                    f"Ray had no free core in {_PLACE_SECONDS:g} seconds",
                    hint="wait until other work on the cluster is done, or use `executor: local`",
                )
            placed = True
            actor, shard = running.pop(ready[0])
            try:
                result = self._ray.get(ready[0])
            except self._ray.exceptions.RayError as error:
                raise ChatwrightError(
                    f"Ray lost shard {shard}: {str(error).splitlines()[0]}",
                    hint="run again: shards that are done stay done",
                ) from error
            if waiting:
                number = waiting.popleft()
                running[actor.do.remote(shared, number)] = (actor, number)
            if isinstance(result, Raised):
                raise result.again()
            if shard is not None:
                yield shard, result
