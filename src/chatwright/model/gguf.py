"""A model's shape and weights out of a GGUF file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.quants import dequantise
from chatwright.tokenizer.gguf_file import GGUFFile, GGUFTensor

_ARCHITECTURES = ("llama", "qwen2", "qwen3")
_TOP = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """GGUF's name of a parameter (`layers.3.mlp.up_proj.weight`: `blk.3.ffn_up.weight`)."""
    if name in _TOP:
        return _TOP[name]
    _, layer, rest = name.split(".", 2)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{_IN_LAYER[module]}.{kind}"


def config_of(file: GGUFFile) -> ModelConfig:
    """The shape that the metadata describes. Raises `ModelError` for one that this is not."""
    where = f"{file.path}: metadata"
    family = file.get("general.architecture", str)
    if family not in _ARCHITECTURES:
        raise ModelError(
            f"models of architecture {family!r} are not supported",
            where=where,
            hint=f"supported: {', '.join(_ARCHITECTURES)}",
        )

    def number(key: str, kind: Any = int, default: Any = ...) -> Any:
        return file.get(f"{family}.{key}", kind, default)

    width, heads = number("embedding_length"), number("attention.head_count")
    head_dim = number("attention.key_length", int, width // heads if heads > 0 else 0)
    embedding = file.tensors.get("token_embd.weight")
    unsupported = {
        "RoPE scaling": number("rope.scaling.type", str, "none") != "none"
        or "rope_freqs.weight" in file.tensors,
        "RoPE on a part of each head": number("rope.dimension_count", int, head_dim) != head_dim,
        "experts": number("expert_count", int, 0) > 0,
        "values of another size than keys": number("attention.value_length", int, head_dim)
        != head_dim,
    }
    found = [what for what, there in unsupported.items() if there]
    if found:
        raise ModelError(
            f"this model uses {' and '.join(found)}, which Chatwright does not support yet",
            where=where,
        )
    return ModelConfig.checked(
        {
            "vocab_size": embedding.shape[0] if embedding else number("vocab_size"),
            "width": width,
            "n_layers": number("block_count"),
            "n_heads": heads,
            "n_kv_heads": number("attention.head_count_kv", int, heads),
            "head_dim": head_dim,
            "mlp_width": number("feed_forward_length"),
            "context": number("context_length"),
            "rope_theta": _shortest(number("rope.freq_base", float, 10_000.0)),
            "norm_eps": _shortest(number("attention.layer_norm_rms_epsilon", float, 1e-5)),
            "tied": "output.weight" not in file.tensors,
            "qk_norm": "blk.0.attn_q_norm.weight" in file.tensors,
            "attention_bias": "blk.0.attn_q.bias" in file.tensors,
            "output_bias": "blk.0.attn_output.bias" in file.tensors,
        },
        where,
    )


class GGUFWeights:
    """Parameters by our names, read from the file's bytes and turned into numbers one at a time."""

    def __init__(self, file: GGUFFile, config: ModelConfig, data: mmap.mmap) -> None:
        self._file, self._config, self._data = file, config, data
        # llama.cpp turns neighbouring pairs and not halves, for Llama only: its converter has
        # reordered the rows of each head, and we put them back.
        self._reordered = file.metadata.get("general.architecture") == "llama"

    def names(self) -> set[str]:
        return set(self._file.tensors)

    def name_in_file(self, name: str) -> str:
        return gguf_name(name)

    def read(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """One parameter as `dtype`. Raises `ModelError` for another shape."""
        tensor = self._file.tensors[gguf_name(name)]
        if tensor.shape != shape:
            raise wrong_shape(str(self._file.path), tensor.name, tensor.shape, shape)
        rows = self._rows(tensor)
        if self._reordered and ".q_proj." in name:
            rows = _halves(rows, self._config.n_heads)
        elif self._reordered and ".k_proj." in name:
            rows = _halves(rows, self._config.n_kv_heads)
        return dequantise(rows.reshape(-1), tensor.type, dtype).view(shape)

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


def _shortest(value: float) -> float:
    """The short decimal that a float32 of the file stands for (1e-05, not 9.99999974e-06)."""
    return float(str(np.float32(value)))


def wrong_shape(
    where: str, tensor: str, found: tuple[int, ...], wanted: tuple[int, ...]
) -> ModelError:
    """The error for a tensor whose shape is not the configuration's."""
    return ModelError(
        f"its shape is {list(found)} and the configuration asks for {list(wanted)}",
        where=f"{where}: tensor {tensor!r}",
        hint="the configuration and the weights are not of one model; fetch the model again",
    )
