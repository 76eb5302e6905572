"""Search over sealed text against plain substrings, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from history_house import House, house
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from chatwright.serve.history import terms
from chatwright.serve.history.index import candidates, sweep
from chatwright.serve.history.search import search
from chatwright.serve.history.store import (
    add_message,
    create_chat,
    own_chat,
    set_title,
    update_message,
)
from chatwright.serve.store import Store, memory_store
from chatwright.serve.store.tables import Person

_LETTERS = st.sampled_from(
    "abcAB \u00e9\u0130\ufb01\uff21\uff22\u3000\n\u6f6e\u6c50\u6e2f\u53e3.1\u0301"
)
_TEXTS = st.text(_LETTERS, max_size=30)


def _store(*people: str) -> Store:
    store = memory_store()
    with store.begin() as session:
        for one in people:
            session.add(Person(id=one, email=f"{one}@x.y", name="", role="user"))
            session.flush()
            store.keys.sealer(session, one)
    return store


@cache
def _shared() -> Store:
    return _store("usr_1", "usr_2")


def _found(store: Store, person: str, query: str, limit: int = 50) -> set[str | None]:
    with store.reading() as session:
        sealer = store.keys.sealer(session, person)
        hits = search(session, sealer, person, query, limit=limit)
    return {hit["message_id"] for hit in hits}


@settings(deadline=None, max_examples=25)
@given(st.lists(_TEXTS, min_size=1, max_size=6), st.text(_LETTERS, max_size=9))
@example(["\uff33\uff30\uff32\uff29\uff2e\uff27 tide"], "spring")
@example(["Stra\u00dfe"], "STRASSE")
@example(["\u5927\u6f6e\u7684\u65f6\u5019\u95f8\u95e8\u5f00\u653e"], "\u95f8\u95e8 \u5927\u6f6e")
@example(["a\u0301bc"], "\u00e1b")
def test_found_is_what_a_plain_search_finds(said: list[str], query: str) -> None:
    store = _shared()
    ids = {}
    with store.begin() as session:
        session.execute(text("DELETE FROM conversations"))
        sealer = store.keys.sealer(session, "usr_1")
        chat = create_chat(session, sealer, "usr_1")
        for one in said:
            ids[add_message(session, sealer, chat, parent_id=None, role="user", content=one)] = one
        other = store.keys.sealer(session, "usr_2")
        hidden = create_chat(session, other, "usr_2", title=said[0])
        add_message(session, other, hidden, parent_id=None, role="user", content=said[0])
    words = terms.normal(query).split()
    plain = {
        message
        for message, one in ids.items()
        if words and all(word in terms.normal(one) for word in words)
    }
    assert _found(store, "usr_1", query) == plain


@given(st.text(max_size=60), st.integers(0, 60), st.integers(1, 20))
def test_every_piece_of_a_query_is_a_piece_of_a_text_that_holds_it(
    said: str, start: int, length: int
) -> None:
    words = terms.words_of(terms.normal(said)[start : start + length])
    asked = terms.query_pieces(words)
    assert len(asked) <= 10 and bool(asked) == bool(words)
    if terms.matches(said, words):
        assert set(asked) <= terms.pieces(said)
    if words:
        assert isinstance(terms.snippet(said, words), str)


def test_snippets_show_the_match_on_one_line() -> None:
    long = "x" * 300 + " the harbour\n\ngate opens " + "y" * 300
    made = terms.snippet(long, ["gate"])
    assert "harbour gate opens" in made and len(made) < 170
    assert made.startswith("\u2026") and made.endswith("\u2026")
    assert terms.snippet("\uff27\uff41\uff54\uff45 one", ["gate"]).endswith("one")
    assert terms.snippet("gate", ["gate"]) == "gate"
    zh = "\u6e2f" * 200 + "\u95f8\u95e8\u5f00\u653e" + "\u53e3" * 200
    assert "\u95f8\u95e8\u5f00\u653e" in terms.snippet(zh, ["\u95f8\u95e8"])


def test_edits_and_deletions_leave_nothing_behind() -> None:
    store = _store("usr_1")
    with store.begin() as session:
        sealer = store.keys.sealer(session, "usr_1")
        chat = create_chat(session, sealer, "usr_1", title="Harbour walks")
        message = add_message(
            session, sealer, chat, parent_id=None, role="user", content="about zebras"
        )
        draft = add_message(
            session, sealer, chat, parent_id=message, role="assistant", content="stri",
            status="writing",
        )  # fmt: skip
    assert _found(store, "usr_1", "zebra") == {message}
    assert _found(store, "usr_1", "harb") == {None}
    assert _found(store, "usr_1", "stri") == set()  # not before it is done
    with store.begin() as session:
        update_message(session, sealer, draft, content="stripes of okapis", status="done")
        update_message(session, sealer, message, content="about okapis")
        set_title(session, sealer, own_chat(session, "usr_1", chat.id), "Okapi walks")
    assert _found(store, "usr_1", "zebra") == _found(store, "usr_1", "harb") == set()
    assert _found(store, "usr_1", "OKAPI") == {message, draft, None}
    with store.begin() as session:
        assert session.scalar(text("SELECT count(*) FROM message_search")) == 3
        # As when a person is deleted: rows go by themselves, the index follows.
        session.execute(text("DELETE FROM people"))
        sweep(session)
        assert session.scalar(text("SELECT count(*) FROM message_search")) == 0
        assert candidates(session, sealer, "usr_1", ["okapi"], before=None, most=9) == []


def test_numbers_used_again_find_only_what_is_there_now() -> None:
    store = _store("usr_1")
    with store.begin() as session:
        sealer = store.keys.sealer(session, "usr_1")
        chat = create_chat(session, sealer, "usr_1")
        add_message(session, sealer, chat, parent_id=None, role="user", content="about zebras")
    with store.begin() as session:
        session.execute(text("DELETE FROM messages"))  # and nobody swept
    assert _found(store, "usr_1", "zebras") == set()
    with store.begin() as session:
        again = own_chat(session, "usr_1", chat.id)
        add_message(session, sealer, again, parent_id=None, role="user", content="about okapis")
    assert _found(store, "usr_1", "zebras") == set()
    assert len(_found(store, "usr_1", "okapis")) == 1


def test_terms_of_two_people_have_nothing_in_common() -> None:
    store = _store("usr_1", "usr_2")
    with store.begin() as session:
        made = [
            set(terms.blind(terms.pieces("harbour gate"), store.keys.sealer(session, who).term))
            for who in ("usr_1", "usr_2")
        ]
    assert made[0] and not made[0] & made[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("search")) as inside:
        yield inside


def test_search_over_http(server: House) -> None:
    chat, question, answer = server.chat(
        "ann",
        "When is the gate open?",
        "The harbour gate opens at noon. \u4e2d\u5348\u5f00\u95e8\u3002",
        title="Gate hours",
    )
    server.chat("bob", "gate of somebody else", title="Gate")
    ann = server("ann")
    hits = ann.get("/search", params={"q": "gate"}).json()["data"]
    assert {(h["conversation_id"], h["message_id"]) for h in hits} == {
        (chat, None), (chat, question), (chat, answer),
    }  # fmt: skip
    assert all(hit["title"] == "Gate hours" and hit["at"].endswith("Z") for hit in hits)
    assert [h["at"] for h in hits] == sorted((h["at"] for h in hits), reverse=True)
    (only,) = ann.get("/search", params={"q": "NOON harbour"}).json()["data"]
    assert only["message_id"] == answer and "opens at noon" in only["snippet"]
    for query in ("\u5348", "\u5f00\u95e8", "\u4e2d\u5348\u5f00\u95e8", "\uff4e\uff4f\uff4f\uff4e"):
        (only,) = ann.get("/search", params={"q": query}).json()["data"]
        assert only["message_id"] == answer, query
    assert len(ann.get("/search", params={"q": "gate", "limit": 2}).json()["data"]) == 2
    for bad in ({}, {"q": ""}, {"q": "x" * 201}, {"q": "a", "limit": 51}, {"q": "a", "limit": -1}):
        assert ann.get("/search", params=bad).status_code == 400
    # Nothing of the index's own language is understood in a query.
    for odd in ('" OR terms:*', "NEAR(a b)", "gate*", "'; DROP TABLE people; --", "\x00", "  "):
        assert ann.get("/search", params={"q": odd}).json()["data"] == []
    assert server("root").get("/search", params={"q": "gate"}).json()["data"] == []
