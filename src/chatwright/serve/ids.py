"""Names that nobody can guess, and secrets that are kept only as hashes."""

from __future__ import annotations

import hashlib
import secrets


def new_id(prefix: str) -> str:
    """A new identifier, like `cnv_…`: the prefix says of what, 128 random bits which one."""
    return f"{prefix}_{secrets.token_hex(16)}"


def token() -> str:
    """A secret of 256 random bits, safe in an address: for sessions, keys and one-time links."""
    return secrets.token_urlsafe(32)


def token_hash(secret: str) -> str:
    """What is kept of a token: its SHA-256. It has 256 bits of its own, so no salt is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
