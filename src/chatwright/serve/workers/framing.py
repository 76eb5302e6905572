"""Messages between the service's own processes: JSON with its length before it, bounded."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

from chatwright.errors import DataError

MOST_BYTES = 16 << 20  # of one message
_LENGTH = struct.Struct(">I")


def encode(message: dict[str, Any]) -> bytes:
    """A message as it goes over the socket. Raises `DataError` for one too large."""
    # Numbers may be infinite here (a forbidden token's bias), which Python's JSON can tell.
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MOST_BYTES:
        raise DataError(f"a message between processes has more than {MOST_BYTES} bytes")
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> dict[str, Any]:
    """Raises `DataError` for what is no JSON object."""
    try:
        message = json.loads(body)
    except ValueError as error:
        raise DataError("a message between processes is not JSON") from error
    if not isinstance(message, dict):
        raise DataError("a message between processes is no object")
    return message


async def read(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message, or None at the end. Raises `DataError` for a malformed one."""
    try:
        size = _checked(await reader.readexactly(_LENGTH.size))
        return decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The same from a blocking socket."""
    head = _exactly(connection, _LENGTH.size)
    body = None if head is None else _exactly(connection, _checked(head))
    return None if body is None else decode(body)


def _checked(head: bytes) -> int:
    size: int = _LENGTH.unpack(head)[0]
    if size > MOST_BYTES:
        raise DataError(f"a message between processes has more than {MOST_BYTES} bytes")
    return size


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(min(size - len(parts), 1 << 20))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
