"""`chatwright evaluate` and `chatwright tasks`, the real program, on tiny models."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import forked
from chatwright.cli import main
from chatwright.evaluate import Evaluation
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.tokenizer import Tokenizer
from chatwright.workspace import Workspace

ITEMS = [
    {"q": "Which form is for a day off?", "options": ["F-12", "F-30", "none"], "right": "F-12"},
    {"q": "谁批准出差？", "options": ["部门经理", "前台同事"], "right": "A"},
    {"q": "Who orders paper?", "options": ["the office", "everybody"], "right": 0},
    {"q": "Where is the printer?", "options": ["upstairs", "in the cellar"], "right": 1},
    {"q": "Who keeps the keys?", "options": ["the porter", "nobody"], "right": 0},
]
TASK = """\
name: handbook
title: Our handbook
kind: choice
sources:
  - source: items.jsonl
    fields: {choices: options, gold: right}
prompt: "Question: {{ q }}\\nAnswer:"
metrics: [acc, acc_norm]
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task of one's own, and a workspace with two models."""
    folder = tmp_path_factory.mktemp("desk")
    lines = [json.dumps(item, ensure_ascii=False) for item in ITEMS]
    lines.append(json.dumps({"q": "No gold?", "options": ["a", "b"]}))
    (folder / "items.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "handbook.yaml").write_text(TASK, encoding="utf-8")
    tokenizer = Tokenizer.train([*lines, TASK] * 3, 400)
    config = ModelConfig.from_depth(1, tokenizer.vocab_size, context=256)
    for seed, name in enumerate(("base", "ours")):
        model = Transformer.random(config, seed=seed)
        for weights in model.parameters():
            weights.data.mul_(20)  # so that they are of different, and firm, opinions
        save_model(model, tokenizer, Workspace(folder / "workspace").models / "my" / name)
    return folder


def run(desk: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"CHATWRIGHT_WORKSPACE": str(desk / "workspace"), "OMP_NUM_THREADS": "1"}
    return forked.run(words, env, cwd=desk, timeout=120)


@pytest.fixture
def call(desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The program in this process: quicker, for what needs no process of its own."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(desk)
        monkeypatch.setenv("CHATWRIGHT_WORKSPACE", str(desk / "workspace"))
        monkeypatch.setattr(sys, "argv", ["chatwright", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return int(code or 0), out, err

    return call


def kept(desk: Path) -> set[str]:
    """The keys of the answers that are kept."""
    path = desk / "workspace" / "runs" / "evaluations" / ".answers.db"
    with sqlite3.connect(path) as db:
        return {key for (key,) in db.execute("SELECT key FROM answers")}


def test_from_a_task_file_to_figures_a_page_and_a_comparison(desk: Path, call: Any) -> None:
    both = ("evaluate", "my/base", "my/ours", "--tasks", "handbook.yaml")
    done = run(desk, *both, "--json", "--html", "pages/scores.html", "--save", "one")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    evaluation = Evaluation.from_json(printed)
    assert [m.name for m in evaluation.models] == ["my/base", "my/ours"]
    assert evaluation.models[1].metrics["handbook/acc"].count == 5
    assert [(s.id, s.reason) for s in evaluation.skipped] == [
        ("handbook: items.jsonl#row=6", "`fields.gold`: 'right' is undefined")
    ]
    (task,) = printed["tasks"]
    assert task["source"] == "items.jsonl" and task["chance"] == pytest.approx((1 / 3 + 4 / 2) / 5)
    page = (desk / "pages" / "scores.html").read_text(encoding="utf-8")
    assert "Our handbook" in page and "my/ours" in page
    stored = desk / "workspace" / "runs" / "evaluations" / "one"
    lines = (stored / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5 and json.loads(lines[1])["choices"] == ["部门经理", "前台同事"]
    differing = [  # the page shows them
        item["q"]
        for item, line in zip(ITEMS, map(json.loads, lines), strict=True)
        if len({answer["scores"]["acc"] for answer in line["answers"].values()}) == 2
    ]
    assert "谁批准出差？" in differing and all(question in page for question in differing)
    answers = kept(desk)
    assert len(answers) == 10

    # Again, as a person reads it: the same figures, and no model is asked anything.
    with sqlite3.connect(stored.parent / ".answers.db") as db:
        more = "json_set(value, '$.nll[0]', json_extract(value, '$.nll[0]') + 9)"
        db.execute(f"UPDATE answers SET value = {more}")  # a mark: asked anew, it would be gone
    again = run(desk, *both)
    assert again.returncode == 0, again.stderr
    assert "95 % intervals" in again.stdout and "1 not scored" in again.stdout
    assert "all tasks: contamination not checked" in again.stdout
    assert kept(desk) == answers
    with sqlite3.connect(stored.parent / ".answers.db") as db:
        values = [json.loads(v)["nll"][0] for (v,) in db.execute("SELECT value FROM answers")]
    first = [-a["logprobs"][0] + 9 for x in map(json.loads, lines) for a in x["answers"].values()]
    assert sorted(values) == pytest.approx(sorted(first))

    # `--fresh` trusts none of it and gives the first run's figures.
    _, out, _ = call(*both, "--fresh", "--json", "--save", "two")
    assert json.loads(out)["models"] == printed["models"]
    code, out, err = call("compare", "evaluations/one:my/base", "evaluations/two:my/ours", "--json")
    assert code == 0, err
    compared = json.loads(out)
    wanted = {c["metric"]: c["value"] for c in printed["comparisons"]}
    assert {c["metric"]: c["value"] for c in compared["comparisons"]} == wanted
    assert "Our handbook" in Path(compared["page"]).read_text(encoding="utf-8")


def test_a_gate_that_does_not_hold_is_exit_code_1(desk: Path, call: Any) -> None:
    both = ("evaluate", "my/base", "my/ours", "-t", "handbook.yaml", "--fresh")
    code, out, err = call(
        *both, "--gate", "handbook: >= base - 100", "--gate", "handbook/acc: <= 1"
    )
    assert code == 0 and err.strip() == ""
    assert out.count("holds  handbook") == 2
    code, out, err = call(
        *both, "--gate", "handbook: >= base - 100", "--gate", "handbook/acc: > 100 %",
        "--save", "failed",
    )  # fmt: skip
    assert code == 1
    assert "1 of 2 gates do not hold" in err and "FAILS  handbook/acc: > 100 %" in err
    assert "95 % intervals" in out  # the figures are shown and kept all the same
    file = desk / "workspace" / "runs" / "evaluations" / "failed" / "evaluation.json"
    assert [gate["holds"] for gate in json.loads(file.read_text())["gates"]] == [True, False]
    code, out, err = call(*both, "--gate", "hellaswag: >= 0.3")
    assert code == 2 and "names nothing that was measured" in err and "handbook/acc_norm" in err
    assert "95 % intervals" in out
    code, out, err = call(*both, "--gate", "handbook >= 0.3")
    assert code == 2 and "a gate is 'TASK: DEMAND'" in err and not out
    twice = ("--gate", "handbook: >= 0.3", "--gate", "handbook: <= 0.9")
    code, out, err = call(*both, *twice)
    assert code == 2 and "two gates on 'handbook'" in err and not out


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("kind: choice", "kind: choise", 1, "bad.yaml:3 (kind)"),
        ("prompt:", "promt:", 1, "unknown key; did you mean prompt?\n  at: bad.yaml:7 (promt)"),
        ("metrics: [acc, acc_norm]", "metrics: [f1]", 2, "at: task handbook, metrics"),
        ("fields: {", "fields: [", 1, "at: bad.yaml:6"),
        ("items.jsonl", "none.jsonl", 1, "none.jsonl"),
        ("options,", "'opt + [',", 1, "bad.yaml"),
    ],
)
def test_a_bad_task_file_is_named_with_line_and_key(
    desk: Path, call: Any, old: str, new: str, code: int, said: str
) -> None:
    assert old in TASK
    (desk / "bad.yaml").write_text(TASK.replace(old, new), encoding="utf-8")
    found, out, err = call("evaluate", "my/base", "-t", "bad.yaml")
    assert found == code, err
    assert said in err and "error: " in err
    assert "Traceback" not in err and not out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["my/base"], "`tasks`, `data` (questions) or `text`"),
        (["my/base", "-t", "handbok"], "no task called 'handbok'"),
        (["my/base", "-t", "copa,none.yaml"], "no such task file"),
        (["my/nobody", "-t", "handbook.yaml"], "no model called 'my/nobody'"),
        (["my/base", "-t", "handbook.yaml", "--save", "../x"], "--save ../x"),
        (["my/base", "-t", "handbook.yaml", "--limit", "0"], "--limit"),
        ([], "models"),
    ],
)
def test_bad_usage_is_exit_code_2(call: Any, words: list[str], said: str) -> None:
    code, out, err = call("evaluate", *words)
    assert said in err
    assert code == (1 if "my/nobody" in words else 2)
    assert "Traceback" not in err and not out


