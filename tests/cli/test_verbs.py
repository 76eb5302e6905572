"""The verbs of the command line, as a program of their own, on the smallest real input."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import forked


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs")
    pages = folder / "pages"
    pages.mkdir()
    for name, text in {
        "tea": "Tea is made with hot water. ",
        "面条": "面条是用面粉和水做成的食物。",
    }.items():
        (pages / f"{name}.md").write_text(f"# {name}\n\n" + text * 12, encoding="utf-8")
    (pages / "short.md").write_text("Too short.\n", encoding="utf-8")
    return folder / "workspace"


def run(workspace: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "CHATWRIGHT_WORKSPACE": str(workspace)}
    return forked.run(words, env, cwd=workspace.parent, timeout=120)


def test_curate_why_and_the_lists(workspace: Path) -> None:
    done = run(workspace, "curate", "pages", "--name", "food", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 2
    listed = json.loads(run(workspace, "datasets", "--json").stdout)
    assert [(d["name"], d["rows"]) for d in listed] == [("food/collected", 3), ("food/curated", 2)]
    shown = run(workspace, "datasets", "food/curated")
    assert "面条是用面粉" in shown.stdout
    told = run(workspace, "why", "food/curated", "file:pages/short.md")
    assert "dropped by the rule word_count" in told.stdout
    assert "min 20" in told.stdout
    assert {"collected", "curated"} == set(
        json.loads(run(workspace, "runs", "--json").stdout)["food"]
    )
    exported = workspace.parent / "food.jsonl"
    assert (
        run(workspace, "export", "food/curated", str(exported), "--format", "jsonl").returncode == 0
    )
    rows = [json.loads(line) for line in exported.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2
    assert {row["meta"]["media_type"] for row in rows} == {"text/markdown"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["datasets", "nosuch"], 2, "there is no dataset called 'nosuch'"),
        (["build", "nosuch.yaml"], 2, "there is no such recipe"),
        (["why", "nosuch", "x"], 2, "there is no dataset"),
        (["chat", "nosuch", "-p", "hi"], 1, "there is no model called 'nosuch'"),
        (["export", "nosuch", "out"], 1, "there is no model called 'nosuch'"),
        (["nosuch"], 2, "nosuch"),
        (["curate", "no/such/folder", "--name", "x"], 1, "no/such/folder"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(
    workspace: Path, words: list[str], code: int, says: str
) -> None:
    done = run(workspace, *words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "verb",
    ["build", "chat", "serve", "curate", "why", "evaluate", "export", "models", "datasets", "runs"],
)
def test_every_verb_shows_an_example(workspace: Path, verb: str) -> None:
    done = run(workspace, verb, "--help")
    assert done.returncode == 0
    assert "xample" in done.stdout
