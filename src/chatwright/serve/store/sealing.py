"""Content encrypted at rest: a key for each person, and a master key over those.

AES-256-GCM (NIST SP 800-38D) with a random nonce for each value. A person's key lies in the
database, itself sealed under the master key, which does not: destroying it makes everything that
was sealed under it unreadable, in old backups too as soon as their copy of the key is gone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from chatwright.errors import DataError, UsageError
from chatwright.serve.store.tables import Key

KEY_BYTES = 32
ERASED = "chatwright_erased"  # in a session's `info`: a key was destroyed in its transaction
_NONCE = 12
_VERSION = b"\x01"  # the first byte of every sealed value, so that the method can change one day
_KEPT = 1024  # sealers in memory
_TERM_BYTES = 8


class Sealer:
    """Seals and opens under one owner's key."""

    __slots__ = ("_aead", "_terms")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise UsageError(f"a key has {KEY_BYTES} bytes, and this one {len(key)}")
        self._aead = AESGCM(key)
        # Terms of the search index must not be made with the key that encrypts.
        self._terms = hmac.digest(key, b"chatwright search terms", "sha256")

    def seal(self, text: str | bytes, *, context: str) -> bytes:
        """`text` encrypted. `context` names the cell (`messages.content:msg_…`), so that a sealed
        value cannot be moved into another one.
        """
        plain = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._aead.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """What was sealed. Raises `DataError` for a changed value, another key or another cell."""
        if sealed[:1] != _VERSION or len(sealed) < 1 + _NONCE + 16:
            raise DataError("a sealed value is damaged", where=context)
        nonce, body = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        try:
            return self._aead.decrypt(nonce, bytes(body), context.encode())
        except InvalidTag as error:
            raise DataError(
                "a sealed value cannot be opened: it was changed, or belongs to another key",
                where=context,
            ) from error

    def open_text(self, sealed: bytes, *, context: str) -> str:
        return self.open(sealed, context=context).decode("utf-8", "surrogatepass")

    def term(self, text: str) -> str:
        """A keyed hash of a piece of text, 16 hex digits: another for each owner (blind index)."""
        made = hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"), key=self._terms, digest_size=_TERM_BYTES
        )
        return made.hexdigest()


class Keyring:
    """The owners' keys, opened with the master key."""

    def __init__(self, master: bytes) -> None:
        self._master = Sealer(master)
        self._open: OrderedDict[str, Sealer] = OrderedDict()
        self._lock = threading.Lock()

    def sealer(self, session: Session, owner_id: str) -> Sealer:
        """The owner's sealer; the key is made when there is none yet.

        Raises `DataError` where the master key is not the one that it was sealed with.
        """
        with self._lock:
            known = self._open.get(owner_id)
            if known is not None:
                self._open.move_to_end(owner_id)
                return known
        row = session.get(Key, owner_id)
        if row is None:
            key = os.urandom(KEY_BYTES)
            wrapped = self._master.seal(key, context=_context(owner_id))
            session.add(Key(owner_id=owner_id, wrapped=wrapped))
            session.flush()
            # Not kept yet: the transaction may be rolled back, and the key with it.
            return Sealer(key)
        key = self._unwrapped(row)
        made = Sealer(key)
        with self._lock:
            self._open[owner_id] = made
            while len(self._open) > _KEPT:
                self._open.popitem(last=False)
        return made

    def check(self, session: Session) -> None:
        """Raises `DataError` where the database was made with another master key."""
        row = session.scalar(select(Key).limit(1))
        if row is not None:
            self._unwrapped(row)

    def _unwrapped(self, row: Key) -> bytes:
        try:
            return self._master.open(row.wrapped, context=_context(row.owner_id))
        except DataError as error:
            raise DataError(
                "the master key is not the one that this database was made with",
                where=_context(row.owner_id),
                hint="give the right one: CHATWRIGHT_MASTER_KEY, CHATWRIGHT_MASTER_KEY_FILE, or "
                "the file chat.key in the workspace",
            ) from error

    def destroy(self, session: Session, owner_id: str) -> None:
        """Delete an owner's key: what was sealed under it can never be read again."""
        session.execute(delete(Key).where(Key.owner_id == owner_id))
        session.info[ERASED] = True
        self.forget(owner_id)

    def forget(self, owner_id: str) -> None:
        """Drop the opened key from memory."""
        with self._lock:
            self._open.pop(owner_id, None)

    def server_sealer(self) -> Sealer:
        """For what belongs to nobody: second factors' secrets, a provider's secret."""
        return self._master


def read_master_key(
    folder: Path, environ: dict[str, str] | None = None, *, make: bool = True
) -> bytes:
    """The master key: `CHATWRIGHT_MASTER_KEY` (base64), the file that `CHATWRIGHT_MASTER_KEY_FILE`
    names, or `chat.key` in `folder`, which is made with the first start (`make`).

    Raises `UsageError` for a key that is not 32 bytes, a file that others may read, and one that is
    not there and may not be made.
    """
    environ = dict(os.environ) if environ is None else environ
    if told := environ.get("CHATWRIGHT_MASTER_KEY"):
        return _decoded(told, "CHATWRIGHT_MASTER_KEY")
    named = environ.get("CHATWRIGHT_MASTER_KEY_FILE")
    path = Path(named) if named else folder / "chat.key"
    if not path.exists():
        if named:
            raise UsageError("there is no such file", where=f"CHATWRIGHT_MASTER_KEY_FILE: {named}")
        if not make:
            raise UsageError(
                "the master key of this database is not here, and nothing in it can be read "
                "without it",
                where=str(path),
                hint="put your copy of chat.key back, or set CHATWRIGHT_MASTER_KEY",
            )
        _write_new(path)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise UsageError(
            "others may read this key", where=str(path), hint=f"chmod 600 {path}, then start again"
        )
    return _decoded(path.read_text(encoding="ascii", errors="replace"), str(path))


def _context(owner_id: str) -> str:
    return f"keys.wrapped:{owner_id}"


def _write_new(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = base64.b64encode(os.urandom(KEY_BYTES)) + b"\n"
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another worker was first
        return
    with os.fdopen(number, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _decoded(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES or len(set(key)) < 8:
        raise UsageError(
            "this is not a master key: it must be 32 random bytes in base64",
            where=where,
            hint='make one: python3 -c "import base64, os; '
            'print(base64.b64encode(os.urandom(32)).decode())"',
        )
    return key
