"""The weights of a model, packed into the compiled kernels' layouts."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Literal

import numpy as np

from chatwright.errors import ModelError
from chatwright.generate.native.library import (
    OUT_OF_MEMORY,
    check,
    float_pointer,
    int32_pointer,
    last_error,
)
from chatwright.model.config import ModelConfig
from chatwright.model.raw_weights import RawTensor, release

WeightType = Literal["auto", "stored", "float32", "bfloat16", "int8", "int4"]
Read = Callable[[str], RawTensor | None]

KINDS = {"float32": 0, "bfloat16": 1, "int8": 2, "int4": 3}
_SOURCES = {"F32": 0, "F16": 1, "BF16": 2, "Q8_0": 3, "Q4_0": 4, "Q4_1": 5}
_AS_STORED = {
    "F32": "float32", "F16": "bfloat16", "BF16": "bfloat16",
    "Q8_0": "int8", "Q4_0": "int4", "Q4_1": "int4",
}  # fmt: skip
_MATRICES = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
_EMBEDDING, _HEAD = 7, 8
_NORMS = {
    "input_layernorm.weight": 1,
    "post_attention_layernorm.weight": 2,
    "self_attn.q_norm.weight": 3,
    "self_attn.k_norm.weight": 4,
}


class Packer:
    """Packs the tensors that `read` gives by our names into an engine of the library.

    `packed` counts the matrices of each type. Raises `ModelError` naming the tensor that is
    missing, of another shape or type, or that holds what is not a number where `wanted` makes it a
    whole one.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        engine: int,
        config: ModelConfig,
        read: Read,
        *,
        wanted: WeightType,
        where: str,
    ) -> None:
        self._library, self._engine, self.config = library, engine, config
        self._read, self._wanted, self._where = read, wanted, where
        self.packed: dict[str, int] = {}

    def fill(self) -> None:
        """Pack every matrix and copy every norm and bias of the model."""
        c = self.config
        q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
        shapes = [
            (q, c.width), (kv, c.width), (kv, c.width), (c.width, q),
            (c.mlp_width, c.width), (c.mlp_width, c.width), (c.width, c.mlp_width),
        ]  # fmt: skip
        self._pack("embed_tokens.weight", 0, _EMBEDDING, (c.vocab_size, c.width))
        if not c.tied:
            self._pack("lm_head.weight", 0, _HEAD, (c.vocab_size, c.width))
        self._vector("norm.weight", 0, 0, c.width)
        for layer in range(c.n_layers):
            for which, (name, shape) in enumerate(zip(_MATRICES, shapes, strict=True)):
                self._pack(f"layers.{layer}.{name}.weight", layer, which, shape)
                biased = c.output_bias if which == 3 else c.attention_bias and which < 3
                if biased:
                    self._vector(f"layers.{layer}.{name}.bias", layer, 5 + which, shape[0])
            for name, which in _NORMS.items():
                if "_norm." in name and "layernorm" not in name:
                    if c.qk_norm:
                        self._vector(f"layers.{layer}.{name}", layer, which, c.head_dim)
                else:
                    self._vector(f"layers.{layer}.{name}", layer, which, c.width)

    def _pack(
        self,
        name: str,
        layer: int,
        which: int,
        shape: tuple[int, int],
    ) -> None:
        tensor = self._find(name, shape)
        kind = self._kind(tensor.type, which)
        self.packed[kind] = self.packed.get(kind, 0) + 1
        data = np.ascontiguousarray(tensor.data)
        status = self._library.cw_pack(
            self._engine,
            layer,
            which,
            KINDS[kind],
            _SOURCES[tensor.type],
            data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)),
            *shape,
            None if tensor.order is None else int32_pointer(tensor.order),
        )
        release(tensor)
        if status == OUT_OF_MEMORY:
            raise MemoryError(f"out of memory for the weights of {self._where}")
        if status:
            raise ModelError(
                last_error(self._library), where=tensor.where, hint="fetch the model again"
            )

    def _kind(self, stored: str, which: int) -> str:
        if self._wanted in ("auto", "stored"):
            kind = _AS_STORED[stored]
            return "bfloat16" if kind == "float32" and self._wanted == "auto" else kind
        # Every token's logits are sums over the head, and a tied embedding is the head: 4 bits cost
        # most there, and 8 bits cost little memory.
        if self._wanted == "int4" and which in (_EMBEDDING, _HEAD):
            return "int8"
        return self._wanted

    def _vector(
        self,
        name: str,
        layer: int,
        which: int,
        size: int,
    ) -> None:
        values = np.ascontiguousarray(self._find(name, (size,)).numbers(), np.float32)
        check(
            self._library,
            self._library.cw_set_vector(self._engine, layer, which, float_pointer(values), size),
        )

    def _find(self, name: str, shape: tuple[int, ...]) -> RawTensor:
        tensor = self._read(name)
        if tensor is None:
            raise ModelError(
                f"the tensor {name!r} is missing",
                where=self._where,
                hint="the file is not whole, or config.json is another model's; fetch it again",
            )
        if tensor.shape != shape:
            raise ModelError(
                f"its shape is {list(tensor.shape)} and the configuration asks for {list(shape)}",
                where=tensor.where,
                hint="the configuration and the weights are not of one model; fetch the model "
                "again",
            )
        if tensor.type not in _SOURCES:
            raise ModelError(f"its type is {tensor.type}", where=tensor.where)
        if tensor.data.size != tensor.expected_bytes:
            raise ModelError(
                f"it has {tensor.data.size} bytes; its shape and type ask for "
                f"{tensor.expected_bytes}",
                where=tensor.where,
                hint="the file is truncated or corrupt; fetch it again",
            )
        return tensor
