"""Steps of the engine computed with our compiled kernels on a CPU; needs no torch.

Weights are packed once: as they are stored (Q8_0, Q4_0 and Q4_1 blocks of a GGUF file without
rounding anew, bfloat16, float32) or rounded to 8 or 4 bits in groups of 32. Products with 8- and
4-bit weights round the activations to 8 bits in groups of 32 as they go (as llama.cpp does), so an
outlier costs precision in its own group only. Sums, norms, softmax and the residual stream are
float32.
"""

from __future__ import annotations

import ctypes
import os
import platform
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import UsageError
from chatwright.generate.native.library import (
    check,
    float_pointer,
    int32_pointer,
    last_error,
    open_library,
    why_not,
)
from chatwright.generate.native_weights import KINDS, Packer, Read, WeightType
from chatwright.generate.runner import Floats, Ints, Run, StepResult
from chatwright.model.config import ModelConfig
from chatwright.model.raw_weights import RawTensor, RawWeights, open_raw
from chatwright.model.rope import rope_frequencies

if TYPE_CHECKING:
    from chatwright.model import Transformer

BLOCK_SIZE = 32
_MAX_HEAD = 512
_KEPT_ROWS = 256


def unsupported(config: ModelConfig) -> str | None:
    """Why the kernels cannot compute a model of this shape on this machine; None where they can."""
    if (reason := why_not()) is not None:
        return f"the compiled kernels are {reason}"
    if config.head_dim % 16 or config.head_dim > _MAX_HEAD:
        return f"heads of {config.head_dim} numbers are not a multiple of 16 up to {_MAX_HEAD}"
    return None


def slow_kernels() -> str | None:
    """Why the kernels would be no quicker than PyTorch on this machine; None where they are."""
    if (reason := why_not()) is not None:
        return f"the compiled kernels are {reason}"
    best = open_library().cw_best_kernels().decode()
    if best == "portable" and platform.machine().lower() in ("x86_64", "amd64"):
        return "this processor has no AVX2"
    return None


class NativeLogits:
    """Rows of the runner's own buffer, which the next step writes over."""

    def __init__(self, rows: Floats, likeliest: Ints, highest: Floats) -> None:
        self._rows = rows
        self.likeliest = likeliest
        self.finite: NDArray[np.bool_] = np.isfinite(highest)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Floats:
        """Logits [V] after one token; the caller may change them."""
        result: Floats = self._rows[index]
        return result


