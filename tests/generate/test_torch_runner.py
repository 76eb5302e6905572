"""Steps over the paged cache, against a plain forward pass over each whole sequence."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.errors import UsageError
from chatwright.generate.runner import Run
from chatwright.generate.torch_attention import PagedAttention, grouped
from chatwright.generate.torch_cache import PagedCache, quantise
from chatwright.generate.torch_runner import TorchRunner
from chatwright.model import ModelConfig, Transformer
from chatwright.model.rope import with_rope
from chatwright.model.transformer import rope_tables, rotate

VOCAB, CONTEXT, SIZE = 97, 200, 8
KINDS: dict[str, dict[str, Any]] = {
    "grouped": {},
    "one-head-each": {"n_kv_heads": 6},
    "one-key-head": {"n_kv_heads": 1},
    "qk-norm": {"qk_norm": True},
    "biases": {"attention_bias": True, "tied": True},
    "window": {"sliding_window": 21},
    "window-and-sinks": {"sliding_window": 13, "attention_sinks": 3},
    "window-in-one-layer": {"qk_norm": True, "sliding_window": 21, "window_from_layer": 1},
    "yarn": {
        "context": 4 * CONTEXT,
        "rope_scaling": {"type": "yarn", "factor": 4, "original_context": CONTEXT},
    },
}


def make_model(**options: Any) -> Transformer:
    shape = {
        "vocab_size": VOCAB, "width": 48, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2,
        "head_dim": 8, "mlp_width": 40, "context": CONTEXT,
    }  # fmt: skip
    model = Transformer.random(ModelConfig(**(shape | options)), seed=2)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.normal_(1.0 if "norm" in name else 0.0, 0.3, generator=generator)
            else:
                weight.normal_(0.0, 0.25, generator=generator)
    return model.eval()


def make_runner(model: Transformer, n_blocks: int = 160, **options: Any) -> TorchRunner:
    return TorchRunner(model, n_blocks=n_blocks, context=CONTEXT, block_size=SIZE, **options)


def plain(model: Transformer, tokens: list[int]) -> np.ndarray:
    """Logits after each token, without a cache."""
    with torch.inference_mode():
        return model(torch.tensor([tokens]))[0].numpy()


class Sequences:
    """Sequences that grow, and fork, in a pool of blocks handed out in random order."""

    def __init__(self, runner: TorchRunner, chance: random.Random) -> None:
        self.runner = runner
        self.free = list(range(runner.n_blocks))
        chance.shuffle(self.free)
        self.tokens: list[list[int]] = []
        self.tables: list[list[int]] = []

    def add(self, like: int | None) -> None:
        """A new sequence, empty or with all of another's tokens: whole blocks are shared."""
        if like is None:
            self.tokens.append([])
            self.tables.append([])
            return
        self.tokens.append(list(self.tokens[like]))
        table = list(self.tables[like])
        if len(self.tokens[like]) % SIZE:
            own = self.free.pop()
            self.runner.copy(table[-1], own)
            table[-1] = own
        self.tables.append(table)

    def run(self, index: int, new: list[int], outputs: int, states: bool = False) -> Run:
        tokens, table = self.tokens[index], self.tables[index]
        start = len(tokens)
        tokens += new
        while len(table) * SIZE < len(tokens):
            table.append(self.free.pop())
        return Run(new, start, tuple(table), outputs, states)


