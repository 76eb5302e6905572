"""The GGUF container: its metadata and where each tensor lies, every size and offset checked.

Follows the format's description in ggml (docs/gguf.md), versions 2 and 3, little-endian. Nothing in
the file is trusted: a count or length is checked against the bytes that are left before anything is
read or made of that size. Turning quantised blocks into numbers is `model/gguf.py`'s matter.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from chatwright.errors import ModelError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 4
_STRING, _ARRAY, _BOOL = 8, 9, 7
# value type → struct code
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip

# tensor type → (name, numbers in a block, bytes of a block)
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
    12: ("Q4_K", 256, 144),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """Where one tensor lies. `shape` is in torch's order (rows first); offsets are in bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    n_bytes: int


class GGUFFile:
    """An open GGUF file: `metadata`, `tensors` by name, and the bytes of each."""

    def __init__(self, path: Path, metadata: dict[str, Any], tensors: dict[str, GGUFTensor]):
        self.path = path
        self.metadata = metadata
        self.tensors = tensors

    @classmethod
    def open(cls, path: Path) -> GGUFFile:
        """Read the header. Raises `ModelError` naming what is wrong and where."""
        try:
            with path.open("rb") as file:
                size = path.stat().st_size
                if size == 0:
                    raise ModelError("this file is empty", where=str(path), hint="fetch it again")
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    return _Header(path, data, size).read()
        except (OSError, ValueError) as error:
            raise ModelError(f"this file cannot be read: {error}", where=str(path)) from error

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """A metadata value of type `kind`. Raises `ModelError` where it is missing or another."""
        value = self.metadata.get(key, default)
        if value is ...:
            raise ModelError(f"the metadata lacks {key!r}", where=str(self.path))
        good = isinstance(value, kind) and not (isinstance(value, bool) and kind is int)
        if not good and value is not default:
            raise ModelError(
                f"{key!r} is of type {type(value).__name__}", where=f"{self.path}: metadata"
            )
        return value


class _Header:
    """Reads forward through the header; `at` is the position in bytes."""

    def __init__(self, path: Path, data: mmap.mmap, size: int) -> None:
        self._path, self._data, self._size = path, data, size
        self._at = 0
        self._reading = "header"

    def read(self) -> GGUFFile:
        magic = self._take(4)
        if magic != _MAGIC:
            self._fail(f"not a GGUF file: it begins with {magic!r} and not {_MAGIC!r}")
        version = self._scalar("<I")
        if version not in _VERSIONS:
            self._fail(
                f"GGUF version {version} is not supported",
                hint=f"supported: {_VERSIONS}, little-endian; convert the file with llama.cpp",
            )
        n_tensors, n_values = self._scalar("<Q"), self._scalar("<Q")
        self._check_count(n_tensors, 24, "tensors")
        self._check_count(n_values, 13, "metadata values")
        metadata: dict[str, Any] = {}
        for i in range(n_values):
            self._reading = f"metadata value {i}"
            key = self._string()
            self._reading = f"metadata {key!r}"
            metadata[key] = self._value(self._scalar("<I"), 0)
        tensors = [self._tensor(i) for i in range(n_tensors)]
        self._reading = "header"
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment > 1 << 20:
            self._fail(f"general.alignment is {alignment!r}")
        start = -(-self._at // alignment) * alignment
        placed: dict[str, GGUFTensor] = {}
        for name, shape, kind, offset, n_bytes in tensors:
            if name in placed:
                self._fail("there are two tensors of this name", f"tensor {name!r}")
            if offset % alignment or start + offset + n_bytes > self._size:
                self._fail(
                    f"its bytes {start + offset}–{start + offset + n_bytes} lie outside the file "
                    f"({self._size} bytes) or out of alignment",
                    f"tensor {name!r}",
                )
            placed[name] = GGUFTensor(name, shape, kind, start + offset, n_bytes)
        return GGUFFile(self._path, metadata, placed)

    def _tensor(self, index: int) -> tuple[str, tuple[int, ...], str, int, int]:
        self._reading = f"tensor {index}"
        name = self._string()
        self._reading = f"tensor {name!r}"
        n_dimensions = self._scalar("<I")
        if not 1 <= n_dimensions <= _MAX_DIMENSIONS:
            self._fail(f"it has {n_dimensions} dimensions")
        shape = tuple(self._scalar("<Q") for _ in range(n_dimensions))[::-1]
        number = self._scalar("<I")
        if number not in TENSOR_TYPES:
            self._fail(
                f"tensor type {number} is not supported",
                hint="supported: " + ", ".join(name for name, _, _ in TENSOR_TYPES.values()),
            )
        kind, per_block, block_bytes = TENSOR_TYPES[number]
        if min(shape) < 1 or shape[-1] % per_block:
            self._fail(f"its shape {shape} does not fit {kind} blocks of {per_block}")
        n_bytes = math.prod(shape) // per_block * block_bytes
        return name, shape, kind, self._scalar("<Q"), n_bytes

    def _value(self, kind: int, depth: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind != _ARRAY or depth >= _MAX_DEPTH:
            self._fail(f"value type {kind} is unknown")
        item, count = self._scalar("<I"), self._scalar("<Q")
        if item in _SCALARS:
            code = _SCALARS[item][1:]
            self._check_count(count, struct.calcsize("<" + code), "array items")
            return list(struct.unpack(f"<{count}{code}", self._take(struct.calcsize(code) * count)))
        self._check_count(count, 8, "array items")
        if item == _STRING:
            return self._strings(count)
        return [self._value(item, depth + 1) for _ in range(count)]

    def _strings(self, count: int) -> list[str]:
        """Many strings; a vocabulary has a hundred thousand, so this loop is kept tight."""
        data, at, size = self._data, self._at, self._size
        length_of = struct.Struct("<Q").unpack_from
        strings = []
        try:
            for _ in range(count):
                end = at + 8 + length_of(data, at)[0]
                if end > size:
                    raise struct.error
                strings.append(data[at + 8 : end].decode("utf-8"))
                at = end
        except struct.error:
            self._fail("the file ends inside a string: it is truncated or corrupt")
        except UnicodeDecodeError as error:
            self._fail(f"a string is not UTF-8: {error}")
        self._at = at
        return strings

    def _string(self) -> str:
        return self._strings(1)[0]

    def _scalar(self, code: str) -> Any:
        return struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > self._size:
            self._fail("the file ends here: it is truncated")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _check_count(self, count: int, least_bytes: int, what: str) -> None:
        """Refuse a count that the rest of the file could not hold, before anything is made."""
        if count * least_bytes > self._size - self._at:
            self._fail(f"it claims {count} {what}, more than the file can hold")

    def _fail(self, message: str, reading: str | None = None, hint: str | None = None) -> NoReturn:
        raise ModelError(
            message,
            where=f"{self._path}: {reading or self._reading}",
            hint=hint or "fetch the file again and check its size and SHA-256",
        )
