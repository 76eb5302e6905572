"""Taking conversations out, bringing them in, and showing one to others."""

from __future__ import annotations

import io
import json
import socket
import struct
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from history_house import House, house
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.collect.conversations import chat_of
from chatwright.serve.errors import ApiError
from chatwright.serve.history import archive
from chatwright.serve.history.chatgpt_form import dump_chatgpt, load_chatgpt
from chatwright.serve.history.content import Content
from chatwright.serve.history.imports import read_import
from chatwright.serve.history.markdown import to_markdown
from chatwright.serve.history.native import FORMAT, VERSION, BadConversation, Parcel, dump, load
from chatwright.serve.history.store import Turn
from chatwright.serve.store.tables import Person

AT = datetime(2026, 5, 17, 9, 30, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("shares")) as inside:
        yield inside


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
_SAID = _TEXT.filter(
    lambda text: bool(text.strip()) and not any("\ue1ff" < c < "\ue207" for c in text)
)


@st.composite
def _parcels(draw: st.DrawFn) -> Parcel:
    turns: list[Turn] = []
    for number in range(draw(st.integers(1, 8))):
        parent = draw(st.integers(-1, number - 1))
        turns.append(
            Turn(
                id=f"m{number}",
                parent_id=None if parent < 0 else f"m{parent}",
                role=draw(st.sampled_from(("user", "assistant"))),
                content=Content(
                    draw(_SAID),
                    notes=draw(st.lists(_TEXT, max_size=2)),
                    citations=draw(
                        st.lists(st.fixed_dictionaries({"number": st.integers(1, 9)}), max_size=1)
                    ),
                    details=draw(st.dictionaries(_TEXT, st.integers(0, 9), max_size=1)),
                ),
                model=draw(st.sampled_from((None, "harbour"))),
                model_fingerprint=draw(st.sampled_from((None, "f" * 8))),
                status=draw(st.sampled_from(("done", "stopped", "failed"))),
                prompt_tokens=draw(st.none() | st.integers(0, 99)),
                completion_tokens=None,
                created_at=AT + timedelta(microseconds=number + 1),
            )
        )
    return Parcel(
        id="cnv_1",
        title=draw(_TEXT),
        turns=turns,
        current_leaf=draw(st.sampled_from([turn.id for turn in turns])),
        created_at=AT,
        updated_at=AT + timedelta(seconds=9),
        model="harbour",
        folder=draw(st.sampled_from((None, "Work"))),
        tags=draw(st.lists(st.sampled_from(("a", "b")), unique=True)),
        pinned=draw(st.booleans()),
        archived=draw(st.booleans()),
        settings=draw(st.sampled_from(({}, {"instructions": "Be brief."}))),
    )


def _file(conversations: list[dict[str, Any]]) -> bytes:
    told = {"format": FORMAT, "version": VERSION, "conversations": conversations}
    return json.dumps(told, ensure_ascii=False).encode()


@settings(deadline=None, max_examples=20)
@given(_parcels())
def test_our_form_brings_back_everything(parcel: Parcel) -> None:
    ((kind, back),) = read_import(_file([dump(parcel)]))
    assert kind == "chatwright" and isinstance(back, Parcel)
    back.id = parcel.id
    assert back == parcel


@settings(deadline=None, max_examples=20)
@given(_parcels())
def test_chatgpts_form_brings_back_the_tree_and_opens_with_collect(parcel: Parcel) -> None:
    value = json.loads(json.dumps(dump_chatgpt(parcel)))
    back = load_chatgpt(value)
    assert [(t.id, t.parent_id, t.role) for t in back.turns] == [
        (t.id, t.parent_id, t.role) for t in _depth_first(parcel.turns)
    ]
    texts = {turn.id: turn.text for turn in parcel.turns}
    assert {turn.id: turn.text for turn in back.turns} == texts
    assert back.current_leaf == parcel.current_leaf and back.title == parcel.title
    # Versions of one message keep their order.
    for parent in {turn.parent_id for turn in parcel.turns}:
        there = [t for t in back.turns if t.parent_id == parent]
        assert [t.id for t in sorted(there, key=lambda t: t.created_at)] == [
            t.id for t in parcel.turns if t.parent_id == parent
        ]
    chat = chat_of(value)
    by_id = {turn.id: turn for turn in parcel.turns}
    path, here = [], by_id.get(parcel.current_leaf or "")
    while here is not None:
        path.append((here.role, here.text))
        here = by_id.get(here.parent_id or "")
    if {"user", "assistant"} <= {role for role, _ in path}:
        assert not isinstance(chat, str)
        assert [(m.role, m.content) for m in chat.messages] == path[::-1]


