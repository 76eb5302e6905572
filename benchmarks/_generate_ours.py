"""Our engine's figures for `generate.py`: one figure in one fresh process.

`python _generate_ours.py PART SETTINGS`; the last line printed is JSON.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

GREEDY = {"temperature": 0.0, "ignore_end": True}


class Clock:
    """Notes when each step of an engine's runner ended and how many tokens each of its runs had."""

    def __init__(self, engine: Any) -> None:
        self.runner = engine.runner
        self.steps: list[tuple[float, list[int]]] = []
        self._step = self.runner.step
        self.runner.step = self._timed

    def _timed(self, runs: Sequence[Any]) -> Any:
        result = self._step(runs)
        self.steps.append((time.perf_counter(), [len(run.tokens) for run in runs]))
        return result


def open_engine(settings: dict[str, Any], **options: Any) -> Any:
    """The engine as anybody gets it."""
    from chatwright.generate.load import load_engine

    return load_engine(
        settings["gguf"],
        backend="native",
        weights=settings.get("weights", "auto"),
        kv_dtype=settings.get("kv_dtype", "auto"),
        threads=settings["threads"],
        **options,
    )


def prompt(rng: random.Random, length: int) -> list[int]:
    return [rng.randrange(5, 40_000) for _ in range(length)]