def mixed_steps(
    model: Transformer, chance: random.Random, runner: TorchRunner, steps: int
) -> np.ndarray:
    """Random steps; how far each logit and state is from the plain computation."""
    pool = Sequences(runner, chance)
    errors = []
    for _ in range(steps):
        if len(pool.tokens) < 7:
            pool.add(chance.choice([None, None, *range(len(pool.tokens))]))
        runs, whose = [], []
        for index in chance.sample(range(len(pool.tokens)), chance.randint(1, len(pool.tokens))):
            room = CONTEXT - len(pool.tokens[index])
            count = min(room, chance.choice([1, 1, 1, 1, 3, 5, 24, 50]))
            if count:
                new = [chance.randrange(VOCAB) for _ in range(count)]
                outputs = chance.choice([0, 1, 1, count])
                runs.append(pool.run(index, new, outputs, states=chance.random() < 0.2))
                whose.append(index)
        result = runner.step(runs)
        assert len(result.logits) == sum(run.outputs for run in runs)
        row = 0
        for run, index, states in zip(runs, whose, result.states, strict=True):
            tokens = pool.tokens[index]
            expected = plain(model, tokens)
            for place in range(len(tokens) - run.outputs, len(tokens)):
                ours = result.logits.row(row)
                errors.append(np.abs(ours - expected[place]).ravel())
                assert result.logits.likeliest[row] == ours.argmax()
                row += 1
            assert (states is not None) == run.states
            if states is not None:
                with torch.inference_mode():
                    hidden = model.hidden(torch.tensor([tokens]))[0, run.start :].float().numpy()
                assert states.shape == (len(run.tokens), model.config.width)
                errors.append(np.abs(states - hidden).ravel())
        assert result.logits.finite.all()
    return np.concatenate(errors)


@pytest.mark.parametrize("kind", KINDS)
def test_random_mixtures_of_runs_equal_a_plain_pass(kind: str) -> None:
    model = make_model(**KINDS[kind])
    assert float(np.std(plain(model, list(range(20))))) > 1.0  # logits that say something
    assert mixed_steps(model, random.Random(kind), make_runner(model), 14).max() < 5e-5


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), window=st.integers(1, 40), sinks=st.integers(0, 12))
def test_any_window_and_sinks(seed: int, window: int, sinks: int) -> None:
    model = make_model(sliding_window=window, attention_sinks=sinks)
    assert mixed_steps(model, random.Random(seed), make_runner(model), 5).max() < 5e-5


def test_bfloat16_differs_by_its_rounding_only() -> None:
    model = make_model().to(torch.bfloat16)
    runner = make_runner(model)
    errors = mixed_steps(model, random.Random(1), runner, 10)
    assert errors.max() < 0.15 and errors.mean() < 0.01  # of logits of ±7, deviation 1.7
    assert runner.describe()["kv_dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("kv_dtype", "mean", "most"), [("int8", 0.04, 0.7), ("bfloat16", 0.02, 0.4)]
)
def test_narrow_caches_are_near(kv_dtype: str, mean: float, most: float) -> None:
    """Logits have a deviation of 1.7; int8 loses about twice what bfloat16 does."""
    model = make_model()
    runner = make_runner(model, kv_dtype=kv_dtype)
    errors = mixed_steps(model, random.Random(4), runner, 12)
    assert 0.002 < errors.mean() < mean and errors.max() < most


def test_int8_does_not_depend_on_how_a_prompt_was_cut() -> None:
    model = make_model()
    tokens = list(range(50))
    whole = make_runner(model, kv_dtype="int8").step([Run(tokens, 0, range(7))]).logits.row(0)
    runner = make_runner(model, kv_dtype="int8")
    for start in range(0, 50, 10):
        logits = runner.step([Run(tokens[start : start + 10], start, range(7))]).logits
    np.testing.assert_allclose(logits.row(0), whole, atol=1e-4)


def test_quantised_to_half_a_step() -> None:
    x = torch.randn(50, 16, generator=torch.Generator().manual_seed(1))
    x[3] = 0
    codes, scales = quantise(x)
    assert codes.dtype == torch.int8
    assert ((codes * scales[:, None] - x).abs() <= scales[:, None] * 0.5001).all()
    x[5, 2] = float("nan")
    codes, scales = quantise(x)
    assert (codes[5] * scales[5]).isnan().all()  # seen, never hidden


