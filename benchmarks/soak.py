"""Ten minutes of random requests: nothing leaks, every block comes back, every answer is right.

    script/bench soak [--minutes 10] [--http] [--backend native|torch] [--clients 16] [--seed 0]

Clients ask at random for everything that the engine can do (beams, constraints, several answers,
deadlines, guesses), with shared beginnings and for several tenants; some cancel, some leave in the
middle of an answer, some ask for what can never be. At the end: every block is back, no thread is
left, memory was flat, and a sample of the answers comes out the same, token for token, from a
fresh engine that gets the same requests one at a time. `--http` does it through `chatwright serve`
with clients that hang up. The last line is JSON.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from _generate_traffic import Client, Tally, Traffic, alone, fill, settle
from _machine import machine, must, report

from chatwright.generate import Engine, SamplingParams
from chatwright.generate.params import Constraint

MODEL = "smollm2-135m-instruct"


class MemoryLog:
    """The memory of a process, once a second. Bounded by the length of the soak alone."""

    def __init__(self, pid: int | None = None, every: float = 1.0) -> None:
        import psutil

        self._process, self._every = psutil.Process(pid), every
        self._over = threading.Event()
        self._started = time.monotonic()
        self.samples: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._run, name="memory-log", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            seconds = time.monotonic() - self._started
            self.samples.append((seconds, self._process.memory_info().rss))

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def growth(self, seconds: float) -> dict[str, Any]:
        """Memory of the last tenth over that of a tenth after the warm-up, a fifth of `seconds`."""

        def middle(start: float, end: float) -> float:
            return median(rss for at, rss in self.samples if start <= at < end)

        before = middle(0.2 * seconds, 0.3 * seconds)
        after = middle(0.9 * seconds, seconds + 1)
        return {
            "after_warm_up_mb": round(before / 1e6, 2),
            "at_the_end_mb": round(after / 1e6, 2),
            "times": round(after / before, 4),
            "curve_mb": [
                round(rss / 1e6, 1) for _, rss in self.samples[:: len(self.samples) // 20]
            ],
        }


def soak(
    make: Callable[..., Engine],
    *,
    seconds: float,
    clients: int = 16,
    seed: int = 0,
    longest: int = 1500,
    answer: int = 64,
    pause: float = 0.15,
    sampled: bool = True,
    every: float = 1.0,
) -> dict[str, Any]:
    """Run it on the engines that `make(**options of Engine)` makes; returns what was found.

    `sampled`: whether answers drawn with a seed must be the same alone, which needs a runner whose
    bits do not depend on who else is in the step.
    """
    threads = _threads_of_one(make)
    engine = make()
    tally = Tally()
    with engine:
        traffic = Traffic(engine, seed=seed, longest=longest, answer=answer)
        fill(engine, traffic, random.Random(seed))
        touched = engine.stats()["blocks"]["touched"]
        log = MemoryLog(every=every)
        ends = time.monotonic() + seconds
        sent = [
            Client(engine, traffic, tally, seed=1000 * seed + i, ends=ends, pause=pause)
            for i in range(clients)
        ]
        for client in sent:
            client.start()
        for client in sent:
            client.join(seconds + 120)
        stuck = [client.name for client in sent if client.is_alive()]
        log.stop()
        stats = settle(engine)
    left = _left(threads)
    memory = log.growth(seconds) if seconds >= 10 * every else {}
    said = f"{sum(tally.ended.values())} requests; memory {memory}; asking {len(tally.kept)} again"
    print(f"  {said}", file=sys.stderr, flush=True)
    with make(max_batch=1, prefix_reuse=False) as lone:
        compared, different = alone(lone, tally.kept, sampled=sampled)
    return {
        "seconds": seconds,
        "requests": sum(tally.ended.values()),
        "ended": dict(tally.ended),
        "kinds": dict(tally.kinds),
        "faults": tally.faults,
        "stuck_clients": stuck,
        "slowest_refusal_seconds": round(tally.slowest_refusal, 4),
        "blocks_used_at_the_end": stats["blocks"]["used"],
        "requests_left": stats["active"] + stats["waiting"],
        "blocks": stats["blocks"],
        "blocks_touched_before": touched,
        "preemptions": stats["preemptions"],
        "reused_tokens": stats["reused_tokens"],
        "tokens": stats["tokens"],
        "threads_left": left,
        "memory": memory,
        "compared_alone": dict(compared),
        "different_alone": different,
    }


def _threads() -> Counter[str]:
    """The names of this process's threads, those of compiled libraries included."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return Counter(names) or Counter(thread.name for thread in threading.enumerate())


def _left(before: Counter[str], seconds: float = 3.0) -> list[str]:
    """Threads that were not there before. A thread that was joined may take a moment to be gone."""
    ends = time.monotonic() + seconds
    while (left := _threads() - before) and time.monotonic() < ends:
        time.sleep(0.01)
    return sorted(left.elements())


def _threads_of_one(make: Callable[..., Engine]) -> Counter[str]:
    """Threads of this process once an engine has been here and gone (libraries keep some)."""
    word = Constraint.regex("[a-z]+")
    with make() as engine:
        for extra in ({}, {"constraint": word}):
            params = SamplingParams(temperature=0.0, max_tokens=2, **extra)
            engine.submit([1, 2, 3], params).result()
        engine.embed([[1, 2, 3]])
    return _threads()


def demands(found: dict[str, Any]) -> list[dict[str, Any]]:
    musts = [
        must("blocks in use at the end", found["blocks_used_at_the_end"], "<= 0"),
        must("requests left at the end", found["requests_left"], "<= 0"),
        must("threads left", len(found["threads_left"]), "<= 0"),
        must("clients that never came back", len(found["stuck_clients"]), "<= 0"),
        must("requests that went wrong", found["ended"].get("fault", 0), "<= 0"),
        must("answers alone that differ", len(found["different_alone"]), "<= 0"),
        must("greedy answers compared", found["compared_alone"].get("greedy", 0), ">= 50"),
        must("seconds to refuse the impossible", found["slowest_refusal_seconds"], "<= 0.5"),
    ]
    if found["memory"]:
        musts.append(
            must("memory at the end, times after warm-up", found["memory"]["times"], "<= 1.02")
        )
    return musts


def maker(backend: str, kv_memory: int) -> Callable[..., Engine]:
    """Engines over the default model whose KV memory is full after seconds of such traffic."""

    def make(**options: Any) -> Engine:
        from chatwright.generate.load import load_engine

        settings = {"max_batch": 8, "context": 2048, "kv_memory": kv_memory, "backend": backend}
        return load_engine(MODEL, **{**settings, **options})

    return make


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", choices=("native", "torch"), default="native")
    parser.add_argument("--kv-memory", type=int, default=128, help="MB of keys and values")
    parser.add_argument("--http", action="store_true", help="through `chatwright serve`")
    args = parser.parse_args()
    about = machine()
    seconds = 60 * args.minutes
    if args.http:
        from _generate_http import demands as http_demands
        from _generate_http import soak_server

        chatwright = Path(sys.executable).parent / "chatwright"
        found = soak_server(
            chatwright, MODEL, seconds=seconds, clients=args.clients, seed=args.seed
        )
        report("soak", about, {"http": found}, {}, http_demands(found))
        return 0
    found = soak(
        maker(args.backend, args.kv_memory * 1_000_000),
        seconds=seconds,
        clients=args.clients,
        seed=args.seed,
        sampled=args.backend == "native",
    )
    report("soak", about, {args.backend: found}, {}, demands(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
