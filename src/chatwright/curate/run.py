"""A curation over a dataset: first pass, join, second pass, and one dataset out of the shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chatwright.curate.dedup import DedupSettings, JoinResult, join
from chatwright.curate.executors import Executor
from chatwright.curate.passes import FirstPass, SecondPass, shard_folder
from chatwright.curate.rules import Stages
from chatwright.curate.shards import POSITION, ShardFiles, Shards, count_rules, remove_unfinished
from chatwright.progress import Progress
from chatwright.records import Dataset, DatasetWriter

# A page that fails once its duplicates are taken out gives them back, which may save the next one.
_ROUNDS = 10
_OURS = [POSITION.name]


@dataclass(slots=True)
class Curation:
    """What to do with every row of `dataset`, and where its shards' files are kept meanwhile."""

    dataset: Dataset
    stage: str
    stages: Stages
    again: Stages
    dedup: DedupSettings | None
    scratch: Path
    memory: int
    progress: Progress

    def run(self, executor: Executor, out: DatasetWriter) -> None:
        """Make the rows and their ledger. Killed and run again, it goes on with what is left.

        The shards' files stay: they may go once the dataset is there.
        """
        shards = Shards.of(self.dataset)
        kind = self.dataset.info.kind
        first = self.scratch / "first"
        task = FirstPass(shards, first, self.stage, kind, self.stages, self.dedup)
        numbers = range(len(shards))
        remove_unfinished(first)
        with self.progress.task("curate", total=len(self.dataset)) as bar:
            for _, n_rows in executor.run(task, numbers):
                bar.advance(n_rows)
        folders = {n: shard_folder(first, n) for n in numbers}
        if self.dedup is not None and len(shards):
            folders |= self._without_duplicates(executor, shards, first, self.dedup)
        self._assemble(list(folders.values()), out)

    def _without_duplicates(
        self, executor: Executor, shards: Shards, first: Path, settings: DedupSettings
    ) -> dict[int, Path]:
        """The folders of the shards that the join changes, by number."""
        numbers, kind = range(len(shards)), self.dataset.info.kind
        keys = [shard_folder(first, n) / "keys.parquet" for n in numbers]
        gone: dict[int, Path] = {}
        found: JoinResult | None = None
        for number in range(_ROUNDS):
            scratch = self.scratch / f"round-{number}"
            found = join(
                keys,
                settings,
                scratch=scratch,
                memory=self.memory,
                report=self.progress.line,
                without=gone.keys(),
                previous=found,
            )
            second = scratch / "second"
            remove_unfinished(second)
            task = SecondPass(shards, first, second, self.stage, kind, found, self.again, gone)
            failed: set[int] = set()
            with self.progress.task("duplicates", total=len(shards)) as bar:
                for _, some in executor.run(task, numbers):
                    failed.update(some)
                    bar.advance()
            if not failed:
                break
            # The others may not fail once these have given back what they hold.
            gone = gone | dict.fromkeys(found.settled(failed), second)
        made = {n: shard_folder(second, n) for n in numbers}
        return {n: path for n, path in made.items() if path.exists()}

    def _assemble(self, folders: Sequence[Path], out: DatasetWriter) -> None:
        rules: Counter[str] = Counter()
        kept = 0
        for folder in folders:
            files = ShardFiles(folder)
            for rows in files.rows():
                kept += len(rows)
                out.write_tables(rows.drop_columns(_OURS), None)
            for ledger in files.ledger():
                rules += count_rules(ledger)
                out.write_tables(None, ledger.drop_columns(_OURS))
        n_rows = len(self.dataset)
        out.counts = {
            "in": n_rows,
            "kept": kept,
            "dropped": n_rows - kept,
            "rules": dict(sorted(rules.items())),
        }