def test_sequences_share_blocks_and_diverge_after_a_copy() -> None:
    model = make_model()
    runner = make_runner(model)
    prompt = list(range(20))  # two whole blocks and half of a third
    runner.step([Run(prompt, 0, (9, 4, 7), 0)])
    runner.copy(7, 30)
    runs = [Run([50], 20, (9, 4, 7)), Run([60, 61], 20, (9, 4, 30), 2)]
    logits = runner.step(runs).logits
    np.testing.assert_allclose(logits.row(0), plain(model, [*prompt, 50])[-1], atol=1e-4)
    expected = plain(model, [*prompt, 60, 61])[-2:]
    np.testing.assert_allclose([logits.row(1), logits.row(2)], expected, atol=1e-4)
    # A third comes later to the shared blocks, in one step with one of the others.
    again = runner.step([Run([70], 16, (9, 4, 55)), Run([51], 21, (9, 4, 7))]).logits
    np.testing.assert_allclose(again.row(0), plain(model, [*prompt[:16], 70])[-1], atol=1e-4)
    np.testing.assert_allclose(again.row(1), plain(model, [*prompt, 50, 51])[-1], atol=1e-4)


# -- sliding on at the window's end --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grouped", "qk-norm", "yarn", "dynamic"])
@pytest.mark.parametrize(("kv_dtype", "tolerance"), [("auto", 1e-4), ("int8", 0.4)])
def test_shift_is_streaming_attention_with_positions_in_the_cache(
    kind: str, kv_dtype: str, tolerance: float
) -> None:
    """Xiao et al. 2023: what is kept has the positions that it has in the cache.

    The oracle keeps each layer's keys before RoPE, drops the middle, numbers what is left anew and
    turns it then.
    """
    dynamic = {"type": "dynamic", "factor": 4, "original_context": CONTEXT // 4}
    model = make_model(**KINDS.get(kind, {"rope_scaling": dynamic}))
    runner = make_runner(model, kv_dtype=kv_dtype)
    chance = random.Random(5)
    tokens = [chance.randrange(VOCAB) for _ in range(5 * SIZE)]
    table = [11, 3, 25, 8, 19]
    runner.step([Run(tokens, 0, table, 0)])
    # The first block holds the sinks; the next two are dropped, the last two move down by two.
    runner.shift(table[3:], 2 * SIZE)
    kept = [table[0], *table[3:]]
    new = [chance.randrange(VOCAB) for _ in range(6)]
    ours = [runner.step([Run(new[:4], 3 * SIZE, [*kept, 40], 4)]).logits]
    ours += [
        runner.step([Run([t], 3 * SIZE + 4 + i, [*kept, 40])]).logits for i, t in enumerate(new[4:])
    ]
    rows = [logits.row(i) for logits in ours for i in range(len(logits))]
    expected = _streaming(model, tokens, list(range(SIZE)) + list(range(3 * SIZE, 5 * SIZE)), new)
    np.testing.assert_allclose(rows, expected, atol=tolerance)


def _streaming(
    model: Transformer, tokens: list[int], kept: list[int], new: list[int]
) -> np.ndarray:
    from chatwright.model.transformer import frequencies_on

    frequencies, scale = frequencies_on(model.config, CONTEXT, torch.device("cpu"))
    keys: list[torch.Tensor] = []
    values: list[torch.Tensor] = []

    def tables(positions: torch.Tensor, sign: int = 1, by: float = scale) -> Any:
        cos, sin = rope_tables(positions[None], frequencies)
        return cos * by, sin * sign * by

    def first_pass(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        # Undo the rotation: the key as it was projected.
        at = torch.arange(len(tokens))
        keys.append(rotate(k, *tables(at, -1, 1 / scale))[:, :, kept])
        values.append(v[:, :, kept])
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True
        )

    def second_pass(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        old = rotate(keys[layer], *tables(torch.arange(len(kept))))
        k, v = torch.cat((old, k), 2), torch.cat((values[layer], v), 2)
        seen = torch.arange(k.shape[2]) <= torch.arange(len(kept), k.shape[2])[:, None]
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, enable_gqa=True
        )

    with torch.inference_mode():
        model.hidden(torch.tensor([tokens]), attention=first_pass, rope_length=CONTEXT)
        positions = torch.arange(len(kept), len(kept) + len(new))[None]
        hidden = model.hidden(torch.tensor([new]), positions, second_pass, rope_length=CONTEXT)
        logits: np.ndarray = model.logits(hidden)[0].numpy()
        return logits


def test_dynamic_scaling_uses_the_frequencies_of_the_context() -> None:
    model = make_model(context=50)
    model.config = with_rope(model.config, "dynamic", 4.0)
    runner = make_runner(model)
    tokens = list(range(40))
    ours = runner.step([Run(tokens[:30], 0, range(5), 0), Run([7], 0, [9])])
    ours = runner.step([Run(tokens[30:], 30, range(5), 10)]).logits
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor([tokens]), rope_length=CONTEXT)
        expected = model.logits(hidden)[0, 30:].numpy()
    np.testing.assert_allclose([ours.row(i) for i in range(10)], expected, atol=1e-4)
    assert np.abs(expected - plain(model, tokens)[30:]).max() > 0.05


