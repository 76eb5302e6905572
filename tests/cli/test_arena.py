"""`chatwright arena`: as a program through pipes, in a real pseudo-terminal, and drawn on paper."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from prompt_toolkit.utils import get_cwidth
from typer.testing import CliRunner

import forked
from chatwright.cli.arena import arena
from chatwright.cli.arena_booth import Booth
from chatwright.cli.arena_screen import draw, paragraphs, wrap
from chatwright.errors import ChatwrightError, UsageError
from chatwright.evaluate.arena import Study, study_path
from chatwright.records import Dataset
from chatwright.workspace import Workspace

# The verb is added where the program has not registered it itself.
PROGRAM = [
    sys.executable,
    "-c",
    "from chatwright.cli import app as program, arena, main\n"
    "if not any(g.typer_instance is arena.arena for g in program.app.registered_groups):\n"
    "    program.app.add_typer(arena.arena)\n"
    "main()",
    "arena",
]
COUNT = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study called `first`, made by the program itself."""
    folder = tmp_path_factory.mktemp("arena")
    prompts = [f"Question {n}?" if n % 2 else f"第 {n} 个问题是什么？" for n in range(COUNT)]
    (folder / "prompts.jsonl").write_text(
        "".join(json.dumps({"id": n, "prompt": p}) + "\n" for n, p in enumerate(prompts))
        + '{"prompt": "Private?", "consent": false}\n',
        encoding="utf-8",
    )
    for label, text in (("strong", "好 A long and careful answer. \x1b[2J"), ("weak", "Dunno.")):
        rows = [{"id": n, "text": f"{text} {n}"} for n in range(COUNT)]
        (folder / f"{label}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
    (folder / "rules.md").write_text("# Rules\n\nPrefer the longer one.\n", encoding="utf-8")
    result = call(folder, "create", "first", "strong.jsonl", "weak.jsonl", "--prompts",
                 "prompts.jsonl", "--form", "--guidelines", "rules.md")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "12 answers made" in result.stdout
    assert "1 rows left out: without consent" in result.stdout
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ, "CHATWRIGHT_WORKSPACE": str(folder / "place"), "OMP_NUM_THREADS": "1",
        "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", "LC_ALL": "C.UTF-8",
    }  # fmt: skip


