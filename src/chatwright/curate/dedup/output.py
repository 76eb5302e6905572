"""The verdicts of a join as a file: written once, read a shard at a time."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright.curate.dedup.settings import DedupSettings
from chatwright.curate.dedup.verdict import JoinResult, Note, Verdict
from chatwright.records.atomic import atomic_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS_PER_GROUP = 2048


def write_verdicts(
    con: DuckDBPyConnection, settings: DedupSettings, home: Path, without: AbstractSet[int]
) -> JoinResult:
    """Write what the tables `gone` and `part` say of each row, by shard and position."""
    earlier = sorted(home.glob("round-*"))
    folder = home / f"round-{len(earlier):04d}"
    with atomic_folder(folder) as partial:
        file = str(partial / "verdicts.parquet").replace("'", "''")
        con.execute(
            f"""
            COPY (
                WITH size AS (
                    SELECT rule, other, count(*) AS merged FROM gone GROUP BY rule, other),
                dropped AS (
                    SELECT position, rule, value, other, merged
                    FROM gone JOIN size USING (rule, other)),
                taken AS (
                    SELECT position,
                        list({{'index': index, 'other': id}} ORDER BY index)
                            FILTER (kind = 'paragraphs') AS paragraphs,
                        list({{'index': index, 'other': id}} ORDER BY index)
                            FILTER (kind = 'lines') AS lines,
                        list_distinct(flatten(list(holders))) AS holders
                    FROM part JOIN (SELECT position AS other, id FROM source) USING (other)
                    GROUP BY position)
                SELECT s.shard, s.position, d.rule, d.value, o.id AS other, d.merged AS cluster,
                       t.paragraphs, t.lines, t.holders, coalesce(m.merged, 0) AS merged
                FROM source s
                LEFT JOIN dropped d USING (position)
                LEFT JOIN source o ON o.position = d.other
                LEFT JOIN taken t ON t.position = s.position
                LEFT JOIN size m ON m.other = s.position AND m.rule = 'near-duplicate'
                WHERE d.rule IS NOT NULL OR t.position IS NOT NULL OR m.merged IS NOT NULL
                ORDER BY s.shard, s.position
            ) TO '{file}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROWS_PER_GROUP})
            """
        )
        counts = {
            rule: int(number)
            for rule, number in con.execute(
                "SELECT rule, count(*) FROM gone GROUP BY rule UNION ALL "
                "SELECT 'duplicate-' || kind, count(DISTINCT position) FROM part GROUP BY kind "
                "ORDER BY 1"
            ).fetchall()
        }
        about = {"counts": counts, **_wording(settings), "without": len(without)}
        (partial / "verdicts.json").write_text(json.dumps(about, sort_keys=True), "utf-8")
    return JoinResult(folder, counts)


def _wording(settings: DedupSettings) -> dict[str, Any]:
    """How bounds and survivors are called in the ledger."""
    near, urls, lines = settings.near, settings.urls, settings.lines
    return {
        "paragraphs": str(settings.paragraphs) if settings.paragraphs else "",
        "lines": str(lines) if lines else "",
        "near-duplicate": (
            [] if isinstance(near, bool) else [f"below {near.threshold:g}", near.survivor]
        ),
        "duplicate-url": [] if isinstance(urls, bool) else [None, urls.survivor],
    }


def read_verdicts(folder: Path, shard: int) -> dict[int, Verdict]:
    """The verdicts of one shard, by position."""
    import pyarrow.parquet as pq

    about = json.loads((folder / "verdicts.json").read_text("utf-8"))
    table = pq.read_table(folder / "verdicts.parquet", filters=[("shard", "=", shard)])
    out: dict[int, Verdict] = {}
    for row in table.to_pylist():
        out[row["position"]] = Verdict(
            drop=_note(row, about) if row["rule"] else None,
            paragraphs=_taken(row["paragraphs"]),
            lines=_taken(row["lines"]),
            paragraph_bound=about["paragraphs"],
            line_bound=about["lines"],
            merged=row["merged"],
        )
    return out


def settled(folder: Path, failed: AbstractSet[int]) -> set[int]:
    """`JoinResult.settled`: the rows that lost no paragraph or line to another of `failed`."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    rows = pa.array(sorted(failed), pa.int64())
    table = pq.read_table(
        folder / "verdicts.parquet",
        columns=["position", "holders"],
        filters=pc.field("position").isin(rows),
    )
    holders = table["holders"].combine_chunks()
    of_row = table["position"].combine_chunks().take(pc.list_parent_indices(holders))
    waits = pc.is_in(pc.list_flatten(holders), value_set=rows)
    return set(failed) - set(of_row.filter(waits).to_pylist())


def _note(row: dict[str, Any], about: dict[str, Any]) -> Note:
    bound, survivor = about.get(row["rule"]) or (None, None)
    detail = f"the {survivor} of {row['cluster'] + 1} stays" if survivor else None
    return Note(row["rule"], row["value"], bound, row["other"], detail)


def _taken(found: list[dict[str, Any]] | None) -> tuple[tuple[int, str], ...]:
    return tuple((item["index"], item["other"]) for item in found or ())
