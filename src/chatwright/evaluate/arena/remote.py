"""A judge behind an OpenAI-compatible server (vLLM, llama-server, Ollama, a hosted model)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chatwright.closing import Closing
from chatwright.errors import ContextError, SourceError, UsageError
from chatwright.records import Message, fingerprint

if TYPE_CHECKING:
    from chatwright.generate.remote import RemoteEngine


class RemoteJudge(Closing):
    """Asks `model` at `base_url` (`http://localhost:8000/v1`), greedily; use as a context manager.

    Prompts and answers are sent there: choose a server that may see them. `key` is the server's
    bearer token, kept in memory only. A busy server is asked again (see `RemoteEngine`).
    """

    def __init__(
        self, base_url: str, model: str, *, key: str | None = None, max_tokens: int = 256
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(
                f"{base_url!r} is no server's address",
                where="--base-url",
                hint="like http://localhost:8000/v1, without a name or password in it",
            )
        self._url = base_url
        self._model = model
        self._key = key
        self._max_tokens = max_tokens
        self._engine: RemoteEngine | None = None
        self.fingerprint = fingerprint("remote-judge", {"url": base_url, "model": model})

    def __call__(self, messages: Sequence[Message]) -> str:
        """The model's answer. Raises `SourceError` where the server gives none that can be read,
        and `ContextError` where it refuses the prompt.
        """
        from chatwright.generate import SamplingParams
        from chatwright.generate.remote import RemoteEngine

        params = SamplingParams(temperature=0.0, max_tokens=self._max_tokens)
        try:
            if self._engine is None:  # a study with nothing left to judge asks nobody
                self._engine = RemoteEngine(self._url, self._model, api_key=self._key)
            request = self._engine.stream(messages, params)
        except SourceError as error:
            raise _failed(error) from error
        try:
            return request.result().text
        except SourceError as error:
            raise _failed(error) from error
        except UsageError as error:  # the server's 400: this prompt, not the whole run
            raise ContextError(error.message, where=error.where) from error

    def close(self) -> None:
        """End the connections."""
        if self._engine is not None:
            self._engine.close()


def _failed(error: SourceError) -> SourceError:
    return SourceError(
        f"the judge's server did not answer: {error.message}",
        where=error.where,
        hint=error.hint or "see whether it runs, then run again: verdicts given so far are kept",
    )
