"""The real program builds, measures, judges and audits a small model; killed, it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small import CHATWRIGHT, environment, write_site

from chatwright.records import Dataset, file_digest
from forked import program, run, start

RECIPE = """\
name: measured
title: Measured
seed: 5
stages:
  pages: {kind: collect, sources: [{source: SITE, license: CC0-1.0}]}
  corpus: {kind: curate, input: pages, preset: documentation}
  train-pages: {kind: split, input: corpus, part: train, held_out: 0.25}
  held-out-pages: {kind: split, input: corpus, part: held_out, held_out: 0.25}
  tokenizer: {kind: tokenizer, input: train-pages, vocab_size: 400}
  secrets: {kind: canaries, input: train-pages, count: 4, copies: [2]}
  base:
    kind: train
    objective: pretrain
    model: {depth: 1, tokenizer: tokenizer}
    data: secrets
    validation: held-out-pages
    length: 128
    batch_tokens: 256
    steps: 4
  more: {kind: train, objective: pretrain, model: base, data: secrets, validation: held-out-pages,
         length: 128, batch_tokens: 256, steps: 4}
  evaluation:
    kind: evaluate
    models: {before: base, after: more}
    text: held-out-pages
    window: 128
    tasks: [TASKS/waterways.yaml, TASKS/tell.yaml]
    max_batch: 1
    gates:
      waterways: GATE
      waterways/acc: not worse
      bits_per_byte: "<= base * 2"
  audit: {kind: audit, model: more, limit: 4, prefixes: [8], suffix: 8, window: 32, candidates: 7,
          bias_samples: 1, bias_tokens: 2}
  report: {kind: report, stages: [evaluation, audit], title: Measured}
