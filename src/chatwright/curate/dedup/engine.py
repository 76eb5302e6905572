"""The join over all shards' keys: who repeats whom. DuckDB does it within a bounded memory."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright.curate.dedup.near import RANKS, near_duplicates
from chatwright.curate.dedup.output import write_verdicts
from chatwright.curate.dedup.settings import DedupSettings, Survivor
from chatwright.curate.dedup.verdict import JoinResult
from chatwright.errors import DataError
from chatwright.records.atomic import disk_errors

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_TABLES = """
CREATE TABLE source (
    position BIGINT, id VARCHAR, words DOUBLE, collected DOUBLE, score DOUBLE, shard BIGINT);
CREATE TABLE gone (position BIGINT, rule VARCHAR, value DOUBLE, other BIGINT)
"""
# What a later join of the same keys takes over: the rows, and those that are gone.
_KEPT = ("source", "gone")
_LEAST_MEMORY = 128 << 20  # DuckDB needs some per thread to begin with
_SHARE = 0.6  # of the memory is DuckDB's; the rest is for comparing shingles


def join(
    keys: Sequence[Path],
    settings: DedupSettings,
    *,
    scratch: Path,
    memory: int,
    report: Callable[[str], None] | None = None,
    without: AbstractSet[int] = frozenset(),
    previous: JoinResult | None = None,
    threads: int = 1,
) -> JoinResult:
    """Decide what goes, over the key files of all shards (`dedup_keys`), in the order of shards.

    First rows of one address, then rows of one text, then near-duplicates; what is left holds
    its paragraphs and lines against later rows. The verdicts depend on the rows' positions and
    not on the order of files, threads or memory.

    `memory`: bytes, for DuckDB and the comparison together; what does not fit is spilled below
    `scratch`. In Python only rows that share a bucket take memory (about 100 bytes each).
    `without`: positions of rows that were dropped after an earlier join; they hold no paragraphs
    and lines any more, while duplicates of them stay dropped: they would have fared as they did.
    `previous`: that earlier join of the same keys, whose clusters are taken over: a quick join.
    `report` is told in a line what was found.

    Raises `DataError` for key files that cannot be read, and where the memory does not do.
    """
    import duckdb

    settings = settings.resolved()
    home = scratch / "join" if previous is None else previous.folder.parent
    say = report or (lambda _: None)
    with disk_errors(home):
        if previous is None:
            shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, exist_ok=True)
        try:
            with _connection(home, memory, threads) as con:
                if previous is None:
                    _open_keys(con, keys)
                    _same(con, settings)
                    _near(con, settings, keys, home, say)
                    _keep(con, home)
                else:
                    _view_keys(con, keys)
                    _take_over(con, home)
                _parts(con, settings, without)
                return write_verdicts(con, settings, home, without)
        except duckdb.OutOfMemoryException as error:
            raise DataError(
                "the join of duplicates needs more memory than it may use",
                where=str(home),
                hint=f"allow more than {memory >> 20} MiB (memory:), or free disk space there",
            ) from error
        except duckdb.Error as error:
            raise DataError(
                f"the join of duplicates failed: {str(error).splitlines()[0]}",
                where=str(home),
                hint="remove the stage's scratch folder and run it again",
            ) from error


@contextmanager
def _connection(home: Path, memory: int, threads: int) -> Iterator[DuckDBPyConnection]:
    import duckdb

    limit = max(int(memory * _SHARE), _LEAST_MEMORY)
    # Tables of the memory database are spilled as well, and need no log as those of a file do.
    con = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{limit >> 10}KiB",
            "temp_directory": str(home / "spill"),
            "threads": str(threads),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        },
    )
    try:
        con.execute("SET enable_progress_bar = false")
        con.execute(_TABLES)
        yield con
    finally:
        con.close()
        shutil.rmtree(home / "spill", ignore_errors=True)


def _literal(path: Path) -> str:
    """A path as DuckDB reads it: not as a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(path.resolve()))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _view_keys(con: DuckDBPyConnection, keys: Sequence[Path]) -> None:
    """The view `key`: all rows of all files, with the shard's file name."""
    files = ", ".join(_quoted(_literal(path)) for path in keys)
    con.execute(
        "CREATE OR REPLACE TEMP VIEW key AS "
        f"SELECT * FROM read_parquet([{files}], filename = 'file_name')"
    )


def _open_keys(con: DuckDBPyConnection, keys: Sequence[Path]) -> None:
    """Fill the table `source`: what is small of every row."""
    import pyarrow as pa

    from chatwright.curate.dedup.keys import SCHEMA

    if not keys:
        con.register("key", SCHEMA.empty_table())
        return
    _view_keys(con, keys)
    names = pa.table({"name": [str(p.resolve()) for p in keys], "shard": list(range(len(keys)))})
    con.register("names", names)
    con.execute(
        """
        INSERT INTO source
        SELECT position, id, words, collected, score, shard
        FROM key JOIN names ON file_name = name
        """
    )
    con.unregister("names")
    twice = con.execute(
        "SELECT position FROM source GROUP BY position HAVING count(*) > 1 LIMIT 1"
    ).fetchall()
    if twice:
        raise DataError(f"two rows have the position {twice[0][0]}", where=str(keys[0].parent))


