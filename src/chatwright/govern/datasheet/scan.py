"""Counting over a dataset's rows and its chain's ledgers with DuckDB, whatever their size.

Everything is grouped while the Parquet files are read: memory is what the groups take, and DuckDB
spills beyond its limit. Only whole numbers are added up, so that the order of threads cannot show.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.govern.datasheet.facts import Clusters, Group, RuleLines, SourceRows
from chatwright.govern.datasheet.histograms import bin_sql
from chatwright.records import Dataset, LedgerEntry, Row

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY = 256 << 20
_SIZES = ((2, 2, "2"), (3, 3, "3"), (4, 5, "4-5"), (6, 10, "6-10"), (11, 100, "11-100"))
_CLUSTERED = ("duplicate-url", "duplicate-document", "near-duplicate")


@contextmanager
def database(memory: int = _MEMORY) -> Iterator[DuckDBPyConnection]:
    """DuckDB in memory, within `memory` bytes; what is more goes to a temporary folder."""
    import duckdb

    folder = Path(tempfile.mkdtemp(prefix="chatwright-sheet-"))
    con = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{memory >> 10}KiB",
            "temp_directory": str(folder),
            "threads": "2",
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
        },
    )
    try:
        con.execute("SET enable_progress_bar = false")
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()
        shutil.rmtree(folder, ignore_errors=True)


class Scan:
    """Queries over one dataset's rows (`rows`) and the ledgers of its chain (`ledger`)."""

    def __init__(
        self, con: DuckDBPyConnection, dataset: Dataset, chain: Sequence[tuple[str, Dataset]]
    ) -> None:
        self.con = con
        self.kind = dataset.info.kind
        said = {
            "document": "text",
            "conversation": "array_to_string([m.content FOR m IN messages], '\n')",
            "preference": "concat_ws('\n', chosen, rejected)",
        }[self.kind]
        turns = "len(messages)" if self.kind == "conversation" else "NULL"
        asked = "NULL" if self.kind == "document" else "consent"
        rows = rows_sql(dataset)
        # One look at the texts, which are nearly all of the bytes; the rest is counted from this.
        con.execute(
            "CREATE TEMP TABLE rows AS SELECT language, nullif(trim(license), '') AS license, "
            "nullif(lower(regexp_extract(uri, '^https?://([^/:?#@]+)(?:[/:?#]|$)', 1)), '') "
            f"AS domain, {asked} AS consent, collected_at, {turns} AS turns, "
            f"length({said}) AS characters, strlen({said}) AS bytes FROM {rows}"
        )
        con.execute(f"CREATE VIEW described AS SELECT language, meta FROM {rows}")
        parts = [
            f"SELECT {number} AS place, * FROM {sql}"
            for number, (_, place) in enumerate(chain)
            if (sql := ledger_sql(place))
        ]
        empty = ", ".join(f"NULL::{_type(f.type)} AS {f.name}" for f in LedgerEntry.schema)
        parts = parts or [f"SELECT 0 AS place, {empty} WHERE false"]
        con.execute(f"CREATE VIEW ledger AS {' UNION ALL '.join(parts)}")

    def totals(self) -> dict[str, Any]:
        """Characters, bytes and messages, and the first and last day of capture."""
        row = self.con.execute(
            "SELECT sum(characters), sum(bytes), sum(turns), "
            "strftime(min(collected_at), '%Y-%m-%d'), strftime(max(collected_at), '%Y-%m-%d') "
            "FROM rows"
        ).fetchone()
        assert row is not None
        return dict(zip(("characters", "text_bytes", "turns", "first", "last"), row, strict=True))

    def groups(self, expression: str, most: int | None = None) -> list[Group]:
        """Rows and characters by the value of an SQL expression, the largest first."""
        limit = "" if most is None else f"LIMIT {most}"
        found = self.con.execute(
            f"SELECT {expression} AS name, count(*) AS n, sum(characters) FROM rows "
            f"GROUP BY name ORDER BY n DESC, name NULLS LAST {limit}"
        ).fetchall()
        return [Group(name, n, int(characters or 0)) for name, n, characters in found]

    def domains(self, most: int) -> tuple[list[Group], int]:
        """The domains with most rows, and how many there are."""
        found = self.con.execute("SELECT count(DISTINCT domain) FROM rows").fetchone()
        assert found is not None
        return self.groups("domain", most), int(found[0])

    def measures(self, names: Sequence[tuple[str, str, str]], languages: Sequence[str]) -> Any:
        """Rows by (name, language, bin). `names`: name, JSON path in `meta`, scale.

        A language that is not among `languages` is None.
        """
        if not names:
            return []
        return self.con.execute(
            "WITH v AS (SELECT CASE WHEN list_contains($languages, language) THEN language END "
            "AS language, unnest($names) AS name, unnest($scales) AS scale, "
            "unnest(json_extract(meta, $paths)) AS value FROM described), "
            "n AS (SELECT language, name, scale, try_cast(value AS DOUBLE) AS value FROM v) "
            f"SELECT name, language, {bin_sql('scale', 'value')} AS bin, count(*) FROM n "
            "WHERE value IS NOT NULL AND isfinite(value) GROUP BY ALL ORDER BY ALL",
            {
                "names": [n for n, _, _ in names],
                "paths": [p for _, p, _ in names],
                "scales": [s for _, _, s in names],
                "languages": list(languages),
            },
        ).fetchall()

    def refused(self, names: Sequence[tuple[str, str, str]]) -> Any:
        """Dropped rows by (name, bound, bin), of the rules that drop by a measure or score."""
        if not names:
            return []
        # A learned score's rule is the kind of model; its name is in the detail.
        return self.con.execute(
            "WITH n AS (SELECT unnest($names) AS name, unnest($scales) AS scale), "
            "l AS (SELECT CASE WHEN rule IN ('quality-model', 'perplexity') THEN detail ELSE rule "
            "END AS name, bound, value FROM ledger WHERE action = 'drop' AND isfinite(value)) "
            f"SELECT name, bound, {bin_sql('scale', 'value')} AS bin, count(*) FROM l JOIN n "
            "USING (name) GROUP BY ALL ORDER BY ALL",
            {"names": [n for n, _, _ in names], "scales": [s for _, _, s in names]},
        ).fetchall()

    def score_names(self) -> list[tuple[str, float]]:
        """The scores that rows have, and the largest value of each."""
        found = self.con.execute(
            "WITH v AS (SELECT unnest(json_keys(meta, '$.scores')) AS name, "
            "json_extract(meta, '$.scores') AS scores FROM described) "
            "SELECT name, max(try_cast(json_extract(scores, '$.\"' || name || '\"') AS DOUBLE)) "
            "FROM v WHERE NOT contains(name, '\"') AND NOT contains(name, '\\') "
            "GROUP BY name ORDER BY name"
        ).fetchall()
        return [(name, most) for name, most in found if most is not None]

    def lengths(self) -> dict[int, int]:
        """Rows by the bin of their characters."""
        number = bin_sql("'count'", "characters")
        found = self.con.execute(
            f"SELECT {number} AS bin, count(*) FROM rows WHERE characters IS NOT NULL "
            "GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        return dict(found)

    def rules(self) -> dict[int, list[RuleLines]]:
        """Ledger lines by place in the chain, the most frequent rules first."""
        out: dict[int, list[RuleLines]] = {}
        for place, action, rule, lines, total in self.con.execute(
            "SELECT place, action, rule, count(*) AS n, "
            "sum(CASE WHEN isfinite(value) AND abs(value) < 1e15 THEN CAST(value AS BIGINT) END) "
            "FROM ledger GROUP BY ALL ORDER BY place, n DESC, action, rule"
        ).fetchall():
            out.setdefault(place, []).append(
                RuleLines(action, rule, lines, None if total is None else int(total))
            )
        return out

    def clusters(self) -> list[Clusters]:
        """Duplicates by the row that stayed for them."""
        cases = " ".join(f"WHEN n BETWEEN {a} AND {b} THEN '{c}'" for a, b, c in _SIZES)
        found = self.con.execute(
            "WITH c AS (SELECT rule, other_id, count(*) + 1 AS n FROM ledger WHERE action = 'drop' "
            "AND other_id IS NOT NULL AND list_contains($rules, rule) GROUP BY ALL) "
            f"SELECT rule, CASE {cases} ELSE 'more' END AS size, count(*), sum(n - 1), max(n) "
            "FROM c GROUP BY ALL",
            {"rules": list(_CLUSTERED)},
        ).fetchall()
        order = [name for _, _, name in _SIZES] + ["more"]
        out = []
        for rule in _CLUSTERED:
            mine = {size: rest for r, size, *rest in found if r == rule}
            if mine:
                out.append(
                    Clusters(
                        rule,
                        sum(int(dropped) for _, dropped, _ in mine.values()),
                        sum(int(n) for n, _, _ in mine.values()),
                        max(int(most) for _, _, most in mine.values()),
                        tuple((size, int(mine[size][0])) for size in order if size in mine),
                    )
                )
        return out

    def personal(self) -> list[tuple[str, str, str | None, int, int]]:
        """(type, action, detail, rows, findings) of the rules that look for personal data."""
        return self.con.execute(
            "SELECT replace(substr(rule, 5), '-', '_'), action, "
            "CASE WHEN action = 'edit' THEN detail END AS d, count(*) AS n, "
            "sum(CAST(coalesce(value, 0) AS BIGINT)) FROM ledger WHERE starts_with(rule, 'pii-') "
            "GROUP BY ALL ORDER BY 1, 2, 3"
        ).fetchall()

    def dropped(self, each: int) -> list[tuple[int, str, int, list[dict[str, Any]]]]:
        """(place, rule, rows, some of their lines): those with the smallest ids, so the same."""
        return self.con.execute(
            "SELECT place, rule, count(*) AS n, min_by({'row_id': row_id, 'uri': uri, "
            "'value': value, 'bound': bound, 'detail': detail}, row_id, $each) "
            "FROM ledger WHERE action = 'drop' GROUP BY ALL ORDER BY n DESC, place, rule",
            {"each": each},
        ).fetchall()


def sources(con: DuckDBPyConnection, name: str, dataset: Dataset) -> list[SourceRows]:
    """Rows and bytes by source and licence."""
    size = "strlen(text)" if dataset.info.kind == "document" else "0"
    found = con.execute(
        "SELECT coalesce(source, '') AS s, nullif(trim(license), '') AS l, count(*) AS n, "
        f"sum({size}), strftime(min(collected_at), '%Y-%m-%d'), "
        "strftime(max(collected_at), '%Y-%m-%d') "
        f"FROM {rows_sql(dataset)} GROUP BY s, l ORDER BY n DESC, s, l NULLS LAST"
    ).fetchall()
    return [
        SourceRows(name, source, license_, n, int(size or 0), first, last)
        for source, license_, n, size, first, last in found
    ]


def find_rows(dataset: Dataset, ids: Collection[str]) -> dict[str, Row]:
    """Rows by id: only ids are read until it is known where the rows lie."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = pa.array(sorted(ids), pa.string())
    places: list[int] = []
    at = 0
    for part in dataset.info.parts:
        with pq.ParquetFile(dataset.path / part["file"]) as file:
            for batch in file.iter_batches(65_536, columns=["id"]):
                hits = pc.indices_nonzero(pc.is_in(batch.column(0), value_set=wanted))
                places += [at + number for number in hits.to_pylist()]
                at += len(batch)
    found = (row for place in places for rows in dataset.slice(place, place + 1) for row in rows)
    return {row.id: row for row in found}


def rows_sql(dataset: Dataset) -> str:
    """A dataset's rows as DuckDB reads them."""
    files = [dataset.path / part["file"] for part in dataset.info.parts]
    if not files:
        columns = ", ".join(f"NULL::{_type(f.type)} AS {f.name}" for f in dataset.row_type.schema)
        return f"(SELECT {columns} WHERE false)"
    return _read(files)


def ledger_sql(dataset: Dataset) -> str | None:
    """A dataset's ledger, None where there is none."""
    files = sorted((dataset.path / "ledger").glob("part-*.parquet"))
    return _read(files) if files else None


def _read(files: Sequence[Path]) -> str:
    # A path is not a pattern, and a quote in it not the end of a string.
    paths = (re.sub(r"([*?\[])", r"[\1]", str(path.resolve())) for path in files)
    return "read_parquet([" + ", ".join("'" + p.replace("'", "''") + "'" for p in paths) + "])"


def _type(kind: Any) -> str:
    name = str(kind)
    if name.startswith("timestamp"):
        return "TIMESTAMPTZ"
    if "role" in name:
        return "STRUCT(role VARCHAR, content VARCHAR)[]"
    simple = {"string": "VARCHAR", "double": "DOUBLE", "bool": "BOOLEAN"}
    return simple.get(name, "VARCHAR[]")