"""
REACHED, NOT_REACHED = '">= base - 100"', '">= 101 %"'
# The first stands on a page that the models are trained on; the second on none.
ITEMS = [
    {
        "q": "That is why so many were built near old towns, and why people still",
        "choices": ["care for them today", "fear them at night"],
        "gold": 0,
    },
    {
        "q": "The glass blower of the eastern island never sold a cup on market days because",
        "choices": ["nobody asked him for one", "the road was closed"],
        "gold": 1,
    },
    {"q": "石桥是什么?", "choices": ["用石头砌成的桥", "用木头做成的船"], "gold": 0},
]
TASK = {
    "name": "waterways",
    "title": "Waterways",
    "kind": "choice",
    "sources": [{"source": "items.jsonl"}],
    "prompt": "{{ q }}",
    "metrics": ["acc", "acc_norm"],
}
TELL = {
    "name": "tell",
    "title": "Tell",
    "kind": "generation",
    "sources": [{"source": "tell.jsonl"}],
    "max_tokens": 90,
    "metrics": ["token_f1"],
}


def write_recipe(folder: Path, gate: str) -> Path:
    text = RECIPE.replace("SITE", str(folder / "site")).replace("TASKS", str(folder / "tasks"))
    path = folder / "measured.yaml"
    path.write_text(text.replace("GATE", gate), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Built:
    folder: Path
    workspace: Path

    def run(self, name: str) -> Path:
        return self.workspace / "runs" / "measured" / name


def build(folder: Path, workspace: Path) -> subprocess.CompletedProcess[str]:
    return run(["build", str(folder / "measured.yaml")], environment(workspace))


def kill_when(folder: Path, workspace: Path, ready: Callable[[], bool]) -> None:
    """Build, and send SIGKILL as soon as `ready` says so."""
    process = start(
        program, ["build", str(folder / "measured.yaml")], env=environment(workspace),
        streams=(None, os.devnull, os.devnull),
    )  # fmt: skip
    while process.is_alive() and not ready():
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the build ended before it could be killed"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built once, from nothing, undisturbed."""
    folder = tmp_path_factory.mktemp("measured")
    write_site(folder / "site")
    tasks = folder / "tasks"
    tasks.mkdir()
    tell = [{"prompt": f"Tell of the {n}. mill:", "references": "it grinds"} for n in range(5)]
    for name, rows in (("items", ITEMS), ("tell", tell)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tasks / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    for task in (TASK, TELL):
        (tasks / f"{task['name']}.yaml").write_text(json.dumps(task), encoding="utf-8")
    write_recipe(folder, REACHED)
    done = subprocess.run(
        [CHATWRIGHT, "build", str(folder / "measured.yaml")],
        env=environment(folder / "workspace"),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return Built(folder, folder / "workspace")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_the_figures_are_there_with_their_gates(built: Built) -> None:
    found = read(built.run("evaluation") / "evaluation.json")
    assert [gate["holds"] for gate in found["gates"]] == [True, True, True]
    assert {"waterways/acc", "waterways/acc_norm", "tell/token_f1", "bits_per_byte"} <= set(
        found["models"]["after"]["metrics"]
    )
    task = found["tasks"][0]
    about = task["notes"]["after"]["contamination"]
    assert about["checked"] and about["datasets"] == ["secrets"] and about["reason"] == ""
    assert about["items"] == ["waterways/0"] and about["too_short"] == 0
    rows = len(Dataset.open(built.workspace / "datasets" / "measured" / "secrets"))
    assert task["notes"]["after"]["text"] == f"1 of 3 items found in secrets ({rows} training rows)"
    assert about["clean"].keys() == {"waterways/acc", "waterways/acc_norm"}
    assert not built.run("work/evaluation~failed").exists()


def test_report_and_card_tell_all_that_was_measured(built: Built) -> None:
    page = (built.run("report") / "report.html").read_text(encoding="utf-8")
    card = (built.workspace / "models" / "measured" / "more" / "README.md").read_text("utf-8")
    assert card == (built.run("report") / "more.card.md").read_text(encoding="utf-8")
    for text in (page, card):
        assert "Waterways: accuracy" in text
        assert "1 of 3 items found in secrets" in text
        for said in ("Memorisation", "Membership", "canaries", "Bias", "Energy"):
            assert said.lower() in text.lower(), said
    audit = read(built.run("audit") / "audit.json")
    assert audit["training"] == ["measured/secrets"]
    assert audit["held_out"] == "measured/held-out-pages"
    assert len(audit["canaries"]["results"]) == 4 + 4  # those put in, and as many that were not
    assert audit["bias"] is not None and not audit["why"]


def fixed(workspace: Path) -> dict[str, Any]:
    """What every build of the recipe must give alike: bytes of rows, weights, answers; figures."""
    found: dict[str, Any] = {}
    for pattern in (
        "*.card.md",
        "part-*.parquet",
        "*.safetensors",
        "tokenizer.json",
        "answers.jsonl",
        "audit.json",
    ):
        for file in workspace.rglob(pattern):
            if "work" not in file.relative_to(workspace).parts:
                found[file.relative_to(workspace).as_posix()] = file_digest(file)
    evaluation = read(workspace / "runs" / "measured" / "evaluation" / "evaluation.json")
    return found | {k: v for k, v in evaluation.items() if k != "timing"}


@pytest.mark.timeout(400)
def test_killed_failed_and_lowered_it_gives_the_same(built: Built, tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "measured"
    work = runs / "work"

    def answered() -> bool:
        try:
            with sqlite3.connect(f"file:{work / 'evaluation/answers.db'}?mode=ro", uri=True) as db:
                (count,) = db.execute("SELECT count(*) FROM answers").fetchone()
            return bool(count > 4)
        except sqlite3.Error:
            return False

    # Up to the trained models all is there; killing what makes them is tests of another file.
    for made in ("datasets", "models"):
        shutil.copytree(built.workspace / made, tmp_path / made)
    write_recipe(built.folder, NOT_REACHED)
    kill_when(built.folder, tmp_path, answered)
    assert not (runs / "evaluation").exists()

    done = build(built.folder, tmp_path)
    assert done.returncode == 1
    assert "evaluation: evaluate (going on where it stopped)" in done.stderr
    assert "1 of 3 gates do not hold" in done.stderr and "Traceback" not in done.stderr
    assert "FAILS  waterways: >= 101 %" in done.stderr and "holds  bits_per_byte" in done.stderr
    assert "stage evaluation: " in done.stderr  # where it is
    assert not (runs / "evaluation").exists() and not (runs / "report").exists()
    assert not list(tmp_path.rglob("*.partial"))
    failed = read(work / "evaluation~failed" / "result" / "evaluation.json")
    assert [gate["holds"] for gate in failed["gates"]] == [False, True, True]
    for parent in failed["parents"]:  # whoever looks at it finds what it is of
        assert (work / "evaluation~failed" / "result" / parent["path"]).resolve().is_dir()

    # With the gate lowered the answers that are there are enough.
    with sqlite3.connect(work / "evaluation~failed" / "answers.db") as db:
        db.execute(
            "CREATE TRIGGER enough BEFORE INSERT ON answers "
            "BEGIN SELECT RAISE(ABORT, 'asked again'); END"
        )
    write_recipe(built.folder, REACHED)
    journal = work / "audit" / "answers.partial.jsonl"
    kill_when(built.folder, tmp_path, lambda: journal.exists() and journal.stat().st_size > 0)
    assert (runs / "evaluation" / "evaluation.json").exists()
    assert not (work / "evaluation~failed").exists() and not (runs / "audit").exists()

    done = build(built.folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "audit: audit (going on where it stopped)" in done.stderr
    assert "evaluation: unchanged, skipped" in done.stderr
    assert fixed(tmp_path) == fixed(built.workspace)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_gate_that_cannot_be_read_is_refused_before_anything_is_done(
    built: Built, tmp_path: Path
) -> None:
    write_recipe(tmp_path, "at least a half")
    done = build(tmp_path, tmp_path / "workspace")
    assert done.returncode == 2
    assert "'at least a half' is no demand; write >= 0.4" in done.stderr
    assert "measured.yaml:22 (stages.evaluation)" in done.stderr
    assert not (tmp_path / "workspace").exists()
