"""A judge behind an OpenAI-compatible server (vLLM, llama-server, Ollama, a hosted model)."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from chatwright.errors import ContextError, SourceError, UsageError
from chatwright.records import Message, fingerprint

_SECONDS = 300.0  # a large model on a small machine takes its time
_REFUSED = (400, 413, 422)  # what servers say to a prompt that does not fit


class RemoteJudge:
    """Asks `model` at `base_url` (`http://localhost:8000/v1`), greedily; use as a context manager.

    Prompts and answers are sent there: choose a server that may see them. `key` is the server's
    bearer token, kept in memory only.
    """

    def __init__(
        self, base_url: str, model: str, *, key: str | None = None, max_tokens: int = 256
    ) -> None:
        import httpx2

        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(
                f"{base_url!r} is no server's address",
                where="--base-url",
                hint="like http://localhost:8000/v1, without a name or password in it",
            )
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._max_tokens = max_tokens
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(timeout=_SECONDS, headers=headers)
        self.fingerprint = fingerprint("remote-judge", {"url": base_url, "model": model})

    def __call__(self, messages: Sequence[Message]) -> str:
        """The model's answer. Raises `SourceError` where the server gives none that can be read,
        and `ContextError` where it refuses the prompt.
        """
        import httpx2

        body = {
            "model": self._model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        try:
            response = self._client.post(self._url, json=body)
        except httpx2.HTTPError as error:
            raise SourceError(
                f"the judge's server did not answer: {error or type(error).__name__}",
                where=self._url,
                hint="see whether it runs, then run again: verdicts given so far are kept",
            ) from error
        if response.status_code in _REFUSED:
            raise ContextError(f"the server refused this prompt: {response.text[:300]}")
        if response.status_code != 200:
            raise SourceError(
                f"the judge's server answered {response.status_code}: {response.text[:300]}",
                where=self._url,
                hint="check the address, the model's name and the key",
            )
        try:
            value: Any = response.json()
            text = value["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise SourceError(
                f"the judge's server sent something else than an answer: {response.text[:200]}",
                where=self._url,
            ) from error
        return text if isinstance(text, str) else ""  # null: it said nothing

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
