"""A worker's connection to the engine's process. Safe to use from many threads."""

from __future__ import annotations

import itertools
import queue
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from chatwright.errors import DataError
from chatwright.generate.params import Piece
from chatwright.serve.errors import ApiError
from chatwright.serve.workers import framing, wire

CALL_SECONDS = 600.0  # a model may have to be loaded first
_CONNECT_SECONDS = 60.0  # the engine's process may be starting anew
_RETRY_SECONDS = 0.1


def engine_gone() -> ApiError:
    """What readers of an answer are told when the engine's process has died in the middle of it."""
    return ApiError(
        503, "the engine has stopped and is being started again; ask once more",
        code="engine_restarted",
    )  # fmt: skip


class EngineLink:
    """Requests to the engine's process at `path`, and their replies.

    A connection that is lost ends what was under way with `ApiError` 503 `engine_restarted`; the
    next request connects again, and waits a while for the process to come back.
    """

    def __init__(
        self, path: Path, secret: str, *, connect_seconds: float = _CONNECT_SECONDS
    ) -> None:
        self._path = path
        self._secret = secret
        self._patience = connect_seconds
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # of the two below, and of writing
        self._connection: socket.socket | None = None
        self._replies: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._closed = False

    def number(self) -> int:
        """A number for a request that its caller wants to name before it is answered."""
        return next(self._numbers)

    def call(self, message: dict[str, Any], *, number: int | None = None) -> dict[str, Any]:
        """Send a request and wait for its one reply. Raises what went wrong on the other side."""
        number = self.number() if number is None else number
        replies = self._begin(number, message)
        try:
            return _checked(replies.get(timeout=CALL_SECONDS))
        except queue.Empty as error:
            raise ApiError(503, "the engine does not answer", code="engine_restarted") from error
        finally:
            self._replies.pop(number, None)

    def stream(self, message: dict[str, Any]) -> RemotePieces:
        """Send a request that is answered in pieces."""
        number = self.number()
        return RemotePieces(self, number, self._begin(number, message))

    def tell(self, message: dict[str, Any]) -> None:
        """Send something that has no reply. Does nothing when the connection is gone."""
        with self._lock, suppress(OSError):
            if self._connection is not None:
                self._connection.sendall(framing.encode(message))

    def forget(self, number: int) -> None:
        self._replies.pop(number, None)

    def close(self) -> None:
        """End what is under way."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _begin(self, number: int, message: dict[str, Any]) -> queue.SimpleQueue[dict[str, Any]]:
        data = framing.encode({"id": number, **message})
        replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            connection = self._connected()
            self._replies[number] = replies
            try:
                connection.sendall(data)
            except OSError as error:
                self._replies.pop(number, None)
                raise engine_gone() from error
        return replies

    def _connected(self) -> socket.socket:
        if self._closed:
            raise ApiError(503, "the server is stopping", code="server_stopping")
        if self._connection is not None:
            return self._connection
        end = time.monotonic() + self._patience
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._path))
                connection.sendall(framing.encode({"secret": self._secret}))
                break
            except OSError as error:
                connection.close()
                if time.monotonic() > end or self._closed:
                    raise ApiError(
                        503, "the engine does not answer", code="engine_restarted"
                    ) from error
                time.sleep(_RETRY_SECONDS)
        self._connection = connection
        threading.Thread(
            target=self._read, args=(connection,), name="chatwright-engine-link", daemon=True
        ).start()
        return connection

    def _read(self, connection: socket.socket) -> None:
        with suppress(DataError):
            while (message := framing.receive(connection)) is not None:
                replies = self._replies.get(message.get("id", 0))
                if replies is not None:
                    replies.put(message)
        with self._lock:
            if self._connection is connection:
                self._connection = None
            orphans, self._replies = self._replies, {}
        connection.close()
        for replies in orphans.values():
            replies.put({"error": wire.error_out(engine_gone())})


class RemotePieces:
    """An answer as the engine's process writes it: an iterator of pieces; `close` ends it early."""

    def __init__(
        self, link: EngineLink, number: int, replies: queue.SimpleQueue[dict[str, Any]]
    ) -> None:
        self._link = link
        self._number = number
        self._replies = replies
        self._waiting: list[Piece] = []
        self._over = False

    def __iter__(self) -> RemotePieces:
        return self

    def __next__(self) -> Piece:
        while not self._waiting:
            if self._over:
                raise StopIteration
            try:
                message = _checked(self._replies.get())
            except Exception:
                self._end()
                raise
            if message.get("end"):
                self._end()
                continue
            self._waiting = [wire.piece_in(piece) for piece in message["pieces"]][::-1]
        return self._waiting.pop()

    def close(self) -> None:
        """Stop it; the pieces that are left come, and the last says "cancelled"."""
        if not self._over:
            self._link.tell({"op": "cancel", "stream": self._number})

    cancel = close

    def _end(self) -> None:
        self._over = True
        self._link.forget(self._number)

    def __del__(self) -> None:
        if not self._over:
            self.close()
            self._link.forget(self._number)


def _checked(message: dict[str, Any]) -> dict[str, Any]:
    if "error" in message:
        raise wire.error_in(message["error"])
    return message
