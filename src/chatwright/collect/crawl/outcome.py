"""What becomes of an answer: records in the WARC, links in the frontier, a line in the ledger."""

from __future__ import annotations

import datetime as dt

from chatwright.collect.crawl.addresses import normalise, trap
from chatwright.collect.crawl.archive import WarcFile, payload_digest
from chatwright.collect.crawl.earlier import Capture, Earlier
from chatwright.collect.crawl.fetch import Answer, Failed, unpacked
from chatwright.collect.crawl.frontier import Frontier, Line, Waiting
from chatwright.collect.crawl.host import Met, is_text
from chatwright.collect.crawl.links import links_of
from chatwright.collect.crawl.policy import Policy
from chatwright.collect.crawl.settings import CrawlSettings
from chatwright.collect.crawl.sitemap import read_sitemap
from chatwright.collect.signals import Signals, page_signals

VERDICT = "chatwright-verdict"  # in a metadata record: why there is no capture beside it
SIGNALS = "chatwright-signals"
_MAX_SITEMAPS = 500
_QUEUE = 100  # addresses known, at most, for each page that may be fetched
_LEAST_QUEUE = 10_000
# Endings of what is no text: such links cost a host bandwidth and give no row.
_NO_TEXT = (
    *(".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg", ".ico", ".bmp", ".tif", ".tiff", ".avif"),
    *(".mp3", ".mp4", ".avi", ".mov", ".mkv", ".webm", ".wav", ".ogg", ".flac", ".m4a"),
    *(".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".whl", ".jar"),
    *(".exe", ".dmg", ".msi", ".deb", ".rpm", ".iso", ".bin", ".apk", ".pdf", ".doc", ".docx"),
    *(".xls", ".xlsx", ".ppt", ".pptx", ".css", ".js", ".woff", ".woff2", ".ttf", ".eot", ".map"),
)


class Keeper:
    """Writes down what was found. Its caller commits after each answer."""

    def __init__(
        self, settings: CrawlSettings, frontier: Frontier, warc: WarcFile, earlier: Earlier
    ) -> None:
        self._settings = settings
        self._scope = settings.scope
        self._frontier = frontier
        self._warc = warc
        self._earlier = earlier
        self._room = max(_LEAST_QUEUE, _QUEUE * settings.max_pages) - frontier.known()
        self._sitemaps = int(frontier.fact("sitemaps") or 0)

    def begin(self) -> None:
        fields = {
            "software": self._settings.agent.partition(" ")[0].replace("/", " "),
            "format": "WARC File Format 1.1",
            "robots": "obey",
            "http-header-user-agent": self._settings.agent,
        }
        if self._settings.contact:
            fields["operator"] = self._settings.contact
        self._warc.info(fields, _now())
        self.commit()

    def commit(self) -> None:
        """From here on a kill loses nothing of what was written so far."""
        self._frontier.remember("size", str(self._warc.size))
        self._frontier.remember("sitemaps", str(self._sitemaps))
        self._frontier.commit()

    def met(self, met: Met, policy: Policy) -> None:
        """Keep a host's files, and queue the sitemaps that it names."""
        for answer in met.answers:
            self._warc.capture(answer, {"chatwright-kind": "host-file"})
        if met.files.reason:
            self._log(Line(met.origin + "/robots.txt", "edit", "robots", detail=met.files.reason))
        if self._settings.sitemaps and met.files.stance != "refuse":
            named = policy.sitemaps or [met.origin + "/sitemap.xml"]
            for address in named:
                self._queue_sitemap(normalise(address, met.origin + "/"), met.origin, 0)

    def refuse(self, waiting: Waiting, rule: str, detail: str) -> None:
        """An address that the host's files close to us: it is not asked for."""
        if rule == "opt-out":
            self._warc.note(waiting.url, _why(waiting, rule, detail), _now())
        self._drop(waiting, Line(waiting.url, "drop", rule, detail=detail))

    def failed(self, waiting: Waiting, failed: Failed) -> None:
        fields = _why(waiting, failed.rule, failed.detail)
        self._warc.note(waiting.url, fields, _now())
        line = Line(waiting.url, "drop", failed.rule, failed.value, failed.bound, failed.detail)
        self._drop(waiting, line)

    def answered(self, waiting: Waiting, answer: Answer) -> None:
        if answer.status == 304 and (capture := self._earlier.of(waiting.url)) is not None:
            self._unchanged(waiting, answer, capture)
        elif 300 <= answer.status < 400 and answer.header("Location"):
            self._redirect(waiting, answer)
        elif not 200 <= answer.status < 300:
            self._store(answer, waiting)
            line = Line(waiting.url, "drop", "http-status", answer.status, "200 to 299")
            self._drop(waiting, line, len(answer.body))
        elif waiting.kind == "sitemap":
            self._sitemap(waiting, answer)
        else:
            self._page(waiting, answer)

    def _store(self, answer: Answer, waiting: Waiting, **more: str) -> None:
        self._warc.capture(answer, _fields(waiting, **more))

    def _redirect(self, waiting: Waiting, answer: Answer) -> None:
        self._store(answer, waiting)
        target = normalise(answer.header("Location"), waiting.url)
        line = Line(waiting.url, "drop", "redirect", answer.status, detail=f"to {target}")
        self._drop(waiting, line, len(answer.body))
        if target is None:
            detail = f"no http address: {answer.header('Location')[:200]}"
            self._log(Line(waiting.url, "edit", "redirect", detail=detail))
        elif waiting.hops + 1 > self._settings.max_redirects:
            bound = f"max {self._settings.max_redirects}"
            detail = f"from {waiting.via}"
            self._log(Line(target, "drop", "redirects", waiting.hops + 1, bound, detail))
        elif waiting.kind == "sitemap":
            self._queue_sitemap(target, waiting.url, waiting.hops + 1)
        else:
            self._queue(target, waiting, depth=waiting.depth, hops=waiting.hops + 1, loud=True)

    def _unchanged(self, waiting: Waiting, answer: Answer, capture: Capture) -> None:
        """304: the page is as it was, and so are its links."""
        self._warc.revisit(
            answer, _fields(waiting), profile="server-not-modified", digest=capture.digest,
            date=capture.date,
        )  # fmt: skip
        detail = f"not modified since {capture.date}"
        self._done(waiting.url, page=True)
        self._log(Line(waiting.url, "keep", "revisit", detail=detail))
        body, charset = self._earlier.page(capture)
        self._follow(waiting, body, charset, Signals())

    def _page(self, waiting: Waiting, answer: Answer) -> None:
        body = unpacked(answer, self._settings.page_bytes) or b""
        html = answer.media_type not in ("text/plain", "text/markdown")
        signals = page_signals(
            answer.pairs, body, html=html, charset=answer.charset, uri=waiting.url
        )
        if not is_text(answer.media_type):
            self.failed(waiting, Failed(waiting.url, "not-text", answer.media_type))
            return
        if signals.closed is not None:
            self._closed(waiting, signals)
        else:
            self._keep(waiting, answer, signals)
        if html:
            self._follow(waiting, body, answer.charset, signals)

    def _closed(self, waiting: Waiting, signals: Signals) -> None:
        """Read to learn that it may not be used: its content is not kept, only that it was so."""
        assert signals.closed is not None
        rule, detail = signals.closed
        self._warc.note(waiting.url, _why(waiting, rule, detail), _now())
        self._drop(waiting, Line(waiting.url, "drop", rule, detail=detail))

    def _keep(self, waiting: Waiting, answer: Answer, signals: Signals) -> None:
        more = {SIGNALS: ", ".join(signals.other)} if signals.other else {}
        capture = self._earlier.of(waiting.url)
        digest = payload_digest(answer.body)
        if capture is not None and capture.digest == digest:
            self._warc.revisit(
                answer, _fields(waiting, **more), profile="identical-payload-digest",
                digest=digest, date=capture.date,
            )  # fmt: skip
            line = Line(waiting.url, "keep", "revisit", detail=f"the same as at {capture.date}")
            self._done(waiting.url, page=True)
        else:
            self._store(answer, waiting, **more)
            size = len(answer.body)
            line = Line(waiting.url, "keep", "fetched", size, detail="bytes as sent")
            self._done(waiting.url, page=True, size=size)
        self._log(line)

    def _follow(self, waiting: Waiting, body: bytes, charset: str | None, signals: Signals) -> None:
        if signals.nofollow:
            detail = "the page asks for its links not to be followed"
            self._log(Line(waiting.url, "edit", "nofollow", detail=detail))
            return
        links, kept_off = links_of(body, charset, waiting.url)
        if kept_off:
            detail = "links that ask not to be followed"
            self._log(Line(waiting.url, "edit", "nofollow", kept_off, detail=detail))  # fmt: skip
        for link in links:
            self._queue(link, waiting, depth=waiting.depth + 1, hops=0)

    def _sitemap(self, waiting: Waiting, answer: Answer) -> None:
        self._store(answer, waiting)
        found = read_sitemap(answer.body)
        count = len(found.pages) + len(found.sitemaps)
        self._done(waiting.url, size=len(answer.body))
        self._log(Line(waiting.url, "drop", "sitemap", count, detail=found.fault))
        for address in found.sitemaps:
            self._queue_sitemap(normalise(address), waiting.url, 0)
        for address in found.pages:
            page = normalise(address)
            if page is not None:
                self._queue(page, waiting, depth=1, hops=0)

    def _queue_sitemap(self, address: str | None, via: str, hops: int) -> None:
        if address is None or address not in self._scope or self._sitemaps >= _MAX_SITEMAPS:
            return
        if self._frontier.add(address, "sitemap", depth=0, hops=hops, via=via):
            self._sitemaps += 1

    def _queue(
        self, url: str, waiting: Waiting, *, depth: int, hops: int, loud: bool = False
    ) -> None:
        """Put an address into the frontier, or say why not.

        A link that leads to other hosts is no news; with `loud` (a redirect) it is.
        """
        if url not in self._scope:
            if loud:
                detail = f"not one of the allowed hosts; from {waiting.url}"
                self._log(Line(url, "drop", "outside", detail=detail))
            return
        if self._room <= 0 or not self._frontier.add(
            url, "page", depth=depth, hops=hops, via=waiting.url
        ):
            return
        self._room -= 1
        line = self._unwanted(url, depth)
        if line is not None:
            self._done(url)
            self._log(line)

    def _unwanted(self, url: str, depth: int) -> Line | None:
        if (why := trap(url)) is not None:
            return Line(url, "drop", "trap", detail=why)
        if depth > self._settings.max_depth:
            return Line(url, "drop", "max-depth", depth, f"max {self._settings.max_depth}")
        if url.partition("?")[0].lower().endswith(_NO_TEXT):
            return Line(url, "drop", "not-text", detail="by its ending")
        return None

    def _drop(self, waiting: Waiting, line: Line, size: int = 0) -> None:
        self._done(waiting.url, size=size)
        self._log(line)

    def _done(self, url: str, *, page: bool = False, size: int = 0) -> None:
        self._frontier.done(url, place=self._warc.size, page=page, size=size)

    def _log(self, line: Line) -> None:
        self._frontier.log(line, self._warc.size)


def _fields(waiting: Waiting, **more: str) -> dict[str, str]:
    """Heritrix' names where it has them: how the crawl came to a page."""
    fields = {"hopsFromSeed": "L" * waiting.depth + "R" * waiting.hops}
    if waiting.via:
        fields["via"] = waiting.via
    return fields | more


def _why(waiting: Waiting, rule: str, detail: str) -> dict[str, str]:
    return _fields(waiting, **{VERDICT: rule, SIGNALS: detail})


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)
