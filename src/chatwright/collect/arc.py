"""ARC, the format before WARC (Internet Archive 1996), read as if it were WARC.

Source: https://archive.org/web/researcher/ArcFileFormat.php (versions 1 and 2).
"""

from __future__ import annotations

import io
import re

from chatwright.sources.streams import Forgiving

_LINE = 1 << 14  # bytes of the longest header line
# URL (which may hold spaces, wrongly), IP address, time, media type, [4 more in version 2], length.
_HEADER = re.compile(
    rb"(?P<url>[a-z][a-z0-9+.-]{0,30}:\S[^\r\n]{0,8000}?) (?P<ip>[0-9a-fA-F.:]{2,45}|-) "
    rb"(?P<time>\d{8,14}) (?P<type>\S{1,200})(?: \S{1,200}){0,5}? (?P<length>\d{1,15})\r?\n?",
    re.I,
)


class ArcAsWarc(Forgiving):
    """The bytes of a WARC file made from those of an ARC file, record by record, as they come.

    A line that is no header, and what follows up to the next one, passes through as it is: who
    reads WARC reports the gap.
    """

    def __init__(self, arc: Forgiving) -> None:
        self._arc = arc
        self._lines = io.BufferedReader(arc, 1 << 16)
        self._out = memoryview(b"")
        self._left = 0  # bytes of the record's block that are still to come
        self._within = False
        self.count = 0
        self.first = b""
        self.broken = None

    def tell(self) -> int:
        return self.count

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._out:
            block = self._next(len(buffer))
            self.broken = self._arc.broken
            if block is None:
                return 0
            self._out = memoryview(block)
        count = min(len(buffer), len(self._out))
        buffer[:count] = self._out[:count]
        if self.count == 0:
            self.first = bytes(self._out[:4])
        self._out = self._out[count:]
        self.count += count
        return count

    def close(self) -> None:
        self._lines.close()
        io.RawIOBase.close(self)

    def _next(self, most: int) -> bytes | None:
        if self._left:
            block = self._lines.read(min(most, self._left, 1 << 20))
            self._left = self._left - len(block) if block else 0
            return block or None
        if self._within:
            self._within = False
            return b"\r\n\r\n"
        line = self._lines.readline(_LINE)
        if not line:
            return None
        header = _HEADER.fullmatch(line)
        if header is None:
            return b"" if not line.strip() else line
        self._within = True
        self._left = int(header["length"])
        return _warc_header(header)


def _warc_header(header: re.Match[bytes]) -> bytes:
    url = header["url"]
    scheme = url.partition(b":")[0].lower()
    if scheme == b"filedesc":
        kind, media = b"warcinfo", b"text/plain"
    elif scheme in (b"http", b"https"):
        kind, media = b"response", b"application/http; msgtype=response"
    elif scheme == b"dns":
        kind, media = b"metadata", header["type"]
    else:
        kind, media = b"resource", header["type"]
    fields = [b"WARC/1.0", b"WARC-Type: " + kind, b"WARC-Target-URI: " + url]
    time = _time(header["time"].decode())
    if time:
        fields.append(b"WARC-Date: " + time.encode())
    fields += [b"Content-Type: " + media, b"Content-Length: " + header["length"]]
    return b"\r\n".join(fields) + b"\r\n\r\n"


def _time(digits: str) -> str | None:
    """`20010203040506` as WARC writes it; shorter ones begin their day or month."""
    full = digits.ljust(14, "0")
    if not (full[:1] > "0" and "01" <= full[4:6] <= "12" and "01" <= full[6:8] <= "31"):
        return None
    return f"{full[:4]}-{full[4:6]}-{full[6:8]}T{full[8:10]}:{full[10:12]}:{full[12:14]}Z"
