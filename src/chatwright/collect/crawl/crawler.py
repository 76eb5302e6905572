"""The crawl itself: one thread decides and writes, one worker a host fetches."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from chatwright.collect.crawl.addresses import normalise, place
from chatwright.collect.crawl.archive import WarcFile, whole_size
from chatwright.collect.crawl.earlier import Earlier
from chatwright.collect.crawl.fetch import Answer, Failed, Fetcher
from chatwright.collect.crawl.frontier import Frontier, Waiting
from chatwright.collect.crawl.host import Host, Met
from chatwright.collect.crawl.network import Resolve, resolve
from chatwright.collect.crawl.outcome import Keeper
from chatwright.collect.crawl.policy import HostFiles, Policy
from chatwright.collect.crawl.settings import CrawlSettings
from chatwright.errors import DataError, UsageError
from chatwright.progress import Progress, Silent, Task
from chatwright.records import disk_errors

MAX_TRIES = 3
_TICK = 0.5  # seconds: how often the bounds are looked at while all workers wait
_PATIENCE = 600.0  # seconds: the longest Retry-After that is waited for


@dataclass(frozen=True, slots=True)
class CrawlResult:
    """What there is after a crawl; `stopped` is `done` or the bound that ended it."""

    warc: Path
    ledger: Path
    pages: int
    bytes: int
    waiting: int
    stopped: str
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)


def crawl(
    settings: CrawlSettings,
    out: Path,
    *,
    progress: Progress | None = None,
    resolve: Resolve = resolve,
) -> CrawlResult:
    """Crawl into the WARC file `out`; called again after whatever ended it, it goes on.

    Beside `out` lies a folder `NAME.crawl` with the state and `ledger.jsonl`, a line for each
    address that was asked for or refused. Ctrl-C ends it cleanly; after SIGKILL the WARC's rest of
    a record is taken off. Raises `UsageError` or `DataError`.
    """
    if not out.name.endswith(".warc.gz"):
        raise UsageError("the file of a crawl ends in .warc.gz", where=str(out))
    folder = out.with_name(out.name.removesuffix(".warc.gz") + ".crawl")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise DataError("another process is crawling into this file", where=str(out)) from error
        try:
            with _Crawl(settings, out, folder, resolve) as running:
                return running.run(progress or Silent())
        finally:
            lock.release()


class _Crawl:
    def __init__(self, settings: CrawlSettings, out: Path, folder: Path, how: Resolve) -> None:
        self._settings = settings
        self._scope = settings.scope
        self._resolve = how
        self._out = out
        self._ledger = folder / "ledger.jsonl"
        self._stopping = threading.Event()
        self._hosts: dict[str, Host] = {}
        self._policies: dict[str, Policy] = {}
        self._running: dict[Future[Any], tuple[str, Waiting | None]] = {}
        self._earlier = Earlier(settings.revisit)
        self._frontier = Frontier(folder / "state.db")
        self._begin()
        self._warc = WarcFile(out)
        self._keeper = Keeper(settings, self._frontier, self._warc, self._earlier)

    def __enter__(self) -> _Crawl:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for host in self._hosts.values():
            host.close()
        self._frontier.rollback()
        self._frontier.close()
        self._earlier.close()
        self._warc.close()

    def _begin(self) -> None:
        """Take up the state of an earlier run, and bring the WARC file to where it says."""
        seeds = [normalise(seed) or "" for seed in self._settings.seeds]
        known = self._frontier.fact("seeds")
        if known is None and self._out.exists() and self._out.stat().st_size:
            raise UsageError(
                "this file is there already, and no crawl that could be gone on with",
                where=str(self._out),
                hint="give another --out",
            )
        if known is not None and json.loads(known) != seeds:
            raise UsageError(
                "this file belongs to a crawl that began elsewhere",
                where=str(self._out),
                hint=f"its seeds are {', '.join(json.loads(known))[:300]}; give another --out",
            )
        size = self._mend()
        self._frontier.forget_after(size)
        self._frontier.forgive()
        self._frontier.remember("size", str(size))
        self._frontier.remember("seeds", json.dumps(seeds))
        for seed in seeds:
            self._frontier.add(seed, "page", depth=0, via=None)
        self._frontier.commit()

    def _mend(self) -> int:
        """Bring the WARC to a state that the frontier knows; returns its size.

        What is more than it knows was written by a run that was killed before it could say so, and
        is fetched again. Where the disk lost some, the last whole capture is where it goes on.
        """
        recorded = int(self._frontier.fact("size") or 0)
        if not self._out.exists():
            return 0
        size = self._out.stat().st_size
        keep = recorded
        if size < recorded:
            keep = self._frontier.whole_until(whole_size(self._out))
        if keep < size:
            os.truncate(self._out, keep)
        return keep

    def run(self, progress: Progress) -> CrawlResult:
        settings = self._settings
        until = time.monotonic() + settings.seconds
        if self._warc.size == 0:
            self._keeper.begin()
        workers = ThreadPoolExecutor(settings.hosts_at_once, "crawl")
        try:
            with progress.task("crawl", total=settings.max_pages) as task:
                task.advance(self._frontier.pages)
                stopped = self._loop(workers, until, task)
        finally:
            # Ctrl-C comes through here: nobody may go on waiting for a slow server.
            self._stopping.set()
            for host in self._hosts.values():
                host.abort()
            workers.shutdown(wait=True, cancel_futures=True)
            self._write_ledger()
        frontier = self._frontier
        return CrawlResult(
            self._out, self._ledger, frontier.pages, frontier.bytes, frontier.waiting(), stopped,
            frontier.rules(),
        )  # fmt: skip

    def _loop(self, workers: ThreadPoolExecutor, until: float, task: Task) -> str:
        while True:
            bound = self._bound(until)
            if bound is None:
                self._give_out(workers)
            if not self._running:
                if bound is not None:
                    return bound
                if not self._frontier.waiting():
                    return "done"
            finished, _ = wait(self._running, self._pause(), FIRST_COMPLETED)
            if not self._running:
                self._stopping.wait(self._pause())
            # The order in which they were given out, so that a set's order decides nothing.
            for future in [f for f in self._running if f in finished]:
                lane, waiting = self._running.pop(future)
                before = self._frontier.pages
                self._take(lane, waiting, future.result())
                self._keeper.commit()
                task.advance(self._frontier.pages - before)
                task.status(waiting.url if waiting else lane)

    def _pause(self) -> float:
        """Until the next host is ready, within a tick."""
        busy = {lane for lane, _ in self._running.values()}
        now = time.monotonic()
        waits = [h.ready_at - now for lane, h in self._hosts.items() if lane not in busy]
        return max(0.001, min([_TICK, *(w for w in waits if w > 0)]))

    def _bound(self, until: float) -> str | None:
        """Which bound is reached, counting what is being fetched as if it were pages."""
        asked = sum(1 for _, waiting in self._running.values() if waiting)
        if self._frontier.pages + asked >= self._settings.max_pages:
            return "max_pages"
        if self._frontier.bytes >= self._settings.max_bytes:
            return "max_bytes"
        return "seconds" if time.monotonic() >= until else None

    def _give_out(self, workers: ThreadPoolExecutor) -> None:
        """Give each idle host that may be asked again its next address."""
        busy = {lane for lane, _ in self._running.values()}
        for lane in self._frontier.lanes():
            if len(self._running) >= self._settings.hosts_at_once:
                return
            if self._bound(float("inf")) is not None:
                return
            host = self._host(lane)
            if lane in busy or host.ready_at > time.monotonic():
                continue
            waiting = self._next(lane)
            if waiting is None:
                continue
            if waiting.origin not in self._policies:
                met: Future[Any] = workers.submit(host.meet, waiting.origin, self._scope)
                self._running[met] = (lane, None)
                continue
            capture = self._earlier.of(waiting.url) if waiting.kind == "page" else None
            conditions = capture.conditions if capture else []
            whole = waiting.kind == "sitemap"
            asked: Future[Any] = workers.submit(host.fetch, waiting.url, conditions, any_type=whole)
            self._running[asked] = (lane, waiting)

    def _next(self, lane: str) -> Waiting | None:
        """The next address that the host's files allow; refused ones get their lines."""
        while (waiting := self._frontier.next(lane)) is not None:
            policy = self._policy(waiting.origin)
            refusal = policy.refuses(waiting.url) if policy else None
            if refusal is None:
                break
            self._keeper.refuse(waiting, *refusal)
            self._keeper.commit()
        return waiting

    def _policy(self, name: str) -> Policy | None:
        if name not in self._policies:
            files = self._frontier.host(name)
            if files is None:
                return None
            self._know(name, files)
        return self._policies[name]

    def _know(self, name: str, files: HostFiles) -> None:
        policy = self._policies[name] = Policy(files)
        asked = policy.delay or 0.0
        for lane, host in self._hosts.items():
            if lane == place(name):
                host.delay = max(host.delay, asked)
        if asked > self._settings.max_delay:
            bound = f"max {self._settings.max_delay:g}"
            reason = f"robots.txt asks for {asked:g} seconds between two requests ({bound})"
            self._policies[name] = Policy(HostFiles("refuse", reason=reason))

    def _host(self, lane: str) -> Host:
        if lane not in self._hosts:
            settings = self._settings
            fetcher = Fetcher(
                settings.agent,
                page_bytes=settings.page_bytes,
                page_seconds=settings.page_seconds,
                allow_private=settings.allow_private,
                resolve=self._resolve,
            )
            self._hosts[lane] = Host(fetcher, delay=settings.delay, stopping=self._stopping)
        return self._hosts[lane]

    def _take(self, lane: str, waiting: Waiting | None, result: Met | Answer | Failed) -> None:
        if isinstance(result, Met):
            self._frontier.set_host(result.origin, result.files)
            self._know(result.origin, result.files)
            self._keeper.met(result, self._policies[result.origin])
            return
        assert waiting is not None
        host = self._hosts[lane]
        if self._try_again(waiting, result):
            host.patience(_retry_after(result), _PATIENCE)
            self._frontier.tried(waiting.url)
            return
        host.penalties = 0
        if isinstance(result, Failed):
            self._keeper.failed(waiting, result)
        else:
            self._keeper.answered(waiting, result)

    def _try_again(self, waiting: Waiting, result: Answer | Failed) -> bool:
        if waiting.tries + 1 >= MAX_TRIES:
            return False
        if isinstance(result, Failed):
            return result.again
        return result.status in (429, 503)

    def _write_ledger(self) -> None:
        partial = self._ledger.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            for line in self._frontier.lines():
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        partial.replace(self._ledger)


def _retry_after(result: Answer | Failed) -> float | None:
    """Seconds that an answer asks to wait; a date, which few send, counts as not said."""
    said = result.header("Retry-After") if isinstance(result, Answer) else ""
    return float(said) if said.isdigit() and len(said) < 8 else None


def describe(result: CrawlResult) -> Mapping[str, Any]:
    """The result as JSON."""
    return {
        "warc": str(result.warc),
        "ledger": str(result.ledger),
        "pages": result.pages,
        "bytes": result.bytes,
        "waiting": result.waiting,
        "stopped": result.stopped,
        "rules": [
            {"action": action, "rule": rule, "count": count}
            for (action, rule), count in sorted(result.rules.items())
        ],
    }
