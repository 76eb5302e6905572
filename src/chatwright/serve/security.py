"""What every request passes first: whose host it names, where it comes from, and safe headers."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatwright.serve.errors import ApiError, as_api_error, short_name

log = logging.getLogger("chatwright.serve")

# The page needs its own script, style and API, and nothing else. Trusted types are switched off
# altogether: the page builds its elements one by one and never from a string of HTML.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)

_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]


def split_host(value: str) -> tuple[str, int | None] | None:
    """`host[:port]` of a Host header as (lower-case host, port), or None where it is malformed."""
    if not value or any(c in value for c in "/\\@?# \t,"):
        return None
    try:
        parts = urlsplit(f"//{value}")
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname.rstrip("."), port) if parts.hostname else None


def host_allowed(host: str, names: Iterable[str]) -> bool:
    """Whether a request that names this host is for us.

    A page on the web can make its own name point at 127.0.0.1 (DNS rebinding), but it cannot make
    a browser send an IP literal or `localhost` in place of that name.
    """
    if host == "localhost" or host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware: refuses foreign hosts and foreign pages, and adds the safe headers.

    A browser tells where a request that changes something comes from (`Origin`,
    `Sec-Fetch-Site`); other programs do not, and pass. `names` are host names besides `localhost`
    and IP literals that the server goes by.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no websockets here

        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                told = message.setdefault("headers", [])
                names = {name.lower() for name, _ in told}
                message["headers"] = [*told, *(h for h in _HEADERS if h[0] not in names)]
                if b"cache-control" not in names:
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal.response()(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            log.error("a request failed: %s", short_name(error), exc_info=error)
            if started:
                raise
            await as_api_error(error).response()(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        hosts = headers.get(b"host", [])
        host = split_host(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            return ApiError(400, "the request must name one host (Host header)", code="bad_host")
        if not host_allowed(host[0], self._names):
            return ApiError(
                421, f"this server does not go by the name {host[0]!r}", code="bad_host"
            )
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        site = headers.get(b"sec-fetch-site", ["none"])[0]
        origins = headers.get(b"origin", [])
        same = all(urlsplit(origin).netloc.lower() == hosts[0].lower() for origin in origins)
        if not same or site not in ("same-origin", "none"):
            return ApiError(403, "requests from other web pages are refused", code="bad_origin")
        return None
