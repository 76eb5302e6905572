"""HTTP to a server that speaks OpenAI's protocol: retries, breaking off, keys that stay private."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from chatwright.errors import ChatwrightError, ContextError, SourceError, UsageError

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504, 529)
_LONGEST_WAIT = 30.0  # seconds: a server that asks for more is not waited for
_LARGEST_ERROR = 1 << 16  # bytes of an error's body that are read
_LARGEST_BODY = 1 << 26
_LARGEST_EVENT = 1 << 22
_SAME_REQUEST = (307, 308)  # redirects that keep method and body

_WINDOW = re.compile(r"(?:context (?:length|window|size)|n_ctx)\D{0,24}?(\d+)", re.I)
_PROMPT = re.compile(r"(\d+) (?:input tokens|in the messages|in your prompt|tokens in)", re.I)
_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|too many tokens|max_model_len|prompt is too long", re.I
)
_NO_MODEL = re.compile(r"model\b.*(?:not found|does not exist|not exist|unknown)", re.I | re.S)


class RemoteError(SourceError):
    """The server could not be reached, failed or broke off. `text`: what came of an answer."""

    def __init__(
        self, message: str, *, where: str | None = None, hint: str | None = None, text: str = ""
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.text = text


class RefusedError(Exception):
    """The server's own words for why it will not answer, as they came.

    `window` and `prompt` are the tokens of its context window and of the prompt, where it says so.
    """

    def __init__(self, status: int, body: Any, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.retry_after = retry_after
        error = body.get("error", body) if isinstance(body, dict) else body
        facts = error if isinstance(error, dict) else {}
        said = facts.get("message") or facts.get("detail") or error
        self.message = (said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))[
            :500
        ]
        self.kind = f"{facts.get('code') or ''} {facts.get('type') or ''}"
        self.window = _number(facts.get("n_ctx"), _WINDOW, self.message)
        self.prompt = _number(facts.get("n_prompt_tokens"), _PROMPT, self.message)

    @property
    def too_long(self) -> bool:
        """Whether prompt and answer do not fit into the context window."""
        known = "context_length_exceeded" in self.kind or "exceed_context_size" in self.kind
        return known or (
            self.status in (400, 413, 422) and _TOO_LONG.search(self.message) is not None
        )

    @property
    def no_model(self) -> bool:
        """Whether it does not know the model."""
        told = "model_not_found" in self.kind or _NO_MODEL.search(self.message) is not None
        return self.status in (400, 404, 422) and told


def _number(fact: Any, pattern: re.Pattern[str], message: str) -> int | None:
    if isinstance(fact, int):
        return fact
    found = pattern.search(message)
    return int(found.group(1)) if found else None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, from sending a request to its first token, and from token to token."""

    connect: float = 10.0
    first_token: float = 300.0
    between_tokens: float = 60.0

    def __post_init__(self) -> None:
        for name in ("connect", "first_token", "between_tokens"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be a number of seconds above 0", where="timeout")


class Call:
    """One exchange, which any thread may break off. `began` is set once a token has come."""

    def __init__(self) -> None:
        self.began = False
        self._broken = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    @property
    def broken(self) -> bool:
        return self._broken.is_set()

    def abort(self) -> None:
        """Close the connection, whoever is reading from it. A call aborted early is never sent."""
        self._broken.set()
        with self._lock:
            self._shut()

    def wait(self, seconds: float) -> bool:
        """Sleep; True at once where the call is broken off meanwhile."""
        return self._broken.wait(seconds)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What the client calls at each step: here the connection's socket becomes known."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.broken:
                    self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            # `close` alone does not wake a thread that waits in `recv`.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Http:
    """Requests below one address, with its key. Thread-safe.

    A redirect is followed only to the same scheme, host and port: the key goes nowhere else. Each
    request has a connection of its own, so that breaking it off concerns nobody else.
    """

    def __init__(self, url: str, key: str | None, timeouts: Timeouts, retries: int) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"{_without_password(url)!r} is no server's address",
                where="url",
                hint="like http://localhost:8000/v1",
            )
        if parts.username or parts.password or parts.query:
            raise UsageError(
                "an address must not carry a name, a password or a query",
                where=_without_password(url),
                hint="put the key into CHATWRIGHT_API_KEY",
            )
        local = parts.hostname in LOCAL_HOSTS
        if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key):
            raise UsageError("the key has characters that no key has", where="api_key")
        if key and parts.scheme == "http" and not local:
            raise UsageError(
                "a key over plain http can be read on its way",
                where=url,
                hint="use https, or a tunnel to this machine (ssh -L)",
            )
        if retries < 0:
            raise UsageError("retries must be 0 or more", where="retries")
        self.url = url.rstrip("/")
        self.timeouts = timeouts
        self._key = key
        self._retries = retries
        self._turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            verify=parts.scheme == "https",  # reading certificates takes a while
            trust_env=not local,  # a proxy cannot know what "localhost" means here
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    @property
    def root(self) -> str:
        """The server's own address, where what is not OpenAI's protocol lies."""
        return self.url.removesuffix("/v1")

    def one_at_a_time(self) -> None:
        """From now on, a request waits until the one before it has been answered."""
        self._turn = threading.Lock()

    def get(self, url: str, *, seconds: float = 30.0, retries: int | None = None) -> Any:
        """The JSON at `url`. Raises `RefusedError` or `RemoteError`."""
        return self._json("GET", url, None, seconds, retries)

    def post(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        seconds: float = 30.0,
        retries: int | None = None,
    ) -> Any:
        """The JSON that answers `body`. Raises `RefusedError` or `RemoteError`."""
        return self._json("POST", url, body, seconds, retries)

    def events(self, url: str, body: Mapping[str, Any], call: Call) -> Iterator[dict[str, Any]]:
        """The JSON objects of a stream of server-sent events, to `[DONE]` or the stream's end.

        A server that answers with one JSON object instead gives that one. Tries again until
        `call.began`. Raises `RefusedError` and `RemoteError`; ends early when the call is aborted.
        """
        # Who waits for a token has a clock of its own, with a better message.
        seconds = 5.0 + max(self.timeouts.first_token, self.timeouts.between_tokens)
        for attempt in range(self._retries + 1):
            try:
                with self._response("POST", url, body, call, seconds) as response:
                    yield from _objects(response)
                return
            except (httpx2.HTTPError, RefusedError, ValueError) as error:
                if call.broken:
                    return
                if call.began:
                    raise self._failure(error, url) from error
                self._before_next(error, attempt, self._retries, url, call)

    def _json(self, method: str, url: str, body: Any, seconds: float, retries: int | None) -> Any:
        call = Call()
        most = self._retries if retries is None else retries
        for attempt in range(most + 1):
            try:
                with self._response(method, url, body, call, seconds) as response:
                    return json.loads(_read(response, _LARGEST_BODY, time.monotonic() + seconds))
            except (httpx2.HTTPError, RefusedError, ValueError) as error:
                self._before_next(error, attempt, most, url, call)
        raise AssertionError("the last attempt returns or raises")

    @contextlib.contextmanager
    def _response(
        self, method: str, url: str, body: Any, call: Call, seconds: float
    ) -> Iterator[httpx2.Response]:
        with self._turn, self._sent(method, url, body, call, seconds) as response:
            yield response

    @contextlib.contextmanager
    def _sent(
        self, method: str, url: str, body: Any, call: Call, seconds: float
    ) -> Iterator[httpx2.Response]:
        for _ in range(4):
            request = self._client.build_request(
                method,
                url,
                json=body,
                timeout=httpx2.Timeout(seconds, connect=self.timeouts.connect),
                extensions={"trace": call.trace},
            )
            if call.broken:
                raise httpx2.ReadError("broken off", request=request)
            response = self._client.send(request, stream=True)
            with contextlib.closing(response):
                if response.status_code == 200:
                    yield response
                    return
                location = response.headers.get("location")
                if not response.is_redirect or not location:
                    raise self._refusal(response)
                target = self._redirected(url, location)
                if method != "GET" and response.status_code not in _SAME_REQUEST:
                    raise RemoteError(f"the server is at {target} now", where=url)
                url = target
        raise RemoteError("the server sends one from address to address", where=url)

    def _redirected(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        here, there = urlsplit(url), urlsplit(target)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise RemoteError(
                f"the server sends one on to {there.scheme}://{there.hostname}",
                where=url,
                hint="give that address itself if you trust it: prompts and key go nowhere else",
            )
        return target

    def _refusal(self, response: httpx2.Response) -> RefusedError:
        raw = b""
        with contextlib.suppress(httpx2.HTTPError):
            raw = _read(response, _LARGEST_ERROR, time.monotonic() + 10.0, cut=True)
        text = self._scrubbed(raw.decode("utf-8", "replace"))
        try:
            body = json.loads(text)
        except ValueError:
            body = text.strip() or response.reason_phrase
        after = _seconds(response.headers.get("retry-after", ""))
        return RefusedError(response.status_code, body, after)

    def _before_next(self, error: Exception, attempt: int, most: int, url: str, call: Call) -> None:
        """Wait before the next attempt, or raise where there is none."""
        asked = None
        if isinstance(error, RefusedError):
            again = error.status in _TRY_AGAIN
            asked = error.retry_after
        else:  # a time-out has waited long enough, and an answer that is no JSON stays none
            again = isinstance(
                error, httpx2.NetworkError | httpx2.RemoteProtocolError | httpx2.ConnectTimeout
            )
        if not again or attempt == most or (asked or 0.0) > _LONGEST_WAIT:
            raise self._failure(error, url) from error
        # "Full jitter", so that many clients do not come back at the same moment.
        backoff = min(8.0, 0.5 * 2.0**attempt) * (0.5 + 0.5 * random.random())
        call.wait(backoff if asked is None else asked + 0.1 * random.random())

    def _failure(self, error: Exception, url: str) -> Exception:
        if isinstance(error, RefusedError):
            return error
        said = self._scrubbed(str(error) or type(error).__name__)
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return RemoteError(
                f"no connection ({said})",
                where=url,
                hint="start the server, or correct its address",
            )
        if isinstance(error, httpx2.TimeoutException):
            return RemoteError("the server did not answer in time", where=url)
        if isinstance(error, httpx2.HTTPError):
            return RemoteError(f"the connection broke: {said}", where=url)
        return RemoteError(
            f"the server sent something else than an answer ({said})",
            where=url,
            hint="check that the address is an OpenAI-compatible server's, with its /v1",
        )

    def _scrubbed(self, text: str) -> str:
        """Some servers say back the key that they were given."""
        return text.replace(self._key, "…") if self._key else text

    def close(self) -> None:
        self._client.close()

    def __repr__(self) -> str:
        return f"Http({self.url!r})"


def explained(refused: RefusedError, url: str, models: list[str]) -> ChatwrightError:
    """The error that tells a person what a refusal means. `models` are those the server has."""
    kind: type[ChatwrightError] = RemoteError
    what, hint = f"the server answered {refused.status}", None
    if refused.too_long or refused.status == 413:
        kind, what = ContextError, "it is too long for the server"
        hint = "shorten the prompt or leave out earlier messages"
    elif refused.no_model:
        kind, what = UsageError, "the server does not know the model"
        hint = f"it has: {', '.join(models[:20])}" if models else None
    elif refused.status in (401, 403):
        what = "the server does not accept the key"
        hint = "set CHATWRIGHT_API_KEY (or CHATWRIGHT_API_KEY_FILE) to its key"
    elif refused.status in (400, 422):
        kind, what = UsageError, "the server refused the request"
    elif refused.status in (404, 405):
        what, hint = "the server has nothing there", "check the address: most end in /v1"
    elif refused.retry_after:
        hint = f"it asks to come back in {refused.retry_after:.0f} seconds"
    return kind(f"{what}: {refused.message}", where=url, hint=hint)


def _objects(response: httpx2.Response) -> Iterator[dict[str, Any]]:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":  # all at once
        value = json.loads(_read(response, _LARGEST_BODY, None))
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        yield value
        return
    response.encoding = "utf-8"  # the event stream's only encoding, whatever the header says
    for event in httpx2.EventSource(response, _LARGEST_EVENT):
        if event.data.strip() == "[DONE]":
            return
        if not event.data.strip():
            continue
        value = json.loads(event.data)
        if not isinstance(value, dict):
            raise ValueError("an event is no JSON object")
        yield value


def _read(response: httpx2.Response, most: int, end: float | None, *, cut: bool = False) -> bytes:
    """The body, up to `most` bytes and by the time `end`; with `cut`, what there is by then."""
    parts = bytearray()
    for part in response.iter_bytes():
        parts += part
        late = end is not None and time.monotonic() > end
        if len(parts) > most or late:
            if cut:
                break
            raise httpx2.ReadTimeout("too slow") if late else ValueError("the body is too large")
    return bytes(parts[:most])


def _seconds(retry_after: str) -> float | None:
    """What the header says, a number of seconds or a date; None where it says neither."""
    if re.fullmatch(r"\d{1,9}", retry_after):
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url).partition("?")[0]
