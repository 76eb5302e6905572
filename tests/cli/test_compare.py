"""`chatwright compare`: a table, a page, JSON; and every way in which it can be called wrongly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from chatwright.cli.compare import compare
from chatwright.errors import ChatwrightError, DataError, UsageError
from chatwright.evaluate import Evaluation
from task_results import TASKS, measure, write

SMALL = tuple(replace(t, items=12) for t in TASKS[:3])
app = typer.Typer()
app.command()(compare)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compare") / "workspace"
    write(measure(("base", "sft"), SMALL), root / "runs" / "quickstart" / "evaluation")
    write(measure(("small",), SMALL), root / "runs" / "nightly" / "evaluation")
    write(measure(("small",), TASKS[3:5]), root / "runs" / "other" / "evaluation")
    return root


def run(workspace: Path, *words: str) -> str:
    """What it prints. A refusal is raised as it is: `chatwright.cli.main` prints it."""
    result = CliRunner().invoke(app, [*words, "--workspace", str(workspace)])
    if isinstance(result.exception, ChatwrightError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_two_results_give_a_table_and_a_page(workspace: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages" / "diff.html"
    said = run(workspace, "nightly/evaluation", "quickstart/evaluation:sft", "-o", str(out))
    lines = {" ".join(line.split()) for line in said.splitlines()}
    assert any(line.startswith("ARC-Easy Accuracy, per byte") for line in lines)
    assert any("better" in line or "no clear difference" in line for line in lines)
    assert str(out) in said and "36 items" in said
    page = out.read_text(encoding="utf-8")
    assert "small against sft" in page and "Items on which they differ" in page
    again = tmp_path / "again.html"
    run(workspace, "nightly/evaluation", "quickstart/evaluation:sft", "-o", str(again))
    assert again.read_bytes() == out.read_bytes()


def test_a_result_with_two_models_is_enough(workspace: Path) -> None:
    said = run(workspace, "quickstart/evaluation")
    page = workspace / "comparisons" / "base-against-sft.html"
    assert str(page) in said and "base against sft" in page.read_text(encoding="utf-8")
    folder = workspace / "runs" / "quickstart" / "evaluation"
    run(workspace, f"{folder}:base", f"{folder / 'evaluation.json'}:sft")


def test_json_is_an_evaluation(workspace: Path) -> None:
    said = json.loads(
        run(workspace, "quickstart/evaluation:base", "nightly/evaluation:small", "--json")
    )
    assert Evaluation.from_json(said).models[1].name == "small"
    assert {c["verdict"] for c in said["comparisons"]} <= {"better", "worse", "no clear difference"}
    assert Path(said["page"]).is_file() and said["notes"] == []
    assert said["sources"]["base"]["label"] == "base"


def test_notes_are_printed(workspace: Path, tmp_path: Path) -> None:
    changed = measure(("small",), SMALL)
    task = next(t for t in changed.tasks if t.name == "arc_easy")
    task.shots, task.digest = 3, "x"
    write(changed, tmp_path / "changed")
    said = run(workspace, "quickstart/evaluation:base", str(tmp_path / "changed"))
    assert "note: " in said and "it was not the same task" in said


def test_the_page_opens_when_asked(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    run(workspace, "quickstart/evaluation")
    assert opened == []
    run(workspace, "quickstart/evaluation", "--open")
    assert len(opened) == 1 and opened[0].startswith("file:///") and opened[0].endswith(".html")


def test_two_models_are_evaluated_first(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def evaluate(models: Mapping[str, str], **options: Any) -> Evaluation:
        asked.update(options, models=dict(models))
        return measure(tuple(models), SMALL)

    monkeypatch.setattr("chatwright.evaluate.evaluate_models", evaluate)
    said = run(
        workspace, "base", "hf:test/sft", "--tasks", "arc_easy,lambada", "-t", "gsm8k",
        "--limit", "7",
    )  # fmt: skip
    assert asked["models"] == {"base": "base", "hf:test/sft": "hf:test/sft"}
    assert asked["tasks"] == ["arc_easy", "lambada", "gsm8k"] and asked["task_limit"] == 7
    assert "base-against-hf-test-sft.html" in said
    with pytest.raises(UsageError, match="both sides"):
        run(workspace, "base", "base", "-t", "arc_easy")
    with pytest.raises(UsageError, match="there is one"):
        run(workspace, "base", "-t", "arc_easy")


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        (["nosuch", "nightly/evaluation"], UsageError, "no evaluation called 'nosuch'"),
        (["quickstart/evaluation:zzz", "nightly/evaluation"], UsageError, "no model called 'zzz'"),
        (["quickstart/evaluation", "nightly/evaluation"], UsageError, "2 models: say which"),
        (["nightly/evaluation"], UsageError, "nothing to compare 'small' with"),
        (["nightly/evaluation", "nightly/evaluation"], UsageError, "both sides are the model"),
        (["nightly/evaluation", "other/evaluation"], DataError, "no task in common"),
    ],
)
def test_mistakes_are_told(
    workspace: Path, words: list[str], kind: type[ChatwrightError], says: str
) -> None:
    with pytest.raises(kind, match=says) as error:
        run(workspace, *words)
    assert error.value.hint
    if "nosuch" in words:
        assert "nightly/evaluation, other/evaluation, quickstart/evaluation" in error.value.hint
        assert "--tasks" in error.value.hint


def test_what_is_no_evaluation_is_named(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text('{"format": "else"}')
    with pytest.raises(DataError, match="not an evaluation") as error:
        run(workspace, str(tmp_path), "nightly/evaluation")
    assert error.value.where == str(tmp_path / "evaluation.json")
