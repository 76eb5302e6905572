"""Conversations as people have them: exports, calls of tools, our own history."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatwright.collect.conversations import chat_of

from .conftest import Collected

Collect = Callable[..., Collected]


def node(
    name: str, parent: str | None, role: str | None = None, content: Any = None, **message: Any
) -> dict[str, Any]:
    if isinstance(content, str):
        content = {"content_type": "text", "parts": [content]}
    made = None
    if role is not None:
        made = {"author": {"role": role}, "content": content, "weight": 1.0,
                "recipient": "all", "metadata": {}} | message  # fmt: skip
    return {"id": name, "message": made, "parent": parent, "children": []}


def tree(*nodes: dict[str, Any], current: str | None = None, **more: Any) -> dict[str, Any]:
    mapping = {n["id"]: n for n in nodes}
    for n in nodes:
        if n["parent"] in mapping:
            mapping[n["parent"]]["children"].append(n["id"])
    return {"title": "A chat", "create_time": 1.7e9, "mapping": mapping,
            "current_node": current or nodes[-1]["id"]} | more  # fmt: skip


def said(row: dict[str, Any]) -> Any:
    chat = chat_of(row)
    return chat if isinstance(chat, str) else [(m.role, m.content) for m in chat.messages]


BASE = [node("root", None), node("q", "root", "user", "question")]


def test_the_branch_that_was_last_seen() -> None:
    nodes = [*BASE, node("a1", "q", "assistant", "first answer"),
             node("a2", "q", "assistant", "second answer"), node("q2", "a1", "user", "and then?"),
             node("a3", "q2", "assistant", "that")]  # fmt: skip
    assert said(tree(*nodes, current="a2")) == [("user", "question"),
                                                ("assistant", "second answer")]  # fmt: skip
    assert said(tree(*nodes))[1:] == [("assistant", "first answer"), ("user", "and then?"),
                                      ("assistant", "that")]  # fmt: skip
    # Without a usable current node: the newest child each time.
    for n in nodes:
        n["children"].clear()
    assert said(tree(*nodes, current="gone"))[-1] == ("assistant", "second answer")


def test_hidden_tools_pictures_and_instructions() -> None:
    instructions = {"content_type": "user_editable_context", "user_profile": "I am a cook.",
                    "user_instructions": "Be brief."}  # fmt: skip
    picture = {"content_type": "multimodal_text", "parts": [
        {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}, "what is it?",
        {"content_type": "audio_transcription", "text": "spoken"}]}  # fmt: skip
    hidden = {"is_visually_hidden_from_conversation": True}
    code = {"content_type": "code", "language": "python", "text": "print(6*7)"}
    cited = "It is so \ue200cite\ue202turn0search1\ue201 indeed"
    row = tree(
        node("root", None),
        node("s", "root", "system", "", metadata=hidden),
        node("i", "s", "user", instructions, metadata=hidden),
        node("q", "i", "user", picture, create_time=1.7e9),
        node("t", "q", "assistant", {"content_type": "thoughts", "thoughts": []}),
        node("c", "t", "assistant", code, recipient="python"),
        node("o", "c", "tool", {"content_type": "execution_output", "text": "42"}),
        node("a", "o", "assistant", cited, metadata={"model_slug": "gpt-4o"}),
        node("h", "a", "system", "do not show", weight=0),
        node("n", "h", "assistant", {"content_type": "hologram"}),
    )
    assert said(row) == [
        ("system", "I am a cook.\n\nBe brief."),
        ("user", "what is it?\nspoken"),
        ("assistant", '{"name": "python", "arguments": "print(6*7)"}'),
        ("tool", "42"),
        ("assistant", "It is so  indeed"),
    ]
    chat = chat_of(row)
    assert not isinstance(chat, str)
    assert chat.left_out == {"hidden": 2, "thoughts": 1, "image_asset_pointer": 1, "citation": 1,
                             "hologram": 1}  # fmt: skip
    assert chat.turns[1] == {"at": 1.7e9}
    assert chat.turns[4] == {"model": "gpt-4o"}
    assert len(chat.turns) == len(chat.messages)


def test_trees_that_are_none() -> None:
    circle = tree(*BASE, node("a", "q", "assistant", "x"))
    circle["mapping"]["root"]["parent"] = "a"
    assert said(circle) == [("user", "question"), ("assistant", "x")]
    assert said({"mapping": {}}) == "its tree has no current branch"
    assert said(tree(*BASE)) == "no assistant turn"
    assert said({"mapping": {"a": 3, "b": None}, "current_node": "a"}) == (
        "its tree has no current branch"
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["message", "author", "role", "content", "content_type", "parts", "parent",
                         "children", "text", "a", "b", "metadata", "recipient", "tool_calls",
                         "function", "name"]), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mapping=st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3), current=_JSON,
       turns=st.lists(_JSON, max_size=3))  # fmt: skip
def test_nothing_in_an_export_is_a_traceback(mapping: Any, current: Any, turns: Any) -> None:
    chat_of({"mapping": mapping, "current_node": current})
    chat_of({"messages": turns, "turns": turns, "meta": current})


def test_an_export_as_it_comes(collect: Collect, folder: Path) -> None:
    rows = [
        tree(*BASE, node("a", "q", "assistant", "answer"), conversation_id="c1"),
        tree(*BASE, conversation_id="c2"),
        tree(*BASE, node("a", "q", "assistant", "x"), is_do_not_remember=True),
        tree(*BASE, node("a", "q", "assistant", "x"), is_do_not_remember=False, consent=True),
    ]
    with zipfile.ZipFile(folder / "export.zip", "w") as file:
        file.writestr("conversations.json", json.dumps(rows))
        file.writestr("user.json", '{"id": "user-1", "email": "a@example.org"}')
        file.writestr("chat.html", "<html>")
    found = collect({"source": str(folder / "export.zip"), "id_column": "conversation_id"},
                    rows="conversations")  # fmt: skip
    assert [row.uri.rpartition("#")[2] for row in found.rows] == ["c1", "row=4"]
    assert found.rows[0].meta["title"] == "A chat"
    assert [row.consent for row in found.rows] == [None, True]
    assert sorted(rule for rule, _ in found.dropped) == [
        "bad-conversation", "bad-json", "no-rows", "opt-out",
    ]  # fmt: skip
    required = collect({"source": str(folder / "export.zip"), "consent": "required"},
                       rows="conversations", name="consented")  # fmt: skip
    assert [row.consent for row in required.rows] == [True]


def test_calls_of_tools() -> None:
    call = {"id": "c1", "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "\u5317\u4eac"}'}}  # fmt: skip
    row = {"messages": [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "assistant", "content": "Looking.", "function_call": {"name": "f",
                                                                       "arguments": "{no json"}},
        {"role": "assistant", "content": None, "refusal": "I will not."},
    ]}  # fmt: skip
    line = '{"name": "weather", "arguments": {"city": "\u5317\u4eac"}}'
    assert said(row) == [
        ("user", "weather?"), ("assistant", f"{line}\n{line}"), ("tool", "sunny"),
        ("assistant", 'Looking.\n{"name": "f", "arguments": "{no json"}'),
        ("assistant", "I will not."),
    ]  # fmt: skip
    chat = chat_of(row)
    assert not isinstance(chat, str)
    assert chat.turns[2] == {"tool_call_id": "c1"}
    assert said({"messages": [{"role": "user", "content": "x"},
                              {"role": "assistant", "content": None, "tool_calls": []}]}) == (
        "turn 2 has no text"
    )  # fmt: skip


def test_claude_and_our_own_history(collect: Collect, folder: Path) -> None:
    claude = {"uuid": "u", "name": "n", "chat_messages": [
        {"sender": "human", "text": "hello", "created_at": "2025-01-02T03:04:05Z"},
        {"sender": "assistant", "text": "hi", "content": [{"type": "thinking"}]}]}  # fmt: skip
    ours = {"id": "c1", "consent": True, "model": "quickstart/sft", "user": "u17", "messages": [
        {"role": "user", "content": "how?", "at": "2026-03-02T09:00:00+08:00"},
        {"role": "assistant", "content": "so", "seconds": 2.1, "feedback": "up"}]}  # fmt: skip
    written = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant",
               "content": "a"}], "meta": {"model": "m", "turns": [{}, {"feedback": "down"}]},
               "consent": True}  # fmt: skip
    (folder / "h.jsonl").write_text("\n".join(map(json.dumps, [claude, ours, written])))
    first, second, third = collect(folder, rows="conversations").rows
    assert first.meta["turns"] == [{"at": "2025-01-02T03:04:05Z"}, {}]
    assert (second.meta["model"], second.meta["user"]) == ("quickstart/sft", "u17")
    assert second.meta["turns"][1] == {"seconds": 2.1, "feedback": "up"}
    assert third.meta["model"] == "m"
    assert third.meta["turns"] == [{}, {"feedback": "down"}]
