"""`chatwright tune` as a program of its own: a search, an interruption, wrong use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import forked
from chatwright.build import plan
from chatwright.cli.tune import _only_one_process, _seconds, _stage
from chatwright.errors import UsageError
from chatwright.recipe import load_recipe
from chatwright.workspace import Workspace

CHATWRIGHT = str(Path(sys.executable).parent / "chatwright")

RECIPE = """\
name: tiny
seed: 3
stages:
  pages:
    kind: collect
    sources: [{source: PAGES, license: CC0-1.0}]
  learnt: {kind: split, input: pages, part: train, held_out: 0.3}
  held-out: {kind: split, input: pages, part: held_out, held_out: 0.3}
  tokenizer: {kind: tokenizer, input: learnt, vocab_size: 300}
  unrelated: {kind: curate, input: pages}
  pretrain:
    kind: train
    objective: pretrain
    model: {depth: 1, tokenizer: tokenizer, context: 64}
    data: learnt
    validation: held-out
    length: 64
    batch_tokens: 256
    epochs: 2
  alone:
    kind: train
    objective: pretrain
    model: {depth: 1, tokenizer: tokenizer, context: 64}
    data: learnt
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    pages = folder / "pages"
    pages.mkdir()
    for number in range(12):
        text = f"Tea number {number} is made with hot water. 第{number}杯茶是用热水泡的。 " * 6
        (pages / f"{number}.md").write_text(f"# 茶 {number}\n\n{text}", encoding="utf-8")
    (folder / "tiny.yaml").write_text(RECIPE.replace("PAGES", str(pages)), encoding="utf-8")
    return folder


def command(*words: str) -> list[str]:
    return [CHATWRIGHT, "tune", "tiny.yaml", *words]


def environment(house: Path) -> dict[str, str]:
    return {
        **os.environ, "CHATWRIGHT_WORKSPACE": str(house / "w"), "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def run(house: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return forked.run(command(*words)[1:], environment(house), cwd=house)


SEARCH = (
    "--stage", "pretrain", "--set", "learning_rate=1e-4..1e-1:log", "--set", "steps=10",
    "--set", "schedule=wsd,linear",
)  # fmt: skip


def test_a_search_stopped_by_ctrl_c_goes_on_and_gives_a_recipe(house: Path) -> None:
    with subprocess.Popen(
        command(*SEARCH, "-n", "3", "--set", "clip=1.0"),
        env=environment(house), cwd=house, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("trial 1 of 3: validation_loss"):
                process.send_signal(signal.SIGINT)
    assert process.returncode != 0
    text = "".join(said)
    # Only what the stage needs is built.
    assert "[1/4] pages" in text and "unrelated" not in text
    assert "searching pretrain for the lowest validation_loss" in text
    assert "run the same command again to go on" in text

    done = run(house, *SEARCH, "-n", "3", "--set", "clip=1.0", "--json")
    assert done.returncode == 0, done.stderr
    assert "trial 1 of 3" not in done.stderr
    assert "trial 3 of 3" in done.stderr
    found = json.loads(done.stdout)
    assert [t["number"] for t in found["trials"]] == [1, 2, 3]
    assert found["direction"] == "minimise"
    assert found["best"]["result"] == min(t["result"] for t in found["trials"])

    shown = run(house, *SEARCH, "-n", "3", "--set", "clip=1.0")
    assert shown.returncode == 0, shown.stderr
    assert "best" in shown.stdout and "search.png" in shown.stdout
    best = Path(found["files"]["best.yaml"])
    assert f"chatwright build {best}" in shown.stdout
    states = {
        item.stage.name: item.state for item in plan(load_recipe(best), Workspace(house / "w"))
    }
    assert states["tokenizer"] == "done" and states["pretrain"] == "new"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "2", "--stage", "alone"], "the stage has no `validation`"),
        (["-n", "2", *SEARCH[:2], "--set", "learning_rte=1..2"], "did you mean `learning_rate`"),
    ],
)
def test_wrong_use_is_told_before_anything_is_built(
    house: Path, words: list[str], said: str
) -> None:
    done = run(house, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "which stage?"),
        ("nothing", "has no stage 'nothing'"),
        ("tokenizer", "is of kind tokenizer, which trains nothing"),
    ],
)
def test_the_stage_must_be_one_that_trains(house: Path, name: str | None, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        _stage(load_recipe(house / "tiny.yaml"), name)
    assert said in raised.value.message
    assert raised.value.hint is not None and "pretrain" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), (None, None)]
)
def test_times(text: str | None, seconds: float | None) -> None:
    assert _seconds(text) == seconds


def test_torchrun_is_not_for_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    _only_one_process()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        _only_one_process()


def test_what_is_no_time() -> None:
    with pytest.raises(UsageError, match="'soon' is not a time"):
        _seconds("soon")
