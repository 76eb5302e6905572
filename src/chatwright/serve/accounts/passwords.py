"""Passwords: argon2id, checked in the same time whether there is one or not."""

from __future__ import annotations

import base64
import os
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.profiles import CHEAPEST, RFC_9106_LOW_MEMORY

from chatwright.serve.accounts.common import COMMON
from chatwright.serve.errors import ApiError

T = TypeVar("T")

SHORTEST = 10
LONGEST = 200
_AT_ONCE = 2  # each takes 64 MiB
_WAITING = 100  # more than that are told to come back
_DIFFERENT = 5  # characters that a password must have
_OF_ITS_OWN = 6  # characters besides the name and the address of its owner


class Passwords:
    """Hashes and checks passwords in threads, a few at a time.

    The parameters are the second recommendation of RFC 9106, section 4 (64 MiB, 3 passes), or the
    least that argon2 can do (`cheap`, for tests).
    """

    def __init__(self, *, cheap: bool = False) -> None:
        parameters = CHEAPEST if cheap else RFC_9106_LOW_MEMORY
        self._hasher = PasswordHasher.from_parameters(parameters)
        # Nobody's password, with the same parameters: checking against it takes just as long.
        salt, made = (
            base64.b64encode(os.urandom(n)).rstrip(b"=").decode()
            for n in (parameters.salt_len, parameters.hash_len)
        )
        self._nobody = (
            f"$argon2id$v=19$m={parameters.memory_cost},t={parameters.time_cost},"
            f"p={parameters.parallelism}${salt}${made}"
        )
        self._threads: anyio.CapacityLimiter | None = None
        self._asked = 0  # how many are being hashed or wait for it

    async def hash(self, password: str) -> str:
        """What is kept of a password. Raises `ApiError` 429 while too many are waiting."""
        return await self._in_thread(lambda: self.hash_now(password))

    def hash_now(self, password: str) -> str:
        return self._hasher.hash(_normal(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether this is the password. Without one stored it takes as long, and is not."""

        def work() -> bool:
            try:
                right = self._hasher.verify(stored or self._nobody, _normal(password))
            except (Argon2Error, InvalidHashError):
                return False
            return right and stored is not None

        return await self._in_thread(work)

    def outdated(self, stored: str) -> bool:
        """Whether it was hashed with other parameters than are now in use."""
        return self._hasher.check_needs_rehash(stored)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._asked >= _AT_ONCE + _WAITING:
            raise ApiError(429, "too many are signing in; try again soon", code="server_busy")
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_AT_ONCE)
        self._asked += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._asked -= 1


def check_password(password: str, *, name: str, email: str, param: str = "password") -> None:
    """Raises `ApiError` 400 for a password that is too short, or among the first to be guessed."""

    def weak(why: str) -> ApiError:
        return ApiError(400, why, param=param, code="weak_password")

    text = _normal(password)
    if len(text) < SHORTEST:
        raise weak(f"the password needs at least {SHORTEST} characters")
    if len(text) > LONGEST:
        raise weak(f"the password may have at most {LONGEST} characters")
    folded = text.casefold()
    core = folded.strip("0123456789!?.,;:-_*#$%&@+ ")
    if len(set(folded)) < _DIFFERENT or _is_run(folded) or folded in COMMON or core in COMMON:
        raise weak("this password is one of the first that would be guessed; choose another one")
    own = folded
    for piece in [email.casefold(), *email.casefold().split("@"), *name.casefold().split()]:
        if len(piece) >= 3:
            own = own.replace(piece, "")
    if len(own) < _OF_ITS_OWN:
        raise weak("the password is too close to your name or address; choose another one")


def _is_run(text: str) -> bool:
    """Whether it goes up or down like 1234567890 or abcdefghij, or repeats a short piece."""
    steps = {ord(b) - ord(a) for a, b in pairwise(text)}
    if len(steps) == 1 or (text.isdigit() and text in "01234567890123456789"):
        return True
    return any(text == (text[:n] * len(text))[: len(text)] for n in range(1, len(text) // 2))


def _normal(password: str) -> str:
    """One form of what may be typed in two (é), so that every keyboard can sign in."""
    return unicodedata.normalize("NFC", password)