class NativeRunner:
    """A `Runner` over packed weights and a paged cache in memory of its own.

    `weights` "stored" keeps the file's precision (float16 becomes bfloat16); "auto" does too, but
    for float32, which becomes bfloat16: half the memory to read for each token. `kv_dtype` "auto"
    is bfloat16, or float32 with float32 weights; "int8" takes a little over half the memory of
    bfloat16. `threads`: the cores this process may use when None. `kernels` names an instruction
    set ("avx512", "avx2", "portable"); the best of the machine when None. Raises `UsageError` for
    what cannot be and `ModelError` for weights that are not whole.
    """

    block_size = BLOCK_SIZE

    def __init__(
        self,
        config: ModelConfig,
        read: Read,
        *,
        n_blocks: int,
        context: int,
        weights: WeightType = "auto",
        kv_dtype: str = "auto",
        vocab_size: int | None = None,
        threads: int | None = None,
        kernels: str | None = None,
        where: str = "model",
    ) -> None:
        if (reason := unsupported(config)) is not None:
            raise UsageError(reason, hint="use the PyTorch runner")
        if weights not in ("auto", "stored", *KINDS):
            raise UsageError(
                f"weights is {weights!r}; it must be one of auto, stored, {', '.join(KINDS)}",
                where="weights",
            )
        self.threads = default_threads() if threads is None else threads
        for name, size in (
            ("n_blocks", n_blocks),
            ("context", context),
            ("threads", self.threads),
        ):
            if not 1 <= size < 2**31:
                raise UsageError(f"{name} is {size}; it must be 1 or more, and less than 2³¹")
        self._library = open_library()
        self.config = config
        self.context, self.n_blocks = context, n_blocks
        self._where = where
        self._vocab = config.vocab_size
        self.vocab_size = min(vocab_size or self._vocab, self._vocab)
        self._wanted: WeightType = weights
        self.kv_dtype = self._cache_type(kv_dtype, read)
        self._engine = self._create(kernels)
        self._finalizer = weakref.finalize(self, _destroy, self._library, self._engine, os.getpid())
        self._process = os.getpid()
        self.bytes_per_block = int(self._library.cw_block_bytes(self._engine))
        packer = Packer(self._library, self._engine, config, read, wanted=weights, where=where)
        packer.fill()
        self._packed = packer.packed
        self._width = -(-self._vocab // BLOCK_SIZE) * BLOCK_SIZE
        self._kernels = self._library.cw_kernels(self._engine).decode()
        self._weight_bytes = int(self._library.cw_weight_bytes(self._engine))
        self._likeliest = np.zeros(1, np.int64)
        self._highest = np.zeros(1, np.float32)
        self._logits = np.zeros((1, self._width), np.float32)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> NativeRunner:
        """From a `.gguf` file or a folder with `config.json` and safetensors."""
        with open_raw(Path(path)) as (config, raw):
            return cls.from_raw(config, raw, where=os.fspath(path), **options)

    @classmethod
    def from_raw(cls, config: ModelConfig, raw: RawWeights, **options: Any) -> NativeRunner:
        """From weights that are open."""
        return cls(config, raw.read, **options)

    @classmethod
    def of(cls, model: Transformer, **options: Any) -> NativeRunner:
        """From a model in memory, whose weights are copied: later changes are not seen."""
        import torch

        state = model.state_dict()
        names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}

        def read(name: str) -> RawTensor | None:
            tensor = state.get(name)
            if tensor is None:
                return None
            if tensor.dtype not in names:
                tensor = tensor.float()
            flat = tensor.detach().cpu().contiguous().view(torch.uint8).reshape(-1)
            return RawTensor(names[tensor.dtype], tuple(tensor.shape), flat.numpy(), name)

        return cls(model.config, read, **options)

    @staticmethod
    def cache_bytes(config: ModelConfig, kv_dtype: str, weights: str) -> int:
        """The most bytes that one block of the cache takes, before there is a runner to ask."""
        size = {"int8": 1, "float32": 4}.get(kv_dtype, 2)
        if kv_dtype == "auto" and weights in ("float32", "stored"):
            size = 4
        numbers = 2 * BLOCK_SIZE * config.head_dim * size
        scales = 2 * BLOCK_SIZE * 4 if kv_dtype == "int8" else 0
        return config.n_layers * config.n_kv_heads * (numbers + scales)

    def step(self, runs: Sequence[Run]) -> StepResult:
        """See `Runner.step`. The logits are valid until the next step.

        Raises `ValueError` for a run that breaks the contract.
        """
        engine, n = self._open(), len(runs)
        lengths = [len(run.tokens) for run in runs]
        outputs = [run.outputs for run in runs]
        tokens: list[int] = []
        tables: list[int] = []
        starts: list[int] = []
        for run in runs:
            self._check_run(run)
            tokens.extend(run.tokens)
            starts.append(len(tables))
            tables.extend(run.blocks)
        n_out = sum(outputs)
        # Grown as needed; a rare long report (each of 4,000 tokens' logits) is not kept for ever.
        if n_out > len(self._likeliest) or len(self._likeliest) > _KEPT_ROWS >= n_out:
            self._likeliest = np.zeros(n_out, np.int64)
            self._highest = np.zeros(n_out, np.float32)
            self._logits = np.zeros((n_out, self._width), np.float32)
        wanted = any(run.states for run in runs)
        states = np.empty((len(tokens), self.config.width), np.float32) if wanted else None
        arrays = [
            np.array(values, np.int32)
            for values in (lengths, [r.start for r in runs], outputs, tokens, tables or [0], starts)
        ]
        check(
            self._library,
            self._library.cw_step(
                engine,
                n,
                *(int32_pointer(a) for a in arrays),
                float_pointer(self._logits),
                self._likeliest.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)),
                float_pointer(self._highest),
                None if states is None else float_pointer(states),
            ),
        )
        logits = NativeLogits(
            self._logits[:n_out, : self.vocab_size],
            self._likeliest[:n_out].copy(),
            self._highest[:n_out],
        )
        return StepResult(logits, _cut(states, runs, lengths))

    def copy(self, source: int, target: int) -> None:
        """See `Runner.copy`."""
        engine = self._open()
        self._check_blocks((source, target))
        if source != target:
            self._library.cw_copy_block(engine, source, target)

    def shift(self, blocks: Sequence[int], by: int) -> None:
        """See `Runner.shift`."""
        engine = self._open()
        self._check_blocks(blocks)
        for block in blocks:
            check(self._library, self._library.cw_shift_block(engine, block, by))

    def clear(self, blocks: Sequence[int]) -> None:
        """See `Runner.clear`."""
        engine = self._open()
        self._check_blocks(blocks)
        for block in blocks:
            self._library.cw_clear_block(engine, block)

    def describe(self) -> dict[str, Any]:
        """See `Runner.describe`."""
        return {
            "backend": "native",
            "kernels": self._kernels,
            "threads": self.threads,
            "weights": dict(sorted(self._packed.items())),
            "weight_bytes": self._weight_bytes,
            "kv_dtype": self.kv_dtype,
            "kv_bytes_per_token": self.bytes_per_block / BLOCK_SIZE,
        }

    def close(self) -> None:
        """See `Runner.close`."""
        self._finalizer()

    def multiply(self, layer: int, which: int, x: Floats, outputs: int) -> Floats:
        """`x` [rows, K] times one packed matrix: for tests, against a product in float64."""
        rows, k = x.shape
        width = -(-outputs // 32) * 32
        out = np.zeros((rows, width), np.float32)
        x = np.ascontiguousarray(x, np.float32)
        check(
            self._library,
            self._library.cw_multiply(
                self._open(), layer, which, float_pointer(x), rows, k, float_pointer(out), width
            ),
        )
        result: Floats = out[:, :outputs]
        return result

    def weights_row(self, layer: int, which: int, row: int, size: int) -> Floats:
        """One row [size] of a packed matrix as numbers: for tests."""
        out = np.zeros(size, np.float32)
        self._library.cw_unpack_row(self._open(), layer, which, row, float_pointer(out), size)
        return out

    def _open(self) -> int:
        if not self._finalizer.alive:
            raise RuntimeError("this runner is closed")
        if os.getpid() != self._process:
            raise RuntimeError(
                "this runner was made before the process forked, and its threads stayed behind; "
                "make it in the new process"
            )
        return self._engine

    def _check_run(self, run: Run) -> None:
        """Refuse what would make the kernels read or write outside of their memory."""
        end = run.start + len(run.tokens)
        if not run.tokens or run.start < 0 or not 0 <= run.outputs <= len(run.tokens):
            raise ValueError(
                f"a run of {len(run.tokens)} tokens from {run.start} with {run.outputs} outputs"
            )
        if end > min(self.context, len(run.blocks) * BLOCK_SIZE):
            raise ValueError(
                f"a run ends at position {end}, with {len(run.blocks)} blocks of {BLOCK_SIZE} "
                f"and a context of {self.context}"
            )
        if min(run.tokens) < 0 or max(run.tokens) >= self._vocab:
            raise ValueError(f"a run has a token outside of the model's {self._vocab}")
        self._check_blocks(run.blocks)

    def _check_blocks(self, blocks: Sequence[int]) -> None:
        if blocks and (min(blocks) < 0 or max(blocks) >= self.n_blocks):
            raise ValueError(f"the blocks {list(blocks)} are not all among the {self.n_blocks}")

    def _create(self, kernels: str | None) -> int:
        c = self.config
        shape = np.array(
            [
                self.vocab_size, c.width, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim,
                c.mlp_width, self.context, self.n_blocks, KINDS[self.kv_dtype],
                min(c.sliding_window or 0, self.context), min(c.attention_sinks, self.context),
                min(c.window_from_layer, c.n_layers), self.threads,
            ],
            np.int32,
        )  # fmt: skip
        frequencies, scale = rope_frequencies(c, self.context)
        frequencies = np.ascontiguousarray(frequencies, np.float32)
        made = self._library.cw_create(
            int32_pointer(shape),
            c.norm_eps,
            scale,
            float_pointer(frequencies),
            (kernels or "").encode(),
        )
        if not made:
            raise UsageError(
                f"the engine could not be made: {last_error(self._library)}", where=self._where
            )
        return int(made)

    def _cache_type(self, wanted: str, read: Read) -> str:
        if wanted == "auto":
            exact = self._wanted == "float32"
            if self._wanted == "stored":
                first = read("layers.0.self_attn.q_proj.weight")
                exact = first is not None and first.type == "F32"
            return "float32" if exact else "bfloat16"
        if wanted not in ("float32", "bfloat16", "int8"):
            raise UsageError(
                f"kv_dtype is {wanted!r}; it must be auto, bfloat16, float32 or int8",
                where="kv_dtype",
            )
        return wanted


def _destroy(library: ctypes.CDLL, engine: int, process: int) -> None:
    # In a forked child the engine's threads do not exist: waiting for their end would be forever.
    if os.getpid() == process:
        library.cw_destroy(engine)


def default_threads() -> int:
    """`OMP_NUM_THREADS` where it is set, else the cores that this process may use."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdigit() and int(said) > 0:
        return int(said)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _cut(states: Floats | None, runs: Sequence[Run], lengths: Sequence[int]) -> list[Floats | None]:
    if states is None:
        return [None] * len(runs)
    cut: list[Floats | None] = []
    at = 0
    for run, length in zip(runs, lengths, strict=True):
        cut.append(states[at : at + length] if run.states else None)
        at += length
    return cut
