"""How fast a model answers and how much memory that takes: measured in a process of its own.

`python -m chatwright.compress.speed MODEL` prints one JSON object. A new process, so that nothing
that was loaded before counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright.errors import ChatwrightError, ContextError

if TYPE_CHECKING:
    from chatwright.generate import Engine

_TOKENS, _RUNS, _SECONDS = 64, 3, 900.0
_TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. " * 2
_PROMPT = 16  # tokens of it are the prompt
_CONTEXT = 1024


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second while an answer is written (one stream, the median of the runs), seconds to
    load, and the most memory that the process had (bytes).
    """

    tokens_per_second: float
    load_seconds: float
    peak_bytes: int


def measure_speed(path: Path, *, tokens: int = _TOKENS, runs: int = _RUNS) -> Speed:
    """Load the model at `path` in a new process and have it write `tokens` tokens, `runs` times.

    Raises `RuntimeError` with what the process said where it ended badly.
    """
    words = [sys.executable, "-m", __name__, str(path), "--tokens", str(tokens)]
    try:
        done = subprocess.run(
            [*words, "--runs", str(runs)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer within {_SECONDS:.0f} s") from error
    try:
        return Speed(**json.loads(done.stdout.strip().splitlines()[-1]))
    except (ValueError, IndexError, TypeError) as error:
        said = done.stderr.strip().splitlines()
        raise RuntimeError(said[-1] if said else f"it ended with {done.returncode}") from error


def _peak_bytes() -> int:
    """The most physical memory that this process ever had.

    Linux counts `ru_maxrss` on from what the parent had when it started this process, so there the
    kernel's own peak of this address space is read.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _load(path: Path) -> Engine:
    """The engine that would serve this model, for one request of at most `_CONTEXT` tokens."""
    from chatwright.generate.load import load_engine

    try:
        return load_engine(path, max_batch=1, context=_CONTEXT)
    except ContextError:  # made for fewer
        return load_engine(path, max_batch=1)


def _answer(engine: Engine, tokens: int) -> float:
    """Seconds that an answer of so many tokens takes."""
    from chatwright.generate import SamplingParams

    prompt = engine.tokenizer.encode(_TEXT)[:_PROMPT]
    params = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_end=True)
    started = time.perf_counter()
    made = engine.submit(prompt, params).result().token_ids
    taken = time.perf_counter() - started
    if len(made) != tokens:
        raise RuntimeError(f"it made {len(made)} tokens and not {tokens}")
    return taken


def main() -> None:
    """Measure the model that the command line names, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m chatwright.compress.speed")
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=_TOKENS)
    parser.add_argument("--runs", type=int, default=_RUNS)
    asked = parser.parse_args()
    try:
        print(json.dumps(asdict(_measured(asked.model, asked.tokens, asked.runs))))
    except ChatwrightError as error:
        raise SystemExit(error.message) from error


def _measured(path: Path, tokens: int, runs: int) -> Speed:
    started = time.perf_counter()
    with _load(path) as engine:
        load_seconds = time.perf_counter() - started
        tokens = max(2, min(tokens, engine.context - _PROMPT))
        _answer(engine, 2)
        # What the prompt takes is taken off, so that the rest is the writing alone.
        first = statistics.median(_answer(engine, 1) for _ in range(runs))
        whole = statistics.median(_answer(engine, tokens) for _ in range(runs))
    return Speed((tokens - 1) / max(whole - first, 1e-9), load_seconds, _peak_bytes())


if __name__ == "__main__":
    main()