# -- what is asked of a runner besides -----------------------------------------------------------


def test_weights_are_read_anew_at_each_step() -> None:
    model = make_model()
    runner = make_runner(model)
    before = runner.step([Run([1, 2], 0, [0])]).logits.row(0)
    with torch.no_grad():
        model.layers[1].mlp.down_proj.weight.mul_(-1)  # type: ignore[union-attr]
    after = runner.step([Run([1, 2], 0, [0])]).logits.row(0)
    np.testing.assert_allclose(after, plain(model, [1, 2])[-1], atol=1e-4)
    assert np.abs(before - after).max() > 0.01


def test_nan_is_seen_stays_with_its_sequence_and_can_be_cleared() -> None:
    model = make_model()
    with torch.no_grad():
        model.embed_tokens.weight[13] = float("nan")
    for kv_dtype in ("auto", "int8"):
        runner = make_runner(model, kv_dtype=kv_dtype)
        logits = runner.step([Run([1, 13, 2], 0, [0]), Run([1, 4, 2], 0, [1])]).logits
        assert logits.finite.tolist() == [False, True]
        # Decoding together, with tables of different lengths: the other is not touched.
        long = list(range(14, 14 + 3 * SIZE))
        runner.step([Run(long, 0, [2, 3, 4], 0)])
        logits = runner.step(
            [Run([5], 3, [0]), Run([5], 3, [1]), Run([5], 24, [2, 3, 4, 5])]
        ).logits
        assert logits.finite.tolist() == [False, True, True]
        runner.clear([0])
        again = runner.step([Run([5], 0, [0])]).logits
        assert again.finite.all()
        exact = runner.describe()["kv_dtype"] == "float32"
        np.testing.assert_allclose(again.row(0), plain(model, [5])[-1], atol=1e-4 if exact else 0.4)


def test_rows_are_the_callers_own_and_padded_vocabularies_are_cut() -> None:
    model = make_model()
    runner = make_runner(model, vocab_size=50)
    logits = runner.step([Run([1, 2, 3], 0, [0], 3)]).logits
    row = logits.row(1)
    assert row.shape == (50,) and runner.vocab_size == 50
    assert (logits.likeliest < 50).all()
    expected = row.copy()
    row[:] = 0
    assert np.array_equal(logits.row(1), expected)


def test_runs_of_like_length_are_grouped() -> None:
    def run(start: int, count: int) -> Run:
        return Run([0] * count, start, range(99))

    runs = [run(10, 1), run(700, 1), run(0, 30), run(650, 1), run(12, 1), run(5, 4), run(9, 4)]
    assert grouped(runs, SIZE) == [[1, 3], [0, 4], [5, 6], [2]]


def test_bad_runs_and_sizes_are_refused() -> None:
    model = make_model()
    runner = make_runner(model)
    for run in (
        Run([], 0, [0]),
        Run([1], 0, [0], 2),
        Run([1] * 9, 0, [0]),
        Run([1], 0, [160]),
        Run([1], CONTEXT, range(30)),
        Run([1], -1, [0]),
    ):
        with pytest.raises(ValueError, match="run"):
            runner.step([run])
    for options in ({"kv_dtype": "int4"}, {"n_blocks": 0}):
        with pytest.raises(UsageError):
            make_runner(model, **options)
    assert len(runner.step([]).logits) == 0
    runner.close()
    runner.close()
    with pytest.raises(RuntimeError, match="closed"):
        runner.step([Run([1], 0, [0])])


