"""What goes wrong: rows that cannot be judged or written, kills at any moment, full disks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from chatwright.curate import passes
from chatwright.curate.candidate import Candidate
from chatwright.curate.dedup import DedupSettings
from chatwright.curate.executors import Guard, Limits, make_executor
from chatwright.curate.executors.local import LocalExecutor
from chatwright.curate.rules import Stages
from chatwright.curate.shards import Shards
from chatwright.errors import DataError
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    Message,
    content_id,
    write_dataset,
)

OWN = "Page {n} tells of the harbour of the city, of its gate and of the ships that it opens for. "
SHARED = "This paragraph stands in many pages, and all but two of them lose it in the end. " * 4


def pages(count: int) -> list[tuple[str, str]]:
    return [
        (f"{n}.txt", " ".join(f"{n}-{i} {OWN.format(n=n)}" for i in range(n % 5 + 5)) + extra)
        for n in range(count)
        for extra in [f"\n\n{SHARED}\n" if n % 7 == 0 else "\n"]
    ]


def told(dataset: Dataset) -> list[tuple[Any, ...]]:
    return [(e.row_id, e.action, e.rule, e.value, e.bound, e.other_id) for e in dataset.ledger]


class Panic(BaseException):
    """As PyO3's: what Rust panics with is no `Exception`."""


@dataclass(frozen=True)
class Trouble:
    """A step that fails at some rows, in ways that a step must not."""

    def __call__(self, candidates: list[Candidate]) -> None:
        for candidate in candidates:
            match candidate.text.split()[0]:
                case "panic":
                    raise Panic("at the disco")
                case "exit":
                    sys.exit(3)
                case "half":
                    candidate.text = "half a pair \ud800"
                case "odd":
                    candidate.meta[7] = "a key that JSON has not"
                case "quote":
                    raise ValueError("it says \ud800")
                case _:
                    candidate.edit("seen")


@pytest.mark.parametrize("together", [True, False])
def test_a_row_that_cannot_be_judged_or_written_goes_alone(
    together: bool, collected: Any, tmp_path: Path
) -> None:
    kinds = ["fine", "panic", "half", "fine", "exit", "odd", "quote", "fine"]
    source = collected("pages", [(f"{n}.txt", f"{kind} {n}") for n, kind in enumerate(kinds)])
    task = passes.FirstPass(
        Shards.of(source), tmp_path, "s", "document", Stages(steps=(Trouble(),)), DedupSettings()
    )
    assert task(0, Guard(one_by_one=not together)) == 8
    folder = passes.shard_folder(tmp_path, 0)
    lines = pq.read_table(folder / "ledger.parquet").to_pylist()
    assert [line["position"] for line in lines if line["action"] == "keep"] == [0, 3, 7]
    errors = {line["position"]: line["detail"] for line in lines if line["action"] == "drop"}
    assert {n: detail.partition(":")[0] for n, detail in errors.items()} == {
        1: "Panic", 2: "UnicodeEncodeError", 4: "SystemExit", 5: "TypeError", 6: "ValueError"
    }  # fmt: skip
    assert errors[6] == "ValueError: it says ?"
    for name in ("rows", "keys"):
        table = pq.read_table(folder / f"{name}.parquet")
        assert table["position"].to_pylist() == [0, 3, 7]
    assert [line["position"] for line in lines] == sorted(line["position"] for line in lines)


@dataclass(frozen=True)
class Fails:
    what: str

    def __call__(self, shard: int, guard: Guard) -> None:
        if self.what == "ours":
            raise DataError("no good", where="row 3", hint="mend it")

        class LocalError(Exception):
            """Cannot be pickled."""

        raise LocalError("deep")


def test_errors_come_from_a_worker_as_they_were() -> None:
    with make_executor("local", 1, Limits()) as executor:
        with pytest.raises(DataError) as caught:
            list(executor.run(Fails("ours"), [5]))
        assert (caught.value.where, caught.value.hint) == ("row 3", "mend it")
        assert caught.value.__notes__ == ["in shard 5"]
        with pytest.raises(Exception, match="LocalError: deep"):
            list(executor.run(Fails("other"), [1]))


