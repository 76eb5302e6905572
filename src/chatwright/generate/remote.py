"""Another server in the engine's place: vLLM, llama-server, Ollama, all that speak OpenAI's API."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from chatwright.closing import Closing
from chatwright.errors import ContextError, UsageError
from chatwright.generate.params import Completion, SamplingParams
from chatwright.generate.remote_dialects import (
    ServerName,
    check_context,
    discover,
    request_body,
)
from chatwright.generate.remote_http import (
    Http,
    RefusedError,
    RemoteError,
    Timeouts,
    explained,
)
from chatwright.generate.remote_request import Job, RemoteRequest, Workers
from chatwright.generate.remote_tokens import (
    ChatTokenizer,
    Messages,
    RemoteTokenizer,
    Tokens,
    embeddings,
)
from chatwright.tokenizer.chat import as_messages, clean_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RemoteEngine", "RemoteError", "Timeouts", "is_remote", "open_remote"]

_DEFAULT = SamplingParams()
_SCHEME = "openai:"
_KEYS = ("CHATWRIGHT_API_KEY", "CHATWRIGHT_API_KEY_FILE", "OPENAI_API_KEY")
_OPENAI = "api.openai.com"


class RemoteEngine(Closing):
    """Generates with a model on another server; the same interface as `chatwright.generate.Engine`.

    `url` is the server's address with its `/v1`, `model` one of its models (None: the only one).
    The server is asked what it is and how much its model reads; `context` says it where it does
    not. Prompts are sent there: choose a server that may see them. `api_key` goes to that host
    alone. At most `max_batch` requests are sent at a time; the others wait here. A request is tried
    `retries` times more where the connection fails or the server is busy, until its first token.
    `tokenizer` is the model's own, where you have it: prompts are then counted exactly and tokens
    get their ids, which most servers do not tell (-1 stands for them).

    Each of n answers is a request of its own, with the seeds `seed`, `seed` + 1, ….

    Raises `RemoteError` where no server answers, `UsageError` for a model that it does not have.

    >>> with RemoteEngine("http://localhost:8080/v1", "smollm2") as engine:   # doctest: +SKIP
    ...     engine.chat([{"role": "user", "content": "Hello"}]).text
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        timeout: Timeouts | float | None = None,
        retries: int = 3,
        context: int | None = None,
        max_batch: int = 8,
        tokenizer: ChatTokenizer | None = None,
        server: ServerName | None = None,
    ) -> None:
        if max_batch < 1:
            raise UsageError(f"max_batch is {max_batch}; it must be 1 or more", where="max_batch")
        if isinstance(timeout, int | float):
            timeout = Timeouts(first_token=float(timeout), between_tokens=float(timeout))
        self._http = Http(url, api_key, timeout or Timeouts(), retries)
        self.server = discover(self._http, model, server)
        self.context = check_context(context, self.server, self._http.url)
        if self.server.interrupts:
            max_batch = 1
            self._http.one_at_a_time()
        self.max_batch = max_batch
        self.tokenizer: ChatTokenizer = tokenizer or RemoteTokenizer(self._http, self.server)
        self._own_tokenizer = tokenizer
        self._workers = Workers(max_batch)
        self._jobs: weakref.WeakSet[Job] = weakref.WeakSet()
        self._closed = False
        self._lock = threading.Lock()  # of the two above
        self._salt = secrets.token_bytes(16)
        self._finalizer = weakref.finalize(self, self._http.close)

    def chat(
        self, messages: Messages, params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> Completion:
        """The assistant's next turn. Raises `ContextError` when the messages do not fit."""
        return self.stream(messages, params, tenant=tenant).result()

    def chat_many(
        self,
        conversations: Iterable[Messages],
        params: SamplingParams = _DEFAULT,
        *,
        tenant: str = "",
    ) -> list[Completion]:
        """The next turn of each conversation, in order, `max_batch` asked for at a time."""
        ready = [self._chat_request(messages, params, tenant) for messages in conversations]
        return _all([self._start(*one, params) for one in ready])

    def stream(
        self, messages: Messages, params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> RemoteRequest:
        """The assistant's next turn, piece by piece; leave it, or `cancel()`, to stop."""
        return self._start(*self._chat_request(messages, params, tenant), params)

    def complete(
        self, prompt: str | list[int], params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> RemoteRequest:
        """The continuation of one prompt (`generate`), piece by piece."""
        return self._start(*self._prompt_request(prompt, params, tenant), params)

    def generate(
        self,
        prompts: Sequence[str | list[int]],
        params: SamplingParams = _DEFAULT,
        *,
        tenant: str = "",
    ) -> list[Completion]:
        """The continuation of each prompt, in order. Token ids are taken by vLLM and llama-server.

        Whether special tokens in a text are special is the server's decision.
        """
        if isinstance(prompts, str):
            raise UsageError("generate takes a list of prompts", hint="write generate([prompt])")
        ready = [self._prompt_request(prompt, params, tenant) for prompt in prompts]
        return _all([self._start(*one, params) for one in ready])

    def submit(
        self, prompt_ids: Sequence[int], params: SamplingParams = _DEFAULT, *, tenant: str = ""
    ) -> RemoteRequest:
        """Queue token ids and return at once. Raises `UsageError` where the server takes none."""
        return self._start(*self._prompt_request(list(prompt_ids), params, tenant), params)

    def embed(
        self,
        texts: Sequence[str],
        pooling: str | None = None,
        normalise: bool = True,
        *,
        tenant: str = "",
    ) -> NDArray[np.float32]:
        """Float32 vectors [n, C] by the server's `/v1/embeddings`, of length 1 when `normalise`.

        Pooling is decided by how the server was started; asking for one raises `UsageError`.
        """
        import numpy as np

        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise UsageError("embed takes a list of texts", where="texts")
        if pooling is not None:
            raise UsageError("the server decides how it pools; leave it out", where="pooling")
        rows = embeddings(self._http, self.server.model, texts, self.server.models)
        if len({len(row) for row in rows}) > 1:
            raise RemoteError("the server's vectors differ in length", where=self._http.url)
        vectors = np.asarray(rows, dtype=np.float32).reshape(len(rows), len(rows[0]) if rows else 0)
        if not np.isfinite(vectors).all():
            raise RemoteError("the server's vectors are not finite", where=self._http.url)
        if normalise and len(rows):
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(lengths, np.float32(1e-12))
        return vectors

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are being answered, and how many wait here."""
        return self._workers.load

    def stats(self) -> dict[str, Any]:
        """What can be known from here."""
        active, waiting = self.load
        return {"active": active, "waiting": waiting, **self.describe()}

    def describe(self) -> dict[str, Any]:
        """Facts for people: where it is, what it is."""
        return {
            "backend": "remote",
            "url": self._http.url,
            "server": self.server.name,
            "model": self.server.model,
            "context": self.context,
        }

    def close(self) -> None:
        """Cancel what runs. May be called again."""
        with self._lock:
            self._closed = True
            jobs = list(self._jobs)
        for job in jobs:
            job.end("cancelled")
        self._finalizer()

    def __repr__(self) -> str:
        return f"RemoteEngine({self._http.url!r}, {self.server.model!r})"

    def _chat_request(
        self, messages: Messages, params: SamplingParams, tenant: str
    ) -> tuple[str, dict[str, Any], Any]:
        if not messages:
            raise ContextError("there are no messages to answer")
        plain = as_messages(messages)
        body = self._body(params, tenant, chat=True)
        body["messages"] = [{"role": m["role"], "content": clean_text(m["content"])} for m in plain]
        self._check_room(params, lambda: len(self.tokenizer.chat(messages)))
        return f"{self._http.url}/chat/completions", body, messages

    def _prompt_request(
        self, prompt: str | list[int], params: SamplingParams, tenant: str
    ) -> tuple[str, dict[str, Any], Any]:
        body = self._body(params, tenant, chat=False)
        if not prompt:
            raise ContextError("the prompt is empty", hint="give at least one token")
        if isinstance(prompt, str):
            body["prompt"] = clean_text(prompt)
        elif self.server.takes_token_ids:
            body["prompt"] = [int(token) for token in prompt]
        else:
            raise UsageError(
                f"this server ({self.server.name}) takes no token ids",
                where="prompt",
                hint="give it text, or messages",
            )
        self._check_room(params, lambda: self._size(prompt))
        return f"{self._http.url}/completions", body, prompt

    def _body(self, params: SamplingParams, tenant: str, *, chat: bool) -> dict[str, Any]:
        body = request_body(params, self.server, chat=chat)
        if tenant and self.server.name == "vllm":  # tenants cannot time one another's prompts
            digest = hmac.new(self._salt, tenant.encode(), hashlib.sha256)
            body["cache_salt"] = digest.hexdigest()
        return body

    def _check_room(self, params: SamplingParams, size: Any) -> None:
        """Refuse what the server would cut without a word, or what the caller wants refused."""
        refuse = params.window_end == "refuse"
        if not refuse and not self.server.cuts_prompts:
            return  # the server counts exactly, and says so
        prompt = size()
        if prompt + (params.max_tokens if refuse else 1) > self.context:
            raise ContextError(
                f"the prompt has about {prompt} tokens, and prompt and answer together may have "
                f"{self.context}",
                where=self._http.url,
                hint="shorten it, or give the server a larger context (Ollama: num_ctx)",
            )

    def _size(self, prompt: Any) -> int:
        """Tokens of a prompt: counted where possible, else estimated."""
        if isinstance(prompt, str):
            return len(self.tokenizer.encode(prompt))
        if isinstance(prompt, Tokens) or (prompt and isinstance(prompt[0], int)):
            return len(prompt)
        return len(self.tokenizer.chat(prompt))

    def _start(
        self, url: str, body: dict[str, Any], prompt: Any, params: SamplingParams
    ) -> RemoteRequest:
        deadline = math.inf if params.timeout is None else time.monotonic() + params.timeout
        inner = replace(params, logprobs=True) if params.best_of is not None else params
        jobs = []
        for index in range(params.answers):
            seeded = {} if params.seed is None else {"seed": params.seed + index}
            job = Job(
                self._http,
                url,
                {**body, **seeded},
                inner,
                index,
                explain=self._explainer(url),
                prompt_tokens=lambda: self._size(prompt),
                token_of=getattr(self._own_tokenizer, "token_id", None),
                deadline=deadline,
            )
            jobs.append(job)
        with self._lock:
            if self._closed:
                raise UsageError("the engine is closed")
            self._jobs.update(jobs)
        request = RemoteRequest(jobs, params, deadline, self)
        for job in jobs:
            self._workers.submit(job.run)
        return request

    def _explainer(self, url: str) -> Any:
        def explain(refused: RefusedError) -> Exception:
            if refused.too_long and refused.window and 1 < refused.window < self.context:
                self.context = refused.window  # the next prompt is fitted to what is true
            return explained(refused, url, self.server.models)

        return explain


def is_remote(reference: str | os.PathLike[str]) -> bool:
    """Whether a model's reference means one on another server: `openai:http://…`."""
    return str(reference).startswith(_SCHEME)


def open_remote(
    reference: str,
    *,
    max_batch: int = 8,
    context: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> RemoteEngine:
    """The engine that `openai:http://localhost:8080/v1#model` names.

    `#model` may be left out where the server has only one, and `?context=8192` says how much the
    model reads where the server does not. The key is never part of it: it is CHATWRIGHT_API_KEY, or
    the content of the file that CHATWRIGHT_API_KEY_FILE names; OPENAI_API_KEY goes to OpenAI's own
    host, and to that of OPENAI_BASE_URL, alone.
    """
    if not is_remote(reference):
        raise UsageError("no server's reference", where=reference[:200], hint="openai:http://…")
    environ = os.environ if environ is None else environ
    address, _, model = reference.removeprefix(_SCHEME).partition("#")
    url, _, query = address.partition("?")
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "context" or not value.isdigit():
            raise UsageError(
                "only ?context=NUMBER may be added to a server's address",
                where=url,
                hint="keys belong into CHATWRIGHT_API_KEY",
            )
        context = int(value) if context is None else context
    key = _key(url, environ)
    return RemoteEngine(url, model or None, api_key=key, max_batch=max_batch, context=context)


def _key(url: str, environ: Mapping[str, str]) -> str | None:
    own, file, openai = (environ.get(name) for name in _KEYS)
    if own:
        return own.strip()
    if file:
        try:
            return Path(file).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the key cannot be read: {error}", where="CHATWRIGHT_API_KEY_FILE"
            ) from error
    host = ""
    with suppress(ValueError):
        host = urlsplit(url).hostname or ""
    theirs = urlsplit(environ.get("OPENAI_BASE_URL", "")).hostname
    return openai.strip() if openai and host and host in (_OPENAI, theirs) else None


def _all(requests: list[RemoteRequest]) -> list[Completion]:
    try:
        return [request.result() for request in requests]
    finally:  # one failed, or Ctrl-C: the others' answers have no reader
        for request in requests:
            request.cancel()
