"""What a crawl is told: where to begin, how far to go, how politely."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chatwright.collect.crawl.addresses import Scope, normalise
from chatwright.errors import UsageError
from chatwright.version import __version__


@dataclass(frozen=True, slots=True)
class CrawlSettings:
    """Bounds and manners of a crawl.

    `seeds` are http or https addresses; `allow_hosts` (`host`, `host:port`, `*.host`) adds to their
    own hosts. `max_depth` counts links from a seed, `max_bytes` the stored bytes of all pages,
    `page_bytes` those of one (also when unpacked), `seconds` the whole crawl, `page_seconds` one
    request from its first byte to its last. `delay` is the time between two requests to one host;
    a longer `Crawl-delay` goes before it, up to `max_delay`: a host that asks for more is left
    alone. `contact` (an address or a page) stands in the User-Agent.
    """

    seeds: tuple[str, ...]
    allow_hosts: tuple[str, ...] = ()
    max_pages: int = 1000
    max_depth: int = 10
    max_bytes: int = 2_000_000_000
    page_bytes: int = 20_000_000
    seconds: float = 6 * 3600
    page_seconds: float = 60
    delay: float = 1.0
    max_delay: float = 60
    hosts_at_once: int = 8
    max_redirects: int = 10
    sitemaps: bool = True
    allow_private: bool = False
    contact: str | None = None
    revisit: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UsageError("a crawl needs an address to begin at")
        for seed in self.seeds:
            if normalise(seed) is None:
                raise UsageError("not an http or https address", where=seed)
        for name in ("max_pages", "max_bytes", "page_bytes", "seconds", "page_seconds",
                     "hosts_at_once"):  # fmt: skip
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be more than 0", where="crawl")
        if self.delay < 0 or self.max_depth < 0:
            raise UsageError("delay and max_depth cannot be negative", where="crawl")
        if self.contact is not None and not _printable(self.contact):
            raise UsageError("the contact holds characters that no header may", where=self.contact)

    @property
    def agent(self) -> str:
        """The User-Agent header."""
        about = f" (+{self.contact})" if self.contact else ""
        return f"chatwright/{__version__}{about}"

    @property
    def scope(self) -> Scope:
        return Scope.of(self.seeds, self.allow_hosts)

    @property
    def public_seeds(self) -> list[str]:
        """Seeds that are not on this machine: whoever runs them should know whom to ask."""
        local = ("localhost", "127.0.0.1", "::1")
        return [seed for seed in self.seeds if urlsplit(seed).hostname not in local]


def _printable(text: str) -> bool:
    return all(" " <= c <= "~" and c not in "()" for c in text)
