"""The state of a crawl in one SQLite file: what is to be fetched, what was, and the ledger."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from chatwright.collect.crawl.addresses import origin, place
from chatwright.collect.crawl.policy import HostFiles
from chatwright.errors import DataError

Kind = Literal["page", "sitemap"]
_FORMAT = "2"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS urls (
  seq INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, lane TEXT NOT NULL, kind TEXT NOT NULL,
  depth INTEGER NOT NULL, hops INTEGER NOT NULL, via TEXT, tries INTEGER NOT NULL DEFAULT 0,
  done INTEGER NOT NULL DEFAULT 0, place INTEGER, page INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS waiting ON urls (lane, kind DESC, depth, seq) WHERE done = 0;
CREATE TABLE IF NOT EXISTS hosts (origin TEXT PRIMARY KEY, files TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lines (
  seq INTEGER PRIMARY KEY, url TEXT NOT NULL, action TEXT NOT NULL, rule TEXT NOT NULL,
  value REAL, bound TEXT, detail TEXT, place INTEGER);
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One address to fetch. `depth` counts links from a seed, `hops` redirects in a row."""

    url: str
    lane: str
    kind: Kind
    depth: int
    hops: int
    via: str | None
    tries: int

    @property
    def origin(self) -> str:
        return origin(self.url)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the crawl's ledger, in the words of `records.LedgerEntry`."""

    url: str
    action: str
    rule: str
    value: float | None = None
    bound: str | None = None
    detail: str | None = None


class Frontier:
    """Addresses in the order breadth first, each at most once. Nothing counts before `commit`.

    `pages` and `bytes` (as stored) are the totals of what was fetched so far.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        try:
            self._db = sqlite3.connect(path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            known = self.fact("format")
        except sqlite3.DatabaseError as error:
            raise self._broken(str(error)) from error
        self._lanes: dict[str, None] = {}
        self._count()
        if known is None:
            self.remember("format", _FORMAT)
            self.commit()
        elif known != _FORMAT:
            raise self._broken(f"it is of format {known}, and this program writes {_FORMAT}")

    def _broken(self, why: str) -> DataError:
        return DataError(
            f"the crawl's state cannot be used: {why}",
            where=str(self._path),
            hint="remove its folder and the WARC, or give another --out",
        )

    def _count(self) -> None:
        row = self._db.execute("SELECT TOTAL(page), TOTAL(bytes) FROM urls").fetchone()
        self.pages, self.bytes = int(row[0]), int(row[1])
        rows = self._db.execute("SELECT lane FROM urls GROUP BY lane ORDER BY MIN(seq)")
        self._lanes = {str(row[0]): None for row in rows}

    def close(self) -> None:
        self._db.close()

    def commit(self) -> None:
        self._db.commit()

    def rollback(self) -> None:
        self._db.rollback()

    def fact(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def add(self, url: str, kind: Kind, *, depth: int, hops: int = 0, via: str | None) -> bool:
        """Queue an address; False where it was seen before."""
        lane = place(url)
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO urls (url, lane, kind, depth, hops, via) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (url, lane, kind, depth, hops, via),
        )
        self._lanes[lane] = None
        return cursor.rowcount == 1

    def lanes(self) -> list[str]:
        """All hosts, in the order in which they were first met."""
        return list(self._lanes)

    def next(self, lane: str) -> Waiting | None:
        """What to fetch next from a host: sitemaps first, then by depth, then as found."""
        row = self._db.execute(
            "SELECT url, lane, kind, depth, hops, via, tries FROM urls "
            "WHERE done = 0 AND lane = ? ORDER BY kind DESC, depth, seq LIMIT 1",
            (lane,),
        ).fetchone()
        return None if row is None else Waiting(*row)

    def waiting(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM urls WHERE done = 0").fetchone()[0])

    def known(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM urls").fetchone()[0])

    def done(self, url: str, *, place: int, page: bool = False, size: int = 0) -> None:
        """An address is dealt with; its records end at byte `place` of the WARC."""
        self._db.execute(
            "UPDATE urls SET done = 1, place = ?, page = ?, bytes = ? WHERE url = ?",
            (place, int(page), size, url),
        )
        self.pages += page
        self.bytes += size

    def tried(self, url: str) -> None:
        self._db.execute("UPDATE urls SET tries = tries + 1 WHERE url = ?", (url,))

    def log(self, line: Line, place: int) -> None:
        self._db.execute(
            "INSERT INTO lines (url, action, rule, value, bound, detail, place) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (line.url, line.action, line.rule, line.value, line.bound, line.detail, place),
        )

    def host(self, name: str) -> HostFiles | None:
        row = self._db.execute("SELECT files FROM hosts WHERE origin = ?", (name,)).fetchone()
        return None if row is None else HostFiles(**json.loads(row[0]))

    def set_host(self, name: str, files: HostFiles) -> None:
        text = json.dumps(asdict(files), ensure_ascii=False)
        clean = text.encode("utf-8", "replace").decode()
        self._db.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?)", (name, clean))

    def whole_until(self, size: int) -> int:
        """The last byte, up to `size`, at which everything written so far was complete."""
        row = self._db.execute(
            "SELECT MAX(m) FROM (SELECT MAX(place) AS m FROM urls WHERE place <= :size "
            "UNION ALL SELECT MAX(place) FROM lines WHERE place <= :size)",
            {"size": size},
        ).fetchone()
        return int(row[0] or 0)

    def forget_after(self, size: int) -> None:
        """The WARC ends at `size`: what was recorded beyond it is to be fetched again."""
        self._db.execute(
            "UPDATE urls SET done = 0, page = 0, bytes = 0, place = NULL WHERE place > ?", (size,)
        )
        self._db.execute("DELETE FROM lines WHERE place > ?", (size,))
        self._count()

    def forgive(self) -> None:
        """Ask hosts again whose robots.txt could not be had: they may be back by now."""
        refused = "detail LIKE 'robots.txt: %' AND action = 'drop' AND rule = 'robots'"
        self._db.execute(
            f"UPDATE urls SET done = 0, tries = 0 WHERE url IN "
            f"(SELECT url FROM lines WHERE {refused})"
        )
        self._db.execute(f"DELETE FROM lines WHERE {refused}")
        self._db.execute('DELETE FROM hosts WHERE files LIKE \'{"stance": "refuse"%\'')

    def lines(self) -> Iterator[dict[str, Any]]:
        """The ledger, in the order in which things happened."""
        names = ("uri", "action", "rule", "value", "bound", "detail")
        rows = self._db.execute(
            "SELECT url, action, rule, value, bound, detail FROM lines ORDER BY seq"
        )
        for row in rows:
            yield dict(zip(names, row, strict=True))

    def rules(self) -> Counter[tuple[str, str]]:
        rows = self._db.execute("SELECT action, rule, COUNT(*) FROM lines GROUP BY action, rule")
        return Counter({(str(a), str(r)): int(n) for a, r, n in rows})
