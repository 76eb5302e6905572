"""`chatwright chat`: in a real pseudo-terminal, through a pipe, and the slash commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import forked
from chatwright.assist import Answer, Citation
from chatwright.assist.answer import AssistantSettings
from chatwright.cli.talk import Talk, printable
from chatwright.errors import ContextError
from chatwright.generate import Completion, Piece, SamplingParams
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.records.grounding import Passage
from chatwright.tokenizer import Tokenizer

PROGRAM = [sys.executable, "-c", "from chatwright.cli import main; main()", "chat"]
CONTEXT = 16384
READY = "Ask something"  # shown where nothing is typed yet


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one tiny model, whose answers mean nothing and hardly ever end."""
    texts = ["The engine reads a prompt and writes an answer.", "引擎读取提示，然后回答。"]
    tokenizer = Tokenizer.train(texts * 4, 300)
    config = ModelConfig.from_depth(1, tokenizer.vocab_size, context=CONTEXT)
    model = Transformer.random(config, seed=3)
    with torch.no_grad():
        for weight in (model.embed_tokens.weight, model.head_weight):
            weight.mul_(20)
        model.head_weight[sorted(tokenizer.special_ids)] = 0
    root = tmp_path_factory.mktemp("chat") / "workspace"
    save_model(model, tokenizer, root / "models" / "tiny")
    return root


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}


def run(place: Path, *options: str, said: str = "") -> subprocess.CompletedProcess[str]:
    words = ["chat", "tiny", "-w", str(place), "--temperature", "0", *options]
    return forked.run(words, environment(), said=said, timeout=120)


# -- the program, through a pipe -----------------------------------------------------------------


def test_one_question_and_the_same_as_json(place: Path) -> None:
    plain = run(place, "-p", "Hello", "--max-tokens", "12")
    assert plain.returncode == 0, plain.stderr
    as_json = run(place, "-p", "Hello", "--max-tokens", "12", "--json")
    answer = json.loads(as_json.stdout)
    assert answer["finish_reason"] == "length"
    assert answer["completion_tokens"] == 12
    assert answer["citations"] == []
    assert printable(answer["answer"]) in plain.stdout
    assert "cut off" in plain.stdout


def test_questions_are_read_line_by_line_in_one_conversation(place: Path) -> None:
    said = "Hello\n\n/system Be brief.\n你好\udcff\n  \nagain\n/nonsense\n/quit\nnever asked\n"
    result = run(place, "--max-tokens", "5", "--json", said=said)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [a["question"] for a in answers] == ["Hello", "你好\ufffd", "again"]
    sizes = [a["prompt_tokens"] for a in answers]
    assert sizes[0] < sizes[1] < sizes[2]  # each prompt holds what was said before
    assert "no command /nonsense" in result.stderr


