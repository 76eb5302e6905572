"""Weights as a file stores them: bytes and their type, for an engine that packs them itself.

Imports no torch and copies nothing: tensors are views into the mapped file. What a file may hold
that is not among `TYPES` is turned into float32 on the way (that needs torch).
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import ModelError
from chatwright.model.config import ModelConfig
from chatwright.model.gguf_config import config_of, gguf_name
from chatwright.tokenizer.files import read_json_object
from chatwright.tokenizer.gguf_file import GGUFFile

# The types that are passed on as they are: numbers, and ggml's blocks of 32 numbers.
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1")
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_BLOCK_BYTES = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}
_MOST_HEADER = 100 * 2**20
_HEADS = ("lm_head.", "score.")  # as `weights.HEADS`, which imports torch
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class RawTensor:
    """`data`: uint8 bytes of the rows one after another, of `type`; `shape` in torch's order.

    `order[i]` is the file's row that is row i here, where the file has them in another order.
    """

    type: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8]
    where: str
    order: NDArray[np.int32] | None = None

    @property
    def expected_bytes(self) -> int:
        """The bytes that `shape` takes in this type, one of `TYPES`."""
        if self.type in _BYTES:
            return math.prod(self.shape) * _BYTES[self.type]
        return math.prod(self.shape) // 32 * _BLOCK_BYTES[self.type]

    def numbers(self) -> NDArray[np.float32]:
        """The tensor in float32, `shape`; for small ones (norms, biases)."""
        if self.type == "F32":
            flat = self.data.view("<f4").astype(np.float32)
        elif self.type == "F16":
            flat = self.data.view("<f2").astype(np.float32)
        elif self.type == "BF16":
            flat = (self.data.view("<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            raise ModelError(f"its type is {self.type}, not one of numbers", where=self.where)
        result = flat.reshape(self.shape)
        return result if self.order is None else result[self.order]


def release(tensor: RawTensor) -> None:
    """Give the memory that a mapped file's bytes took back to the system, after they were read.

    They can be read again; without this, a process has the file beside what it made of it.
    """
    base: Any = tensor.data
    root = tensor.data
    while isinstance(base, np.ndarray):
        root, base = base, base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = tensor.data.ctypes.data - root.ctypes.data
    first = start // mmap.PAGESIZE * mmap.PAGESIZE
    base.madvise(mmap.MADV_DONTNEED, first, start + tensor.data.nbytes - first)


class RawWeights(Protocol):
    """Tensors by our names (`layers.0.self_attn.q_proj.weight`)."""

    def read(self, name: str) -> RawTensor | None:
        """The tensor, or None where the file has none of that name."""
        ...


@contextmanager
def open_raw(path: Path, file: GGUFFile | None = None) -> Iterator[tuple[ModelConfig, RawWeights]]:
    """The shape and the weights of a `.gguf` file or of a folder with safetensors.

    `file` is the GGUF's header where it has been read already.

    The tensors may be read within the block only. Raises `ModelError` for what is not whole.
    """
    if path.is_dir():
        config = ModelConfig.load(path)
        with _mapped_folder(path) as files:
            yield config, _Safetensors(path, files)
        return
    file = file or GGUFFile.open(path)
    config = config_of(file)
    with _mapped(path) as data:
        yield config, _GGUF(file, config, data)


class _GGUF:
    def __init__(self, file: GGUFFile, config: ModelConfig, data: NDArray[np.uint8]) -> None:
        self._file, self._config, self._data = file, config, data
        # llama.cpp turns neighbouring pairs and not halves, for Llama only (see model/gguf.py).
        self._reordered = file.metadata.get("general.architecture") == "llama"

    def read(self, name: str) -> RawTensor | None:
        tensor = self._file.tensors.get(gguf_name(name))
        if tensor is None:
            return None
        where = f"{self._file.path}: tensor {tensor.name!r}"
        data = self._data[tensor.offset : tensor.offset + tensor.n_bytes]
        order = None
        if self._reordered and (".q_proj." in name or ".k_proj." in name):
            heads = self._config.n_heads if ".q_proj." in name else self._config.n_kv_heads
            if tensor.shape[0] % (2 * heads):
                raise ModelError(
                    f"its {tensor.shape[0]} rows are not those of {heads} heads", where=where
                )
            rows = np.arange(tensor.shape[0], dtype=np.int32)
            order = np.ascontiguousarray(rows.reshape(heads, -1, 2).transpose(0, 2, 1).reshape(-1))
        if tensor.type not in TYPES:
            data, kind = _as_float32(data, tensor.type), "F32"
        else:
            kind = tensor.type
        return RawTensor(kind, tensor.shape, data, where, order)


def _as_float32(data: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    import torch  # only for ggml's k-quants, which no packed layout of ours holds

    from chatwright.model.quants import dequantise

    numbers = dequantise(torch.from_numpy(data.copy()), kind, torch.float32)
    result: NDArray[np.uint8] = numbers.numpy().view(np.uint8)
    return result


class _Safetensors:
    def __init__(self, folder: Path, files: dict[Path, NDArray[np.uint8]]) -> None:
        self._tensors: dict[str, RawTensor] = {}
        for path, data in files.items():
            self._tensors.update(_read_header(path, data))
        named = any(name.startswith("model.") for name in self._tensors)
        self._prefix = "model." if named else ""

    def read(self, name: str) -> RawTensor | None:
        return self._tensors.get(name if name.startswith(_HEADS) else self._prefix + name)


def _read_header(path: Path, data: NDArray[np.uint8]) -> dict[str, RawTensor]:
    """Names to tensors, every offset checked against the file.

    Format: huggingface.co/docs/safetensors: eight bytes with the length of a JSON object that maps
    names to type, shape and the begin and end of the bytes after it.
    """

    def bad(why: str) -> ModelError:
        return ModelError(
            f"not a readable safetensors file: {why}",
            where=str(path),
            hint="it is truncated or corrupt; fetch it again",
        )

    if len(data) < 8:
        raise bad("it is shorter than its own header")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    if length > min(len(data) - 8, _MOST_HEADER):
        raise bad(f"its header says that it has {length} bytes")
    try:
        header = json.loads(data[8 : 8 + length].tobytes())
    except (ValueError, RecursionError) as error:
        raise bad(f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise bad("its header is not a JSON object")
    body = data[8 + length :]
    found: dict[str, RawTensor] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            kind, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
            begin, end = (int(n) for n in entry["data_offsets"])
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise bad(f"tensor {name!r} is not described") from error
        if not 0 <= begin <= end <= len(body) or any(n < 0 for n in shape):
            raise bad(f"tensor {name!r} lies outside the file")
        if kind in _BLOCK_BYTES:
            raise bad(f"tensor {name!r} is of type {kind}, which this format has not")
        tensor = RawTensor(kind, shape, body[begin:end], f"{path}: tensor {name!r}")
        if kind in _BYTES and end - begin != tensor.expected_bytes:
            raise bad(f"tensor {name!r} has {end - begin} bytes for the shape {list(shape)}")
        found[name] = tensor
    return found


@contextmanager
def _mapped_folder(folder: Path) -> Iterator[dict[Path, NDArray[np.uint8]]]:
    from contextlib import ExitStack

    index = folder / _INDEX
    if (folder / _SINGLE).exists() or not index.exists():
        names = [_SINGLE]
    else:
        places: Any = read_json_object(index).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise ModelError("the index has no weight_map", where=str(index))
        names = sorted({str(name) for name in places.values()})
        if any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
            raise ModelError("the index names files outside of its folder", where=str(index))
    with ExitStack() as stack:
        yield {folder / name: stack.enter_context(_mapped(folder / name)) for name in names}


@contextmanager
def _mapped(path: Path) -> Iterator[NDArray[np.uint8]]:
    """A file's bytes, read only. The mapping ends when nothing looks into it any more."""
    try:
        with path.open("rb") as handle:
            data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelError(f"this file cannot be read: {error}", where=str(path)) from error
    yield np.frombuffer(data, dtype=np.uint8)
