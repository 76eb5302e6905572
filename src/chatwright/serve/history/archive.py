"""ChatGPT's export as the ZIP file that it comes in: only the conversations are read, into memory,
within bounds. Nothing is unpacked to the disk, so that no name in it can lead anywhere.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib

from chatwright.serve.errors import ApiError

UNPACKED_BYTES = 64 << 20  # all conversations of an archive together
_DIRECTORY_BYTES = 4 << 20  # its table of contents
_WANTED = re.compile(r"(?:[^/\\.][^/\\]*/)?conversations(?:-\d{1,4})?\.json")
_END = b"PK\x05\x06"
_PIECE = 1 << 16


def is_zip(body: bytes) -> bool:
    """Whether a body begins like a ZIP file."""
    return body[:4] in (b"PK\x03\x04", _END)


def conversations_in(body: bytes) -> list[bytes]:
    """The `conversations.json` files of an export. Raises `ApiError` 400 for a damaged or encrypted
    archive, 413 for one that holds too much.
    """
    _check_directory(body)
    parts: list[bytes] = []
    left = UNPACKED_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            for info in sorted(archive.infolist(), key=lambda one: one.filename):
                if not _WANTED.fullmatch(info.filename):
                    continue
                if info.flag_bits & 1:
                    raise ApiError(400, "the archive is encrypted", code="invalid_archive")
                part = _read(archive, info, left)
                left -= len(part)
                parts.append(part)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError,
            RuntimeError) as error:  # fmt: skip
        raise ApiError(400, "the archive is damaged", code="invalid_archive") from error
    if not parts:
        raise ApiError(400, "the archive holds no conversations.json", code="invalid_archive")
    return parts


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """A member, counted while it is unpacked: what the archive says of its size may be a lie."""
    read = bytearray()
    with archive.open(info) as member:
        while piece := member.read(_PIECE):
            read += piece
            if len(read) > most:
                raise ApiError(
                    413,
                    f"the archive holds more than {UNPACKED_BYTES >> 20} MB of conversations",
                    code="body_too_large",
                )
    return bytes(read)


def _check_directory(body: bytes) -> None:
    """Look at the size of the table of contents before all of it is read into objects."""
    at = body.rfind(_END, max(0, len(body) - 65_557))
    if at < 0 or len(body) < at + 22:
        raise ApiError(400, "the archive is damaged", code="invalid_archive")
    (size,) = struct.unpack_from("<I", body, at + 12)
    if size > _DIRECTORY_BYTES:
        raise ApiError(413, "the archive has too many files in it", code="body_too_large")