def _depth_first(turns: list[Turn], parent: str | None = None) -> Iterator[Turn]:
    for turn in turns:
        if turn.parent_id == parent:
            yield turn
            yield from _depth_first(turns, turn.id)


def _plain(exported: dict[str, Any]) -> dict[str, Any]:
    """An export with ids told by their place, so that two can be compared."""
    one = json.loads(json.dumps(exported))
    names = {m["id"]: n for n, m in enumerate(one["messages"])}
    for message in one["messages"]:
        message["id"] = names[message["id"]]
        message["parent_id"] = names.get(message["parent_id"])
    one["current_leaf"] = names.get(one["current_leaf"])
    del one["id"]
    return dict(one)


def _rich(server: House, name: str) -> str:
    chat, question, answer = server.chat(
        name, "When? \u4f55\u65f6\uff1f", "At noon [1].", title="Gate: \u5f00\u95e8/hours?"
    )
    server.add(name, chat, question, "assistant",
               Content("Never.", notes=["n"],
                       citations=[{"number": 1, "title": "T<b>", "uri": "https://x.y"}],
                       tool_calls=[{"id": "1", "name": "clock", "arguments": {}, "result": "12"}]),
               model="other", model_fingerprint="abc", status="stopped",
               prompt_tokens=3)  # fmt: skip
    client = server(name)
    client.put(f"/messages/{answer}/feedback", json={"rating": "up", "reasons": ["clear"]})
    folder = client.post("/folders", json={"name": "Work"}).json()["id"]
    tag = client.post("/tags", json={"name": "tides"}).json()["id"]
    client.patch(f"/conversations/{chat}", json={
        "folder_id": folder, "tags": [tag], "current_leaf": answer, "pinned": True,
        "settings": {"params": {"temperature": 0.5}, "tools": ["clock"]}})  # fmt: skip
    return chat


def test_what_is_exported_and_brought_in_elsewhere_is_the_same(server: House) -> None:
    chat = _rich(server, "ann")
    told = server("ann").get(f"/conversations/{chat}/export", params={"format": "json"})
    name = unquote(told.headers["content-disposition"].partition("filename*=UTF-8''")[2])
    assert name == "Gate \u5f00\u95e8 hours.json"
    assert server.acts.lines[-1] == ("usr_ann", "export", chat, {"format": "json"})
    done = server("bob").post("/import", content=told.content, headers=JSON)
    assert done.status_code == 200 and done.json()["imported"] == 1 and not done.json()["problems"]
    everything = server("bob").get("/export").json()
    assert everything["format"] == "chatwright.conversations" and everything["version"] == 1
    assert [_plain(c) for c in everything["conversations"]] == [
        _plain(c) for c in told.json()["conversations"]
    ]
    assert everything["conversations"][0]["id"] != chat
    # The search finds what was brought in; folders and tags were made.
    (hit,) = server("bob").get("/search", params={"q": "never"}).json()["data"]
    assert hit["conversation_id"] == everything["conversations"][0]["id"]
    assert [f["name"] for f in server("bob").get("/folders").json()["data"]] == ["Work"]
    server("bob").delete("/conversations")