def test_padding_after_the_tokens_changes_nothing() -> None:
    config = make_model().config
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(1, heads, 12, 8, generator=generator) for heads in (6, 2, 2))
    plain, padded = (
        PagedCache(config, 4, SIZE, torch.float32, torch.device("cpu")) for _ in range(2)
    )
    groups = [[Run([0] * 5, 3, [2])], [Run([0] * 2, 6, [0, 3]), Run([0] * 2, 1, [1])]]
    alone = PagedAttention(plain, config, groups, torch.float32)(
        0, q[:, :, :9], k[:, :, :9], v[:, :, :9]
    )
    longer = PagedAttention(padded, config, groups, torch.float32)(0, q, k, v)
    assert torch.equal(longer[:, :, :9], alone)
    assert not longer[:, :, 9:].any()
    assert torch.equal(plain.keys, padded.keys) and torch.equal(plain.values, padded.values)
    # Nine tokens were written, where the tables say, and nothing else.
    written = {(b, p) for b, p in plain.keys[0, :, 0].abs().sum(-1).nonzero().tolist()}
    assert written == {(2, p) for p in range(3, 8)} | {(0, 6), (0, 7), (1, 1), (1, 2)}
    assert not plain.keys[1].any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("kind", ["grouped", "window-and-sinks"])
@pytest.mark.parametrize(("kv_dtype", "bound"), [("auto", 1e-3), ("int8", 0.7)])
def test_on_a_gpu(kind: str, kv_dtype: str, bound: float) -> None:
    """The runner computes on the GPU, the oracle on the CPU."""
    runner = make_runner(make_model(**KINDS[kind]).to("cuda"), kv_dtype=kv_dtype)
    assert mixed_steps(make_model(**KINDS[kind]), random.Random(6), runner, 8).max() < bound
    runner.copy(1, 2)
    runner.shift([1, 2], SIZE)
    runner.clear([1, 2])


def test_copy_and_clear_touch_only_what_they_name() -> None:
    cache = PagedCache(make_model().config, 4, SIZE, torch.int8, torch.device("cpu"))
    buffers = (cache.keys, cache.values, cache.key_scales, cache.value_scales)
    for buffer in buffers:
        assert buffer is not None
        for block in range(4):
            buffer[:, block] = block + 1
    cache.copy(2, 0)
    cache.clear([1, 3])
    for buffer in buffers:
        assert buffer is not None
        assert [buffer[:, block].unique().tolist() for block in range(4)] == [[3], [0], [3], [0]]


@pytest.mark.parametrize("kv_dtype", ["auto", "bfloat16", "int8"])
def test_bytes_per_block_are_what_the_buffers_take(kv_dtype: str) -> None:
    runner = make_runner(make_model(), kv_dtype=kv_dtype)
    cache = runner._cache
    assert cache is not None
    buffers = [cache.keys, cache.values, cache.key_scales, cache.value_scales]
    taken = sum(b.numel() * b.element_size() for b in buffers if b is not None)
    assert taken == runner.bytes_per_block * runner.n_blocks
    assert runner.describe()["bytes_per_block"] == runner.bytes_per_block


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_taken_only_where_tokens_are() -> None:
    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096

    config = make_model().config.model_copy(update={"n_layers": 16, "head_dim": 64})
    before = resident()
    cache = PagedCache(config, 8192, 32, torch.bfloat16, torch.device("cpu"))
    size = 2 * cache.keys.numel() * cache.keys.itemsize
    assert size > 2**30
    # Reading far past what was written is what attention over requests of different lengths does.
    places = cache.places([5], [0])
    for layer in range(16):
        cache.write(layer, places, torch.ones(2, 1, 64), torch.ones(2, 1, 64))
    keys, _ = cache.gather(0, cache.rows(torch.arange(100)[None]), 1, torch.float32)
    assert float(keys.sum()) == 2 * 64
    assert resident() - before < size / 20