def test_a_worker_killed_from_outside_changes_no_byte(
    collected: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected("pages", pages(130))
    near = {"near": True}
    expected = run("curate", "expected", input="pages", workers=0, dedup=near)
    killed: set[int] = set()
    assign = LocalExecutor._assign

    def kill(self: LocalExecutor) -> None:
        assign(self)
        for worker in self._workers:
            if worker.shard is not None and worker.shard.number not in killed:
                os.kill(worker.process.pid, signal.SIGKILL)
                killed.add(worker.shard.number)

    monkeypatch.setattr(LocalExecutor, "_assign", kill)
    corpus = run("curate", "corpus", input="pages", workers=1, dedup=near)
    assert killed == {0, 1, 2}
    assert corpus.info.content_digest == expected.info.content_digest
    assert told(corpus) == told(expected)


PROGRAM = """
import os, signal, sys
from pathlib import Path
from chatwright.curate import passes, run
from chatwright.curate.dedup import engine
from chatwright.curate.shards import ShardWriter
from chatwright.curate.stages import STAGES
from chatwright.records import DatasetWriter
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

def end(*args, **named):
    os.kill(os.getpid(), signal.SIGKILL)

root, *moments, workers = sys.argv[1:]
for moment in moments:
    # Each is reached after those before it.
    if moment == "shard":
        finish = ShardWriter.finish
        def some(self):
            if "shard-000002" in self.folder.name:
                end()
            finish(self)
        ShardWriter.finish = some
    elif moment == "join":
        engine.write_verdicts = end
    elif moment == "second":
        passes.SecondPass._judge = end
    elif moment == "assemble":
        DatasetWriter.finish = end
if __name__ == "__main__":
    workspace = Workspace(Path(root))
    kind = next(k for k in STAGES if k.kind == "curate")
    folder = workspace.datasets / "test"
    context = StageContext(
        "test", "corpus", 7, folder / "corpus", workspace.runs / "corpus", "f", workspace,
        inputs={"pages": folder / "pages"},
    )
    kind.run(kind.settings(input="pages", workers=int(workers), dedup={"near": True}), context)
"""


@pytest.fixture
def program(workspace: Any, tmp_path: Path) -> Any:
    """`program("join")`: a curation that kills itself there."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)

    def start(*moments: str, workers: int = 0) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(path), str(workspace.root), *moments, str(workers)],
            stderr=subprocess.PIPE,
        )

    return start


def test_killed_at_awkward_moments(collected: Any, run: Any, workspace: Any, program: Any) -> None:
    collected("pages", pages(200))
    expected = run("curate", "expected", input="pages", workers=0, dedup={"near": True})
    assert expected.info.counts["rules"]["edit duplicate-paragraphs"] > 20
    scratch = workspace.runs / "corpus" / "shards"
    for moment in ("shard", "join", "second", "assemble"):
        process = program(moment)
        assert process.wait(60) == -signal.SIGKILL, process.stderr.read()
        assert scratch.exists()
        assert not (workspace.datasets / "test" / "corpus").exists()
    first = scratch / "first" / "shard-000001" / "ledger.parquet"
    first.write_bytes(first.read_bytes()[:-20])  # the power went, too
    corpus = run("curate", "corpus", input="pages", workers=0, dedup={"near": True})
    assert corpus.info.content_digest == expected.info.content_digest
    assert told(corpus) == told(expected)
    assert not scratch.exists()
    assert sorted(p.name for p in corpus.path.parent.iterdir()) == ["corpus", "expected", "pages"]


def test_workers_end_with_the_program(collected: Any, program: Any) -> None:
    collected("pages", pages(300))
    process = program(workers=1)
    children: list[psutil.Process] = []
    end = time.monotonic() + 60
    while not children:
        assert time.monotonic() < end
        children = [
            child
            for child in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        time.sleep(0.01)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_a_full_disk_is_said_and_what_was_done_stays_done(
    collected: Any, run: Any, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected("pages", pages(200))
    expected = run("curate", "expected", input="pages", workers=0)
    write, calls = pq.ParquetWriter.write_table, []

    def full(self: Any, *values: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, *values, **named)

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(DataError, match="No space left"):
            run("curate", "corpus", input="pages", workers=0)
    folder = workspace.runs / "corpus" / "shards" / "first"
    assert sorted(p.name for p in folder.iterdir()) == ["shard-000000", "shard-000001"]
    corpus = run("curate", "corpus", input="pages", workers=0)
    assert corpus.info.content_digest == expected.info.content_digest


def test_rows_of_many_megabytes_are_written_in_parts(run: Any, workspace: Any) -> None:
    """The rows of a shard are never all in memory."""
    sentence = "The harbour of the city opens its gate for the ships. "
    path = workspace.datasets / "test" / "large"
    with write_dataset(path, Document, stage="s", fingerprint="f", settings={}) as out:
        for n in range(5):
            out.write(Document(content_id("t", str(n)), f"{n} {sentence * 45_000}", f"u:{n}", "t"))
    source = Dataset.open(path)
    assert [[n for n, _ in batch] for batch in Shards.of(source).batches(0)] == [
        [0, 1],
        [2, 3],
        [4],
    ]


def test_conversations_are_no_pages(run: Any, workspace: Any) -> None:
    page = (
        "<html><body><p>What does this page of mine say to you, and is it right?</p></body></html>"
    )
    answer = "It says little\n\nIt is right, and every browser will show it as you want it to be."
    path = workspace.datasets / "test" / "chats"
    with write_dataset(path, Conversation, stage="chats", fingerprint="c", settings={}) as out:
        messages = [Message("user", page), Message("assistant", answer)]
        meta = {"title": "Mail to jane.doe@example.org"}
        out.write(Conversation("c1", messages, "chats#1", "chats", consent=True, meta=meta))
    result = run(
        "curate", "clean", input="chats", workers=0, preset="chat", privacy={"mode": "tag"}
    )
    (row,) = result.rows
    assert [m.content for m in row.messages] == [page, answer]
    assert row.meta["title"] == "Mail to [EMAIL]" and row.meta["pii"] == {"email": 1}
    assert [(e.action, e.rule) for e in result.ledger] == [
        ("edit", "pii-email"),
        ("keep", "curated"),
    ]


def test_a_heading_that_goes_with_its_paragraph_has_no_anchor(collected: Any, run: Any) -> None:
    body = "".join(
        f'<h2 id="own">Own</h2><p>{OWN.format(n="{n}") * 3}</p>'
        f'<h2 id="same">Same</h2><p>{SHARED}</p>'
    )
    page = (
        '<html><body><div class="body" role="main"><h1 id="top">T{n}</h1>' + body + "</div></body>"
    )
    collected("pages", [(f"{n}.html", page.replace("{n}", str(n))) for n in range(4)])
    rows = list(run("curate", "corpus", input="pages", workers=0).rows)
    names = [[anchor for _, anchor in row.meta["anchors"]] for row in rows]
    assert names == [["top", "own", "same"]] * 2 + [["top", "own"]] * 2
    again = list(run("curate", "again", input="corpus", workers=0).rows)
    assert [row.meta["anchors"] for row in again] == [row.meta["anchors"] for row in rows]
