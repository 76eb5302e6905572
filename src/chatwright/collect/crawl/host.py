"""One host's worker: its manners, its files, its requests one after the other."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from chatwright.collect.crawl.addresses import Scope, normalise
from chatwright.collect.crawl.fetch import Answer, Failed, Fetcher
from chatwright.collect.crawl.policy import (
    AI_TXT,
    ROBOTS,
    TDMREP,
    HostFiles,
    read_file,
    read_robots,
)

_ROBOTS_REDIRECTS = 5  # RFC 9309, 2.3.1.2
_TRIES = 3
BACKOFF = 1.0  # seconds, doubled each time, where a host does not say how long
_TEXT = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown")


@dataclass(frozen=True, slots=True)
class Met:
    """What a first visit to an origin gave: its files, and every answer on the way."""

    origin: str
    files: HostFiles
    answers: tuple[Answer, ...]


class Host:
    """Fetches for one host. Used by one thread at a time; `stopping` cuts every wait short."""

    def __init__(self, fetcher: Fetcher, *, delay: float, stopping: threading.Event) -> None:
        self._fetcher = fetcher
        self._stopping = stopping
        self.delay = delay  # seconds between the end of a request and the next
        self.ready_at = 0.0  # time.monotonic() of the next request
        self.penalties = 0  # answers in a row that asked for patience

    def meet(self, origin: str, scope: Scope) -> Met:
        """Fetch robots.txt, tdmrep.json and ai.txt. Trouble with robots.txt is tried thrice."""
        answers: list[Answer] = []
        for attempt in range(_TRIES):
            answer = self._robots(origin, scope, answers)
            files = read_robots(answer)
            hopeless = isinstance(answer, Failed) and not answer.again
            refused = isinstance(answer, Answer) and answer.status in (401, 403)
            if files.stance != "refuse" or hopeless or refused or self._stopping.is_set():
                break
            self._stopping.wait(self.delay * 2**attempt)
        if files.stance != "refuse":
            tdmrep = self._file(origin + TDMREP, answers)
            files = replace(files, tdmrep=tdmrep, ai=self._file(origin + AI_TXT, answers))
        return Met(origin, files, tuple(answers))

    def _robots(self, origin: str, scope: Scope, answers: list[Answer]) -> Answer | Failed:
        url = origin + ROBOTS
        for _ in range(_ROBOTS_REDIRECTS + 1):
            answer = self._polite(url)
            if isinstance(answer, Failed):
                return answer
            answers.append(answer)
            onward = normalise(answer.header("Location"), url) if answer.header("Location") else ""
            if not 300 <= answer.status < 400 or not onward or onward not in scope:
                return answer
            url = onward
        return answer

    def _file(self, url: str, answers: list[Answer]) -> str:
        answer = self._polite(url)
        if isinstance(answer, Answer) and 200 <= answer.status < 300:
            answers.append(answer)
        return read_file(answer)

    def _polite(self, url: str) -> Answer | Failed:
        self._stopping.wait(max(0.0, self.ready_at - time.monotonic()))
        if self._stopping.is_set():
            return Failed(url, "stopped", "the crawl was stopped", again=True)
        answer = self._fetcher.get(url)
        self.rest()
        return answer

    def fetch(
        self, url: str, conditions: list[tuple[bytes, bytes]], *, any_type: bool
    ) -> Answer | Failed:
        """One page or sitemap; what is no text is not downloaded (`any_type`: it is)."""
        answer = self._fetcher.get(url, conditions, accept=None if any_type else is_text)
        self.rest()
        return answer

    def rest(self) -> None:
        self.ready_at = time.monotonic() + self.delay

    def patience(self, asked: float | None, longest: float) -> None:
        """Wait longer before the next request: as asked (`Retry-After`), else doubling."""
        self.penalties += 1
        seconds = max(BACKOFF, self.delay) * 2**self.penalties if asked is None else asked
        self.ready_at = time.monotonic() + min(seconds, longest)

    def abort(self) -> None:
        self._fetcher.abort()

    def close(self) -> None:
        self._fetcher.close()


def is_text(media: str) -> bool:
    """Whether a page of this type may become a row ('' is sniffed later)."""
    return not media or media in _TEXT
