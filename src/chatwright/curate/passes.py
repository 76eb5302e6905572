"""The two passes over the shards: the steps of each row, then what the join found of duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from chatwright.curate.candidate import Candidate
from chatwright.curate.dedup import (
    DedupRow,
    DedupSettings,
    JoinResult,
    Verdict,
    apply_verdict,
    dedup_keys,
)
from chatwright.curate.executors import Guard
from chatwright.curate.rules import Judged, Stages, what_went_wrong
from chatwright.curate.shards import (
    LEDGER,
    ShardFiles,
    Shards,
    ShardWriter,
    ledger_values,
    shard_writer,
)
from chatwright.records import Document, Preference
from chatwright.records.schema import ROW_TYPES


def shard_folder(folder: Path, shard: int) -> Path:
    """Where a pass leaves what it made of a shard."""
    return folder / f"shard-{shard:06d}"


@dataclass(frozen=True, slots=True)
class FirstPass:
    """Rows through the steps; what is left, its lines, and the keys for the join (`keys`)."""

    shards: Shards
    folder: Path
    stage: str
    kind: str
    stages: Stages
    dedup: DedupSettings | None

    def __call__(self, shard: int, guard: Guard) -> int:
        """Make the shard's files where they are not there; returns how many rows it has."""
        files = ShardFiles(shard_folder(self.folder, shard))
        if files.done:
            return int(files.summary()["in"])
        n_rows = n_kept = 0
        with shard_writer(files.folder, ROW_TYPES[self.kind]) as out:
            for batch in self.shards.batches(shard):
                judged = self.stages(batch, self.stage, guard)
                with guard.batch():
                    self._leave(judged, out)
                n_rows += len(judged)
                n_kept += sum(not one.whole.dropped for one in judged)
            if not n_rows:
                self._leave([], out)
            out.summary = {"in": n_rows, "kept": n_kept}
        return n_rows

    def _leave(self, judged: Sequence[Judged], out: ShardWriter) -> None:
        """Write a batch. A row of which no row or key can be made is dropped: an error."""
        keys: pa.Table | None = None
        if self.dedup is not None:
            keys = _made(judged, partial(_keys, settings=self.dedup))
        n_keys = sum(1 for one in judged if not one.whole.dropped)
        rows = _made(judged, partial(_rows, schema=out.row_schema))
        if self.dedup is not None and len(rows) < n_keys:
            keys = _made(judged, partial(_keys, settings=self.dedup))
        lines: list[dict[str, Any]] = []
        for one in judged:
            lines += ledger_values(one.position, one.whole.lines)
            if not one.whole.dropped:
                lines += ledger_values(one.position, [one.kept()])
        out.write("rows", rows)
        out.write("ledger", pa.Table.from_pylist(lines, LEDGER))
        if keys is not None:
            out.write("keys", keys)


