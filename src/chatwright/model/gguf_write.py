"""A model as one GGUF file that llama.cpp loads as it is.

Follows the format's description in ggml (docs/gguf.md, version 3) and the tensors' names and layout
of llama.cpp's own converter.
"""

from __future__ import annotations

import math
import os
import struct
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from chatwright.errors import DataError, ModelError
from chatwright.model.compact import Compact, densify
from chatwright.model.config import ModelConfig
from chatwright.model.gguf import GGUFWeights, config_of, gguf_name, open_weights
from chatwright.model.gguf_metadata import model_metadata
from chatwright.model.gguf_rope import FACTORS, frequency_divisors
from chatwright.model.lora import lora_parameters
from chatwright.model.quants import dequantise, quantise
from chatwright.model.transformer import Transformer
from chatwright.records import disk_errors
from chatwright.tokenizer import Tokenizer
from chatwright.tokenizer.gguf_file import TENSOR_TYPES, GGUFFile
from chatwright.tokenizer.gguf_write import tokenizer_metadata

Kind = Literal["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]
# A matrix by our name: its type and its bytes, uint8 [rows, bytes of a row], rows in our order.
Blocks = Mapping[str, tuple[Kind, Tensor]]

_ALIGNMENT = 32
_NUMBERS = {name: (number, per, size) for number, (name, per, size) in TENSOR_TYPES.items()}
# llama.cpp's LLAMA_FTYPE_*: what most of a file's matrices are.
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "BF16": 32}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor to be written. `name` is ours; None for one that no parameter stands behind."""

    name: str | None
    in_file: str
    shape: tuple[int, ...]
    kind: Kind

    @property
    def n_bytes(self) -> int:
        _, per_block, size = _NUMBERS[self.kind]
        return math.prod(self.shape) // per_block * size


def write_gguf(
    model: Transformer,
    tokenizer: Tokenizer,
    path: str | os.PathLike[str],
    kind: Kind = "F16",
    *,
    embedding: Kind | None = None,
    blocks: Blocks | None = None,
    source: Path | None = None,
    general: Mapping[str, Any] | None = None,
) -> Path:
    """Write `model` and `tokenizer` to `path`, whole or not at all; what stood there is replaced.

    Matrices become `kind`, norms and biases F32. Embedding and head become `embedding`: where that
    is None Q8_0 with a 4-bit `kind` (as a tied head the embedding decides every token, and 4 bits
    there cost more than anywhere else), else `kind`. A matrix whose rows are no whole blocks of 32
    becomes F16. `blocks` are matrices that are quantised already. Where `source`, the GGUF file
    that the model was read from, holds the same numbers in the same type, its bytes are taken over.
    `general` are further metadata values (`general.license`, …). Factorised and shared matrices are
    written whole, each layer's own.

    One tensor at a time is in memory twice. Raises `ModelError` for what llama.cpp could not load,
    `DataError` where the disk is full or cannot be written.
    """
    target = Path(path)
    if lora_parameters(model):
        raise ModelError(
            "the model has LoRA adapters that are not merged",
            hint="call merge_lora(model) first",
        )
    if model.score is not None:
        raise ModelError(
            "this is a reward model: it predicts no tokens, and GGUF has no place for it"
        )
    if Compact.of(model):
        model = densify(model)
    config, blocks = model.config, blocks or {}
    head: Kind = embedding or ("Q8_0" if kind.startswith("Q4") else kind)
    parameters = dict(model.named_parameters())
    entries = [
        _Entry(name, gguf_name(name), tuple(p.shape), _kind_of(name, p, kind, head, blocks))
        for name, p in parameters.items()
    ]
    divisors = frequency_divisors(config)
    if divisors is not None:
        entries.insert(0, _Entry(None, FACTORS, divisors.shape, "F32"))
    metadata = {
        **model_metadata(config),
        "general.name": target.stem,
        **(general or {}),
        "general.file_type": _FILE_TYPES[kind],
        "general.quantization_version": 2,
        **tokenizer_metadata(tokenizer, config.vocab_size),
    }
    interleaved = metadata["general.architecture"] == "llama"
    with _source(source, config) as old, _written(target) as file:
        file.write(_header(metadata, entries))
        _pad(file)
        for entry in entries:
            if entry.name is None:
                data = quantise(torch.tensor(divisors), "F32")
            else:
                data = _bytes_of(entry, parameters[entry.name], blocks, old, target)
                if interleaved:
                    data = _as_llama(entry.name, data, config)
            file.write(data.contiguous().view(-1).numpy().data)
            _pad(file)
    return target


def _kind_of(name: str, weight: Tensor, kind: Kind, head: Kind, blocks: Blocks) -> Kind:
    if name in blocks:
        return blocks[name][0]
    if weight.ndim == 1:
        return "F32"
    wanted = head if name.startswith(("embed_tokens.", "lm_head.")) else kind
    return wanted if weight.shape[-1] % _NUMBERS[wanted][1] == 0 else "F16"


def _bytes_of(
    entry: _Entry, weight: Tensor, blocks: Blocks, old: GGUFWeights | None, target: Path
) -> Tensor:
    """A parameter's bytes, uint8 [rows, bytes of a row], rows in our order."""
    assert entry.name is not None
    if entry.name in blocks:
        data = blocks[entry.name][1].cpu()
        if data.numel() != entry.n_bytes:
            raise ModelError(
                f"{data.numel()} bytes are not {entry.n_bytes}", where=f"blocks of {entry.name!r}"
            )
        return data.reshape(entry.shape[0], -1)
    plain = weight.detach().cpu()
    kept = old.raw(entry.name, entry.kind) if old is not None else None
    if kept is not None and kept.numel() == entry.n_bytes:
        numbers = dequantise(kept.reshape(-1), entry.kind, plain.dtype)
        if torch.equal(numbers.view(plain.shape), plain):
            return kept
    try:
        return quantise(plain, entry.kind).view(entry.shape[0], -1)
    except ValueError as error:
        raise ModelError(
            str(error),
            where=f"{target}: tensor {entry.in_file!r}",
            hint="the weights are broken, or need a wider type: try f32 or bf16",
        ) from error


