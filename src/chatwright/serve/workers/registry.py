"""What a worker has in the place of models: the engine's process behind the same interface."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import anyio
import anyio.to_thread

from chatwright.assist import Assistant
from chatwright.generate.params import SamplingParams
from chatwright.records import Message
from chatwright.records.grounding import Passage
from chatwright.serve.registry import Registry, Served
from chatwright.serve.workers import wire
from chatwright.serve.workers.link import EngineLink, RemotePieces

_DEFAULT = SamplingParams()
_ENTRIES_SECONDS = 2.0  # a list of models is believed so long
_LOADING = 16  # threads that may wait for models


class RemoteRegistry(Registry):
    """`Registry` over the engine's process: the same entries, and leases of assistants there."""

    def __init__(self, link: EngineLink) -> None:
        super().__init__(self._ask_entries, self._no_load)
        self._link = link
        self._known: tuple[float, list[Served]] | None = None
        self._asking = threading.Lock()
        self._threads: anyio.CapacityLimiter | None = None

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[Assistant]:
        """The assistant of that name, held by the engine's process while the block runs."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_LOADING)
        number = self._link.number()

        def ask() -> dict[str, Any]:
            return self._link.call({"op": "lease", "name": name}, number=number)

        try:
            # Loading a model must not take the threads that other requests need.
            told = await anyio.to_thread.run_sync(ask, limiter=self._threads)
            yield _assistant(self._link, number, told["facts"])
        finally:
            self._link.tell({"op": "release", "lease": number})

    def close(self) -> None:
        self._link.close()

    def _ask_entries(self) -> list[Served]:
        with self._asking:
            if self._known is None or time.monotonic() - self._known[0] > _ENTRIES_SECONDS:
                told = self._link.call({"op": "entries"})
                entries = [wire.served_in(entry) for entry in told["entries"]]
                self._known = (time.monotonic(), entries)
            return list(self._known[1])

    @staticmethod
    def _no_load(name: str) -> Assistant:
        raise AssertionError("a worker loads no model")


def _assistant(link: EngineLink, lease: int, facts: dict[str, Any]) -> Assistant:
    ask = _Asker(link, lease)
    engine: Any = _Engine(ask, facts)
    knowledge: Any = _Knowledge(ask) if facts["knows"] else None
    return Assistant(engine, knowledge, wire.settings_in(facts["settings"]))


class _Asker:
    """Calls on one held assistant."""

    def __init__(self, link: EngineLink, lease: int) -> None:
        self.link = link
        self.lease = lease

    def __call__(self, of: str, method: str, **given: Any) -> Any:
        message = {"op": "call", "lease": self.lease, "of": of, "method": method, "given": given}
        return self.link.call(message)["value"]


class _Engine:
    """An engine's interface, as far as the service uses it.

    What the engine behind it cannot do, this one has no attribute for.
    """

    def __init__(self, ask: _Asker, facts: dict[str, Any]) -> None:
        self._ask = ask
        self.context: int = facts["context"]
        self.tokenizer = _Tokenizer(ask, facts)
        self.server = _Server(facts["takes_ids"])
        if "complete" in facts["engine"]:
            self.complete = self.submit = self._complete
        if "embed" in facts["engine"]:
            self.embed = self._embed

    def stream(
        self, messages: Sequence[Message], params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> RemotePieces:
        return self._stream({"messages": wire.messages_out(messages)}, params, tenant)

    def close(self) -> None:
        """The engine's process closes it."""

    def _complete(
        self, prompt: str | list[int], params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> RemotePieces:
        return self._stream({"prompt": prompt}, params, tenant)

    def _stream(self, asked: dict[str, Any], params: SamplingParams, tenant: str) -> RemotePieces:
        message = {"op": "stream", "lease": self._ask.lease, "params": wire.params_out(params)}
        return self._ask.link.stream({**message, **asked, "tenant": tenant})

    def _embed(self, texts: Sequence[Any], **more: Any) -> Any:
        import numpy as np

        told = self._ask("engine", "embed", texts=list(texts), more=more)
        return np.asarray(told, dtype=np.float32)


class _Server:
    """What an engine says of the server behind it."""

    def __init__(self, takes_token_ids: bool) -> None:
        self.takes_token_ids = takes_token_ids


class _Tokenizer:
    """A tokenizer's interface; facts that do not change are here, the rest is asked for."""

    def __init__(self, ask: _Asker, facts: dict[str, Any]) -> None:
        self._ask = ask
        for name, value in facts["facts"].items():
            made = frozenset(value) if name in ("eos_ids", "special_ids") else value
            setattr(self, name, made)
        if "encode" in facts["tokenizer"]:
            self.encode = lambda text: _ids(ask("tokenizer", "encode", text=text))
        if "decode" in facts["tokenizer"]:
            self.decode = lambda ids: ask("tokenizer", "decode", ids=list(ids))
        if "token_bytes" in facts["tokenizer"]:
            self.token_bytes = lru_cache(maxsize=65536)(
                lambda token: bytes.fromhex(ask("tokenizer", "token_bytes", id=token))
            )
        if "token_id" in facts["tokenizer"]:
            self.token_id = lambda token: ask("tokenizer", "token_id", token=token)

    def chat(self, messages: Sequence[Any], add_generation_prompt: bool = True) -> Any:
        told = self._ask(
            "tokenizer",
            "chat",
            messages=wire.messages_out(messages),
            open=add_generation_prompt,
        )
        return _ids(told)


def _ids(told: Any) -> Any:
    """Token ids, or something of their number where the tokenizer tells no more."""
    return told if isinstance(told, list) else range(told["count"])


class _Knowledge:
    """An assistant's passages, searched where they are."""

    def __init__(self, ask: _Asker) -> None:
        self._ask = ask

    def search(self, query: str, k: int = 3) -> list[tuple[Passage, float]]:
        return wire.passages_in(self._ask("knowledge", "search", query=query, k=k))