def _rows(judged: Sequence[Judged], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([_row_values(one) for one in judged], schema)


def _row_values(one: Judged) -> dict[str, Any]:
    return one.result().to_arrow() | {"position": one.position}


def _keys(judged: Sequence[Judged], settings: DedupSettings) -> pa.Table:
    return dedup_keys([_dedup_row(one) for one in judged], settings)


def _made(judged: Sequence[Judged], make: Callable[[Sequence[Judged]], pa.Table]) -> pa.Table:
    """`make` of the rows that are left; those that it raises at are dropped."""
    left = [one for one in judged if not one.whole.dropped]
    try:
        return make(left)
    except Exception:
        for one in left:
            try:
                make([one])
            except Exception as error:
                one.whole.drop("error", detail=what_went_wrong(error))
    return make([one for one in left if not one.whole.dropped])


def _dedup_row(one: Judged) -> DedupRow:
    candidate = one.whole
    return DedupRow(
        position=one.position,
        id=candidate.document.id,
        uri=candidate.document.uri,
        text=candidate.text,
        language=candidate.language.code,
        words=int(candidate.measures.get("word_count", 0)),
        collected_at=candidate.document.collected_at,
        score=_score(candidate),
    )


def _score(candidate: Candidate) -> float:
    """What `survivor: best` goes by: learned quality where there is one."""
    scores = candidate.meta.get("scores")
    value = scores.get("quality") if isinstance(scores, dict) else None
    return float(value) if isinstance(value, (int, float)) else 0.0


@dataclass(frozen=True, slots=True)
class SecondPass:
    """The rows that the join found something of: out, or without what others say as well.

    `again` are the steps for what was edited: a page may be too short now. `gone`: rows that
    failed them in an earlier round and were left out of the join since; their lines are in that
    round's folder.
    """

    shards: Shards
    first: Path
    folder: Path
    stage: str
    kind: str
    join: JoinResult
    again: Stages
    gone: Mapping[int, Path]

    def __call__(self, shard: int, guard: Guard) -> list[int]:
        """Make the shard's files, none where nothing of it changes; positions that fail now."""
        files = ShardFiles(shard_folder(self.folder, shard))
        if not files.done:
            verdicts = self.join.of(shard)
            gone = {p: self.gone[p] for p in self.shards.positions(shard) if p in self.gone}
            if not verdicts and not gone:
                return []
            with shard_writer(files.folder, ROW_TYPES[self.kind]) as out:
                out.summary = {"failed": []}
                self._judge(shard, verdicts, self._lines(shard, gone), out, guard)
        return list(files.summary()["failed"])

    def _lines(self, shard: int, gone: Mapping[int, Path]) -> dict[int, list[dict[str, Any]]]:
        """What earlier rounds wrote of the rows that failed in them."""
        found: dict[int, list[dict[str, Any]]] = {}
        for folder in set(gone.values()):
            for position, lines in _by_position(ShardFiles(shard_folder(folder, shard)).ledger()):
                if gone.get(position) == folder:
                    found[position] = lines
        return found

    def _judge(
        self,
        shard: int,
        verdicts: Mapping[int, Verdict],
        gone: Mapping[int, list[dict[str, Any]]],
        out: ShardWriter,
        guard: Guard,
    ) -> None:
        before = ShardFiles(shard_folder(self.first, shard))
        rows = (values for table in before.rows() for values in table.to_pylist())
        row = next(rows, None)
        for position, lines in _by_position(before.ledger()):
            values = None
            if row is not None and row["position"] == position:
                values, row = row, next(rows, None)
            if position in gone:
                out.log(gone[position])
            elif values is None:
                out.log(lines)
            elif position in verdicts:
                out.log([line for line in lines if line["action"] != "keep"])
                self._apply(position, values, verdicts[position], out, guard)
            else:
                out.keep(values, lines)

    def _apply(
        self,
        position: int,
        values: dict[str, Any],
        verdict: Verdict,
        out: ShardWriter,
        guard: Guard,
    ) -> None:
        row = ROW_TYPES[self.kind].from_arrow(values)
        assert not isinstance(row, Preference)
        one = Judged.again(position, row, self.stage)
        if verdict.drop is not None:
            one.whole.drop(*verdict.drop[:3], other_id=verdict.drop[3], detail=verdict.drop[4])
        elif verdict.paragraphs or verdict.lines:
            one = _cut(position, row, verdict, self.stage)
            self.again.run([one], guard)
        if verdict.merged and not one.whole.dropped:
            one.whole.merge("near-duplicate", verdict.merged, detail="rows like it went")
        lines = ledger_values(position, one.whole.lines)
        if one.whole.dropped:
            out.log(lines)
            if verdict.drop is None:
                out.summary["failed"].append(position)
            return
        changed = verdict.paragraphs or verdict.lines
        lines += ledger_values(position, [one.kept()])
        out.keep(_row_values(one) if changed else values, lines)


def _cut(position: int, row: Any, verdict: Verdict, stage: str) -> Judged:
    """A document without its duplicate paragraphs and lines, to be judged again."""
    assert isinstance(row, Document)
    text, lines = apply_verdict(row.text, verdict)
    one = Judged.again(position, replace(row, text=text), stage)
    for rule, value, bound, other_id, detail in lines:
        one.whole.edit(rule, value, bound, other_id=other_id, detail=detail)
    return one


def _by_position(ledger: Iterator[pa.Table]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The lines of each row, rows in the order of the input."""
    lines = (line for table in ledger for line in table.to_pylist())
    for position, group in groupby(lines, key=itemgetter("position")):
        yield position, list(group)
