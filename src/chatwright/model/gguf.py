"""A model's weights out of a GGUF file; its shape is `gguf_config.py`'s matter."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.gguf_config import config_of, gguf_name
from chatwright.model.gguf_rope import FACTORS
from chatwright.model.quants import dequantise
from chatwright.tokenizer.gguf_file import GGUFFile, GGUFTensor

__all__ = ["GGUFWeights", "config_of", "gguf_name", "open_weights", "wrong_shape"]


class GGUFWeights:
    """Parameters by our names, read from the file's bytes and turned into numbers one at a time."""

    def __init__(self, file: GGUFFile, config: ModelConfig, data: mmap.mmap) -> None:
        self._file, self._config, self._data = file, config, data
        # llama.cpp turns neighbouring pairs and not halves, for Llama only: its converter has
        # reordered the rows of each head, and we put them back.
        self._reordered = file.metadata.get("general.architecture") == "llama"

    def names(self) -> set[str]:
        return set(self._file.tensors) - {FACTORS}  # read with the configuration

    def name_in_file(self, name: str) -> str:
        return gguf_name(name)

    def read(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """One parameter as `dtype`. Raises `ModelError` for another shape."""
        tensor = self._file.tensors[gguf_name(name)]
        if tensor.shape != shape:
            raise wrong_shape(str(self._file.path), tensor.name, tensor.shape, shape)
        rows = self._in_our_order(name, self._rows(tensor))
        return dequantise(rows.reshape(-1), tensor.type, dtype).view(shape)

    def raw(self, name: str, kind: str) -> Tensor | None:
        """A parameter's bytes as they are, uint8 [rows, bytes], rows in our order.

        None where the file has no such tensor of type `kind`.
        """
        tensor = self._file.tensors.get(gguf_name(name))
        if tensor is None or tensor.type != kind:
            return None
        return self._in_our_order(name, self._rows(tensor))

    def _in_our_order(self, name: str, rows: Tensor) -> Tensor:
        if self._reordered and ".q_proj." in name:
            return _halves(rows, self._config.n_heads)
        if self._reordered and ".k_proj." in name:
            return _halves(rows, self._config.n_kv_heads)
        return rows

    def _rows(self, tensor: GGUFTensor) -> Tensor:
        """The tensor's bytes, uint8 [rows, bytes]; a vector has one number a row."""
        data = torch.frombuffer(
            self._data, dtype=torch.uint8, count=tensor.n_bytes, offset=tensor.offset
        )
        return data.view(tensor.shape[0], -1)


@contextmanager
def open_weights(file: GGUFFile, config: ModelConfig) -> Iterator[GGUFWeights]:
    """The weights of an open file, mapped copy-on-write so that nothing can write to the file."""
    try:
        with file.path.open("rb") as handle:
            data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:
        raise ModelError(f"this file cannot be read: {error}", where=str(file.path)) from error
    yield GGUFWeights(file, config, data)  # unmapped with the last tensor that looks into it


def _halves(rows: Tensor, heads: int) -> Tensor:
    """Rows (0, D/2, 1, D/2 + 1, …) of each head back to (0, 1, …, D − 1)."""
    order = torch.arange(rows.shape[0]).view(heads, -1, 2).transpose(1, 2).reshape(-1)
    return rows[order]


def wrong_shape(
    where: str, tensor: str, found: tuple[int, ...], wanted: tuple[int, ...]
) -> ModelError:
    """The error for a tensor whose shape is not the configuration's."""
    return ModelError(
        f"its shape is {list(found)} and the configuration asks for {list(wanted)}",
        where=f"{where}: tensor {tensor!r}",
        hint="the configuration and the weights are not of one model; fetch the model again",
    )
