"""What the service counts, for Prometheus; and a log line for each request.

A request is known by its route, never by its address: ids, titles and search words stay out.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from chatwright.serve.service import Service

log = logging.getLogger("chatwright.requests")

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one process. Where `PROMETHEUS_MULTIPROC_DIR` is set (several workers), each
    worker writes there and any of them tells the sums.
    """

    def __init__(self, service: Service | None = None) -> None:
        self.registry = CollectorRegistry()
        self._service = service
        self._several = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        common: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "chatwright_requests", "Requests answered.", ["method", "route", "status"], **common
        )
        self.seconds = Histogram(
            "chatwright_request_seconds",
            "Time until the answer was written to its end.",
            ["route"],
            buckets=_SECONDS,
            **common,
        )
        self.first_token = Histogram(
            "chatwright_first_token_seconds",
            "Time from a request to the first piece of its answer.",
            buckets=_SECONDS,
            **common,
        )
        self.tokens = Counter(
            "chatwright_tokens", "Tokens read and written.", ["model", "kind"], **common
        )
        summed: dict[str, Any] = {"multiprocess_mode": "livesum", **common}
        self.active = Gauge("chatwright_answers_active", "Answers being written.", **summed)
        self.readers = Gauge("chatwright_stream_readers", "Readers of answers.", **summed)

    def used(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count an answer's tokens."""
        self.tokens.labels(model, "prompt").inc(prompt_tokens)
        self.tokens.labels(model, "completion").inc(completion_tokens)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        if self._service is not None:
            self.active.set(self._service.slots.taken)
            self.readers.set(getattr(self._service.runs, "readers", 0))
        if not self._several:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry)


class Measured:
    """ASGI middleware: counts each request and writes a line about it to the log."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, worker: str = "alone") -> None:
        self._app = app
        self._metrics = metrics
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = uuid.uuid4().hex[:16]
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.perf_counter() - started
            route = route_of(scope)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            self._write(scope, request_id, method, route, status, seconds)

    def _write(  # noqa: PLR0917
        self, scope: Scope, request_id: str, method: str, route: str, status: int, seconds: float
    ) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        who = scope.get("state", {}).get("identity")
        line = {
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
            "person": getattr(who, "person_id", None),
            "via": getattr(who, "via", None),
            "worker": self._worker,
        }
        log.info("request", extra=line)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def route_of(scope: Scope) -> str:
    """The route's template; "none" where no route took the request (its path is the caller's)."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "none"