def prefill(settings: dict[str, Any]) -> dict[str, Any]:
    """A prompt through the engine, submission to first token, and in one step of a runner."""
    from chatwright.generate import SamplingParams
    from chatwright.generate.runner import Run

    rng, length = random.Random(settings.get("seed", 0)), settings["tokens"]
    engine = open_engine(settings, max_batch=1)
    runner = engine.runner
    seconds: list[float] = []
    raw: list[float] = []
    with engine:
        for _ in range(settings["runs"] + 1):
            ids = prompt(rng, length)
            started = time.perf_counter()
            engine.submit(ids, SamplingParams(**GREEDY, max_tokens=1)).result()
            seconds.append(time.perf_counter() - started)
        blocks = list(range(-(-length // runner.block_size)))  # nobody uses the engine any more
        for _ in range(settings["runs"] + 1):
            ids = prompt(rng, length)
            started = time.perf_counter()
            runner.step([Run(ids, 0, blocks)])
            raw.append(time.perf_counter() - started)
    return {
        "tokens_per_second": length / median(seconds[1:]),
        "runner_tokens_per_second": length / median(raw[1:]),
    }


def steady(steps: list[tuple[float, list[int]]], streams: int) -> list[float]:
    """When each step ended that had one token of every stream; nothing else is between them."""
    return [at for at, lengths in steps if lengths == [1] * streams]


def decode(settings: dict[str, Any]) -> dict[str, Any]:
    """Streams side by side through the engine while all of them run, and the bare runner."""
    from chatwright.generate import SamplingParams
    from chatwright.generate.runner import Run

    rng = random.Random(settings.get("seed", 0))
    streams, length, new = settings["streams"], settings["prompt"], settings["new"]
    most = 1000  # the first go on while the last are read; all are cancelled long before
    engine = open_engine(settings, max_batch=streams, context=length + most)
    clock, runner = Clock(engine), engine.runner
    params = SamplingParams(**GREEDY, max_tokens=most)
    with engine:
        requests = [engine.submit(prompt(rng, length), params) for _ in range(streams)]
        while len(steady(clock.steps, streams)) < new + 1:
            assert engine.load != (0, 0), "they ended before all of them had begun"
            time.sleep(0.005)
        for request in requests:
            request.cancel()
        for request in requests:
            assert request.result().finish_reason == "cancelled"
        ends = steady(clock.steps, streams)
        tokens, seconds = streams * (len(ends) - 1), ends[-1] - ends[0]
        per = -(-(length + new + 4) // runner.block_size)
        tables = [list(range(s * per, (s + 1) * per)) for s in range(streams)]
        for table in tables:
            runner.step([Run(prompt(rng, length), 0, table)])
        newest = [rng.randrange(5, 40_000)] * streams
        started = 0.0
        for step in range(new + 4):
            if step == 4:
                started = time.perf_counter()
            result = runner.step(
                [Run([t], length + step, table) for t, table in zip(newest, tables, strict=True)]
            )
            newest = [int(t) for t in result.logits.likeliest]
        raw = time.perf_counter() - started
    return {
        "tokens_per_second": tokens / seconds,
        "runner_tokens_per_second": streams * new / raw,
        "steps": tokens // streams,
    }


def first_token(settings: dict[str, Any]) -> dict[str, Any]:
    """Seconds to the first token of a short prompt that comes while a long one is read."""
    from chatwright.generate import SamplingParams

    rng = random.Random(settings.get("seed", 0))
    long, short = settings["long"], settings["short"]
    engine = open_engine(settings, max_batch=8, context=min(8192, long + 256))
    one = SamplingParams(**GREEDY, max_tokens=1)
    waits: list[float] = []
    moments: list[float] = []
    missed = 0
    with engine:
        started = time.perf_counter()
        engine.submit(prompt(rng, long), one).result()
        alone = time.perf_counter() - started
        engine.submit(prompt(rng, short), one).result()
        while len(waits) < settings["trials"]:
            reading = engine.submit(prompt(rng, long), one)
            moment = rng.uniform(0.02, 0.95) * alone
            time.sleep(moment)
            if engine.load == (0, 0):
                missed += 1  # the long prompt was done sooner than that
                assert missed < 10 * settings["trials"]
                continue
            started = time.perf_counter()
            engine.submit(prompt(rng, short), one).result()
            waits.append(time.perf_counter() - started)
            moments.append(moment)
            reading.cancel()
            reading.result()
    waits.sort()
    return {
        "p50": waits[len(waits) // 2],
        "p95": waits[min(len(waits) - 1, -(-95 * len(waits) // 100) - 1)],
        "worst": waits[-1],
        "trials": len(waits),
        "long_prompt_alone_seconds": alone,
        "moments": [round(m, 3) for m in moments],
    }


def load(settings: dict[str, Any]) -> dict[str, Any]:
    """From nothing to the first token of an answer; whoever started this process has the clock."""
    started = time.perf_counter()
    from chatwright.generate import SamplingParams
    from chatwright.generate.load import load_engine

    imported = time.perf_counter()
    engine = load_engine(settings["gguf"], threads=settings["threads"])
    loaded = time.perf_counter()
    made = engine.chat(
        [{"role": "user", "content": settings["text"]}],
        SamplingParams(temperature=0.0, max_tokens=1),
    )
    answered = time.perf_counter()
    print(json.dumps({"first_token": made.token_ids}), flush=True)
    assert "torch" not in sys.modules, "the native path imported torch"
    engine.close()
    return {
        "import": imported - started,
        "load": loaded - imported,
        "first_token": answered - loaded,
    }


def memory(settings: dict[str, Any]) -> dict[str, Any]:
    """Serve so many streams of so many tokens; whoever started this process reads its memory."""
    from chatwright.generate import SamplingParams

    rng = random.Random(settings.get("seed", 0))
    engine = open_engine(settings, max_batch=settings["streams"])
    params = SamplingParams(**GREEDY, max_tokens=settings["new"])
    with engine:
        requests = [
            engine.submit(prompt(rng, settings["prompt"]), params)
            for _ in range(settings["streams"])
        ]
        for request in requests:
            assert len(request.result().token_ids) == settings["new"]
        stats = engine.stats()
    return {"blocks": stats["blocks"], "runner": stats["runner"], "peak_rss": peak_rss()}


def peak_rss() -> int:
    """The most memory that this process ever had in use, in bytes."""
    import resource

    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                kib = int(line.split()[1])
    return kib * 1024


def prefix(settings: dict[str, Any]) -> dict[str, Any]:
    """Seconds to the first token of a second request that begins like the first one."""
    from chatwright.generate import SamplingParams

    rng = random.Random(settings.get("seed", 0))
    shared, own = settings["shared"], 20
    one = SamplingParams(**GREEDY, max_tokens=1)
    first: list[float] = []
    second: list[float] = []
    reused = 0
    engine = open_engine(settings, max_batch=8, context=min(8192, shared + 256))
    with engine:
        engine.submit(prompt(rng, 64), one).result()
        for _ in range(settings["runs"]):
            beginning = prompt(rng, shared)
            for seconds in (first, second):
                started = time.perf_counter()
                made = engine.submit([*beginning, *prompt(rng, own)], one).result()
                seconds.append(time.perf_counter() - started)
            reused = made.cached_tokens
    return {"first": median(first), "second": median(second), "reused_tokens": reused}


PASSAGE = (
    "The lighthouse keeper climbed the ninety-two steps every evening at six o'clock. He lit the "
    "lamp, wound the clockwork that turned the lens, and wrote the weather into the book: wind "
    "from the south-west, force four, visibility nine miles. In the winter of 1887 the schooner "
    "Margaret Ann lost her rudder off the point, and it was the keeper's daughter who first saw "
    "the flares. She rowed out with two fishermen and brought back all seven of the crew."
)


def lookup(settings: dict[str, Any]) -> dict[str, Any]:
    """An answer that copies from its prompt, plainly and with guesses from the prompt."""
    from chatwright.generate import SamplingParams

    engine = open_engine(settings, max_batch=1, context=2048)
    clock = Clock(engine)
    question = f"Repeat this text word for word, and nothing else:\n\n{PASSAGE}"
    out: dict[str, Any] = {}
    answers: dict[str, list[int]] = {}
    with engine:
        ids = engine.tokenizer.chat(
            [{"role": "user", "content": question}], add_generation_prompt=True
        )
        # The answer begins as it should, as if the model had started on it.
        ids += engine.tokenizer.encode(PASSAGE[:80])
        for name, guesses in (("plain", 0), ("lookup", settings["guesses"])):
            params = SamplingParams(**GREEDY, max_tokens=settings["new"], lookup=guesses)
            rates = []
            for _ in range(settings["runs"]):
                clock.steps.clear()
                made = engine.submit(ids, params).result()
                ends = [at for at, _ in clock.steps]
                # From the end of the prompt: what is made after the first token.
                read = next(i for i, (_, n) in enumerate(clock.steps) if n[0] <= 1 + guesses)
                begun = ends[max(0, read - 1)]
                rates.append((len(made.token_ids) - 1) / (ends[-1] - begun))
                answers[name] = made.token_ids
            out[f"{name}_tokens_per_second"] = median(rates)
            out[f"{name}_steps"] = len(clock.steps)
    out["same_tokens"] = answers["plain"] == answers["lookup"]
    assert out["same_tokens"], "guesses changed a greedy answer"
    return out


PARTS = {
    "prefill": prefill,
    "decode": decode,
    "ttft": first_token,
    "load": load,
    "memory": memory,
    "prefix": prefix,
    "lookup": lookup,
}


def main() -> None:
    found = PARTS[sys.argv[1]](json.loads(sys.argv[2]))
    assert threading.active_count() == 1, f"threads are left: {threading.enumerate()}"
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
