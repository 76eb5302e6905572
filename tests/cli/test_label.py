"""`chatwright label`: as a program through pipes, in a real pseudo-terminal, and drawn on paper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import Result
from prompt_toolkit.utils import get_cwidth
from typer.testing import CliRunner

import forked
from chatwright.cli.label import label
from chatwright.cli.label_booth import Booth
from chatwright.cli.label_screen import draw
from chatwright.curate.label.queue import Queue, open_queue
from chatwright.errors import ChatwrightError
from chatwright.records import Dataset, Document, content_id, write_dataset
from chatwright.workspace import Workspace

# The verb is added where the program has not registered it itself.
PROGRAM = [
    sys.executable,
    "-c",
    "from chatwright.cli import app as program, label, main\n"
    "if not any(g.typer_instance is label.label for g in program.app.registered_groups):\n"
    "    program.app.add_typer(label.label)\n"
    "main()",
    "label",
]
COUNT = 6


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with a dataset and a queue called `q`, made by the program itself."""
    path = tmp_path / "place" / "datasets" / "test" / "pages"
    with write_dataset(path, Document, stage="pages", fingerprint="f", settings={}) as out:
        for n in range(COUNT):
            said = "\u5f88\u597d\uff0cfine" if n % 2 else "poor"
            text = f"Page {n} says: {said} \x1b[2J\n\n" + "word " * 400
            out.write(Document(content_id("t", text), text, f"t:{n}", "t", meta={"title": f"T{n}"}))
    result = call(tmp_path, "new", "test/pages", "--labels", "good,bad", "--name", "q",
                  "--question", "Is it fine?", "--repeat-share", "0")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "6 items, 0 with a known label, 12 labels wanted" in result.stdout
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ, "CHATWRIGHT_WORKSPACE": str(folder / "place"), "OMP_NUM_THREADS": "1",
        "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", "LC_ALL": "C.UTF-8",
    }  # fmt: skip


def run(folder: Path, *options: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return forked.run(["label", *options], environment(folder), folder, said, timeout=120)


def call(folder: Path, *options: str, said: str = "") -> Result:
    """The same, in this process: quicker, where no pipe or terminal matters."""
    where = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(label, list(options), said, env=environment(folder))
    finally:
        os.chdir(where)


def opened(folder: Path) -> Queue:
    return open_queue("q", Workspace(folder / "place"))


def labels_of(folder: Path, who: str) -> list[str | None]:
    queue = opened(folder)
    return [given.label for given in queue.store.read().answers_of(who)]


# -- through pipes ------------------------------------------------------------------------------


def test_labels_through_a_pipe(made: Path) -> None:
    result = run(made, "work", "q", "--as", "piper", said="1\n\nc it is\nbad\nu\n2\ns\nq\n1\n")
    assert result.returncode == 0, result.stderr
    assert "Is it fine?" in result.stdout and "Taken back" in result.stdout
    assert "2 labelled" in result.stdout and "\x1b" not in result.stdout
    assert labels_of(made, "piper") == ["good", "bad", None]
    one = opened(made).store.read().answers_of("piper")
    assert all(given.seconds is not None for given in one)


def test_a_line_that_is_not_understood_is_no_label(made: Path) -> None:
    result = call(made, "work", "q", "--as", "typo", said="3\nfine\ngood bad\nGOOD\n")
    assert result.exit_code == 1 and result.stdout.count("not understood") == 3
    assert labels_of(made, "typo") == ["good"]
    shown = call(made, "work", "q", "--as", "typo", "--language", "zh", said="")
    assert "\u6570\u5b57\u6216\u6807\u7b7e" in shown.stdout


def test_from_labels_to_a_dataset(made: Path) -> None:
    for who, say in (("ann", lambda t: "1" if "fine" in t else "2"), ("ben", lambda t: "1")):
        queue = opened(made)
        lines = [say(item.text) for item in queue.items]
        assert call(made, "work", "q", "--as", who, said="\n".join(lines)).exit_code == 0
    told = call(made, "status", "q")
    assert told.exit_code == 0, told.output
    for words in ("12 of 12 labels given", "3 to decide", "ann and ben", "Fleiss' kappa", "alpha"):
        assert words in told.stdout
    found = json.loads(call(made, "status", "q", "--json").stdout)
    assert found["pairs"][0]["kappa"] == 0.0 and found["people"]["same"] == 0.5
    decided = call(made, "adjudicate", "q", "--as", "cat", said="2\ns\n1\nq\n")
    assert decided.exit_code == 0, decided.output
    assert "Said so far: bad \u00d71, good \u00d71" in decided.stdout
    assert "ann" not in decided.stdout and "ben" not in decided.stdout
    out = call(made, "export", "q", "q/good", "--only", "good", "--json")
    assert out.exit_code == 0, out.output
    assert json.loads(out.stdout)["labels"] == {"good": 4}
    dataset = Dataset.open(made / "place" / "datasets" / "q" / "good")
    assert how_often(dataset) == {"agreed": 3, "adjudicated": 1}
    shown = call(made, "export", "q", "q/all")
    assert "5 rows in" in shown.stdout and "left out: 1 people disagree" in shown.stdout
    listed = json.loads(call(made, "list", "--json").stdout)
    assert [one["name"] for one in listed] == ["q"] and "test/pages" in call(made, "list").stdout


def how_often(dataset: Dataset) -> dict[str, int]:
    return dict(Counter(row.meta["label"]["how"] for row in dataset.rows))


def test_a_function_and_a_column_label(made: Path) -> None:
    (made / "rules.py").write_text(
        "def judge(text):\n    return ('good', 0.5) if 'fine' in text else 'bad'\n",
        encoding="utf-8",
    )
    found = call(made, "model", "q", "--with", "rules.py:judge")
    assert found.exit_code == 0, found.output
    assert "model:rules.py:judge: 6 labels, 0 items without one" in found.stdout
    again = json.loads(call(made, "model", "q", "--with", "rules.py:judge", "--json").stdout)
    assert (again["labels"], again["before"]) == (0, 6)
    column = call(made, "model", "q", "--with", "meta.title", "--name", "titles")
    assert "model:titles: 0 labels, 6 items" in column.stdout and "hardly ever" in column.stdout
    assert "model:titles" in call(made, "status", "q").stdout
    out = call(made, "export", "q", "q/rule", "--by", "rules.py:judge")
    assert "6 rows in" in out.stdout


def test_known_labels_from_a_file(made: Path) -> None:
    (made / "gold.jsonl").write_text('{"id": "t:1", "label": "good"}\n', encoding="utf-8")
    result = call(made, "new", "test/pages", "-l", "good,bad", "--gold", "gold.jsonl")
    assert "test-pages: 5 items, 1 with a known label" in result.stdout
    none = call(made, "new", "test/pages", "-l", "good,bad", "-n", "r", "--gold", "meta.title")
    assert "no row has one of the labels in meta.title" in none.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["work", "nothing", "--as", "a"], "no queue called 'nothing'"),
        (["work", "../q", "--as", "a"], "cannot be a queue's name"),
        (["work", "q", "--as", " "], "labeller's name"),
        (["work", "q", "--as", "model:x"], "for models"),
        (["work", "q", "--as", "a", "--language", "fr"], "language"),
        (["work", "q"], "--as"),
        (["new", "test/pages", "-l", "good,bad", "-n", "q"], "already"),
        (["new", "nowhere", "-l", "good,bad"], "nowhere"),
        (["new", "test/pages", "-l", "good"], "cannot be the labels"),
        (["export", "q", "a/../../up"], "name"),
        (["export", "q", "x"], "no row has a label"),
        (["export", "q", "x", "--by", "gpt"], "no model has labelled"),
        (["model", "q", "--with", "nowhere.py:f"], "nowhere.py"),
        (["model", "q", "--with", "nowhere"], "nowhere"),
    ],
)
def test_bad_usage(made: Path, options: list[str], message: str) -> None:
    result = call(made, *options)
    if isinstance(result.exception, ChatwrightError):  # which `main` prints, without a traceback
        assert message in str(result.exception)
    else:
        assert result.exit_code == 2 and message in result.output
    assert not (made / "place" / "datasets" / "x").exists()


