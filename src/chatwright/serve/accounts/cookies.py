"""Cookies and headers that carry a credential, read so that there is one meaning only."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from chatwright.serve.errors import ApiError
from chatwright.serve.service import ServeOptions

SESSION = "chatwright"
DEVICE = "chatwright-device"
OIDC = "chatwright-oidc"

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def cookie_name(options: ServeOptions, name: str) -> str:
    """Over TLS the prefix binds a cookie to this host: no other, and no page in clear, can set it
    (draft-ietf-httpbis-rfc6265bis, section 4.1.3.2).
    """
    return f"__Host-{name}" if options.secure_cookies else name


def read_cookie(request: Request, name: str) -> str | None:
    """A cookie's value. Raises `ApiError` 400 where it comes twice: which would count is open."""
    found = None
    for header in request.headers.getlist("cookie"):
        for part in header.split(";"):
            key, separator, value = part.strip().partition("=")
            if key != name or not separator:
                continue
            if found is not None:
                raise ApiError(400, f"the cookie {name} comes twice", code="duplicate_header")
            found = value.strip().strip('"')
    return found


def refuse_doubled_headers(request: Request) -> None:
    """Raises `ApiError` 400 for two Authorization or Cookie headers."""
    for name in ("authorization", "cookie"):
        if len(request.headers.getlist(name)) > 1:
            raise ApiError(400, f"the header {name.title()} comes twice", code="duplicate_header")


def require_same_origin(request: Request, options: ServeOptions) -> None:
    """A browser sends its cookies along with requests that other pages make it send. One that
    changes something must therefore tell where it comes from; that it comes from here the guard
    has checked, for those that tell. Raises `ApiError` 403.
    """
    if request.method in _SAFE_METHODS:
        return
    origin = request.headers.get("origin")
    same = request.headers.get("sec-fetch-site") == "same-origin"
    if origin is not None:
        same = not (options.secure_cookies and origin.lower().startswith("http:"))
    if not same:
        raise ApiError(
            403,
            "a request with a cookie must come from this server's own page (Origin header); "
            "programs use a key: Authorization: Bearer …",
            code="bad_origin",
        )


def set_cookie(
    response: Response, options: ServeOptions, name: str, value: str, *, seconds: int
) -> None:
    """A cookie for this server alone, that no script can read."""
    response.set_cookie(
        cookie_name(options, name),
        value,
        max_age=seconds,
        path="/",
        secure=options.secure_cookies,
        httponly=True,
        samesite="lax",  # not "strict": the provider's redirect back must bring it along
    )


def clear_cookie(response: Response, options: ServeOptions, name: str) -> None:
    """Have the browser forget it."""
    response.delete_cookie(
        cookie_name(options, name),
        path="/",
        secure=options.secure_cookies,
        httponly=True,
        samesite="lax",
    )


def base_address(request: Request, options: ServeOptions) -> str:
    """Where the page is, as the person who asks reaches it. The guard has checked the host."""
    if options.public_url:
        return options.public_url.rstrip("/")
    return f"{'https' if options.secure_cookies else 'http'}://{request.headers['host']}"
