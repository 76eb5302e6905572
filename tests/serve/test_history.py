"""Conversations, folders and tags through the real server: whose they are, what is kept, how."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from history_house import House, house
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from chatwright.errors import DataError
from chatwright.serve.errors import ApiError
from chatwright.serve.history import tree
from chatwright.serve.history.content import Content
from chatwright.serve.history.store import (
    add_message,
    create_chat,
    own_chat,
    read_path,
    read_turns,
    set_title,
    settings_of,
    title_of,
    update_message,
)
from chatwright.serve.store import memory_store
from chatwright.serve.store.tables import Chat, ChatMessage, Feedback, Person, Share, StoredFile

MARK = "Quicksilver\u6c34\u9280marker"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("history")) as inside:
        yield inside


def test_a_conversation_is_made_read_changed_and_deleted(server: House) -> None:
    ann = server("ann")
    made = ann.post("/conversations", json={"title": "  Tides \n of spring ", "model": "harbour"})
    assert made.status_code == 201
    chat = made.json()
    assert chat["title"] == "Tides of spring" and chat["messages"] == []
    question = server.add("ann", chat["id"], None, "user", "When?")
    answer = server.add(
        "ann", chat["id"], question, "assistant",
        Content("At noon [1].", citations=[{"number": 1, "title": "T", "uri": "https://x.y"}],
                notes=["one page was left out"]),
        model="harbour", prompt_tokens=7, completion_tokens=4,
    )  # fmt: skip
    other = server.add("ann", chat["id"], question, "assistant", "At night.", status="stopped")
    read = ann.get(f"/conversations/{chat['id']}").json()
    assert [m["id"] for m in read["messages"]] == [question, answer, other]
    assert [m["parent_id"] for m in read["messages"]] == [None, question, question]
    first = read["messages"][1]
    assert first["text"] == "At noon [1]." and first["notes"] == ["one page was left out"]
    assert first["usage"] == {"prompt_tokens": 7, "completion_tokens": 4}
    assert first["feedback"] is None and first["status"] == "done"
    assert read["messages"][2]["status"] == "stopped"
    assert read["current_leaf"] == other
    changed = ann.patch(
        f"/conversations/{chat['id']}",
        json={"current_leaf": answer, "archived": True, "title": "\u6f6e\u6c50",
              "settings": {"instructions": "Be brief.", "params": {"temperature": 0.5}}},
    )  # fmt: skip
    assert changed.status_code == 200 and changed.json()["archived"]
    read = ann.get(f"/conversations/{chat['id']}").json()
    assert read["current_leaf"] == answer and read["title"] == "\u6f6e\u6c50"
    assert read["settings"] == {"instructions": "Be brief.", "params": {"temperature": 0.5}}
    assert ann.delete(f"/conversations/{chat['id']}").status_code == 204
    assert ann.get(f"/conversations/{chat['id']}").status_code == 404
    assert server.acts.lines[-1] == ("usr_ann", "conversation_deleted", chat["id"], {})
    with server.store.begin() as session:
        gone = select(func.count()).where(ChatMessage.conversation_id == chat["id"])
        assert session.scalar(gone) == 0


def test_pages_of_the_list_hold_each_conversation_once_and_pinned_come_first(
    server: House,
) -> None:
    server("bob").delete("/conversations")
    ids = [server.chat("bob", "hello", title=f"n{n}")[0] for n in range(7)]
    bob = server("bob")
    assert bob.patch(f"/conversations/{ids[1]}", json={"pinned": True}).status_code == 200
    bob.patch(f"/conversations/{ids[0]}", json={"archived": True})
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = bob.get("/conversations", params=query).json()
        seen += [one["id"] for one in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [ids[1], *reversed(ids[2:])]
    archived = bob.get("/conversations", params={"archived": True}).json()
    assert [one["id"] for one in archived["data"]] == [ids[0]]
    assert bob.get("/conversations", params={"cursor": "12"}).status_code == 400
    assert bob.get("/conversations", params={"limit": 0}).status_code == 400
    # A new message brings its conversation to the head.
    server.add("bob", ids[3], None, "user", "again")
    assert bob.get("/conversations").json()["data"][1]["id"] == ids[3]


def test_folders_and_tags(server: House) -> None:
    ann = server("ann")
    folder = ann.post("/folders", json={"name": " Work\u202e "}).json()
    assert folder["name"] == "Work"
    tags = [ann.post("/tags", json={"name": name}).json()["id"] for name in ("red", "\u7ea2")]
    chat = server.chat("ann", "hi", title="filed")[0]
    told = {"folder_id": folder["id"], "tags": tags}
    assert sorted(ann.patch(f"/conversations/{chat}", json=told).json()["tags"]) == sorted(tags)
    for query in ({"folder": folder["id"]}, {"tag": tags[1]}):
        found = ann.get("/conversations", params=query).json()["data"]
        assert [one["id"] for one in found] == [chat]
    assert chat not in [
        one["id"] for one in ann.get("/conversations", params={"folder": "none"}).json()["data"]
    ]
    renamed = ann.patch(f"/folders/{folder['id']}", json={"name": "Home"})
    assert renamed.json() == {"id": folder["id"], "name": "Home"}
    assert ann.get("/folders").json()["data"] == [renamed.json()]
    assert ann.delete(f"/folders/{folder['id']}").status_code == 204
    assert ann.delete(f"/tags/{tags[0]}").status_code == 204
    read = ann.get(f"/conversations/{chat}").json()
    assert read["folder_id"] is None and read["tags"] == [tags[1]]
    assert ann.patch(f"/conversations/{chat}", json={"tags": []}).json()["tags"] == []
    for bad in ({"name": " "}, {"name": "x" * 101}, {"name": 1}, {}, {"name": "a", "b": 1}):
        assert ann.post("/tags", json=bad).status_code == 400


def test_what_is_somebody_elses_is_as_if_it_were_not_there(server: House) -> None:
    ann, bob = server("ann"), server("bob")
    chat, question, answer = server.chat("ann", "mine", "yes", title="secret")
    folder = ann.post("/folders", json={"name": "f"}).json()["id"]
    tag = ann.post("/tags", json={"name": "t"}).json()["id"]
    share = ann.post(f"/conversations/{chat}/shares", json={}).json()["id"]
    persona = ann.post("/personas", json={"name": "p", "instructions": "i"}).json()["id"]
    memory = ann.post("/memories", json={"text": "likes tea"}).json()["id"]
    own, own_question, own_answer = server.chat("bob", "his", "no")
    walks: list[tuple[str, str, Any]] = [
        ("GET", "/conversations/{cnv}", None),
        ("PATCH", "/conversations/{cnv}", {"title": "x"}),
        ("DELETE", "/conversations/{cnv}", None),
        ("GET", "/conversations/{cnv}/export?format=json", None),
        ("GET", "/conversations/{cnv}/export?format=markdown", None),
        ("GET", "/conversations/{cnv}/export?format=chatgpt", None),
        ("POST", "/conversations/{cnv}/shares", {}),
        ("DELETE", "/shares/{shr}", None),
        ("PATCH", "/folders/{fld}", {"name": "x"}),
        ("DELETE", "/folders/{fld}", None),
        ("PATCH", "/tags/{tag}", {"name": "x"}),
        ("DELETE", "/tags/{tag}", None),
        ("PATCH", "/personas/{per}", {"name": "x"}),
        ("DELETE", "/personas/{per}", None),
        ("PATCH", "/memories/{mem}", {"text": "x"}),
        ("DELETE", "/memories/{mem}", None),
        ("PUT", "/messages/{msg}/feedback", {"rating": "up"}),
        ("DELETE", "/messages/{msg}/feedback", None),
        ("GET", "/conversations?folder={fld}", None),
        ("GET", "/conversations?tag={tag}", None),
        ("POST", "/comparisons", {"left_id": "{msg}", "right_id": own_answer, "choice": "left"}),
        ("POST", "/conversations", {"folder_id": "{fld}"}),
        ("POST", "/conversations", {"settings": {"persona_id": "{per}"}}),
        ("PATCH", f"/conversations/{own}", {"folder_id": "{fld}"}),
        ("PATCH", f"/conversations/{own}", {"tags": ["{tag}"]}),
        ("PATCH", f"/conversations/{own}", {"current_leaf": "{msg}"}),
        ("PATCH", f"/conversations/{own}", {"settings": {"persona_id": "{per}"}}),
        ("PATCH", f"/conversations/{own}", {"settings": {"collections": ["{fld}"]}}),
        ("POST", f"/conversations/{own}/shares", {"leaf": "{msg}"}),
        ("GET", f"/conversations/{own}/export?format=markdown&leaf={{msg}}", None),
    ]
    ids = {"cnv": chat, "shr": share, "fld": folder, "tag": tag, "per": persona, "mem": memory,
           "msg": answer}  # fmt: skip

    def filled(value: Any, names: dict[str, str]) -> Any:
        if isinstance(value, str):
            return value.format(**names)
        if isinstance(value, dict):
            return {key: filled(item, names) for key, item in value.items()}
        return [filled(item, names) for item in value] if isinstance(value, list) else value

    absent = {name: value[:4] + "0" * 32 for name, value in ids.items()}
    for method, path, body in walks:
        foreign = bob.request(method, filled(path, ids), json=filled(body, ids))
        nothing = bob.request(method, filled(path, absent), json=filled(body, absent))
        assert foreign.status_code == nothing.status_code == 404, (method, path, foreign.text)
        assert foreign.content == nothing.content, (method, path)
        # Not even an administrator reads what others wrote.
        if "/conversations/{cnv}" in path:
            assert server("root").request(method, filled(path, ids), json=body).status_code == 404
    for method, path, body in walks:
        assert server(None).request(method, filled(path, ids), json=body).status_code == 401
    assert ann.get(f"/conversations/{chat}").json()["title"] == "secret"
    assert {question, answer} == {
        one["id"] for one in ann.get(f"/conversations/{chat}").json()["messages"]
    }
    assert own_question


@pytest.mark.parametrize(
    "body",
    [
        {"title": "x" * 201},
        {"title": 3},
        {"model": "m\x00"},
        {"unknown": 1},
        {"settings": {"params": {"temperature": 3}}},
        {"settings": {"params": {"seed": 2**63}}},
        {"settings": {"params": {"top_k": -1}}},
        {"settings": {"instructions": "x" * 20_001}},
        {"settings": {"collections": ["c"] * 11}},
        {"settings": {"tools": [""]}},
        {"folder_id": "../../etc"},
    ],
)
def test_bad_bodies_are_refused(server: House, body: dict[str, Any]) -> None:
    chat = server.chat("ann", "x")[0]
    for method, path in (("POST", "/conversations"), ("PATCH", f"/conversations/{chat}")):
        answer = server("ann").request(method, path, json=body)
        assert answer.status_code == 400, answer.text
        assert "x" * 50 not in answer.text
    for raw in (
        b'{"settings": {"params": {"temperature": NaN}}}',
        b"[" * 5000,
        b'{"title": 1e999}',
    ):
        answer = server("ann").post(
            "/conversations", content=raw, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400


def test_nothing_that_was_written_is_in_the_file_in_clear(server: House) -> None:
    ann = server("ann")
    chat, _, answer = server.chat("ann", MARK, f"{MARK} again", title=MARK)
    folder = ann.post("/folders", json={"name": MARK}).json()["id"]
    tag = ann.post("/tags", json={"name": MARK}).json()["id"]
    ann.patch(f"/conversations/{chat}", json={
        "folder_id": folder, "tags": [tag], "settings": {"instructions": MARK}})  # fmt: skip
    ann.post("/personas", json={"name": MARK, "instructions": MARK})
    server("root").post("/personas", json={"name": MARK, "instructions": MARK, "shared": True})
    ann.post("/memories", json={"text": MARK})
    ann.put(
        f"/messages/{answer}/feedback", json={"rating": "down", "comment": MARK, "better": MARK}
    )
    ann.post(f"/conversations/{chat}/shares", json={})
    assert MARK in ann.get(f"/conversations/{chat}").text
    files = [path for path in server.folder.iterdir() if path.name.startswith("chat.db")]
    assert files
    for path in files:
        held = path.read_bytes()
        for text_ in (MARK, MARK.lower(), "Quicksilver", "quicksi", "\u6c34\u9280"):
            assert text_.encode() not in held, path.name
    ann.delete(f"/conversations/{chat}")


def test_delete_all_takes_everything_that_belongs_to_the_conversations(server: House) -> None:
    bob = server("bob")
    with server.store.begin() as session:
        session.add(
            StoredFile(
                id="fil_1",
                person_id="usr_bob",
                purpose="attachment",
                sealed_name=b"",
                sealed_body=b"",
                size=1,
                content_id="c",
            )
        )
    chat, question, answer = server.chat("bob", "about zebras", "they have stripes")
    server.add("bob", chat, answer, "user", Content("x", attachments=[{"id": "fil_1"}]))
    bob.put(f"/messages/{answer}/feedback", json={"rating": "up"})
    bob.post(f"/conversations/{chat}/shares", json={})
    kept = server.chat("ann", "zebras too", "indeed")[0]
    assert bob.get("/search", params={"q": "zebras"}).json()["data"]
    assert bob.delete("/conversations").status_code == 204
    assert bob.get("/conversations").json()["data"] == []
    assert bob.get("/search", params={"q": "zebras"}).json()["data"] == []
    with server.store.begin() as session:
        for kind in (Chat, ChatMessage, Feedback, Share, StoredFile):
            count = select(func.count()).where(kind.person_id == "usr_bob")
            assert session.scalar(count) == 0, kind
        terms = "SELECT count(*) FROM message_terms"
        index = "SELECT count(*) FROM message_search"
        assert session.scalar(text(terms)) == session.scalar(text(index)) > 0
    assert server("ann").get(f"/conversations/{kept}").status_code == 200
    assert question
    name, action, _, details = server.acts.lines[-1]
    assert (name, action) == ("usr_bob", "conversations_deleted") and details["count"] >= 1


def test_a_persons_content_cannot_be_opened_when_their_key_is_gone() -> None:
    store = memory_store()
    with store.begin() as session:
        session.add(Person(id="usr_1", email="a@b.c", name="", role="user"))
        session.flush()
        store.keys.sealer(session, "usr_1")
    with store.begin() as session:
        sealer = store.keys.sealer(session, "usr_1")
        chat = create_chat(session, sealer, "usr_1", title="t")
        message = add_message(session, sealer, chat, parent_id=None, role="user", content="hello")
    with store.begin() as session:
        store.keys.destroy(session, "usr_1")
    with store.begin() as session, pytest.raises(DataError):
        read_path(session, store.keys.sealer(session, "usr_1"), chat.id, message)


def test_writing_ends_and_an_answer_deleted_meanwhile_is_told() -> None:
    store = memory_store()
    with store.begin() as session:
        session.add(Person(id="usr_1", email="a@b.c", name="", role="user"))
        session.flush()
        sealer = store.keys.sealer(session, "usr_1")
        chat = create_chat(session, sealer, "usr_1")
        asked = add_message(session, sealer, chat, parent_id=None, role="user", content="q")
        answer = add_message(
            session, sealer, chat, parent_id=asked, role="assistant", content="", status="writing"
        )
        assert update_message(session, sealer, answer, content="Half an ans")
        assert update_message(
            session,
            sealer,
            answer,
            content="Half an answer.",
            status="stopped",
            completion_tokens=4,
        )
        path = read_path(session, sealer, chat.id, answer)
        assert [(t.role, t.text, t.status) for t in path] == [
            ("user", "q", "done"), ("assistant", "Half an answer.", "stopped"),
        ]  # fmt: skip
        assert path[1].message().content == "Half an answer."
        with pytest.raises(ApiError):
            read_path(session, sealer, chat.id, "msg_none")
        with pytest.raises(ApiError):
            add_message(session, sealer, chat, parent_id="msg_no", role="user", content="x")
        with pytest.raises(ApiError):
            add_message(session, sealer, chat, parent_id=None, role="user", content="x" * 400_001)
        set_title(session, sealer, chat, "By a person", by="person")
        set_title(session, sealer, chat, "By a model", by="model")
        assert title_of(sealer, chat) == "By a person" and settings_of(sealer, chat) == {}
        session.delete(own_chat(session, "usr_1", chat.id))
        session.flush()
        session.expire_all()
        assert not update_message(session, sealer, answer, content="too late", status="done")
        assert read_turns(session, sealer, chat.id) == []


@st.composite
def _trees(draw: st.DrawFn) -> dict[str, str | None]:
    count = draw(st.integers(1, 25))
    made: dict[str, str | None] = {}
    for number in range(count):
        parent = draw(st.integers(-1, number - 1))
        made[f"m{number}"] = None if parent < 0 else f"m{parent}"
    return made


@given(_trees())
def test_trees(parents: dict[str, str | None]) -> None:
    assert tree.problem_of(parents) is None
    for leaf in parents:
        path = tree.path_to(leaf, parents)
        assert path[-1] == leaf and parents[path[0]] is None
        assert all(parents[b] == a for a, b in itertools.pairwise(path))
        assert leaf in tree.siblings(leaf, parents)
    # Every message is on the way to some leaf.
    ends = {one for one in parents if one not in parents.values()}
    assert {m for leaf in ends for m in tree.path_to(leaf, parents)} == set(parents)
    assert tree.newest_leaf(parents) in ends
    # Bend one edge back on itself: no longer a tree.
    first = next(iter(parents))
    bent = {**parents, first: tree.newest_leaf(parents, first)}
    assert tree.problem_of(bent) is not None
    with pytest.raises(ValueError, match="circle"):
        tree.path_to(first, bent)
    assert tree.problem_of({**parents, "x": "nowhere"}) is not None
