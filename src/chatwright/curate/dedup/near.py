"""Near-duplicates: candidates from buckets, verified, clustered, and one of each kind kept.

Rows that agree in a band of their MinHash signatures share a bucket. In round k the k-th row of
every bucket is compared with the later ones that are not in its cluster yet, so that a bucket
whose rows are all alike is done after one round, whatever its size; after `probes` rounds the
bucket is left as it is. The number of comparisons is therefore at most
`probes * bands` per row, and about one per duplicate in practice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatwright.curate.dedup.clusters import Assigned, Clusters, Pairs, assign
from chatwright.curate.dedup.settings import NearSettings, Survivor
from chatwright.curate.dedup.shingles import I64
from chatwright.curate.dedup.store import ShingleStore

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PAIRS_AT_ONCE = 1 << 16
_PASSES = 8  # after these, rows that are still alike both stay: an error on the safe side

RANKS: dict[Survivor, str] = {
    "first": "position",
    "longest": "words DESC, position",
    "newest": "collected DESC NULLS LAST, position",
    "best": "score DESC NULLS LAST, position",
}


def near_duplicates(
    con: DuckDBPyConnection, settings: NearSettings, keys: Sequence[Path], scratch: Path
) -> int:
    """Fill the table `near`: `position` goes, `other` stays for it, `value` is their Jaccard index.

    Reads the view `key` and the tables `source` (position, words, collected, score) and `gone`
    (position), whose rows are left out. Returns how many pairs of rows were compared.
    """
    con.execute("CREATE OR REPLACE TABLE near (position BIGINT, other BIGINT, value DOUBLE)")
    positions, rank = _rows_in_buckets(con, settings.survivor)
    if not len(positions):
        return 0
    with ShingleStore(scratch / "shingles.bin", positions) as store:
        for path in keys:
            store.read(path, settings.ngram)
        assigned = _assign(con, settings, store, rank)
        compared = store.compared
    gone = np.flatnonzero(~assigned.alive)
    _insert(
        con,
        "near",
        position=positions[gone],
        other=positions[assigned.survivor[gone]],
        value=assigned.value[gone],
    )
    return compared


def _rows_in_buckets(con: DuckDBPyConnection, survivor: Survivor) -> tuple[I64, I64]:
    """Fill `bucket` (band, i) with buckets of two rows or more; the rows' positions and ranks.

    i numbers the rows in them, in input order.
    """
    con.execute(
        """
        CREATE OR REPLACE TABLE banded AS
        SELECT position, unnest(bands) AS band FROM key ANTI JOIN gone USING (position)
        WHERE bands IS NOT NULL
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TABLE shared AS SELECT position, band FROM banded
        WHERE band IN (SELECT band FROM banded GROUP BY band HAVING count(*) > 1)
        """
    )
    con.execute(
        f"""
        CREATE OR REPLACE TABLE near_row AS
        SELECT position, row_number() OVER (ORDER BY position) - 1 AS i,
               row_number() OVER (ORDER BY {RANKS[survivor]}) AS rank
        FROM source SEMI JOIN shared USING (position)
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TABLE bucket AS
        SELECT band, i FROM shared JOIN near_row USING (position);
        DROP TABLE banded;
        DROP TABLE shared;
        CREATE OR REPLACE TABLE unlike (a BIGINT, b BIGINT)
        """
    )
    found = con.execute("SELECT position, rank FROM near_row ORDER BY i").fetchnumpy()
    return _integers(found["position"]), _integers(found["rank"])


def _assign(
    con: DuckDBPyConnection, settings: NearSettings, store: ShingleStore, rank: I64
) -> Assigned:
    """Pass after pass: find pairs among living rows and choose survivors, until none is found.

    Rows of one cluster are not compared with each other, so a second pass looks at those that
    stayed beside their cluster's first survivor.
    """
    rows = len(rank)
    assigned = Assigned.nobody(rows)
    active = np.arange(rows, dtype=np.int64)
    clusters = Clusters()
    for _ in range(_PASSES):
        pairs = _pairs(con, settings, store, active)
        if not len(pairs):
            break
        assign(assigned, pairs, rank, settings.threshold, store.similarity)
        clusters.add(pairs)
        living = np.flatnonzero(assigned.alive)
        root = clusters.roots(living)
        active = living[(np.bincount(root, minlength=rows) > 1)[root]]
        if not len(active):
            break
    return assigned


def _pairs(
    con: DuckDBPyConnection, settings: NearSettings, store: ShingleStore, active: I64
) -> Pairs:
    """Verified pairs that join each cluster of the active rows."""
    _table(con, "label", i=active, root=active)
    con.execute(
        """
        CREATE OR REPLACE TABLE work AS
        SELECT band, i, row_number() OVER (PARTITION BY band ORDER BY i) AS rank
        FROM bucket SEMI JOIN label USING (i)
        """
    )
    found: list[Pairs] = []
    clusters = Clusters()
    for probe in range(1, settings.probes + 1):
        # What is left: buckets with rows of two clusters or more from this rank on.
        con.execute(
            f"""
            CREATE OR REPLACE TABLE next_work AS
            WITH labelled AS (
                SELECT band, i, rank, root FROM work JOIN label USING (i) WHERE rank >= {probe})
            SELECT band, i, rank, root FROM labelled SEMI JOIN (
                SELECT band FROM labelled GROUP BY band HAVING min(root) <> max(root)
            ) USING (band);
            DROP TABLE work;
            ALTER TABLE next_work RENAME TO work
            """
        )
        con.execute(
            f"""
            CREATE OR REPLACE TABLE candidate AS
            WITH met AS (
                SELECT DISTINCT one.i AS a, other.i AS b
                FROM work one JOIN work other ON one.band = other.band
                WHERE one.rank = {probe} AND other.rank > {probe} AND one.root <> other.root)
            SELECT a, b FROM met ANTI JOIN unlike USING (a, b)
            ORDER BY a, b
            """
        )
        con.execute("ALTER TABLE work DROP COLUMN root")
        more = _verified(con, settings.threshold, store)
        if len(more):
            found.append(more)
            clusters.add(more)
            _table(con, "label", i=active, root=clusters.roots(active))
        elif not _count(con, "work"):
            break
    return Pairs.joined(found)


def _verified(con: DuckDBPyConnection, threshold: float, store: ShingleStore) -> Pairs:
    """The candidates that are near-duplicates; the others are remembered in `unlike`."""
    found: list[Pairs] = []
    reader = con.cursor().sql("SELECT a, b FROM candidate ORDER BY a, b")
    for batch in reader.to_arrow_reader(_PAIRS_AT_ONCE):
        one, other = _integers(batch.column("a")), _integers(batch.column("b"))
        pairs, near = store.verify(one, other, threshold)
        found.append(pairs)
        _insert(con, "unlike", a=one[~near], b=other[~near])
    return Pairs.joined(found)


def _count(con: DuckDBPyConnection, table: str) -> int:
    # To the end: DuckDB does nothing else on a connection that has rows left to fetch.
    [(number,)] = con.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(number)


def _table(con: DuckDBPyConnection, name: str, **columns: Any) -> None:
    """Replace a table by these columns."""
    con.execute(f"CREATE OR REPLACE TABLE {name} ({', '.join(f'{c} BIGINT' for c in columns)})")
    _insert(con, name, **columns)


def _insert(con: DuckDBPyConnection, name: str, **columns: Any) -> None:
    import pyarrow as pa

    given = pa.table(columns)
    con.register("given", given)
    con.execute(f"INSERT INTO {name} SELECT {', '.join(columns)} FROM given")
    con.unregister("given")


def _integers(values: Any) -> I64:
    return np.ascontiguousarray(values, np.int64)
