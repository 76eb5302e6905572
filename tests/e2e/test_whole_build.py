"""The real program builds a small assistant; killed at every stage it gives the same bytes."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small import CHATWRIGHT, SmallBuild, environment, run_build

from chatwright.build import read_build_record
from chatwright.recipe import load_recipe
from chatwright.records import Dataset
from chatwright.workspace import Workspace
from forked import listening


def digests(outputs: dict[str, str]) -> dict[str, str]:
    """What each result holds, whenever it was made: rows, ledgers, weights, answers."""
    found = {}
    for name, folder in outputs.items():
        path = Path(folder)
        files = sorted(
            file
            for pattern in ("part-*.parquet", "*.safetensors", "tokenizer.json", "answers.jsonl")
            for file in path.rglob(pattern)
        )
        if files:
            digest = hashlib.sha256()
            for file in files:
                digest.update(file.relative_to(path).as_posix().encode() + file.read_bytes())
            found[name] = digest.hexdigest()
    return found


def test_every_stage_leaves_its_result(small_build: SmallBuild) -> None:
    outputs = small_build.result["outputs"]
    assert list(outputs) == [s.name for s in load_recipe(small_build.recipe).stages]
    for path in outputs.values():
        assert Path(path).exists()
    assert (Path(outputs["report"]) / "report.html").stat().st_size > 10_000


def test_a_second_build_does_nothing_and_says_so(small_build: SmallBuild) -> None:
    done = subprocess.run(
        [CHATWRIGHT, "build", str(small_build.recipe)],
        env=environment(small_build.workspace),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nothing to do" in done.stdout
    assert done.stderr.count("unchanged, skipped") == len(small_build.result["outputs"])


def test_every_page_is_in_the_ledger(small_build: SmallBuild) -> None:
    outputs = small_build.result["outputs"]
    collected, corpus = Dataset.open(outputs["pages"]), Dataset.open(outputs["corpus"])
    files = {p.name for p in (small_build.recipe.parent / "site").iterdir()}
    assert {Path(entry.uri).name for entry in collected.ledger} == files
    told = {entry.row_id for entry in corpus.ledger}
    assert told == {row.id for row in collected.rows}


def test_no_held_out_page_leaks_into_training(small_build: SmallBuild) -> None:
    outputs = small_build.result["outputs"]
    held_out = {row.id for row in Dataset.open(outputs["held-out-pages"]).rows}
    assert held_out
    chunks = {
        row.id for row in Dataset.open(outputs["knowledge"]).rows if held_out & set(row.parents)
    }
    for row in Dataset.open(outputs["questions"]).rows:
        assert not (held_out | chunks) & set(row.parents)
        assert not chunks & set(row.meta["passage_ids"])


@pytest.mark.timeout(580)
def test_killed_in_each_stage_it_gives_the_same_bytes(
    small_build: SmallBuild, tmp_path: Path
) -> None:
    stages = [s.name for s in load_recipe(small_build.recipe).stages]
    took = read_build_record(Workspace(small_build.workspace), "small")
    chance = random.Random(11)
    killed = []
    for stage in stages:
        words = ["build", str(small_build.recipe)]
        with listening(words, environment(tmp_path / "w")) as (process, lines):
            for line in lines:
                # "[3/13] train-pages: split" announces it; "…: skipped" and "…: done" do not.
                if f"] {stage}: " in line and "skipped" not in line and "done in" not in line:
                    time.sleep(chance.uniform(0, 0.6) * took[stage]["seconds"])
                    process.kill()
                    killed.append(stage)
                    break
        assert process.exitcode in (0, -signal.SIGKILL)
    # A stage of a few milliseconds may be done before the signal comes; the others may not.
    assert set(killed) >= {s for s in stages if took[s]["seconds"] > 0.4}
    assert len(killed) > len(stages) // 2
    result = run_build(small_build.recipe, tmp_path / "w")
    assert result["fingerprints"] == small_build.result["fingerprints"]
    assert digests(result["outputs"]) == digests(small_build.result["outputs"])
    assert not list((tmp_path / "w").rglob("*.partial"))
