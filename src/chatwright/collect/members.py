"""A gzip file as its members: in WARC files each holds one record, so a damaged one is one lost."""

from __future__ import annotations

import io
import zlib
from collections import deque
from dataclasses import dataclass
from typing import IO

_MAGIC = b"\x1f\x8b\x08"
_BLOCK = 1 << 16
_WHOLE = 1 << 26  # bytes unpacked: a larger member goes through as it comes, unchecked
_STEP = 64
_TOLD = 1 << 16  # bytes of a damaged member that are kept: they tell which page it was
_PROBE = 1 << 12  # packed bytes that tell whether a member begins here


@dataclass(frozen=True, slots=True)
class Damaged:
    """A member that is not whole: its bytes up to the damage, and what was wrong."""

    data: bytes
    reason: str


class GzipMembers(io.RawIOBase):
    """Unpacks member after member; a damaged one is left out, kept in `damaged`, and gone past.

    Up to 64 MiB a member is given out only when it is whole and its checksum right. A file that
    ends within a member gives what there is and then raises `EOFError`.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._packed = bytearray()
        self._ended = False
        self._out = memoryview(b"")
        self._open: zlib._Decompress | None = None  # of a member that is larger than `_WHOLE`
        self._error: Exception | None = None
        self.damaged: deque[Damaged] = deque()
        self.passed = 0  # damaged members that were reported

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._out:
            if self._error is not None:
                raise self._error
            block = self._continue() if self._open is not None else self._member()
            if block is None:
                return 0
            self._out = memoryview(block)
        count = min(len(buffer), len(self._out))
        buffer[:count] = self._out[:count]
        self._out = self._out[count:]
        return count

    def _fill(self) -> bool:
        """Another block of packed bytes; False at the file's end."""
        block = b"" if self._ended else self._raw.read(_BLOCK)
        self._ended = not block
        self._packed += block
        return bool(block)

    def _member(self) -> bytes | None:
        """The next member, unpacked; b'' where one was damaged; None at the end."""
        if not self._packed and not self._fill():
            return None
        if not self._packed.strip(b"\0") and not self._fill():
            return None  # zero bytes that fill a block of tape or disk
        member = zlib.decompressobj(wbits=31)
        out = bytearray()
        used = 0
        while True:
            try:
                out += member.decompress(memoryview(self._packed)[used:], _WHOLE + 1 - len(out))
            except zlib.error as error:
                self._skip(_until_damage(bytes(self._packed)), str(error))
                return b""
            if member.eof:
                del self._packed[: len(self._packed) - len(member.unused_data)]
                return bytes(out)
            used = len(self._packed) - len(member.unconsumed_tail)
            if len(out) > _WHOLE:
                del self._packed[:used]
                self._open = member
                return bytes(out)
            if not self._fill():
                if used:
                    self._error = EOFError("the file ends within a compressed record")
                self._packed.clear()
                return bytes(out) if out else b""

    def _continue(self) -> bytes:
        """More of a large member."""
        member = self._open
        assert member is not None
        if not self._packed and not self._fill():
            self._open, self._error = None, EOFError("the file ends within a compressed record")
            return b""
        try:
            out = member.decompress(self._packed, _BLOCK)
        except zlib.error as error:
            self._open, self._error = None, EOFError(str(error))
            return b""
        if member.eof:
            self._open = None
            del self._packed[: len(self._packed) - len(member.unused_data)]
        else:
            del self._packed[: len(self._packed) - len(member.unconsumed_tail)]
        return out

    def _skip(self, data: bytes, reason: str) -> None:
        """Go to the next place at which a member begins that can be unpacked."""
        self.damaged.append(Damaged(data, reason))
        start = 1
        while True:
            found = self._packed.find(_MAGIC, start)
            if found < 0:
                start = max(1, len(self._packed) - len(_MAGIC) + 1)
                if not self._fill():
                    self._packed.clear()
                    return
                del self._packed[: start - 1]
                start = 1
                continue
            if len(self._packed) - found < _PROBE and self._fill():
                continue
            if _begins(bytes(self._packed[found : found + _PROBE])):
                del self._packed[:found]
                return
            start = found + 1


def _until_damage(packed: bytes) -> bytes:
    """What a damaged member gives, unpacked in small steps: the one that fails is lost."""
    member = zlib.decompressobj(wbits=31)
    out = bytearray()
    for start in range(0, len(packed), _STEP):
        try:
            out += member.decompress(packed[start : start + _STEP], _WHOLE)
        except zlib.error:
            break
        if member.eof or len(out) >= _TOLD:
            break
    return bytes(out[:_TOLD])


def _begins(packed: bytes) -> bool:
    """Whether a member begins here: three bytes of magic are found in any data by chance."""
    try:
        head = zlib.decompressobj(wbits=31).decompress(packed, 16)
    except zlib.error:
        return False
    return head.isascii() and len(head) > 0