def test_a_question_that_fails_is_told_and_the_next_is_answered(place: Path) -> None:
    said = "word " * CONTEXT + "\nHello\n"
    result = run(place, "--max-tokens", "5", "--json", said=said)
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert "tokens" in first["error"]
    assert second["completion_tokens"] == 5
    assert result.returncode == 1
    assert "error:" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", "  "], "empty"),
        (["-p", "x", "--temperature", "nan"], "temperature"),
        (["-p", "x", "--max-tokens", "0"], "max_tokens"),
    ],
)
def test_bad_options_are_refused_before_anything_is_loaded(
    place: Path, options: list[str], message: str
) -> None:
    began = time.monotonic()
    result = run(place, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert time.monotonic() - began < 60


def test_an_unknown_name_says_so(tmp_path: Path) -> None:
    result = subprocess.run(
        [*PROGRAM, "no-such-assistant", "-w", str(tmp_path), "-p", "x"],
        capture_output=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert result.returncode in (1, 2)
    assert "no-such-assistant" in result.stderr.decode()
    assert b"Traceback" not in result.stderr


# -- the program, at a terminal ------------------------------------------------------------------


def test_a_conversation_at_a_terminal(place: Path, tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect", reason="needs a pseudo-terminal")
    child = pexpect.spawn(
        PROGRAM[0],
        [*PROGRAM[1:], "tiny", "-w", str(place), "--temperature", "0", "--max-tokens", "15000"],
        env=environment(),
        timeout=60,
        encoding="utf-8",
        codec_errors="replace",
        dimensions=(30, 100),
        cwd=str(tmp_path),
    )
    try:
        child.expect(READY)
        child.send("tell me everything\r")
        # The question is echoed; then comes the answer, far longer than one read.
        child.expect("everything")
        child.expect_exact("\r\n")
        for _ in range(3):
            child.read_nonblocking(size=50, timeout=60)
        child.sendintr()
        child.expect(r"\(stopped\)")
        child.expect(READY)
        # Pasted lines (in brackets, as terminals send them) are one question.
        child.send("\x1b[200~one\ntwo 你好\x1b[201~")
        child.expect("two 你好")
        child.sendintr()  # a half-written question is dropped
        child.expect(READY)
        for line, said in [
            ("/sources", "was stopped"),
            ("/save talk.md", "Saved as talk.md"),
            ("/help", "Ctrl-C stops an answer"),
        ]:
            child.send(f"{line}\r")
            child.expect(said)
            child.expect(READY)
        child.send("\x1b[A\x1b[A\x1b[A")  # up to the third line before this one
        child.expect("/sources")
        child.sendintr()
        child.expect(READY)
        child.sendeof()
        child.expect("Goodbye")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
    finally:
        child.close(force=True)
    saved = (tmp_path / "talk.md").read_text(encoding="utf-8")
    assert saved.startswith("# tiny")
    assert "**You:** tell me everything" in saved
    assert "(stopped)" in saved
    history = (place / ".chat-history").read_text(encoding="utf-8")
    assert "tell me everything" in history
    assert (place / ".chat-history").stat().st_mode & 0o077 == 0


# -- the conversation itself ---------------------------------------------------------------------


PASSAGE = Passage("p1", "Sessions", "https://example.org/session#flush", "flush() writes.")


class ScriptedAssistant:
    """Says what it is told to; an exception in the script is raised there."""

    def __init__(self, *script: str | BaseException) -> None:
        self.settings = AssistantSettings(name="scripted", title="Scripted")
        self.script = script
        self.asked: list[list[dict[str, str]]] = []
        self.stopped = 0

    def stream(
        self, messages: list[dict[str, str]], params: SamplingParams
    ) -> Iterator[Piece | Answer]:
        self.asked.append(messages)
        text = ""
        try:
            for said in self.script:
                if isinstance(said, BaseException):
                    raise said
                text += said
                yield Piece(said)
            completion = Completion(text, [1, 2], None, "stop", 7)
            cited = [Citation(1, PASSAGE)] if "[1]" in text else []
            yield Answer(text, cited, [PASSAGE], [], completion)
        finally:
            self.stopped += 1


def talk_with(*script: str | BaseException) -> tuple[Talk, ScriptedAssistant]:
    assistant = ScriptedAssistant(*script)
    return Talk(assistant, SamplingParams()), assistant  # type: ignore[arg-type]


def test_messages_grow_with_each_turn_and_reset_forgets() -> None:
    talk, assistant = talk_with("It ", "writes [1].")
    shown: list[str] = []
    assert talk.ask("What does flush do?", shown.append).text == "It writes [1]."
    assert shown == ["It ", "writes [1]."]
    talk.command("/system Be brief.")
    talk.ask("And then?")
    assert [m["role"] for m in assistant.asked[1]] == ["system", "user", "assistant", "user"]
    assert assistant.asked[1][0]["content"] == "Be brief."
    assert talk.command("/system") == "Be brief."
    talk.command("/system none")
    talk.command("/reset")
    assert talk.messages == []


def test_sources_shows_what_the_last_answer_cites() -> None:
    talk, _ = talk_with("It writes [1].")
    assert talk.command("/sources") == "There is no answer yet."
    talk.ask("What does flush do?")
    said = talk.command("/sources")
    assert said is not None
    assert all(part in said for part in ("[1]", PASSAGE.title, PASSAGE.uri, PASSAGE.text))
    talk, _ = talk_with("I do not know.")
    talk.ask("What?")
    said = talk.command("/sources")
    assert said is not None
    assert "cites nothing" in said
    assert PASSAGE.uri in said


def test_ctrl_c_keeps_what_was_said_and_stops_the_stream() -> None:
    talk, assistant = talk_with("Once upon ", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        talk.ask("A story")
    assert assistant.stopped == 1
    assert [m["content"] for m in talk.messages] == ["A story", "Once upon"]
    assert talk.command("/sources") == "The last answer was stopped."


def test_an_error_leaves_the_conversation_as_it_was() -> None:
    talk, _ = talk_with("some", ContextError("too long"))
    with pytest.raises(ContextError):
        talk.ask("What?")
    assert talk.messages == []


def test_save_as_markdown_and_json_and_never_over_a_file(tmp_path: Path) -> None:
    talk, _ = talk_with("写入数据库 [1]。")
    assert talk.command(f"/save {tmp_path / 'early.md'}") == "There is nothing to save yet."
    talk.ask("flush 做什么？")
    assert talk.command(f"/save {tmp_path / 'a talk.md'}") == f"Saved as {tmp_path / 'a talk.md'}"
    markdown = (tmp_path / "a talk.md").read_text(encoding="utf-8")
    assert "**You:** flush 做什么？" in markdown
    assert f"- [1] {PASSAGE.title} — {PASSAGE.uri}" in markdown
    talk.command(f"/save {tmp_path / 'talk.json'}")
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert saved["turns"][0]["answer"] == "写入数据库 [1]。"
    assert saved["turns"][0]["citations"][0]["uri"] == PASSAGE.uri
    assert "already there" in (talk.command(f"/save {tmp_path / 'talk.json'}") or "")
    assert "could not be saved" in (talk.command("/save /proc/none/talk.md") or "")
    assert talk.command("/save") == "Say where: /save FILE"


@pytest.mark.parametrize("line", ["/etc/passwd: what is it?", " /help me", "/ what", "What?", "/2"])
def test_what_only_looks_like_a_command_is_a_question(line: str) -> None:
    assert talk_with()[0].command(line) is None


def test_quit_ends() -> None:
    talk, _ = talk_with()
    assert talk.command("/quit") == ""
    assert talk.done


def test_the_model_cannot_steer_the_terminal() -> None:
    said = "a\x1b]0;title\x07b\x1b[2Jc\rd\x9b31me\u0085\n\t好🎉"
    assert printable(said) == "a]0;titleb[2Jcd31me\n\t好🎉"
