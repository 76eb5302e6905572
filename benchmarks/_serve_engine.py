"""The bare engine of `serve.py`: threads in one process ask it, and nothing is between.

`python _serve_engine.py SETTINGS`, then one line of JSON for each round: its prompts. The engine is
made as `chatwright serve` makes it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import psutil

from chatwright.assist import load_assistant
from chatwright.generate import SamplingParams
from chatwright.records import Message


def one_round(engine: Any, prompts: list[str], tokens: int) -> dict[str, Any]:
    """All prompts at once, each in a thread."""
    found: list[tuple[float, float, float, int, int] | None] = [None] * len(prompts)
    params = SamplingParams(temperature=0, max_tokens=tokens)

    def ask(number: int) -> None:
        began, first, last = time.perf_counter(), 0.0, None
        for piece in engine.stream([Message("user", prompts[number])], params):
            first = first or (time.perf_counter() if piece.text else 0.0)
            last = piece
        assert last is not None and last.completion is not None
        made, asked = len(last.completion.token_ids), last.completion.prompt_tokens
        found[number] = began, first, time.perf_counter(), made, asked

    used = psutil.Process().cpu_times()
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = psutil.Process().cpu_times()
    good = [one for one in found if one is not None]
    return {
        "tokens": sum(one[3] for one in good),
        "prompt_tokens": sum(one[4] for one in good),
        "seconds": max(one[2] for one in good) - min(one[0] for one in good),
        "first_ms": sorted(round(1000 * (one[1] - one[0]), 1) for one in good),
        "failed": len(found) - len(good),
        "cpu_seconds": now.user + now.system - used.user - used.system,
    }


def main() -> None:
    settings = json.loads(sys.argv[1])
    engine: Any = load_assistant(settings["model"], max_batch=settings["batch"]).engine
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        print(json.dumps(one_round(engine, told["prompts"], told["tokens"])), flush=True)


if __name__ == "__main__":
    main()