def test_markdown_of_a_branch(server: House) -> None:
    chat = _rich(server, "ann")
    read = server("ann").get(f"/conversations/{chat}").json()
    never = next(m["id"] for m in read["messages"] if m["text"] == "Never.")
    path = f"/conversations/{chat}/export"
    looked_at = server("ann").get(path).text
    assert "At noon [1]." in looked_at and "Never." not in looked_at
    other = server("ann").get(path, params={"leaf": never, "language": "zh"}).text
    assert other.startswith("# Gate: \u5f00\u95e8/hours?") and "## \u52a9\u624b (other)" in other
    assert "1. T\\<b\\> <https://x.y>" in other and "At noon" not in other
    assert to_markdown("*a* <script>", AT, []) == (
        "# \\*a\\* \\<script\\>\n\n*2026-05-17 09:30 UTC*\n"
    )
    assert server("ann").get(path, params={"format": "exe"}).status_code == 400


def test_imports_of_chatgpt_zip_sharegpt_and_lines(server: House) -> None:
    exported = [dump_chatgpt(_small(title)) for title in ("one", "two")]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../etc/evil.json", "[]")
        file.writestr("user.json", "{}")
        file.writestr("export/conversations.json", json.dumps(exported))
    bob = server("bob")
    zipped = {"Content-Type": "application/zip"}
    done = bob.post("/import", content=packed.getvalue(), headers=zipped).json()
    assert (done["imported"], done["messages"]) == (2, 4)
    share = {"title": "s", "conversations": [
        {"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}  # fmt: skip
    openai = {
        "messages": [
            {"role": "user", "content": "\u4f60\u597d"},
            {"role": "assistant", "content": "\u55e8"},
        ]
    }
    lines = json.dumps(share) + "\nnonsense\n" + json.dumps(openai)
    done = bob.post(
        "/import", content=lines.encode(), headers={"Content-Type": "application/jsonl"}
    ).json()
    assert (done["imported"], done["skipped"]) == (2, 1)
    assert done["problems"] == [{"conversation": 2, "reason": "it is no JSON object"}]
    titles = {one["title"] for one in bob.get("/conversations").json()["data"]}
    assert {"one", "two", "s"} <= titles
    bob.delete("/conversations")


def _small(title: str) -> Parcel:
    turns = [
        Turn("q", None, "user", Content("hi"), None, None, "done", None, None, AT),
        Turn("a", "q", "assistant", Content("ho"), "m", None, "done", None, None,
             AT + timedelta(seconds=1)),
    ]  # fmt: skip
    return Parcel(title=title, turns=turns, current_leaf="a", created_at=AT, updated_at=AT, id="c")


def _spoilt(**change: Any) -> dict[str, Any]:
    return {**dump(_small("spoilt")), **change}


def _message(**change: Any) -> dict[str, Any]:
    return {**dump(_small("x"))["messages"][0], **change}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        [],
        _spoilt(messages=3),
        _spoilt(messages=[_message(), _message()]),
        _spoilt(messages=[_message(parent_id="nowhere")]),
        _spoilt(messages=[_message(parent_id="q")]),
        _spoilt(messages=[_message(role="root")]),
        _spoilt(messages=[_message(text=7)]),
        _spoilt(messages=[_message(text="x" * 400_001)]),
        _spoilt(messages=[_message(citations="c")]),
        _spoilt(messages=[_message(citations=[1])]),
        _spoilt(messages=[_message(created_at="yesterday")]),
        _spoilt(messages=[_message(created_at="9999-12-31T23:59:59-12:00")]),
        _spoilt(messages=[_message(prompt_tokens=-1)]),
        _spoilt(messages=[_message(prompt_tokens=2**63)]),
        _spoilt(messages=[_message(model="m\x00")]),
        _spoilt(title="x" * 201),
        _spoilt(current_leaf="nowhere"),
        _spoilt(tags="t"),
        _spoilt(settings={"params": {"temperature": 9}}),
        _spoilt(created_at=None),
    ],
)
def test_a_bad_conversation_is_told_and_the_others_are_taken(bad: Any) -> None:
    with pytest.raises(BadConversation):
        load(bad)
    good = dump(_small("good"))
    made = list(read_import(_file([good, bad, good])))
    assert [isinstance(one, Parcel) for _, one in made] == [True, False, True]
    assert isinstance(made[1][1], str) and "xxx" not in made[1][1]


@pytest.mark.parametrize(
    "odd",
    [
        {"mapping": 3},
        {"mapping": {}},
        {"mapping": {"a": 1}},
        {"mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}},
        {"mapping": {"a": {"message": {"author": 3, "content": []}}}, "current_node": []},
        {"mapping": {"a": {"message": None, "children": ["a", 3, None]}}},
        {"mapping": {"a": {"message": {"author": {"role": "user"}, "create_time": 1e300,
                                       "content": {"content_type": "text", "parts": [" "]}}}}},
        {"conversations": [{"from": "nobody", "value": "x"}]},
        {"messages": []},
    ],
)  # fmt: skip
def test_odd_foreign_forms_are_told_too(odd: Any) -> None:
    ((_, found),) = read_import(json.dumps([odd]).encode())
    assert isinstance(found, str)


def test_hidden_nodes_are_bridged_and_times_that_lie_do_not_mix_versions() -> None:
    def node(parent: str | None, children: list[str], role: str, text: str, at: Any) -> Any:
        return {"parent": parent, "children": children, "message": {
            "author": {"role": role}, "create_time": at, "weight": 0 if text == "hidden" else 1,
            "content": {"content_type": "text", "parts": [text]}}}  # fmt: skip

    value = {"title": "t", "current_node": "a1", "mapping": {
        "root": {"parent": None, "children": ["s"], "message": None},
        "s": node("root", ["q"], "system", "hidden", None),
        "q": node("s", ["a2", "a1"], "user", "ask", 1_700_000_000),
        "a1": node("q", [], "assistant", "first", 5),
        "a2": node("q", [], "assistant", "second", 1_700_000_500.25)}}  # fmt: skip
    parcel = load_chatgpt(value)
    assert [(t.id, t.parent_id) for t in parcel.turns] == [("q", None), ("a2", "q"), ("a1", "q")]
    times = [t.created_at for t in parcel.turns]
    assert times == sorted(set(times)) and parcel.current_leaf == "a1"


def _zip(names: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in names.items():
            file.writestr(name, data)
    return packed.getvalue()


def test_archives_that_attack(monkeypatch: pytest.MonkeyPatch, server: House) -> None:
    bomb = _zip({"conversations.json": b" " * 3_000_000})
    monkeypatch.setattr(archive, "UNPACKED_BYTES", 1_000_000)
    with pytest.raises(ApiError) as caught:
        archive.conversations_in(bomb)
    assert caught.value.status == 413
    # A size that lies is found out while it is read.
    at = bomb.rfind(b"PK\x01\x02")
    lying = bomb[: at + 24] + struct.pack("<I", 10) + bomb[at + 28 :]
    with pytest.raises(ApiError):
        archive.conversations_in(lying)
    with pytest.raises(ApiError) as caught:
        archive.conversations_in(
            _zip({"../conversations.json": b"[]", "a/b/conversations.json": b""})
        )
    assert caught.value.status == 400
    end = bomb.rfind(b"PK\x05\x06")
    huge = bomb[: end + 12] + struct.pack("<I", 0xFFFFFFFF) + bomb[end + 16 :]
    for broken in (bomb[:-30], bomb[:200], b"PK\x03\x04", huge, b"PK\x05\x06" + b"\0" * 30):
        with pytest.raises(ApiError) as caught:
            archive.conversations_in(broken)
        assert caught.value.status in (400, 413)
    zipped = {"Content-Type": "application/zip"}
    assert server("ann").post("/import", content=bomb, headers=zipped).status_code == 413


def test_import_bodies_that_are_refused(server: House) -> None:
    for body, kind, status in (
        (b"", "application/json", 400),
        (b"{}", "application/json", 200),
        (b"[]", "application/json", 400),
        (b"nonsense", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'[{"messages": NaN}]', "application/json", 400),
        (b"[]", "text/plain", 415),
        (b"[]", "multipart/form-data; boundary=x", 415),
        (b'{"format": "chatwright.conversations", "version": 2}', "application/json", 400),
        (b"[" + b"0," * 10_001 + b"0]", "application/json", 413),
    ):
        # A connection of its own: one whose body was not read to its end is closed.
        with httpx.Client(base_url=server.address, verify=False, timeout=60) as client:
            answer = client.post(
                "/v1/chatwright/import",
                content=body,
                headers={"Content-Type": kind, "Authorization": "Bearer ann"},
            )
        assert answer.status_code == status, (body[:40], answer.text)
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw:
        raw.sendall(
            f"POST /v1/chatwright/import HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer ann\r\n"
            f"Content-Type: application/json\r\nContent-Length: {21 << 20}\r\n\r\n[".encode()
        )
        assert b" 413 " in raw.recv(200)
    assert server(None).post("/import", content=b"[]", headers=JSON).status_code == 401


def test_a_link_shows_the_branch_as_it_was_until_it_is_revoked(server: House) -> None:
    ann, chat = server("ann"), _rich(server, "ann")
    made = ann.post(f"/conversations/{chat}/shares", json={})
    assert made.status_code == 201
    share, url = made.json()["id"], made.json()["url"]
    token = url.rpartition("/shared/")[2]
    assert url.startswith(server.address) and len(token) == 43
    assert token not in json.dumps(ann.get("/shares").json())
    later = ann.get(f"/conversations/{chat}").json()["current_leaf"]
    server.add("ann", chat, later, "user", "said after it was shared")
    shown = server(None).get(f"/shared/{token}")
    assert shown.status_code == 200
    assert shown.headers["x-robots-tag"].startswith("noindex")
    assert shown.headers["cache-control"] == "no-store"
    copy = shown.json()
    assert [m["text"] for m in copy["messages"]] == ["When? \u4f55\u65f6\uff1f", "At noon [1]."]
    for word in ("feedback", "clear", "notes", "moderation", "settings", "usr_ann", "usage",
                 "temperature", "said after", "retrieved", "tool_calls"):  # fmt: skip
        assert word not in shown.text
    held = b"".join(p.read_bytes() for p in server.folder.iterdir() if "chat.db" in p.name)
    assert token.encode() not in held
    (listed,) = [one for one in ann.get("/shares").json()["data"] if one["id"] == share]
    assert listed["conversation_id"] == chat and listed["title"].startswith("Gate")
    # Somebody who may not sign in shows nothing either.
    for status, expected in (("disabled", 404), ("active", 200)):
        with server.store.begin() as session:
            person = session.get(Person, "usr_ann")
            assert person is not None
            person.status = status
        assert server(None).get(f"/shared/{token}").status_code == expected
    assert ann.delete(f"/shares/{share}").status_code == 204
    gone = server(None).get(f"/shared/{token}")
    never = server(None).get(f"/shared/{'x' * 43}")
    assert gone.status_code == never.status_code == 404 and gone.content == never.content
    assert ann.delete(f"/shares/{share}").status_code == 404
    assert server(None).get(f"/shared/{'x' * 300}").status_code in (400, 404)
    empty = ann.post("/conversations", json={}).json()["id"]
    assert ann.post(f"/conversations/{empty}/shares", json={}).status_code == 400
    # With the conversation its links go.
    again = ann.post(f"/conversations/{chat}/shares", json={}).json()["url"].rpartition("/")[2]
    ann.delete(f"/conversations/{chat}")
    assert server(None).get(f"/shared/{again}").status_code == 404


def test_a_link_shows_nothing_of_somebodys_own_documents(server: House) -> None:
    cited = [
        {"number": 1, "title": "public", "uri": "https://x.y", "text": "excerpt"},
        {"number": 2, "title": "mine", "uri": "https://z.y", "collection_id": "col_1"},
        {"number": 3, "title": "odd", "uri": "javascript:alert(1)"},
    ]
    chat, question = server.chat("ann", "q")
    server.add("ann", chat, question, "assistant", Content("a [1][2]", citations=cited))
    url = server("ann").post(f"/conversations/{chat}/shares", json={}).json()["url"]
    shown = server(None).get(f"/shared/{url.rpartition('/')[2]}").json()
    assert shown["messages"][1]["citations"] == [
        {"number": 1, "title": "public", "uri": "https://x.y"}
    ]
