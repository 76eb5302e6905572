"""Seconds of the soak's random traffic on a tiny model; `script/bench soak` takes ten minutes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatwright.generate import Engine
from chatwright.generate.native.library import why_not

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "model")]

import soak  # noqa: E402
from tiny import tiny_model, tiny_tokenizer  # noqa: E402

CONTEXT, BLOCKS, SIZE = 256, 24, 32


def maker(backend: str) -> Callable[..., Engine]:
    """Engines with room for three full requests, and eight that want it."""
    model, tokenizer = tiny_model(context=CONTEXT), tiny_tokenizer()

    def make(*, max_batch: int = 8, prefix_reuse: bool = True) -> Engine:
        room: dict[str, Any] = {"n_blocks": BLOCKS, "context": CONTEXT}
        if backend == "native":
            from chatwright.generate.native_runner import NativeRunner

            runner: Any = NativeRunner.of(
                model, weights="float32", vocab_size=tokenizer.vocab_size, threads=1, **room
            )
        else:
            from chatwright.generate.torch_runner import TorchRunner

            runner = TorchRunner(model, block_size=SIZE, vocab_size=tokenizer.vocab_size, **room)
        return Engine(runner, tokenizer, max_batch=max_batch, prefix_reuse=prefix_reuse)

    return make


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_nothing_leaks_and_every_answer_is_that_of_a_lone_request(backend: str) -> None:
    if backend == "native" and (reason := why_not()) is not None:
        pytest.skip(f"the compiled kernels are {reason}")
    found = soak.soak(
        maker(backend),
        seconds=4.0,
        clients=10,
        seed=3,
        longest=180,
        answer=24,
        pause=0.01,
        sampled=backend == "native",
        every=0.1,
    )
    assert found["faults"] == []
    assert found["stuck_clients"] == []
    assert (found["requests_left"], found["blocks_used_at_the_end"]) == (0, 0)
    assert found["threads_left"] == []
    assert found["different_alone"] == []
    ended = found["ended"]
    assert ended["refused"] > 0
    assert ended["left"] > 0
    assert ended["cancelled by its client"] > 0
    assert found["compared_alone"]["greedy"] >= 20, ended
    # The traffic must be what it is meant to be: more than memory holds, with shared beginnings.
    assert found["blocks"]["touched"] >= BLOCKS - 2
    assert found["reused_tokens"] > 0
    assert found["slowest_refusal_seconds"] < 2.0


def test_a_wrong_answer_is_found() -> None:
    """The comparison at the end can fail: answers from other weights are all different."""
    good, bad = maker("torch"), tiny_model(seed=5, context=CONTEXT)
    from _generate_traffic import Ask, alone

    from chatwright.generate import SamplingParams
    from chatwright.generate.torch_runner import TorchRunner

    params = SamplingParams(temperature=0.0, max_tokens=12, ignore_end=True)
    ask = Ask("greedy", list(range(40, 60)), params, "", "wait")
    with good() as engine:
        kept = [(ask, engine.submit(ask.ids, params).results())]
        assert alone(engine, kept, sampled=False)[1] == []
        tokenizer = engine.tokenizer
    runner = TorchRunner(
        bad, n_blocks=BLOCKS, context=CONTEXT, block_size=SIZE, vocab_size=tokenizer.vocab_size
    )
    with Engine(runner, tokenizer) as other:
        assert len(alone(other, kept, sampled=False)[1]) == 1


def test_memory_that_grows_is_found() -> None:
    log = soak.MemoryLog(every=60.0)
    log.stop()
    log.samples = [(float(s), 100_000_000 + 50_000 * s) for s in range(600)]
    grown = log.growth(600)
    assert grown["times"] > 1.02
    flat = [(float(s), 100_000_000) for s in range(600)]
    log.samples = flat
    assert log.growth(600)["times"] == 1.0