def _as_llama(name: str, rows: Tensor, config: ModelConfig) -> Tensor:
    """Rows of Llama's queries and keys in the order that llama.cpp's RoPE turns them."""
    if ".q_proj." in name:
        return _interleaved(rows, config.n_heads)
    if ".k_proj." in name:
        return _interleaved(rows, config.n_kv_heads)
    return rows


def _interleaved(rows: Tensor, heads: int) -> Tensor:
    """Rows (0, 1, …, D − 1) of each head as (0, D/2, 1, D/2 + 1, …)."""
    order = torch.arange(rows.shape[0]).view(heads, 2, -1).transpose(1, 2).reshape(-1)
    return rows[order]


@contextmanager
def _source(path: Path | None, config: ModelConfig) -> Iterator[GGUFWeights | None]:
    """The weights of the file that the model came from, where it is one of the same shape."""
    if path is None:
        yield None
        return
    file = GGUFFile.open(path)
    if config_of(file) != config:
        yield None
        return
    with open_weights(file, config) as weights:
        yield weights


# -- bytes -----------------------------------------------------------------------------------------


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `path` only when the block ends well."""
    partial = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f".{path.name}.*.partial"):  # by a writer that was killed
                left.unlink(missing_ok=True)
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    except OSError as error:
        raise DataError(
            f"this could not be written: {error.strerror or error}",
            where=str(path),
            hint="choose a path in a folder that can be made",
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _header(metadata: Mapping[str, Any], entries: list[_Entry]) -> bytes:
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(entries), len(metadata))]
    for key, value in metadata.items():
        parts += [_string(key), _typed(key, value)]
    offset = 0
    for entry in entries:
        number = _NUMBERS[entry.kind][0]
        dimensions = entry.shape[::-1]  # ggml counts the fastest dimension first
        parts.append(_string(entry.in_file))
        parts.append(struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions))
        parts.append(struct.pack("<IQ", number, offset))
        offset += -(-entry.n_bytes // _ALIGNMENT) * _ALIGNMENT
    return b"".join(parts)


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return struct.pack("<Q", len(data)) + data


def _typed(key: str, value: Any) -> bytes:
    """A value with its type in front; all items of a list are of one type."""
    if isinstance(value, list):
        kind, code = _scalar_type(key, value[0] if value else "")
        if kind == _STRING:
            items = b"".join(map(_string, value))
        else:
            kind, code = (5, "i") if code == "I" else (kind, code)
            items = struct.pack(f"<{len(value)}{code}", *value)
        return struct.pack("<IIQ", _ARRAY, kind, len(value)) + items
    kind, code = _scalar_type(key, value)
    data = _string(value) if kind == _STRING else struct.pack(f"<{code}", value)
    return struct.pack("<I", kind) + data


def _scalar_type(key: str, value: Any) -> tuple[int, str]:
    """GGUF's number of a value's type, and struct's letter."""
    if isinstance(value, str):
        return _STRING, ""
    if isinstance(value, bool):
        return 7, "?"
    if isinstance(value, int):
        if 0 <= value < 1 << 32:
            return 4, "I"
        return (11, "q") if value < 0 else (10, "Q")
    if isinstance(value, float):
        return 6, "f"
    raise ModelError(f"a value of type {type(value).__name__} has no place in GGUF", where=key)


def _pad(file: BinaryIO) -> None:
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