def test_an_unknown_queue_is_an_error_and_no_traceback(made: Path) -> None:
    result = run(made, "status", "nothing")
    assert result.returncode == 2 and "there are: q" in result.stderr
    assert "Traceback" not in result.stderr


# -- at a terminal ------------------------------------------------------------------------------


def test_labelling_at_a_terminal(made: Path) -> None:
    pexpect = pytest.importorskip("pexpect", reason="needs a pseudo-terminal")
    child = pexpect.spawn(
        PROGRAM[0], [*PROGRAM[1:], "work", "q", "--as", "\u5c0f\u660e"], env=environment(made),
        timeout=30, encoding="utf-8", codec_errors="replace", dimensions=(24, 80), cwd=str(made),
    )  # fmt: skip
    try:
        child.expect("0 done, 6 open")
        child.expect("q quit")
        child.send("1")
        child.expect("Noted")
        child.send("c")
        child.send("hmm \u597d\r")
        child.expect("hmm")
        child.send("2")
        child.expect("bad")
        child.send("u")
        child.expect("label again")  # only what changes is drawn: not every word comes whole
        child.send("\x1b[200~1111\x1b[201~")  # a paste is never a label
        child.send("s")
        child.expect("kipped")
        child.send("\x1b[B")  # down
        child.send("2")
        child.expect(": bad")
        child.send("q")
        child.expect("2 labelled")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
    finally:
        child.close(force=True)
    assert labels_of(made, "\u5c0f\u660e") == ["good", None, "bad"]
    again = run(made, "work", "q", "--as", "\u5c0f\u660e", said="1\n1\n1\n")
    assert "That was all" in again.stdout  # it went on from there
    assert len(labels_of(made, "\u5c0f\u660e")) == COUNT


def text_of(booth: Booth, columns: int = 80, rows: int = 24) -> str:
    lines = draw(booth, columns, rows)
    assert len(lines) <= rows
    drawn = ["".join(text for _, text in line) for line in lines]
    assert all(get_cwidth(line) <= columns for line in drawn), drawn
    return "\n".join(drawn)


def test_every_screen_fits_and_shows_nothing_of_others(made: Path) -> None:
    call(made, "work", "q", "--as", "other", said="1\n2\n1\n2\n1\n2\n")
    for language in ("en", "zh"):
        booth = Booth(opened(made), f"drawer-{language}", "label", language)
        for key in ("x", "down", "pagedown", "c", "\u597d", "enter", "up", "9", "1", "u", "s", "2"):
            booth.press(key)
            for columns, rows in ((200, 60), (80, 24), (40, 12), (20, 8)):
                drawn = text_of(booth, columns, rows)
                assert "other" not in drawn and "\x1b" not in drawn
    while booth.task is not None:
        booth.press("1")
    assert "\u5168\u90e8\u5b8c\u6210" in text_of(booth)
    booth.press("u")
    assert booth.task is not None
    booth.press("2")
    booth.press("escape")
    assert booth.done


def test_another_window_that_was_quicker(made: Path) -> None:
    slow, quick = Booth(opened(made), "twice"), Booth(opened(made), "twice")
    quick.press("1")
    slow.press("2")
    assert "labelled already" in slow.message and slow.task == quick.task
    assert labels_of(made, "twice") == ["good"]
