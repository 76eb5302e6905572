"""Products with packed weights against float64, for every layout, source and instruction set."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_cases import kernel_sets, needs_kernels

from chatwright.errors import ModelError
from chatwright.generate.native_runner import NativeRunner
from chatwright.model import ModelConfig
from chatwright.model.raw_weights import RawTensor

pytestmark = needs_kernels
KERNELS = kernel_sets()
GATE, DOWN, HEAD, EMBEDDING = 4, 6, 8, 7
ROWS = (1, 2, 3, 4, 5, 8, 9, 15, 17, 130)


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    width, mlp = config.width, config.mlp_width
    return {
        "embed_tokens": (config.vocab_size, width), "lm_head": (config.vocab_size, width),
        "q_proj": (q, width), "k_proj": (kv, width), "v_proj": (kv, width), "o_proj": (width, q),
        "gate_proj": (mlp, width), "up_proj": (mlp, width), "down_proj": (width, mlp),
    }  # fmt: skip


def make(
    width: int, mlp: int, given: dict[str, RawTensor], vocab: int = 40, **options: Any
) -> NativeRunner:
    """A runner whose matrices named in `given` are those, and the others zero."""
    config = ModelConfig(
        vocab_size=vocab, width=width, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=16,
        mlp_width=mlp, context=64,
    )  # fmt: skip
    shapes = shapes_of(config)

    def read(name: str) -> RawTensor:
        part = name.split(".")[-2]
        if part in given:
            return given[part]
        shape = shapes.get(part, (width,))
        return RawTensor("F32", shape, np.zeros(shape, np.float32).reshape(-1).view(np.uint8), name)

    return NativeRunner(config, read, n_blocks=1, context=64, threads=1, **options)


def stored(values: np.ndarray, kind: str) -> tuple[RawTensor, np.ndarray]:
    """`values` as a file has them, and what they say in float64, by the package `gguf`."""
    number = gguf.GGMLQuantizationType[kind]
    raw = np.ascontiguousarray(gguf.quants.quantize(values, number))
    meant = gguf.quants.dequantize(raw, number).astype(np.float64)
    tensor = RawTensor(kind, values.shape, raw.reshape(-1).view(np.uint8), f"made of {kind}")
    return tensor, meant


def rounded(x: np.ndarray, weights: str) -> np.ndarray:
    """The rows as the kernels see them: bfloat16, or 8 bits in groups of 32.

    Where one number of a group stands out, what rounding left is kept too, in 254ths of a step.
    """
    if weights == "float32":
        return x.astype(np.float64)
    if weights == "bfloat16":
        bits = x.view(np.uint32).astype(np.uint64)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
        return bits.astype(np.uint32).view(np.float32).astype(np.float64)
    rows, k = x.shape
    groups = np.zeros((rows, -(-k // 32) * 32), np.float32)
    groups[:, :k] = x
    groups = groups.reshape(rows, -1, 32)
    most = np.abs(groups).max(-1, keepdims=True)
    inverse = np.divide(np.float32(127), most, out=np.zeros_like(most), where=most > 0)
    steps = groups * inverse
    whole = np.rint(steps).astype(np.float64)
    stands_out = most**2 * 32 > 16 * (groups**2).sum(-1, keepdims=True)
    whole += np.where(stands_out, np.rint((steps - np.rint(steps)) * 254) / 254, 0.0)
    whole = whole * (most / np.float32(127))
    return whole.reshape(rows, -1)[:, :k]


def check(runner: NativeRunner, which: int, meant: np.ndarray, weights: str) -> None:
    """Its rows are what was meant, and its products those in float64."""
    outputs, k = meant.shape
    for row in (0, 15, 16, outputs - 1):
        ours = runner.weights_row(0, which, row, k)
        np.testing.assert_array_equal(ours, meant[row].astype(np.float32))
    rng = np.random.default_rng(k)
    for rows in ROWS:
        x = rng.normal(size=(rows, k)).astype(np.float32)
        x[0, rng.integers(k)] = 40  # an outlier: its group's steps are coarse, no other's
        if rows > 2:
            x[1], x[2, : min(32, k)] = 0, 0
        ours = runner.multiply(0, which, x, outputs)
        seen = rounded(x, weights)
        expected = seen @ meant.T
        scale = np.abs(seen) @ np.abs(meant).T  # what float32 sums may be off by
        assert (np.abs(ours - expected) <= 2e-6 * scale + 1e-6).all()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("F32", "float32"), ("F16", "float32"), ("BF16", "float32"), ("Q8_0", "float32"),
        ("Q4_0", "float32"), ("Q4_1", "float32"), ("BF16", "bfloat16"), ("Q8_0", "int8"),
        ("Q4_0", "int4"), ("Q4_1", "int4"),
    ],
)  # fmt: skip
def test_weights_that_are_kept_as_they_are(kind: str, weights: str, kernels: str) -> None:
    rng = np.random.default_rng(3)
    gate, gate_meant = stored(rng.normal(size=(50, 96)).astype(np.float32), kind)
    down, down_meant = stored((rng.normal(size=(96, 64)) * 30).astype(np.float32), kind)
    given = {"gate_proj": gate, "down_proj": down}
    for wanted in (weights, "stored") if weights not in ("float32",) else (weights,):
        # The other sizes differ, so each is a model of its own.
        runner = make(96, 50, {"gate_proj": gate}, weights=wanted, kernels=kernels)
        check(runner, GATE, gate_meant, weights)
        runner = make(96, 64, {"down_proj": given["down_proj"]}, weights=wanted, kernels=kernels)
        check(runner, DOWN, down_meant, weights)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("weights", "bound"), [("bfloat16", 0), ("int8", 1 / 254), ("int4", 1 / 30)]
)
@pytest.mark.parametrize(("width", "mlp"), [(96, 50), (35, 17), (16, 1), (130, 47)])
def test_weights_that_are_rounded(
    weights: str, bound: float, width: int, mlp: int, kernels: str
) -> None:
    values = np.random.default_rng(mlp).normal(size=(mlp, width)).astype(np.float32)
    values[0, : min(8, width)] = 0
    tensor, _ = stored(values, "F32")
    runner = make(width, mlp, {"gate_proj": tensor}, weights=weights, kernels=kernels)
    ours = np.array([runner.weights_row(0, GATE, row, width) for row in range(mlp)])
    if weights == "bfloat16":
        np.testing.assert_array_equal(ours, rounded(values, "bfloat16"))
    else:
        # Half a step of each group, and what the scale and the minimum lose as float16.
        padded = np.zeros((mlp, -(-width // 32) * 32), np.float32)
        padded[:, :width] = values
        groups = padded.reshape(mlp, -1, 32)
        span = np.abs(groups).max(-1) if weights == "int8" else np.ptp(groups, axis=-1)
        allowed = np.repeat(span * bound, 32, axis=1)[:, :width]
        error = np.abs(ours - values)
        assert (error <= allowed * 1.01 + np.abs(values).max() * 2**-10).all()
        assert error.max() > allowed.max() / 4  # it was rounded
    meant = ours.astype(np.float64)
    rng = np.random.default_rng(1)
    for rows in (1, 4, 5, 23):
        x = rng.normal(size=(rows, width)).astype(np.float32)
        seen = rounded(x, weights)
        scale = np.abs(seen) @ np.abs(meant).T
        error = np.abs(runner.multiply(0, GATE, x, mlp) - seen @ meant.T)
        # A 4-bit group is a scale and a minimum, which may cancel.
        assert (error <= (2e-6 if weights != "int4" else 1e-5) * scale + 1e-5).all()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("kind", "weights"), [("Q8_0", "int8"), ("Q4_0", "int4"), ("Q4_1", "int4")]
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6))
def test_any_bytes_of_a_block(kind: str, weights: str, kernels: str, seed: int) -> None:
    """What no quantiser writes, −128 and scales of any sign and size, means what ggml says."""
    rng = np.random.default_rng(seed)
    number = gguf.GGMLQuantizationType[kind]
    _, size = gguf.GGML_QUANT_SIZES[number]
    blocks = rng.integers(0, 256, (33, 2, size), dtype=np.uint8)
    for at in range(0, 4 if kind == "Q4_1" else 2, 2):
        scales = (rng.normal(size=(33, 2, 1)) * 10.0 ** rng.integers(-4, 2)).astype(np.float16)
        blocks[..., at : at + 2] = scales.view(np.uint8)
    blocks[0, 0, 2:] = 0x80
    raw = blocks.reshape(33, -1)
    meant = gguf.quants.dequantize(raw, number).astype(np.float64)
    tensor = RawTensor(kind, (33, 64), raw.reshape(-1), "any")
    runner = make(64, 33, {"gate_proj": tensor}, weights=weights, kernels=kernels)
    for row in range(33):
        np.testing.assert_allclose(
            runner.weights_row(0, GATE, row, 64), meant[row], rtol=1e-6, atol=1e-30
        )
    x = rng.normal(size=(5, 64)).astype(np.float32)
    x[0] = 1  # all 127: the largest integer sums
    seen = rounded(x, weights)
    # An exact difference of a large product and a large minimum is not asked for.
    scale = (
        np.abs(seen) @ np.abs(meant).T + np.abs(seen).sum(1, keepdims=True) * np.abs(meant).max()
    )
    error = np.abs(runner.multiply(0, GATE, x, 33) - seen @ meant.T)
    assert (error <= 2e-6 * scale + 1e-12).all()


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
def test_every_instruction_set_gives_the_same(weights: str) -> None:
    """Bit for bit where sums are of integers; else to the order of the sums."""
    rng = np.random.default_rng(6)
    tensor, _ = stored(rng.normal(size=(50, 96)).astype(np.float32), "F32")
    x = rng.normal(size=(7, 96)).astype(np.float32)
    results = [
        make(96, 50, {"gate_proj": tensor}, weights=weights, kernels=k).multiply(0, GATE, x, 50)
        for k in KERNELS
    ]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_in_a_quantised_file_is_refused(bad: float, kernels: str) -> None:
    values = np.random.default_rng(2).normal(size=(50, 96)).astype(np.float32)
    for kind, weights in (("Q8_0", "int8"), ("Q4_0", "int4"), ("Q4_1", "int4"), ("Q8_0", "int4")):
        tensor, _ = stored(values, kind)
        for at in (0, 2) if kind == "Q4_1" else (0,):
            data = tensor.data.copy()
            size = len(data) // 50
            data[31 * size + at : 31 * size + at + 2] = np.array([bad], np.float16).view(np.uint8)
            broken = RawTensor(kind, (50, 96), data, "file.gguf: tensor 'blk.0.ffn_gate.weight'")
            with pytest.raises(ModelError, match="not a number") as caught:
                make(96, 50, {"gate_proj": broken}, weights=weights, kernels=kernels)
            assert "blk.0.ffn_gate.weight" in str(caught.value)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_in_a_row_is_seen(weights: str, kernels: str, bad: float) -> None:
    """At any place of a group, and in its own row only."""
    tensor, _ = stored(np.random.default_rng(2).normal(size=(50, 96)).astype(np.float32), "F32")
    runner = make(96, 50, {"gate_proj": tensor}, weights=weights, kernels=kernels)
    for at in (0, 1, 15, 16, 31, 32, 63, 95):
        x = np.random.default_rng(at).normal(size=(5, 96)).astype(np.float32)
        x[3, at] = bad
        ours = runner.multiply(0, GATE, x, 50)
        assert not np.isfinite(ours[3]).any()
        assert np.isfinite(ours[[0, 1, 2, 4]]).all()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-30, 1e-20, 1e20, 1e30])
def test_rows_of_any_size(size: float, kernels: str) -> None:
    tensor, meant = stored(
        np.random.default_rng(2).normal(size=(50, 96)).astype(np.float32), "Q8_0"
    )
    runner = make(96, 50, {"gate_proj": tensor}, weights="int8", kernels=kernels)
    x = (np.random.default_rng(1).normal(size=(3, 96)) * size).astype(np.float32)
    expected = x.astype(np.float64) @ meant.T
    error = np.abs(runner.multiply(0, GATE, x, 50) - expected)
    assert (error <= 0.02 * np.abs(expected).max() + 1e-27).all()


def test_bytes_that_do_not_fit_the_shape_are_refused() -> None:
    tensor, _ = stored(np.zeros((50, 96), np.float32), "Q8_0")
    short = RawTensor("Q8_0", (50, 96), tensor.data[:-1], "file.gguf: tensor 'x'")
    with pytest.raises(ModelError, match=r"5099 bytes.*5100") as caught:
        make(96, 50, {"gate_proj": short})
    assert "tensor 'x'" in str(caught.value)
    other = RawTensor("Q8_0", (96, 50), tensor.data, "file.gguf: tensor 'x'")
    with pytest.raises(ModelError, match="shape"):
        make(96, 50, {"gate_proj": other})
    with pytest.raises(ModelError, match="Q6_K"):
        make(96, 50, {"gate_proj": RawTensor("Q6_K", (50, 96), tensor.data, "x")})
