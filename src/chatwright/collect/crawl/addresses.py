"""Addresses: one spelling for each, which of them a crawl may ask for, and which are traps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

MAX_LENGTH = 2_000  # characters; longer ones are made by machines that go round in circles
_MAX_SEGMENTS = 20
_MAX_REPEATS = 3  # of one path segment
_MAX_PARAMETERS = 20
_PORTS = {"http": 80, "https": 443}
# Parameters that tell where a visitor came from or which session it is, not which page it is.
_TRACKING = re.compile(r"utm_\w+|gclid|fbclid|msclkid|phpsessid|jsessionid|sessionid|sid", re.I)
_SESSION = re.compile(r";jsessionid=[^/?#]*", re.I)
_KEPT = "/:@!$&'()*+,;=-._~%"


def normalise(address: str, base: str | None = None) -> str | None:
    """An absolute http(s) address in one spelling, or None for anything else.

    RFC 3986 section 6.2: lower-case host, no default port, dot segments resolved, escapes as they
    have to be; and without fragment, user name, and parameters of sessions and campaigns.
    """
    try:
        absolute = urljoin(base, address.strip()) if base else address.strip()
        parts = urlsplit("".join(c for c in absolute if c >= " "))
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        if scheme not in _PORTS or not host:
            return None
        host = _ascii_host(host)
    except ValueError:
        return None
    if ":" in host:
        host = f"[{host}]"
    place = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
    path = _SESSION.sub("", parts.path) or "/"
    path = quote(_undot(path), safe=_KEPT)
    query = _query(parts.query)
    return urlunsplit(
        (scheme, place, re.sub(r"%[0-9a-f]{2}", _escape, path, flags=re.I), query, "")
    )


def _ascii_host(host: str) -> str:
    host = host.rstrip(".").lower()
    if not host or re.search(r"[\s/\\<>^`{|}%]", host):
        raise ValueError("not a host name")
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _undot(path: str) -> str:
    """Without `.` and `..` segments; `urljoin` leaves those of an absolute address."""
    out: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(out) > 1:
                out.pop()
        elif segment != ".":
            out.append(segment)
    if segments[-1] in (".", ".."):
        out.append("")
    joined = "/".join(out)
    return joined if joined.startswith("/") else f"/{joined}"


def _escape(match: re.Match[str]) -> str:
    """`%7E` is `~`, `%2f` is `%2F`: one spelling for each character."""
    character = unquote(match[0], errors="replace")
    unreserved = character.isascii() and (character.isalnum() or character in "-._~")
    return character if unreserved else match[0].upper()


def _query(query: str) -> str:
    if not query:
        return ""
    # Taken apart as it is written: an escape may be of another encoding than UTF-8.
    kept = [p for p in query.split("&") if not _TRACKING.fullmatch(p.partition("=")[0])]
    return quote("&".join(kept), safe=_KEPT + "?")


def origin(address: str) -> str:
    """`https://host:port` of a normalised address: what robots.txt and manners belong to."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def target(address: str) -> str:
    """Path and query, as they stand in a request."""
    parts = urlsplit(address)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


def trap(address: str) -> str | None:
    """Why an address looks like one of endlessly many, or None.

    Relative links that are wrong by one level give `/a/b/a/b/a/b/…`; a shop's filters combine
    parameters without end. Calendars are bounded by depth: each of their pages is one link further.
    """
    if len(address) > MAX_LENGTH:
        return f"{len(address)} characters long"
    parts = urlsplit(address)
    segments = [s for s in parts.path.split("/") if s]
    if len(segments) > _MAX_SEGMENTS:
        return f"{len(segments)} folders deep"
    name, repeats = (Counter(segments).most_common(1) or [("", 0)])[0]
    if repeats > _MAX_REPEATS:
        return f"{name[:40]!r} stands {repeats} times in its path"
    if parts.query.count("&") >= _MAX_PARAMETERS:
        return f"{parts.query.count('&') + 1} parameters"
    return None


@dataclass(frozen=True, slots=True)
class Scope:
    """The hosts that a crawl may ask: `host:port` exactly, and suffixes after `*.`."""

    exact: frozenset[str]
    below: tuple[str, ...]

    @classmethod
    def of(cls, seeds: Sequence[str], allow: Sequence[str]) -> Scope:
        """The seeds' own hosts, each with and without `www.`, and those named in `allow`."""
        exact: set[str] = set()
        below: list[str] = []
        for seed in seeds:
            bare = place(normalise(seed) or "").removeprefix("www.")
            exact |= {bare, f"www.{bare}"}
        for host in allow:
            found = place(normalise(f"http://{host.removeprefix('*.')}/") or "")
            if host.startswith("*."):
                below.append(f".{found}")
            exact.add(found)
        return cls(frozenset(exact), tuple(below))

    def __contains__(self, address: str) -> bool:
        found = place(address)
        return found in self.exact or (bool(self.below) and found.endswith(self.below))


def place(address: str) -> str:
    """`host` for the usual ports (http and https are one site), else `host:port`."""
    parts = urlsplit(address)
    usual = parts.port in (None, 80, 443)
    return (parts.hostname or "") if usual else f"{parts.hostname}:{parts.port}"
