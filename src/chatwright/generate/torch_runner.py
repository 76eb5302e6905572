"""Steps of the engine computed with PyTorch, on any device: the oracle of every other runner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatwright.errors import UsageError
from chatwright.generate.runner import Floats, Ints, Run, StepResult
from chatwright.generate.torch_attention import PagedAttention, grouped
from chatwright.generate.torch_cache import PagedCache, bytes_per_block, cache_dtype
from chatwright.model.transformer import Transformer, frequencies_on

# oneDNN compiles code for each new shape of a bfloat16 product (longer than a step takes) and keeps
# it, so on a CPU a step's tokens are rounded up: few shapes are worth a little padding.
_PAD_FROM = 16
_PAD_TO = 32


class TorchLogits:
    """Float32 logits [R, V] where they were computed; rows come to the CPU one by one."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        best = values.argmax(-1)  # NaN counts as the largest
        finite = values.gather(-1, best[:, None])[:, 0].isfinite()
        facts = torch.stack((best, finite.to(best.dtype))).cpu().numpy()
        self.likeliest: Ints = facts[0]
        self.finite: NDArray[np.bool_] = facts[1].astype(bool)

    def __len__(self) -> int:
        return len(self._values)

    def row(self, index: int) -> Floats:
        """Logits [V] after one token: a copy, which the caller may change."""
        return np.array(self._values[index].cpu().numpy())


class TorchRunner:
    """A `Runner` over a `Transformer`, whose weights are read anew at each step.

    `vocab_size` leaves out the logits of rows that stand for no token (None: none; a vocabulary is
    often padded to a round number). `kv_dtype` "auto" keeps keys and values in the model's type;
    "int8" takes a little over half the memory of bfloat16. Under dynamic RoPE scaling the
    frequencies are those of a sequence of `context` tokens, whatever is there: keys that are in the
    cache cannot be turned again with each token. Raises `UsageError` for sizes that cannot be.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        n_blocks: int,
        context: int,
        block_size: int = 32,
        kv_dtype: str = "auto",
        vocab_size: int | None = None,
    ) -> None:
        for name, size in (
            ("n_blocks", n_blocks),
            ("context", context),
            ("block_size", block_size),
        ):
            if size < 1:
                raise UsageError(f"{name} is {size}; it must be 1 or more")
        self.model = model.eval()
        self.vocab_size = min(vocab_size or model.config.vocab_size, model.config.vocab_size)
        self.context, self.block_size, self.n_blocks = context, block_size, n_blocks
        self._dtype = cache_dtype(kv_dtype, model.dtype)
        self.bytes_per_block = bytes_per_block(model.config, block_size, self._dtype)
        self._cache: PagedCache | None = PagedCache(
            model.config, n_blocks, block_size, self._dtype, model.device
        )

    @torch.inference_mode()
    def step(self, runs: Sequence[Run]) -> StepResult:
        """As `Runner.step`. Raises `ValueError` for a run that breaks the contract."""
        cache = self._open()
        for run in runs:
            self._check(run)
        order = grouped(runs, self.block_size)
        tokens: list[int] = []
        positions: list[int] = []
        first = [0] * len(runs)  # where each run's tokens begin in the row
        for group in order:
            for index in group:
                run = runs[index]
                first[index] = len(tokens)
                tokens += run.tokens
                positions += range(run.start, run.start + len(run.tokens))
        if not tokens:
            return StepResult(TorchLogits(torch.empty(0, self.vocab_size)), [])
        rows = [
            first[index] + place
            for index, run in enumerate(runs)
            for place in range(len(run.tokens) - run.outputs, len(run.tokens))
        ]
        attention = PagedAttention(
            cache,
            self.model.config,
            [[runs[i] for i in group] for group in order],
            self.model.dtype,
        )
        hidden = self._hidden(tokens, positions, attention)
        states = [
            hidden[at : at + len(run.tokens)].float().cpu().numpy() if run.states else None
            for at, run in zip(first, runs, strict=True)
        ]
        if rows != list(range(len(hidden))):
            hidden = hidden[torch.tensor(rows, dtype=torch.int64, device=hidden.device)]
        return StepResult(TorchLogits(self.model.logits(hidden)[:, : self.vocab_size]), states)

    @torch.inference_mode()
    def copy(self, source: int, target: int) -> None:
        self._open().copy(source, target)

    @torch.inference_mode()
    def shift(self, blocks: Sequence[int], by: int) -> None:
        cache = self._open()
        # Pure rotation: what YaRN multiplies keys by is in them already.
        frequencies, _ = frequencies_on(self.model.config, self._rope_length, cache.device)
        angles = frequencies * -by
        cache.turn(blocks, angles.cos(), angles.sin())

    @torch.inference_mode()
    def clear(self, blocks: Sequence[int]) -> None:
        self._open().clear(blocks)

    def describe(self) -> dict[str, Any]:
        model = self.model
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        return {
            "backend": "torch",
            "version": torch.__version__,
            "device": str(model.device),
            "weights": _name(model.dtype),
            "weight_bytes": weights,
            "kv_dtype": _name(self._dtype),
            "block_size": self.block_size,
            "n_blocks": self.n_blocks,
            "bytes_per_block": self.bytes_per_block,
            "context": self.context,
            "threads": torch.get_num_threads(),
        }

    def close(self) -> None:
        self._cache = None

    def _open(self) -> PagedCache:
        if self._cache is None:
            raise RuntimeError("this runner is closed")
        return self._cache

    @property
    def _rope_length(self) -> int | None:
        scaling = self.model.config.rope_scaling
        return self.context if scaling is not None and scaling.type == "dynamic" else None

    def _check(self, run: Run) -> None:
        end = run.start + len(run.tokens)
        if not run.tokens or run.start < 0 or not 0 <= run.outputs <= len(run.tokens):
            raise ValueError(
                f"a run of {len(run.tokens)} tokens from {run.start} with {run.outputs} outputs"
            )
        if end > min(self.context, len(run.blocks) * self.block_size):
            raise ValueError(
                f"a run ends at position {end}, with {len(run.blocks)} blocks of "
                f"{self.block_size} and a context of {self.context}"
            )
        if not all(0 <= block < self.n_blocks for block in run.blocks):
            raise ValueError(f"a run's table {list(run.blocks)} leaves the {self.n_blocks} blocks")

    def _hidden(self, tokens: list[int], positions: list[int], attention: PagedAttention) -> Tensor:
        """Final hidden states [N, C] of the step's tokens."""
        device, count = self.model.device, len(tokens)
        if device.type == "cpu" and self.model.dtype == torch.bfloat16 and count > _PAD_FROM:
            padding = [0] * (-count % _PAD_TO)
            tokens, positions = tokens + padding, positions + padding
        hidden = self.model.hidden(
            torch.tensor([tokens], device=device),
            torch.tensor([positions], device=device),
            attention,
            rope_length=self._rope_length,
        )
        return hidden[0, :count]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
