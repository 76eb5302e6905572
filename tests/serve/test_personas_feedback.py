"""Personas and memories, and what people say of answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from history_house import House, house

from chatwright.serve.feedback.reasons import CODES
from chatwright.serve.feedback.store import language_of
from chatwright.serve.history.personas import usable_persona
from chatwright.serve.store.tables import Key, Persona


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("personas")) as inside:
        yield inside


def test_personas_are_ones_own_and_administrators_share_them(server: House) -> None:
    ann, root = server("ann"), server("root")
    told = {"name": "Poet", "instructions": "\u5199\u8bd7\u3002", "model": "harbour",
            "params": {"temperature": 1.5}}  # fmt: skip
    made = ann.post("/personas", json=told)
    assert made.status_code == 201
    poet = made.json()
    assert poet == {**told, "id": poet["id"], "shared": False, "own": True,
                    "created_at": poet["created_at"]}  # fmt: skip
    assert server("bob").get("/personas").json()["data"] == []
    refused = ann.post("/personas", json={**told, "shared": True})
    assert refused.status_code == 403
    assert ann.patch(f"/personas/{poet['id']}", json={"shared": True}).status_code == 403
    changed = ann.patch(f"/personas/{poet['id']}", json={"name": "Bard", "params": None}).json()
    assert (changed["name"], changed["params"], changed["model"]) == ("Bard", None, "harbour")
    shared = root.post("/personas", json={"name": "House", "instructions": "Be kind.",
                                          "shared": True}).json()  # fmt: skip
    (seen,) = server("bob").get("/personas").json()["data"]
    assert seen["id"] == shared["id"] and not seen["own"] and seen["shared"]
    assert server("bob").patch(f"/personas/{shared['id']}", json={"name": "x"}).status_code == 404
    assert server("bob").delete(f"/personas/{shared['id']}").status_code == 404
    chat = server.chat("bob", "q")[0]
    used = server("bob").patch(
        f"/conversations/{chat}", json={"settings": {"persona_id": shared["id"]}}
    )
    assert used.status_code == 200
    with server.store.begin() as session:
        keys = server.store.keys
        assert session.get(Key, shared["id"]) is not None
        assert usable_persona(session, keys, "usr_bob", shared["id"])["instructions"] == "Be kind."
    # Taken back: sealed under its maker's key again, and the key of its own is gone.
    back = root.patch(f"/personas/{shared['id']}", json={"shared": False})
    assert back.status_code == 200 and back.json()["instructions"] == "Be kind."
    assert server("bob").get("/personas").json()["data"] == []
    with server.store.begin() as session:
        assert session.get(Key, shared["id"]) is None
    root.patch(f"/personas/{shared['id']}", json={"shared": True})
    assert root.delete(f"/personas/{shared['id']}").status_code == 204
    with server.store.begin() as session:
        assert session.get(Key, shared["id"]) is session.get(Persona, shared["id"]) is None
    for bad in ({"name": "", "instructions": ""}, {"name": "a"}, {"name": "a", "instructions": 1},
                {"name": "a", "instructions": "x" * 20_001}):  # fmt: skip
        assert ann.post("/personas", json=bad).status_code == 400


def test_memories_can_be_seen_changed_and_forgotten(server: House) -> None:
    ann = server("ann")
    made = ann.post("/memories", json={"text": " Likes \n tea. "}).json()
    assert made["text"] == "Likes tea." and made["by"] == "person"
    assert ann.post("/memories", json={"text": "Likes tea."}).json()["id"] == made["id"]
    changed = ann.patch(f"/memories/{made['id']}", json={"text": "\u559c\u6b22\u8336\u3002"})
    assert changed.json()["text"] == "\u559c\u6b22\u8336\u3002"
    ann.post("/memories", json={"text": "two"})
    assert len(ann.get("/memories").json()["data"]) == 2
    assert ann.delete(f"/memories/{made['id']}").status_code == 204
    assert [one["text"] for one in ann.get("/memories").json()["data"]] == ["two"]
    assert ann.delete("/memories").status_code == 204
    assert ann.get("/memories").json()["data"] == []
    for bad in ({"text": ""}, {"text": " \n"}, {"text": "x" * 1001}, {"text": None}):
        assert ann.post("/memories", json=bad).status_code == 400


def test_feedback_is_kept_changed_and_taken_back(server: House) -> None:
    ann = server("ann")
    chat, question, answer = server.chat("ann", "q", "a")
    put = f"/messages/{answer}/feedback"
    told = {"rating": "down", "reasons": ["incorrect", "incorrect"], "comment": " no ",
            "better": "B\nC"}  # fmt: skip
    made = ann.put(put, json=told).json()
    assert made == {"rating": "down", "reasons": ["incorrect"], "comment": "no", "better": "B\nC"}
    read = ann.get(f"/conversations/{chat}").json()["messages"]
    assert [m["feedback"] for m in read] == [None, made]
    up = {"rating": "up", "reasons": [], "comment": "", "better": None}
    assert ann.put(put, json=up).json() == up
    assert ann.get(f"/conversations/{chat}").json()["messages"][1]["feedback"] == up
    assert ann.delete(put).status_code == 204
    assert ann.delete(put).status_code == 404
    for bad in ({}, {"rating": "meh"}, {"rating": "up", "reasons": ["incorrect"]},
                {"rating": "down", "reasons": ["x"]}, {"comment": "x" * 4001}, {"better": " "},
                {"rating": "up", "better": "x" * 400_001}):  # fmt: skip
        assert ann.put(put, json=bad).status_code == 400, bad
    assert ann.put(f"/messages/{question}/feedback", json=up).status_code == 400
    writing = server.add("ann", chat, question, "assistant", "", status="writing")
    assert ann.put(f"/messages/{writing}/feedback", json=up).status_code == 409
    codes = ann.get("/feedback/reasons").json()["data"]
    assert {one["code"] for one in codes} == set(CODES) and all(one["zh"] for one in codes)


def test_votes_between_two_answers_and_the_figures(server: House) -> None:
    ann, bob = server("ann"), server("bob")
    chat, question, left = server.chat("ann", "q", "an answer in English")
    right = server.add(
        "ann", chat, question, "assistant", "\u4e2d\u6587\u7684\u56de\u7b54", model="other"
    )
    vote = {"left_id": left, "right_id": right, "choice": "left"}
    assert ann.post("/comparisons", json=vote).status_code == 201
    turned = {"left_id": right, "right_id": left, "choice": "left"}
    assert ann.post("/comparisons", json=turned).status_code == 201  # in place of the first
    after = server.add("ann", chat, left, "user", "more")
    for bad in ({**vote, "right_id": left}, {**vote, "right_id": after}, {**vote, "choice": "up"}):
        assert ann.post("/comparisons", json=bad).status_code == 400
    assert bob.post("/comparisons", json=vote).status_code == 404
    ann.put(f"/messages/{left}/feedback", json={"rating": "down", "reasons": ["incorrect"],
                                                "comment": "secret words"})  # fmt: skip
    ann.put(f"/messages/{right}/feedback", json={"rating": "up", "reasons": ["clear"],
                                                 "better": "secret words"})  # fmt: skip
    for name in ("ann", "bob"):
        assert server(name).get("/admin/feedback").status_code == 403
    told = server("judge").get("/admin/feedback", params={"days": 7})
    assert told.status_code == 200 and "secret" not in told.text and "usr_" not in told.text
    figures = told.json()
    assert [(d["up"], d["down"]) for d in figures["days"]] == [(1, 1)]
    assert figures["models"] == [
        {"model": "harbour", "up": 0, "down": 1, "votes": 1, "wins": 0},
        {"model": "other", "up": 1, "down": 0, "votes": 1, "wins": 1},
    ]
    assert figures["reasons"] == [
        {"reason": "clear", "rating": "up", "count": 1},
        {"reason": "incorrect", "rating": "down", "count": 1},
    ]
    assert figures["languages"] == [
        {"language": "en", "up": 0, "down": 1}, {"language": "zh", "up": 1, "down": 0},
    ]  # fmt: skip
    assert figures["comparisons"] == {"left": 1, "right": 0, "tie": 0, "both_bad": 0}
    assert figures["better_answers"] == 1
    for days in (0, -1, 2**63, "x"):
        assert server("judge").get("/admin/feedback", params={"days": days}).status_code == 400


def test_languages() -> None:
    assert language_of("The gate opens.") == "en"
    assert language_of("\u95f8\u95e8\u5728 noon \u5f00\u3002") == "zh"
    assert language_of("12 + 4") == "other"