def run(folder: Path, *options: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return forked.run(["arena", *options], environment(folder), folder, said, timeout=120)


def call(folder: Path, *options: str, said: str = "") -> Result:
    """The same, in this process: quicker, where no pipe or terminal matters."""
    where = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(arena, list(options), said, env=environment(folder))
    finally:
        os.chdir(where)


def opened(folder: Path, name: str = "first") -> Study:
    return Study.open(study_path(Workspace(folder / "place"), name))


# -- the program, through pipes ------------------------------------------------------------------


def test_votes_through_a_pipe(made: Path) -> None:
    result = run(made, "vote", "first", "-j", "piper", said="l 13\n\n?\nt\nu\nr\nb\nq\nl\n")
    assert result.returncode == 0, result.stderr
    assert "Prefer the longer one." in result.stdout
    assert "Taken back" in result.stdout
    assert "3 of 6 judged" in result.stdout
    assert "strong" not in result.stdout
    assert "\x1b" not in result.stdout
    votes = [v for v in opened(made).votes() if v.judge == "piper"]
    assert [v.choice for v in votes] == ["left", "right", "both_bad"]
    assert votes[0].reasons == ("correct", "relevant")
    assert all(v.seconds is not None for v in votes)


def test_a_line_that_is_not_understood_is_no_vote(made: Path) -> None:
    result = call(made, "vote", "first", "-j", "typo", said="left please\nyes\nl 0\n→\n")
    assert result.exit_code == 1
    assert result.stdout.count("not understood") == 3
    assert [v.choice for v in opened(made).votes() if v.judge == "typo"] == ["right"]


def test_an_unknown_study_is_an_error_and_no_traceback(made: Path) -> None:
    result = run(made, "vote", "nothing", "-j", "a")
    assert result.returncode == 2
    assert "no study called 'nothing'" in result.stderr
    assert "Traceback" not in result.stderr


def test_scores_through_a_pipe(made: Path) -> None:
    result = call(
        made, "rate", "first", "-j", "piper", "--language", "zh", said="5 4 - 3\n6 1 1 1\ns\n"
    )
    assert result.exit_code == 1
    assert "有用" in result.stdout
    found = [r for r in opened(made).ratings() if r.judge == "piper"]
    assert [dict(r.scores) for r in found] == [{"helpful": 5, "honest": 4, "fluent": 3}, {}]


def test_results_list_and_export(made: Path) -> None:
    for judge in ("ann", "ben"):
        study = opened(made)
        while (shown := study.next_comparison(judge)) is not None:
            study.vote(judge, shown.id, "left" if "careful" in shown.left else "right")
    table = call(made, "results", "first")
    assert table.exit_code == 0, table.output
    for words in ("Ratings", "Win rates", "Agreement", "Position", "strong", "kappa", "Scores"):
        assert words in table.stdout
    found = json.loads(call(made, "results", "first", "--json").stdout)
    assert found["people"]["strengths"][0]["model"] == "strong"
    assert found["model_judges"]["votes"] == 0
    listed = json.loads(call(made, "list", "--json").stdout)
    assert [info["name"] for info in listed] == ["first"]
    assert "first" in call(made, "list").stdout
    out = call(made, "export", "first", "prefs/first", "--json")
    assert json.loads(out.stdout)["rows"] > 0
    dataset = Dataset.open(made / "place" / "datasets" / "prefs" / "first")
    assert all("careful" in row.chosen for row in dataset.rows)


def test_create_again_goes_on_and_never_becomes_another_study(made: Path) -> None:
    again = call(
        made, "create", "first", "strong.jsonl", "weak.jsonl", "-p", "prompts.jsonl", "--form"
    )
    assert again.exit_code == 0, again.output
    assert "0 answers made" in again.stdout
    other = call(made, "create", "first", "strong.jsonl", "x=weak.jsonl", "-p", "prompts.jsonl")
    assert isinstance(other.exception, UsageError)
    assert "already" in other.exception.message


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["vote", "../first", "-j", "a"], 2, "cannot be a study's name"),
        (["vote", "first", "-j", " "], 2, "judge's name"),
        (["vote", "first", "-j", "a", "--language", "fr"], 2, "language"),
        (["vote", "first"], 2, "--judge"),
        (["create", "x", "strong.jsonl", "-p", "prompts.jsonl"], 2, "two models"),
        (["create", "x", "strong.jsonl", "nowhere", "-p", "prompts.jsonl"], 1, "nowhere"),
        (["create", "x", "strong.jsonl", "weak.jsonl", "-p", "nowhere"], 2, "nowhere"),
        (["create", "x", "a=strong.jsonl", "b=weak.jsonl", "-p", "prompts.jsonl",
          "--guidelines", "none.md"], 1, "guidelines"),
        (["export", "first", "../../up"], 2, "no dataset"),
        (["export", "first", "a/../../up"], 2, "name"),
        (["judge", "first", "--model", "nowhere"], 1, "nowhere"),
    ],
)  # fmt: skip
def test_bad_usage(made: Path, options: list[str], code: int, message: str) -> None:
    if options[:2] == ["export", "first"]:
        (made.parent.parent / "up").mkdir(exist_ok=True)
        opened(made).judge_with("voter", ask=lambda _: "Verdict: A")
        study = opened(made)
        shown = study.next_comparison("exporter")
        if shown is not None:
            study.vote("exporter", shown.id, "left")
    result = call(made, *options)
    if isinstance(result.exception, ChatwrightError):  # which `main` prints, without a traceback
        assert result.exception.exit_code == code
        assert message in str(result.exception)
    else:
        assert result.exit_code == code, result.output
        assert message in result.output
    assert not (made / "place" / "arena" / "x").exists()


# -- the program, at a terminal ------------------------------------------------------------------


def test_judging_at_a_terminal(made: Path) -> None:
    pexpect = pytest.importorskip("pexpect", reason="needs a pseudo-terminal")
    child = pexpect.spawn(
        PROGRAM[0], [*PROGRAM[1:], "vote", "first", "-j", "小明"], env=environment(made),
        timeout=30, encoding="utf-8", codec_errors="replace", dimensions=(30, 100), cwd=str(made),
    )  # fmt: skip
    try:
        child.expect("0 of 6 done")
        child.expect("guidelines")
        child.send("?")
        child.expect("any other key")
        child.send(" ")
        child.expect("Why")
        child.send("1")
        child.send("c")
        child.send("fine 好\r")
        child.expect("fine")
        child.send("\x1b[D")  # ←
        child.expect("Noted")
        child.send("\x1b[C")  # →
        child.expect("Right")
        child.send("u")
        child.expect("judge again")  # only what changes is drawn: not every word comes whole
        child.send("\x1b[200~rrrr\x1b[201~")  # a paste is never a vote
        child.send("t")
        child.expect(": tie")
        child.send("q")
        child.expect("2 of 6 judged")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
    finally:
        child.close(force=True)
    votes = [v for v in opened(made).votes() if v.judge == "小明"]
    assert [v.choice for v in votes] == ["left", "tie"]
    assert votes[0].reasons == ("correct",)
    assert votes[0].comment == "fine 好"


