"""What is not a number is seen, what cannot be is refused, and nothing hangs or crashes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import torch
from native_cases import (
    CONTEXT,
    N_BLOCKS,
    SIZE,
    VOCAB,
    kernel_sets,
    make_model,
    make_runner,
    needs_kernels,
    plain,
)

from chatwright.errors import ModelError, UsageError
from chatwright.generate.runner import Run

pytestmark = needs_kernels
KERNELS = kernel_sets()

# -- what is not a number ------------------------------------------------------------------------

POISONED = [
    "embed_tokens.weight", "lm_head.weight", "norm.weight", "layers.1.input_layernorm.weight",
    "layers.1.self_attn.q_proj.weight", "layers.0.self_attn.k_proj.weight",
    "layers.1.self_attn.v_proj.weight", "layers.0.self_attn.o_proj.weight",
    "layers.1.mlp.gate_proj.weight", "layers.0.mlp.up_proj.weight",
    "layers.1.mlp.down_proj.weight", "layers.0.self_attn.q_norm.weight",
    "layers.1.self_attn.k_norm.weight", "layers.0.post_attention_layernorm.weight",
    "layers.0.self_attn.q_proj.bias", "layers.1.self_attn.o_proj.bias",
]  # fmt: skip


def poisoned(name: str, at: int = 5) -> Any:
    model = make_model(qk_norm=True, attention_bias=True, output_bias=True)
    with torch.no_grad():
        weight = model.get_parameter(name)
        (weight if weight.ndim == 1 else weight[5])[at] = float("nan")
    return model


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", POISONED)
def test_nan_in_weights_is_seen(name: str, kernels: str) -> None:
    """Never a number that looks like an answer. An integer type refuses it when it is packed."""
    for weights, kv_dtype in (("float32", "float32"), ("bfloat16", "bfloat16"), ("int8", "int8")):
        options = {"weights": weights, "kv_dtype": kv_dtype, "kernels": kernels}
        if weights == "int8" and "norm" not in name and "bias" not in name:
            for rounded in ("int8", "int4"):
                with pytest.raises(ModelError, match="not a number") as caught:
                    make_runner(poisoned(name), **(options | {"weights": rounded}))
                assert name in str(caught.value)
            continue
        for tokens in ([5], [5, 1, 2, 3, 4, 6]):
            runner = make_runner(poisoned(name, at=14), **options)
            assert not runner.step([Run(tokens, 0, [0], len(tokens))]).logits.finite.any() or (
                # One token's embedding is that token's own trouble, and of those after it.
                name == "embed_tokens.weight"
            )
            assert not runner.step([Run([5, 7], len(tokens), [0], 2)]).logits.finite.any()


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "int8"])
def test_nan_stays_with_its_sequence_and_can_be_cleared(kv_dtype: str) -> None:
    model = make_model()
    with torch.no_grad():
        model.embed_tokens.weight[13, 3] = float("nan")
    runner = make_runner(model, kv_dtype=kv_dtype)
    logits = runner.step([Run([1, 13, 2], 0, [0]), Run([1, 4, 2], 0, [1])]).logits
    assert logits.finite.tolist() == [False, True]
    long = list(range(14, 14 + 3 * SIZE))
    runner.step([Run(long, 0, [2, 3, 4], 0)])
    runs = [Run([5], 3, [0]), Run([5], 3, [1]), Run([5], 96, [2, 3, 4, 5])]
    logits = runner.step(runs).logits
    assert logits.finite.tolist() == [False, True, True]
    runner.clear([0])
    again = runner.step([Run([5], 0, [0])]).logits
    assert again.finite.all()
    bound = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.1}[kv_dtype]
    np.testing.assert_allclose(again.row(0), plain(model, [5])[-1], atol=bound)


# -- what must be refused, and lives -------------------------------------------------------------


def test_bad_runs_and_settings_are_refused() -> None:
    model = make_model()
    runner = make_runner(model)
    for run in (
        Run([], 0, [0]),
        Run([1], 0, [0], 2),
        Run([1], 0, [0], -1),
        Run([1] * 33, 0, [0]),
        Run([1], 32, [0]),
        Run([1], 0, []),
        Run([1], 0, [N_BLOCKS]),
        Run([1], 0, [-1]),
        Run([1], 0, [2**40]),
        Run([1], CONTEXT, range(30)),
        Run([1], -1, [0]),
        Run([-1], 0, [0]),
        Run([VOCAB], 0, [0]),
        Run([2**40], 0, [0]),
    ):
        with pytest.raises(ValueError, match=r"run|blocks"):
            runner.step([Run([1], 0, [3]), run])
    for bad in (
        lambda: runner.copy(0, N_BLOCKS),
        lambda: runner.copy(-1, 0),
        lambda: runner.clear([0, N_BLOCKS]),
        lambda: runner.shift([-1], 32),
    ):
        with pytest.raises(ValueError, match="blocks"):
            bad()
    for options in (
        {"kv_dtype": "int4"}, {"weights": "int2"}, {"n_blocks": 0}, {"context": 0},
        {"threads": 0}, {"threads": -3}, {"kernels": "sse9"}, {"n_blocks": 2**31},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            make_runner(model, **options)
    with pytest.raises(UsageError, match="multiple of 16"):
        make_runner(make_model(head_dim=8))
    assert len(runner.step([]).logits) == 0
    result = runner.step([Run([1, 2], 0, [0], 0), Run([3], 0, [1], 0)])
    assert len(result.logits) == 0 and result.states == [None, None]


def test_many_at_once_closed_twice_and_not_used_after() -> None:
    model = make_model()
    runners = [make_runner(model, weights=w) for w in ("float32", "int8", "int4")] * 2
    first = [r.step([Run([1, 2, 3], 0, [0])]).logits.row(0).copy() for r in runners]
    assert np.array_equal(first[0], first[3])
    for runner in runners:
        runner.close()
        runner.close()
        for use in (
            lambda r: r.step([Run([1], 0, [0])]),
            lambda r: r.copy(0, 1),
            lambda r: r.clear([0]),
            lambda r: r.shift([0], 1),
            lambda r: r.weights_row(0, 0, 0, 16),
            lambda r: r.multiply(0, 0, np.zeros((1, 72), np.float32), 96),
        ):
            with pytest.raises(RuntimeError, match="closed"):
                use(runner)
        assert runner.describe()["backend"] == "native"


SCRIPT = """
import os, resource, subprocess, sys
import numpy as np
from chatwright.errors import UsageError
from chatwright.generate.native_runner import NativeRunner
from chatwright.generate.runner import Run
from chatwright.model.config import ModelConfig
from chatwright.model.raw_weights import RawTensor

