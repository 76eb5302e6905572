"""Compressed streams that may be cut short, corrupt, or swell beyond all bounds."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, cast

import zstandard

_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
# Suffixes of one compressed file (an archive is something else: see `archives`).
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


def split_suffix(name: str) -> tuple[str, str]:
    """('pages.jsonl', '.gz') for 'pages.jsonl.gz'; the second is empty for a plain file."""
    for suffix in COMPRESSED:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], suffix
    return name, ""


class Counted(io.RawIOBase):
    """Reads through and reports how many bytes went by: what a progress bar can show."""

    def __init__(self, inner: IO[bytes], report: Callable[[int], None]) -> None:
        self._inner = inner
        self._report = report

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = self._inner.read(len(buffer))
        buffer[: len(block)] = block
        self._report(len(block))
        return len(block)

    def close(self) -> None:
        self._inner.close()
        super().close()


class Forgiving(io.RawIOBase):
    """A stream that ends where it breaks, and says so.

    A truncated or corrupt stream gives all the bytes before the damage and then ends; `broken`
    tells what was wrong. `count` is the number of bytes read so far, `first` the first four.
    """

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        # `read` of a buffered reader that fails half-way loses what it had gathered so far.
        self._read: Callable[[int], bytes] = getattr(inner, "read1", inner.read)
        self.broken: str | None = None
        self.count = 0
        self.first = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self.count

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self.broken is not None:
            return 0
        try:
            block = self._read(len(buffer))
        except _BROKEN as error:
            self.broken = str(error) or type(error).__name__
            return 0
        buffer[: len(block)] = block
        if self.count == 0:
            self.first = bytes(block[:4])
        self.count += len(block)
        return len(block)

    def close(self) -> None:
        self._inner.close()
        super().close()


def decompressed(raw: IO[bytes], suffix: str) -> Forgiving:
    """The content of `raw`, whose name ends in `suffix` ('' for plain), as a forgiving stream."""
    if suffix == ".gz":
        inner: object = gzip.GzipFile(fileobj=raw, mode="rb")
    elif suffix == ".zst":
        inner = _Zstd(raw)
    elif suffix == ".bz2":
        inner = bz2.BZ2File(raw)
    elif suffix == ".xz":
        inner = lzma.LZMAFile(raw)  # noqa: SIM115 (the caller closes it)
    else:
        inner = raw
    return Forgiving(cast(IO[bytes], inner))


class _Zstd(io.RawIOBase):
    """Zstandard frames; unlike `stream_reader`, a missing end of the last frame is an error."""

    _MAX_WINDOW = 1 << 27  # 128 MiB, what the `zstd` program allows by default

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._new()
        self._pending = b""
        self._output = memoryview(b"")

    def _new(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=self._MAX_WINDOW).decompressobj()
        self._started = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._output:
            if self._frame.eof:
                self._pending = self._frame.unused_data
                self._new()
            # Small steps, since one compressed block may swell to 128 KiB.
            block, self._pending = self._pending or self._raw.read(1 << 12), b""
            if not block:
                if self._started:
                    raise EOFError("the compressed file ends before its end marker")
                return 0
            self._started = True
            self._output = memoryview(self._frame.decompress(block))
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def read_bounded(stream: Forgiving, bound: int) -> bytes | None:
    """All the bytes of a stream, or None where there are more than `bound` of them."""
    out = bytearray()
    while block := stream.read(min(1 << 16, bound + 1 - len(out))):
        out += block
        if len(out) > bound:
            return None
    return bytes(out)
