"""Answers kept: the same question, asked in the same way of the same model, is computed once.

Off unless somebody wraps an engine. Only what is bound to come out the same is kept: greedy
requests and seeded ones. Each tenant has keys of its own, made with a secret (HMAC): nobody gets,
or can time, what another one asked.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from chatwright.errors import UsageError
from chatwright.generate.params import Completion, SamplingParams
from chatwright.generate.responses_file import ResponseFile

_FORMAT = 1  # raise it when what is kept, or how a key is made, changes
_OVERHEAD = 200  # bytes that an entry takes beside its text, roughly


def is_deterministic(params: SamplingParams) -> bool:
    """Whether the same request gives the same answer: greedy or seeded, and without a clock."""
    return (params.greedy or params.seed is not None) and params.timeout is None


def response_key(
    secret: bytes, tenant: str, fingerprint: str, prompt: object, params: SamplingParams
) -> bytes:
    """32 bytes that stand for a request: any change of any part gives others.

    `prompt` is text, token ids or messages (role and content). `fingerprint` stands for the model:
    its weights, their precision, its tokenizer and chat template, and what computes it.
    """
    salt = hmac.new(secret, f"tenant:{tenant}".encode("utf-8", "surrogatepass"), hashlib.sha256)
    asked = {f.name: getattr(params, f.name) for f in fields(params)}
    asked["constraint"] = None if params.constraint is None else asdict(params.constraint)
    # JSON keeps apart what differs: lengths and types are in it, and floats are written exactly.
    text = json.dumps([_FORMAT, fingerprint, prompt, asked], sort_keys=True)
    return hmac.new(salt.digest(), text.encode(), hashlib.sha256).digest()


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds and did. `shared` requests joined an equal one that was under way."""

    entries: int
    bytes: int
    hits: int
    misses: int
    shared: int


class ResponseCache:
    """Keeps answers, the least recently used going first; thread-safe.

    At most `max_entries` answers and `max_bytes` bytes, each for `seconds` (None: until they go).
    With a `path`, they are kept in an SQLite file that several processes may use at a time and
    that outlives them; one that is damaged is set aside (`….damaged`) and begun anew. The file
    holds answers as they are, not the questions: keep it where the conversations may lie.

    `secret` salts the keys; by default it is drawn anew, or kept in the file.
    """

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 << 20,
        seconds: float | None = None,
        path: str | os.PathLike[str] | None = None,
        secret: bytes | None = None,
    ) -> None:
        if max_entries < 1:
            raise UsageError("it must be 1 or more", where="max_entries")
        if max_bytes < 1:
            raise UsageError("it must be 1 or more", where="max_bytes")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise UsageError("it must be a number of seconds above 0, or None", where="seconds")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.seconds = seconds
        self._lock = threading.Lock()
        self._memory: OrderedDict[bytes, tuple[bytes, bytes, float]] = OrderedDict()
        self._bytes = 0
        self._era = 0
        self._counts = {"hits": 0, "misses": 0, "shared": 0}
        self._file = None if path is None else ResponseFile(Path(path), max_entries, max_bytes)
        own = secret if secret is not None else secrets.token_bytes(32)
        if self._file is not None and secret is None:
            own = self._file.secret(own)
        self._secret = own

    def key(self, tenant: str, fingerprint: str, prompt: object, params: SamplingParams) -> bytes:
        """The key of a request of `tenant` (see `response_key`)."""
        return response_key(self._secret, tenant, fingerprint, prompt, params)

    def get(self, key: bytes) -> list[Completion] | None:
        """The answers kept under `key`, or None."""
        now = time.time()
        if self._file is not None:
            value = self._file.get(key, now)
        else:
            with self._lock:
                value = self._recall(key, now)
        answers = None if value is None else _unpacked(value)
        with self._lock:
            self._counts["misses" if answers is None else "hits"] += 1
        return answers

    @property
    def era(self) -> int:
        """Another number after each `forget` and `clear` of this process."""
        return self._era

    def put(
        self, tenant: str, key: bytes, answers: Sequence[Completion], *, era: int | None = None
    ) -> None:
        """Keep answers. Those that were cut off, or are too large, are not kept, nor those of an
        `era` before something was forgotten.
        """
        if any(a.finish_reason in ("cancelled", "timeout") for a in answers) or not answers:
            return
        if era is not None and era != self._era:
            return
        value = _packed(answers)
        if len(value) + _OVERHEAD > self.max_bytes:
            return
        ends = float("inf") if self.seconds is None else time.time() + self.seconds
        owner = self._owner(tenant)
        if self._file is not None:
            self._file.put(key, owner, value, ends, len(value) + _OVERHEAD)
            return
        with self._lock:
            self._drop(key)
            self._memory[key] = (owner, value, ends)
            self._bytes += len(value) + _OVERHEAD
            while len(self._memory) > self.max_entries or self._bytes > self.max_bytes:
                self._drop(next(iter(self._memory)))

    def forget(self, tenant: str) -> int:
        """Drop all that was kept for a tenant; returns how many answers that were."""
        owner = self._owner(tenant)
        self._era += 1
        if self._file is not None:
            return self._file.forget(owner)
        with self._lock:
            theirs = [key for key, (whose, _, _) in self._memory.items() if whose == owner]
            for key in theirs:
                self._drop(key)
            return len(theirs)

    def clear(self) -> None:
        """Drop everything."""
        self._era += 1
        if self._file is not None:
            self._file.clear()
        with self._lock:
            self._memory.clear()
            self._bytes = 0

    @property
    def stats(self) -> CacheStats:
        if self._file is not None:
            entries, size = self._file.size()
        else:
            entries, size = len(self._memory), self._bytes
        with self._lock:
            return CacheStats(entries, size, **self._counts)

    def close(self) -> None:
        """Close the file. What is kept in memory is gone with the cache."""
        if self._file is not None:
            self._file.close()

    def count_shared(self) -> None:
        """A request was answered by one that was under way."""
        with self._lock:
            self._counts["shared"] += 1

    def _owner(self, tenant: str) -> bytes:
        name = f"owner:{tenant}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, name, hashlib.sha256).digest()

    def _recall(self, key: bytes, now: float) -> bytes | None:
        found = self._memory.get(key)
        if found is None:
            return None
        if found[2] <= now:
            self._drop(key)
            return None
        self._memory.move_to_end(key)
        return found[1]

    def _drop(self, key: bytes) -> None:
        found = self._memory.pop(key, None)
        if found is not None:
            self._bytes -= len(found[1]) + _OVERHEAD


def _packed(answers: Sequence[Completion]) -> bytes:
    return json.dumps([asdict(answer) for answer in answers]).encode()


def _unpacked(value: bytes) -> list[Completion] | None:
    """The answers; None for what cannot be read, which is then made again."""
    with suppress(ValueError, TypeError, KeyError):
        answers = []
        for kept in json.loads(value):
            tops = kept["top_logprobs"]
            if tops is not None:
                kept["top_logprobs"] = [[(int(t), float(p)) for t, p in row] for row in tops]
            kept["cached_tokens"] = kept["prompt_tokens"]
            answers.append(Completion(**kept))
        return answers
    return None