def test_a_terminal_that_is_left_keeps_every_vote(made: Path) -> None:
    pexpect = pytest.importorskip("pexpect", reason="needs a pseudo-terminal")
    child = pexpect.spawn(
        PROGRAM[0], [*PROGRAM[1:], "rate", "first", "-j", "leaver"], env=environment(made),
        timeout=30, encoding="utf-8", codec_errors="replace", dimensions=(24, 60), cwd=str(made),
    )  # fmt: skip
    try:
        child.expect("0 of 12 done")
        child.expect("guidelines")
        child.send("54\t3")
        child.send("\r")
        child.expect("Noted")
        child.sendintr()
        child.expect("1 of 12 judged")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    rating = next(r for r in opened(made).ratings() if r.judge == "leaver")
    assert dict(rating.scores) == {"helpful": 5, "honest": 4, "fluent": 3}


# -- the booth and the screen, without a terminal ------------------------------------------------


def text_of(booth: Booth, columns: int = 100, rows: int = 30) -> str:
    lines = draw(booth, columns, rows)
    assert len(lines) <= rows
    drawn = ["".join(text for _, text in line) for line in lines]
    assert all(get_cwidth(line) <= columns for line in drawn)
    return "\n".join(drawn)


def test_every_page_fits_every_screen(made: Path) -> None:
    for form in ("compare", "rate"):
        for language in ("en", "zh"):
            booth = Booth(opened(made), f"drawer-{form}-{language}", form, language)  # type: ignore[arg-type]
            for key in ("x", "?", "down", "x", "c", "好", "enter", "1", "down", "pagedown", "up"):
                booth.press(key)
                for columns, rows in ((200, 60), (100, 30), (80, 24), (40, 16), (20, 8)):
                    text_of(booth, columns, rows)


def test_the_screen_names_no_model_and_sends_no_escape(made: Path) -> None:
    booth = Booth(opened(made), "reader", "compare", "en")
    while booth.task is not None:
        drawn = text_of(booth)
        assert "strong" not in drawn
        assert "weak" not in drawn
        assert "\x1b" not in drawn
        assert "A long and careful answer." in drawn
        assert "Dunno." in drawn
        booth.press("t")
    assert "That was all" in text_of(booth)
    booth.press("enter")
    assert not booth.done  # the last one can still be taken back
    booth.press("u")
    assert booth.task is not None
    booth.press("s")
    booth.press("q")
    assert booth.done


def test_reasons_are_those_of_a_win_and_can_be_unset(made: Path) -> None:
    now = iter(range(100))
    booth = Booth(opened(made), "clicker", "compare", "en", clock=lambda: float(next(now)))
    for key in ("1", "2", "1", "l"):
        booth.press(key)
    booth.press("3")
    booth.press("t")
    first, second = (v for v in opened(made).votes() if v.judge == "clicker")
    assert first.reasons == ("complete",)
    assert first.seconds == 1
    assert second.reasons == ()


def test_another_window_that_was_quicker(made: Path) -> None:
    slow = Booth(opened(made), "twice", "compare", "en")
    quick = Booth(opened(made), "twice", "compare", "en")
    quick.press("l")
    slow.press("r")
    assert "judged already" in slow.message
    assert slow.task == quick.task
    assert [v.choice for v in opened(made).votes() if v.judge == "twice"] == ["left"]
    with pytest.raises(UsageError, match="models that judge"):
        Booth(opened(made), "model:x", "compare", "en")


def test_an_enter_without_a_score_asks_for_one(made: Path) -> None:
    booth = Booth(opened(made), "hasty", "rate", "en")
    booth.press("enter")
    assert "Give a score" in booth.message
    for key in ("3", "-", "backtab", "5", "enter"):
        booth.press(key)
    rating = next(r for r in opened(made).ratings() if r.judge == "hasty")
    assert dict(rating.scores) == {"helpful": 3, "honest": 5}


@pytest.mark.parametrize("width", [2, 7, 20])
@pytest.mark.parametrize(
    "text", ["", "a few short words", "averyveryverylongword", "  indented code",
             "中文没有空格，也要换行。", "mixed 中文 and words"]
)  # fmt: skip
def test_wrapping_loses_no_letter(text: str, width: int) -> None:
    lines = wrap(text, width)
    letters = re.sub(r"\s", "", text)
    assert re.sub(r"\s", "", "".join(lines)) == letters
    assert all(get_cwidth(line) <= width for line in lines)
    if width == 20:
        assert not any(line.startswith(("，", "。")) for line in lines)


def test_paragraphs_are_joined_and_lists_are_not() -> None:
    text = "# Head\n\none\ntwo\n- a\n  b\n1. c\n\n中\n文"
    assert paragraphs(text) == ["# Head", "", "one two", "- a b", "1. c", "", "中文"]