def _same(con: DuckDBPyConnection, settings: DedupSettings) -> None:
    """Rows of one address, and of those left, rows of one text: all but one are gone."""
    if settings.urls and not isinstance(settings.urls, bool):
        _drop_equal(con, "url", "duplicate-url", settings.urls.survivor)
    if settings.documents:
        _drop_equal(con, "document", "duplicate-document", "first")


def _drop_equal(con: DuckDBPyConnection, column: str, rule: str, survivor: Survivor) -> None:
    con.execute(
        f"""
        INSERT INTO gone
        WITH there AS (
            SELECT position, {column} FROM key ANTI JOIN gone USING (position)
            WHERE {column} IS NOT NULL),
        many AS (SELECT {column} FROM there GROUP BY {column} HAVING count(*) > 1),
        chosen AS (
            SELECT position, first_value(position) OVER (
                PARTITION BY {column} ORDER BY {RANKS[survivor]}) AS other
            FROM there SEMI JOIN many USING ({column}) JOIN source USING (position))
        SELECT position, '{rule}', NULL, other FROM chosen WHERE position <> other
        """
    )


def _near(
    con: DuckDBPyConnection,
    settings: DedupSettings,
    keys: Sequence[Path],
    home: Path,
    say: Callable[[str], None],
) -> None:
    if settings.near and not isinstance(settings.near, bool):
        compared = near_duplicates(con, settings.near, keys, home)
        con.execute("INSERT INTO gone SELECT position, 'near-duplicate', value, other FROM near")
        [(gone,)] = con.execute("SELECT count(*) FROM near").fetchall()
        say(f"{gone:,} near-duplicates; {compared:,} pairs of rows compared")


def _keep(con: DuckDBPyConnection, home: Path) -> None:
    for name in _KEPT:
        file = _quoted(str(home / f"{name}.parquet"))
        con.execute(f"COPY {name} TO {file} (FORMAT parquet)")


def _take_over(con: DuckDBPyConnection, home: Path) -> None:
    for name in _KEPT:
        file = _quoted(_literal(home / f"{name}.parquet"))
        con.execute(f"INSERT INTO {name} FROM read_parquet({file})")


def _parts(con: DuckDBPyConnection, settings: DedupSettings, without: AbstractSet[int]) -> None:
    """Fill `part` (kind, position, index, other): what is taken out of the rows that stay."""
    import pyarrow as pa

    con.register("without", pa.table({"position": pa.array(sorted(without), pa.int64())}))
    con.execute(
        """
        CREATE OR REPLACE TABLE part (kind VARCHAR, position BIGINT, index BIGINT, other BIGINT,
                                      holders BIGINT[]);
        CREATE OR REPLACE TABLE there AS
        SELECT position FROM source ANTI JOIN gone USING (position)
        ANTI JOIN without USING (position)
        """
    )
    if settings.paragraphs:
        copies = settings.paragraphs.copies
        _repeated(con, "paragraphs", copies, copies + 1)
    if settings.lines and not isinstance(settings.lines, bool):
        _repeated(con, "lines", settings.lines.copies, settings.lines.pages)
    con.unregister("without")


def _repeated(con: DuckDBPyConnection, column: str, copies: int, least: int) -> None:
    """What stands in `least` rows or more stays in the first `copies` that have it."""
    con.execute(
        f"""
        INSERT INTO part
        WITH every AS (
            SELECT position, unnest({column}) AS key,
                   generate_subscripts({column}, 1) - 1 AS index
            FROM key SEMI JOIN there USING (position)),
        many AS (
            SELECT key FROM every WHERE key IS NOT NULL
            GROUP BY key HAVING count(*) >= {least}),
        repeated AS (SELECT * FROM every SEMI JOIN many USING (key)),
        ranked AS (
            SELECT key, position, row_number() OVER (PARTITION BY key ORDER BY position) AS rank,
                   count(*) OVER (PARTITION BY key) AS pages
            FROM (SELECT DISTINCT key, position FROM repeated)),
        holder AS (
            SELECT key, min(position) AS other,
                   list(position ORDER BY position) FILTER (rank <= {copies}) AS holders
            FROM ranked WHERE pages >= {least} GROUP BY key)
        SELECT '{column}', position, index, other, holders
        FROM repeated JOIN ranked USING (key, position) JOIN holder USING (key)
        WHERE rank > {copies}
        """
    )