def test_a_limit_asks_fewer_and_the_same_each_time(call: Any) -> None:
    words = ("evaluate", "my/ours", "-t", "handbook.yaml", "--limit", "3", "--fresh", "--json")
    first, second = (json.loads(call(*words)[1]) for _ in range(2))
    assert first["tasks"][0]["items"] == 3
    assert first["models"] == second["models"]
    longer = json.loads(call(*words, "--shots", "1", "--chat")[1])
    assert longer["tasks"][0]["shots"] == 1


def test_tasks_are_listed_ones_own_among_them(desk: Path, call: Any) -> None:
    own = desk / "workspace" / "tasks"
    own.mkdir(exist_ok=True)
    (own / "handbook.yaml").write_text(
        TASK.replace("items.jsonl", str(desk / "items.jsonl")), encoding="utf-8"
    )
    (own / "broken.yaml").write_text("name: broken\nkind: quiz\n", encoding="utf-8")
    code, out, err = call("tasks")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert "Our handbook" in rows["handbook"] and "choice" in rows["handbook"]
    assert "ARC-Easy" in rows["arc_easy"] and "hellaswag" in rows["core"]
    assert "C-Eval" in rows["ceval"] and "zh" in rows["ceval"].split()
    assert "broken.yaml:2 (kind)" in err and "broken" not in rows  # and the others are there
    listed = {task["name"]: task for task in json.loads(call("tasks", "--json")[1])}
    assert listed["handbook"]["file"] == str(own / "handbook.yaml")
    assert listed["hellaswag"]["citation"].startswith("Zellers")
    assert listed["gsm8k"]["shots"] == 5
    # By its name, like any other; one that is broken is in nobody's way.
    code, out, err = call("evaluate", "my/base", "-t", "handbook", "--fresh", "--limit", "2")
    assert code == 0 and "Our handbook: accuracy" in out
    (own / "broken.yaml").unlink()


def test_help_shows_an_example(call: Any) -> None:
    for verb in ("evaluate", "tasks"):
        code, out, _ = call(verb, "--help")
        assert code == 0 and "Example: " in out
