from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chatwright.collect.conversations import consent_of, messages_of
from chatwright.errors import DataError
from chatwright.records import Conversation

from .conftest import Collected

Collect = Callable[..., Collected]


def pairs(row: dict[str, Any]) -> list[tuple[str, str]] | str:
    messages = messages_of(row)
    return messages if isinstance(messages, str) else [(m.role, m.content) for m in messages]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "你好"},
                          {"role": "assistant", "content": "a"}]},
            [("system", "s"), ("user", "你好"), ("assistant", "a")],
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"},
                                                       {"type": "text", "text": "y"}]},
                          {"role": "assistant", "content": "z"}]},
            [("user", "x\ny"), ("assistant", "z")],
        ),
        (
            {"system": "be kind", "conversations": [{"from": "human", "value": "q"},
                                                    {"from": "function_call", "value": "{}"},
                                                    {"from": "observation", "value": "42"},
                                                    {"from": "gpt", "value": "a"}]},
            [("system", "be kind"), ("user", "q"), ("assistant", "{}"), ("tool", "42"),
             ("assistant", "a")],
        ),
        (
            {"instruction": "翻译", "input": "hello", "output": "你好"},
            [("user", "翻译\n\nhello"), ("assistant", "你好")],
        ),
        (
            {"instruction": "again", "input": "", "output": "b", "history": [["q", "a"]]},
            [("user", "q"), ("assistant", "a"), ("user", "again"), ("assistant", "b")],
        ),
        ({"prompt": "p", "response": "r"}, [("user", "p"), ("assistant", "r")]),
        ({"messages": [{"role": "user", "content": "\ud800"},
                       {"role": "assistant", "content": "a"}]},
         [("user", "\ufffd"), ("assistant", "a")]),
        ({"text": "no chat"}, "none of messages, conversations, instruction and output"),
        ({"messages": "hello"}, "the turns are not a list"),
        ({"messages": [3]}, "turn 1 is not an object"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "turn 1 has the unknown role 'boss'"),
        ({"messages": [{"role": "user"}]}, "turn 1 has no text"),
        ({"messages": [{"role": "user", "content": " "}]}, "turn 1 is empty"),
        ({"messages": [{"role": "user", "content": "x"}]}, "no assistant turn"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no user turn"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "turn 1 has no text"),
        ({"instruction": "x", "output": " "}, "the question or the answer is empty"),
    ],
)  # fmt: skip
def test_shapes(row: dict[str, Any], expected: Any) -> None:
    assert pairs(row) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (False, False), ("yes", True), ("否", False), (1, True), ("maybe", None),
     (None, None), ([], None)],
)  # fmt: skip
def test_consent(value: Any, expected: bool | None) -> None:
    assert consent_of({"consent": value}) is expected


def test_a_file_of_chats(collect: Collect, folder: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
    rows = [
        chat | {"consent": True, "topic": "greeting", "language": "en", "license": "cc0"},
        {"messages": [{"role": "user", "content": "alone"}]},
        {"other": 1},
        {"instruction": "问", "output": "答", "license": "unknown"},
        chat | {"consent": False},
    ]
    (folder / "c.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "page.md").write_text("# not a chat")
    found = collect(folder, rows="conversations", unknown_license="keep")
    first, second = found.rows
    assert isinstance(first, Conversation)
    assert (first.consent, first.language, first.license) == (True, "en", "CC0-1.0")
    assert first.meta == {"topic": "greeting", "path": "c.jsonl", "license_stated": "cc0"}
    assert [m.content for m in second.messages] == ["问", "答"]
    assert (second.license, second.meta["license_stated"]) == (None, "unknown")
    assert found.dropped == [
        ("bad-conversation", "c.jsonl#row=2"),
        ("missing-column", "c.jsonl#row=3"),
        ("consent", "c.jsonl#row=5"),
        ("no-rows", "page.md"),
    ]


def test_a_file_without_chats(collect: Collect, folder: Path) -> None:
    (folder / "c.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match="no row holds messages"):
        collect(folder, rows="conversations")


def test_public_chats(collect: Collect, shared_data: Path) -> None:
    chosen = ["alpaca_*_demo.json.gz", "glaive_*_demo.json.gz", "identity.json.gz", "sharegpt_*"]
    found = collect({"source": str(shared_data / "sft"), "include": chosen}, rows="conversations")
    assert len(found.rows) > 3000
    assert len(found.lines("drop")) <= 2
