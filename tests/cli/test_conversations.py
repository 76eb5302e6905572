"""`chatwright conversations` as a program: tables, JSON, the page, exit codes, bad input."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

import forked
from chatwright.records import Conversation, Document, write_dataset
from synthetic_conversations import BASE, conversations, worse


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conversations") / "workspace"
    new = worse(
        BASE, name="assistant-2", first_day=BASE.first_day + timedelta(days=21), up=0.4, seconds=4.0
    )
    same = worse(BASE, name="assistant-2", first_day=new.first_day)
    for name, version in (("history", new), ("calm", same)):
        path = folder / "datasets" / name
        with write_dataset(path, Conversation, stage="t", fingerprint=name, settings={}) as out:
            for row in conversations(BASE, 120, seed=1):
                out.write(row)
            for row in conversations(version, 120, seed=2):
                out.write(row)
    with write_dataset(
        folder / "datasets" / "pages", Document, stage="t", fingerprint="p", settings={}
    ) as out:
        out.write(Document("1", "text", "u", "s"))
    return folder


def run(workspace: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "CHATWRIGHT_WORKSPACE": str(workspace)}
    return forked.run(["conversations", *words], env, cwd=workspace.parent, timeout=120)


def test_a_table_a_page_and_an_alert(workspace: Path) -> None:
    done = run(workspace, "history", "--by", "model", "--html", "out/a.html", "--fail-on-alert")
    assert done.returncode == 1, done.stderr
    assert "240 of 240 conversations used" in done.stdout
    assert "alert: Satisfaction is worse with assistant-2 than with assistant-1" in done.stdout
    assert "by week and model version" in done.stdout
    page = (workspace.parent / "out" / "a.html").read_text(encoding="utf-8")
    assert "got worse" in page


def test_json_and_no_alert_where_nothing_changed(workspace: Path) -> None:
    done = run(workspace, "calm", "--json", "--by", "language+model", "--fail-on-alert")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["format"] == "chatwright.conversations"
    assert found["alerts"] == []
    assert found["versions"] == ["assistant-1", "assistant-2"]
    assert len(found["groups"]["language+model"]) == 4
    assert found["overall"]["figures"]["sentiment"]["count"] == 240


def test_a_file_of_messages(workspace: Path) -> None:
    file = workspace.parent / "chats.jsonl"
    chat = {"consent": True, "messages": [{"role": "user", "content": "怎么退款?"}]}
    file.write_text(json.dumps(chat, ensure_ascii=False) + "\n{oops\n", encoding="utf-8")
    done = run(workspace, "chats.jsonl")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 conversations used" in done.stdout
    assert "chats.jsonl:2: not a line of JSON" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("pages",), 1, "a dataset of documents, not of conversations"),
        (("calm", "--by", "colour"), 2, "cannot be grouped by 'colour'"),
        (("calm", "--html", "."), 2, "the page cannot be written there"),
        (("refused.jsonl",), 1, "none of the 1 rows can be used (consent refused: 1)"),
    ],
)
def test_bad_input(workspace: Path, words: tuple[str, ...], code: int, message: str) -> None:
    chat = {"consent": False, "messages": [{"role": "user", "content": "Hi"}]}
    (workspace.parent / "refused.jsonl").write_text(json.dumps(chat))
    done = run(workspace, *words)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
