"""The compiled kernels against a plain forward pass in PyTorch, and against themselves."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_cases import (
    CONTEXT,
    N_BLOCKS,
    SIZE,
    VOCAB,
    Pool,
    kernel_sets,
    make_model,
    make_runner,
    needs_kernels,
    plain,
)

from chatwright.generate.native_runner import NativeRunner, default_threads
from chatwright.generate.runner import Run
from chatwright.generate.torch_runner import TorchRunner

pytestmark = needs_kernels
KERNELS = kernel_sets()
NARROW = [("bfloat16", "bfloat16"), ("int8", "bfloat16"), ("int8", "int8"), ("int4", "float32")]

KINDS: dict[str, dict[str, Any]] = {
    "one-head-each": {"n_heads": 3, "n_kv_heads": 3, "head_dim": 48},
    **{
        f"group-of-{n}": {"n_heads": 2 * n, "n_kv_heads": 2, "width": 40}
        for n in (2, 3, 4, 5, 6, 7, 8, 9, 12)
    },
    "heads-of-64": {"n_heads": 4, "head_dim": 64},
    "heads-of-80": {"n_heads": 4, "head_dim": 80, "n_kv_heads": 1},
    "heads-of-128": {"n_heads": 2, "head_dim": 128, "n_layers": 1},
    "round-sizes": {"width": 64, "mlp_width": 128, "vocab_size": 512},
    "odd-sizes": {"width": 35, "mlp_width": 17, "vocab_size": 33},
    "qk-norm": {"qk_norm": True},
    "biases": {"attention_bias": True, "output_bias": True},
    "three-biases-tied": {"attention_bias": True, "tied": True},
    "everything": {"qk_norm": True, "attention_bias": True, "output_bias": True},
    "window": {"sliding_window": 21},
    "window-of-one": {"sliding_window": 1, "attention_sinks": 1},
    "wide-window-and-sinks": {"sliding_window": 70, "attention_sinks": 3},
    "many-sinks": {"sliding_window": 33, "attention_sinks": 40},
    "window-in-one-layer": {"qk_norm": True, "sliding_window": 50, "window_from_layer": 1},
    "enormous-window": {"sliding_window": 2**40},
    "linear": {"rope_scaling": {"type": "linear", "factor": 3}},
    "yarn": {
        "context": 4 * CONTEXT,
        "rope_scaling": {"type": "yarn", "factor": 4, "original_context": CONTEXT},
    },
    "yarn-with-a-scale": {
        "rope_scaling": {
            "type": "yarn", "factor": 8, "original_context": 25, "attention_factor": 1.7,
        },
    },
    "llama3": {"rope_scaling": {"type": "llama3", "factor": 8, "original_context": 64}},
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 4, "original_context": 50}},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_random_mixtures_of_runs_equal_a_plain_pass(kind: str) -> None:
    model = make_model(**KINDS[kind])
    pool = Pool(make_runner(model, threads=2), random.Random(kind))
    pool.wander(12)
    assert np.std([row for _, _, row in pool.seen]) > 0.5  # logits that say something
    assert len(pool.seen) > 15
    assert pool.errors(model).max() < 1e-4


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_shape(data: st.DataObject) -> None:
    kv_heads, group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 10))
    windowed = data.draw(st.booleans())
    model = make_model(
        vocab_size=data.draw(st.integers(1, 70)),
        width=data.draw(st.integers(1, 80)),
        mlp_width=data.draw(st.integers(1, 70)),
        n_heads=kv_heads * group,
        n_kv_heads=kv_heads,
        head_dim=data.draw(st.sampled_from([16, 32, 48])),
        n_layers=1,
        tied=data.draw(st.booleans()),
        sliding_window=data.draw(st.integers(1, 90)) if windowed else None,
        attention_sinks=data.draw(st.integers(0, 70)) if windowed else 0,
    )
    pool = Pool(make_runner(model, threads=2), random.Random(data.draw(st.integers(0, 99))))
    pool.wander(4, most=3)
    if pool.seen:
        scale = max(1.0, *(np.abs(row).max() for _, _, row in pool.seen))
        assert pool.errors(model).max() < 1e-4 * scale


def test_a_long_context() -> None:
    model = make_model(n_layers=1, context=4000)
    runner = make_runner(model, n_blocks=130, context=4000)
    chance = random.Random(6)
    tokens = [chance.randrange(VOCAB) for _ in range(4000)]
    table = list(range(130))
    chance.shuffle(table)
    expected = plain(model, tokens)
    for start in range(0, 3900, 1300):
        logits = runner.step([Run(tokens[start : start + 1300], start, table, 2)]).logits
        end = start + 1300
        np.testing.assert_allclose(
            [logits.row(0), logits.row(1)], expected[end - 2 : end], atol=1e-4
        )
    logits = runner.step([Run(tokens[3900:3999], 3900, table, 0)]).logits
    logits = runner.step([Run(tokens[3999:], 3999, table)]).logits
    np.testing.assert_allclose(logits.row(0), expected[3999], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_model_in_memory_is_copied_in_its_own_type(dtype: torch.dtype) -> None:
    model = make_model(tied=True).to(dtype)
    runner = make_runner(model, weights="stored")
    wide = "float32" if dtype == torch.float32 else "bfloat16"
    assert runner.kv_dtype == wide and set(runner.describe()["weights"]) == {wide}
    down = model.get_parameter("layers.1.mlp.down_proj.weight")
    expected = (down if wide == "float32" else down.to(torch.bfloat16)).float()
    before = runner.weights_row(1, 6, 71, 100)
    assert np.array_equal(before, expected[71].detach().numpy())
    with torch.no_grad():
        down.zero_()
    assert np.array_equal(runner.weights_row(1, 6, 71, 100), before)


def test_as_many_threads_as_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    for nonsense in ("", "0", "many", "-2"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert 1 <= default_threads() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kind", ["everything", "wide-window-and-sinks", "heads-of-80"])
def test_every_instruction_set(kernels: str, kind: str) -> None:
    model = make_model(**KINDS[kind])
    runner = make_runner(model, kernels=kernels)
    assert runner.describe()["kernels"] == kernels
    pool = Pool(runner, random.Random(3))
    pool.wander(8)
    assert pool.errors(model).max() < 1e-4


# Of logits with a deviation of about 1.3: what rounding costs, with random weights. A mistake in a
# layout gives errors of the logits' own size.
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("weights", "kv_dtype", "mean"),
    [
        ("float32", "bfloat16", 0.006),
        ("float32", "int8", 0.016),
        ("bfloat16", "bfloat16", 0.015),
        ("int8", "bfloat16", 0.05),
        ("int8", "int8", 0.05),
        ("int4", "float32", 0.36),
    ],
)
def test_narrow_types_differ_by_their_rounding_only(
    kernels: str, weights: str, kv_dtype: str, mean: float
) -> None:
    model = make_model(qk_norm=True)
    pool = Pool(
        make_runner(model, weights=weights, kv_dtype=kv_dtype, kernels=kernels), random.Random(8)
    )
    pool.wander(8)
    errors = pool.errors(model)
    assert mean / 6 < errors.mean() < mean and errors.max() < 10 * mean


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("weights", "kv_dtype"), [("float32", "float32"), *NARROW])
def test_a_sequence_does_not_depend_on_its_company(
    kernels: str, weights: str, kv_dtype: str
) -> None:
    """Bit for bit: alone or with others, in one piece or in many, with one thread or two."""
    model = make_model(sliding_window=70, attention_sinks=3)
    options = {"weights": weights, "kv_dtype": kv_dtype, "kernels": kernels}
    tokens = [random.Random(1).randrange(VOCAB) for _ in range(120)]
    whole = make_runner(model, threads=1, **options)
    table = [7, 3, 50, 21]
    logits = whole.step([Run(tokens, 0, table, len(tokens))]).logits
    expected = np.array([logits.row(i) for i in range(len(tokens))])

    for seed, chunks in enumerate(([1, 1, 1, 4], [1, 2, 5, 8, 40])):
        pool = Pool(make_runner(model, threads=1 + seed, **options), random.Random(seed))
        if seed:  # what other sequences left in the pool does not matter either
            pool.wander(3, most=3)
        mine, at = pool.add(), 0
        others = [pool.add() for _ in range(3)]
        while at < len(tokens):
            piece = tokens[at : at + pool.chance.choice(chunks)]
            at += len(piece)
            runs = [pool.run(mine, piece, len(piece))]
            whose = [mine]
            for other in others:
                count = min(pool.chance.choice([0, 1, 1, 9]), CONTEXT - len(pool.tokens[other]))
                if count:
                    new = [pool.chance.randrange(VOCAB) for _ in range(count)]
                    place = pool.chance.randrange(len(runs) + 1)
                    runs.insert(place, pool.run(other, new, pool.chance.choice([0, count])))
                    whose.insert(place, other)
            pool.step(whose, runs)
        rows = np.array([row for index, _, row in pool.seen if index == mine])
        assert np.array_equal(rows, expected)


def test_more_threads_than_work_change_nothing() -> None:
    model = make_model()
    tokens = list(range(40))
    rows = [
        make_runner(model, weights="int8", threads=threads)
        .step([Run(tokens, 0, [4, 2]), Run([5], 0, [1])])
        .logits.row(0)
        for threads in (1, 2, 5)
    ]
    assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[0], rows[2])


def test_a_vocabulary_is_cut() -> None:
    model = make_model()
    runner = make_runner(model, vocab_size=301)
    logits = runner.step([Run([1, 516, 3], 0, [0], 3)]).logits  # tokens beyond it may come in
    expected = plain(model, [1, 516, 3])
    assert runner.vocab_size == 301 and logits.row(1).shape == (301,)
    np.testing.assert_allclose(logits.row(1), expected[1, :301], atol=1e-4)
    assert logits.likeliest.tolist() == expected[:, :301].argmax(1).tolist()
    expected_row = logits.row(2).copy()
    logits.row(1)[:] = 0  # the caller's own
    assert np.array_equal(logits.row(2), expected_row)


@pytest.mark.parametrize("rows", [3, 12])  # few are computed another way than many
def test_of_equal_logits_the_lowest_wins(rows: int) -> None:
    model = make_model()
    tokens = list(range(rows))
    with torch.no_grad():
        model.lm_head.weight.zero_()  # type: ignore[union-attr]
    logits = make_runner(model, threads=3).step([Run(tokens, 0, [0], rows)]).logits
    assert logits.likeliest.tolist() == [0] * rows
    with torch.no_grad():
        for token in (77, 300, 501):  # far apart: in what different threads compute
            model.lm_head.weight[token] = torch.linspace(-1, 1, 72)  # type: ignore[union-attr]
    logits = make_runner(model, threads=3).step([Run(tokens, 0, [0], rows)]).logits
    for i, best in enumerate(logits.likeliest):
        row = logits.row(i)
        assert row[77] == row[300] == row[501] != 0
        assert best == (77 if row[77] > 0 else 0)


# -- blocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qk-norm", "yarn-with-a-scale", "dynamic", "heads-of-80"])
@pytest.mark.parametrize(("kv_dtype", "bound"), [("float32", 1e-4), ("int8", 0.2)])
def test_shift_is_that_of_pytorch(kind: str, kv_dtype: str, bound: float) -> None:
    model = make_model(**KINDS[kind])
    chance = random.Random(5)
    tokens = [chance.randrange(VOCAB) for _ in range(5 * SIZE)]
    table = [11, 3, 25, 8, 19]
    rows = []
    for runner in (
        make_runner(model, kv_dtype=kv_dtype),
        TorchRunner(model, n_blocks=N_BLOCKS, context=CONTEXT, kv_dtype=kv_dtype),
    ):
        runner.step([Run(tokens, 0, table, 0)])
        runner.shift(table[3:], 2 * SIZE)
        logits = runner.step([Run([1, 2, 3], 3 * SIZE, [table[0], *table[3:], 40], 3)]).logits
        rows.append([logits.row(i).copy() for i in range(3)])
    np.testing.assert_allclose(rows[0], rows[1], atol=bound)
    unshifted = make_runner(model, kv_dtype=kv_dtype)
    unshifted.step([Run(tokens, 0, table, 0)])
    logits = unshifted.step([Run([1, 2, 3], 3 * SIZE, [table[0], *table[3:], 40], 3)]).logits
    assert np.abs(logits.row(2) - rows[0][2]).max() > 0.02  # it makes a difference


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "int8"])
def test_copy_takes_a_whole_block_and_nothing_else(kv_dtype: str) -> None:
    runner = make_runner(make_model(), kv_dtype=kv_dtype)
    prompt = list(range(40))
    runner.step([Run(prompt, 0, [9, 4], 0), Run(prompt[::-1], 0, [5, 6], 0)])
    runner.copy(4, 30)
    runner.copy(4, 4)
    runs = [
        Run([50], 40, [9, 4]), Run([50], 40, [9, 30]), Run([50], 40, [5, 6]),
    ]  # fmt: skip
    logits = runner.step(runs).logits
    first, second, third = (logits.row(i).copy() for i in range(3))
    assert np.array_equal(first, second) and not np.array_equal(first, third)
    runner.clear([4])
    logits = runner.step([Run([60], 41, [9, 30]), Run([60], 41, [5, 6])]).logits
    again = make_runner(make_model(), kv_dtype=kv_dtype)
    again.step([Run([*prompt, 50], 0, [0, 1], 0)])
    assert np.array_equal(logits.row(0), again.step([Run([60], 41, [0, 1])]).logits.row(0))


@pytest.mark.parametrize("kv_dtype", ["auto", "float32", "bfloat16", "int8"])
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_bytes_of_a_block_are_known_before(kv_dtype: str, weights: str) -> None:
    model = make_model(head_dim=48)
    runner = make_runner(model, kv_dtype=kv_dtype, weights=weights)
    assert runner.bytes_per_block == NativeRunner.cache_bytes(model.config, kv_dtype, weights)
    facts = runner.describe()
    assert facts["kv_bytes_per_token"] * SIZE == runner.bytes_per_block
    assert facts["weights"] == {weights: 16}
    assert facts["weight_bytes"] > 0 and facts["threads"] == 1