config = ModelConfig(vocab_size=50, width=32, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=16,
                     mlp_width=32, context=64, tied=True)
shapes = {"q_proj": (32, 32), "k_proj": (16, 32), "v_proj": (16, 32), "o_proj": (32, 32),
          "embed_tokens": (50, 32)}

def read(name):
    shape = (32,) if "norm" in name else shapes.get(name.split(".")[-2], (32, 32))
    data = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return RawTensor("F32", shape, data.reshape(-1).view(np.uint8), name)

def make(threads=2):
    return NativeRunner(config, read, n_blocks=4, context=64, threads=threads)
"""


def in_a_process(code: str) -> str:
    """Its own: what is tested here could hang or crash."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_forked_process_neither_hangs_nor_computes_and_can_make_its_own() -> None:
    said = in_a_process("""
        runner = make()
        before = runner.step([Run([1, 2], 0, [0])]).logits.row(0).copy()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        child = os.fork()
        if child == 0:
            try:
                runner.step([Run([3], 2, [0])])
            except RuntimeError as error:
                print(error, flush=True)
            runner.close()
            own = make()
            assert np.array_equal(own.step([Run([1, 2], 0, [0])]).logits.row(0), before)
            sys.exit(0)  # with the finalizers, which must not wait for threads that are not there
        assert os.waitpid(child, 0)[1] == 0
        runner.step([Run([3], 2, [0])])
        print("torch" in sys.modules)
    """)
    assert "forked" in said and said.endswith("False\n")


def test_where_there_are_no_more_threads_that_is_said() -> None:
    said = in_a_process("""
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        try:
            make(threads=1000)
        except UsageError as error:
            print(error)
        assert make(2).step([Run([1], 0, [0])]).logits.finite.all()
    """)
    assert "could not be made" in said
