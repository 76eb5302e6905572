"""An earlier crawl, asked whether a page has changed since."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright.collect.crawl.addresses import normalise
from chatwright.collect.crawl.archive import payload_digest, stamp
from chatwright.errors import DataError

_MAX_HEADER = 1_000  # characters of an ETag that are sent back
_NEEDED = 100_000_000  # bytes of a record that are read for its links


@dataclass(frozen=True, slots=True)
class Capture:
    """One page of the earlier crawl: what to ask with, and where its record lies."""

    url: str
    etag: str | None
    modified: str | None
    digest: str
    date: str
    file: str
    place: int

    @property
    def conditions(self) -> list[tuple[bytes, bytes]]:
        """`If-None-Match` and `If-Modified-Since` (RFC 9110, 13.1)."""
        found = []
        if self.etag:
            found.append((b"If-None-Match", self.etag.encode("latin-1", "ignore")))
        if self.modified:
            found.append((b"If-Modified-Since", self.modified.encode("latin-1", "ignore")))
        return found


class Earlier:
    """The newest 200 capture of each address in some `.warc.gz` files, in a temporary table."""

    def __init__(self, files: Iterable[str]) -> None:
        self._db = sqlite3.connect("")  # on disk, where it grows, and gone when closed
        self._db.execute(
            "CREATE TABLE captures (url TEXT PRIMARY KEY, etag TEXT, modified TEXT, "
            "digest TEXT NOT NULL, date TEXT NOT NULL, file TEXT NOT NULL, place INTEGER NOT NULL)"
        )
        for file in files:
            self._index(Path(file))

    def _index(self, path: Path) -> None:
        from fastwarc.warc import ArchiveIterator, WarcRecordType

        try:
            with path.open("rb") as file:
                kinds = WarcRecordType.response
                for record in ArchiveIterator(file, record_types=kinds, fsspec_args=False):
                    self._add(record, path)
        except OSError as error:
            raise DataError(
                f"the earlier crawl cannot be read: {error}", where=str(path)
            ) from error

    def _add(self, record: Any, path: Path) -> None:
        http = record.http_headers if record.is_http_parsed else None
        url = normalise((record.headers.get("WARC-Target-URI") or "").strip("<>"))
        if http is None or http.status_code != 200 or url is None or record.record_date is None:
            return
        digest = record.headers.get("WARC-Payload-Digest")
        if digest is None:
            digest = payload_digest(record.reader.read(_NEEDED))
        self._db.execute(
            "INSERT OR REPLACE INTO captures VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                url,
                (http.get("ETag") or "")[:_MAX_HEADER] or None,
                (http.get("Last-Modified") or "")[:_MAX_HEADER] or None,
                digest,
                stamp(record.record_date),
                str(path),
                record.stream_pos,
            ),
        )

    def of(self, url: str) -> Capture | None:
        row = self._db.execute("SELECT * FROM captures WHERE url = ?", (url,)).fetchone()
        return None if row is None else Capture(*row)

    def page(self, capture: Capture) -> tuple[bytes, str | None]:
        """(body, charset) of a capture, for its links: an unchanged page is not sent again."""
        from fastwarc.warc import ArchiveIterator

        try:
            with Path(capture.file).open("rb") as file:
                file.seek(capture.place)
                for record in ArchiveIterator(file, auto_decode="all", fsspec_args=False):
                    return record.reader.read(_NEEDED), record.http_charset
        except OSError:
            pass
        return b"", None

    def close(self) -> None:
        self._db.close()
