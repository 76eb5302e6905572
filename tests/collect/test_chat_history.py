"""Served chats as rows to train on: whose, which branch, which pairs; and what goes away again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from chatwright.cli.app import app
from chatwright.collect.chatgpt import is_tree
from chatwright.collect.conversations import chat_of
from chatwright.collect.feedback import ServedChat, ServedTurn, conversation_of, preferences_of
from chatwright.collect.found import Lost
from chatwright.collect.preferences import Answers, answers_of
from chatwright.errors import UsageError
from chatwright.records import Conversation, Dataset, Message, Preference
from chatwright.records.grounding import Passage, grounded_prompt
from chatwright.serve.feedback.export import export_feedback, write_rows
from chatwright.serve.feedback.rows import rows_for_training
from chatwright.serve.feedback.store import (
    ComparisonIn,
    FeedbackIn,
    put_comparison,
    put_feedback,
)
from chatwright.serve.history.content import Content
from chatwright.serve.history.conversations import delete_chat
from chatwright.serve.history.store import add_message, create_chat
from chatwright.serve.store import Store, memory_store, open_store
from chatwright.serve.store.tables import ChatMessage, Person
from chatwright.workspace import Workspace

RECIPE = """
name: liked
seed: 3
stages:
  pairs:
    kind: collect
    rows: preferences
    sources:
      - {{source: "dataset:feedback/preferences", consent: required}}
  talks:
    kind: collect
    rows: conversations
    sources:
      - {{source: "{folder}/conversations.jsonl", consent: required}}
"""
AGREED = datetime(2026, 3, 1, tzinfo=UTC)
LATER = AGREED + timedelta(days=1)


def turn(name: str, parent: str | None, role: Any, text: str, **more: Any) -> ServedTurn:
    return ServedTurn(name, parent, role, text, more.pop("at", LATER), **more)


def chat(*turns: ServedTurn, **more: Any) -> ServedChat:
    return ServedChat("cnv_1", "p17", AGREED, list(turns), **more)


ASKED = turn("q", None, "user", "When does the gate open?")
GOOD = turn("a", "q", "assistant", "At noon.", model="harbour", model_fingerprint="f1", rating="up")
BAD = turn("b", "q", "assistant", "Never.", model="harbour-2", rating="down", reasons=["incorrect"])


def test_the_branch_that_was_looked_at_becomes_a_conversation() -> None:
    thanks = turn("t", "a", "user", "Thanks!")
    row = conversation_of(chat(ASKED, GOOD, BAD, thanks, current_leaf="t", language="en"))
    assert isinstance(row, Conversation)
    assert row.messages == [Message("user", ASKED.text), Message("assistant", "At noon.")]
    assert row.consent is True and row.source == "chat:p17" and row.parents == ["q", "a"]
    assert row.language == "en" and row.collected_at == LATER
    assert row.meta["models"] == {"a": {"name": "harbour", "fingerprint": "f1"}}
    assert row.meta["turns"][1]["feedback"] == "up" and row.meta["user"] == "p17"
    again = conversation_of(chat(ASKED, GOOD, BAD, thanks, current_leaf="a"))
    assert isinstance(again, Conversation) and again.id == row.id


def test_edits_take_the_place_of_answers_and_bad_answers_end_a_row() -> None:
    edited = replace(BAD, better="At noon, for three hours.")
    row = conversation_of(chat(ASKED, edited, current_leaf="b"))
    assert isinstance(row, Conversation)
    assert row.messages[-1].content == "At noon, for three hours."
    assert row.meta["turns"][-1]["edited"] is True
    more = turn("q2", "a", "user", "Sure?")
    worse = turn("w", "q2", "assistant", "No.", rating="down")
    row = conversation_of(chat(ASKED, GOOD, more, worse, current_leaf="w"))
    assert isinstance(row, Conversation) and len(row.messages) == 2


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda t: replace(t, at=AGREED - timedelta(seconds=1)), "before-consent"),
        (lambda t: replace(t, blocked=True), "moderated"),
        (lambda t: replace(t, private=True), "private-sources"),
        (lambda t: replace(t, whole=False), "not-whole"),
        (lambda t: replace(t, text=" "), "empty-answer"),
        (lambda t: replace(t, rating="down"), "rated-down"),
    ],
)
def test_what_may_not_be_learnt_from_is_left_out(
    change: Callable[[ServedTurn], ServedTurn], rule: str
) -> None:
    found = conversation_of(chat(ASKED, change(GOOD), current_leaf="a"))
    assert isinstance(found, Lost) and found.rule == rule
    if rule != "rated-down":
        better = change(replace(GOOD, rating="up"))
        (made,) = preferences_of(chat(ASKED, better, BAD))
        assert isinstance(made, tuple) and made[1].rule == rule
    assert conversation_of(chat(ASKED, GOOD, imported=True)) == Lost(
        "imported", detail="its answers are another service's"
    )


def test_pairs_of_thumbs_votes_and_edits() -> None:
    third = turn("c", "q", "assistant", "Perhaps.", rating="down")
    rows = list(preferences_of(chat(ASKED, GOOD, BAD, third)))
    assert [(r.chosen, r.rejected) for r in rows if isinstance(r, Preference)] == [
        ("At noon.", "Never."), ("At noon.", "Perhaps."),
    ]  # fmt: skip
    # A vote on a pair goes before what its thumbs say.
    (row, other) = preferences_of(chat(ASKED, GOOD, BAD, third, votes=[("a", "b", "right")]))
    assert isinstance(row, Preference) and (row.chosen, row.meta["by"]) == ("Never.", "vote")
    assert isinstance(other, Preference) and other.rejected == "Perhaps."
    assert row.judge == "person:p17" and row.parents == ["q", "b", "a"]
    ties = preferences_of(chat(ASKED, GOOD, BAD, votes=[("a", "b", "both_bad")]))
    assert [made[1].rule for made in ties if isinstance(made, tuple)] == ["both-bad"]
    cut = replace(BAD, better="At noon.", whole=False)
    (edit,) = preferences_of(chat(ASKED, cut))
    assert isinstance(edit, Preference) and edit.meta["by"] == "edit"
    assert (edit.chosen, edit.rejected) == ("At noon.", "Never.")
    assert edit.meta["reasons"] == ["incorrect"]
    equal = preferences_of(chat(ASKED, replace(BAD, better="Never. ")))
    assert [made[1].rule for made in equal if isinstance(made, tuple)] == ["tie"]
    (apart,) = preferences_of(
        chat(
            ASKED,
            GOOD,
            replace(ASKED, id="q9"),
            replace(BAD, parent_id="q9"),
            votes=[("a", "b", "left")],
        )
    )
    assert isinstance(apart, tuple) and apart[1].rule == "prompts-differ"


def test_prompts_are_what_the_model_saw() -> None:
    passages = [Passage("p1", "Tides", "https://x.y", "The gate opens at noon.")]
    edited = replace(GOOD, better="At twelve.", rating=None, passages=passages)
    again = turn("q2", "a", "user", "And at night?")
    one = turn("c", "q2", "assistant", "No.", rating="up")
    two = turn("d", "q2", "assistant", "Yes.", rating="down")
    made = [r for r in preferences_of(chat(ASKED, edited, again, one, two))]
    row = made[-1]
    assert isinstance(row, Preference)
    # The earlier answer as it was, not as it should have been; the question with its passages.
    assert [m.content for m in row.prompt] == [
        grounded_prompt(ASKED.text, passages), "At noon.", "And at night?",
    ]  # fmt: skip
    calls = [{"id": "1", "name": "clock", "arguments": {"zone": "UTC"}, "result": "12:00"}]
    used = replace(GOOD, calls=calls)
    row = conversation_of(chat(ASKED, used, current_leaf="a"))
    assert isinstance(row, Conversation)
    assert [(m.role, m.content) for m in row.messages[1:]] == [
        ("assistant", '{"name": "clock", "arguments": {"zone": "UTC"}}'),
        ("tool", "12:00"),
        ("assistant", "At noon."),
    ]
    assert len(row.meta["turns"]) == len(row.messages)
    (pair,) = preferences_of(chat(ASKED, used, BAD))
    assert isinstance(pair, tuple) and pair[1].rule == "tool-calls"


def _people(store: Store) -> dict[str, list[str]]:
    """Two who agreed (one lately), one who did not; each with a chat that is rated."""
    made: dict[str, list[str]] = {}
    for name, consent, at in (("ann", True, AGREED), ("bob", True, AGREED), ("eve", False, None)):
        with store.begin() as session:
            person = f"usr_{name}"
            session.add(
                Person(id=person, email=f"{name}@x.y", name=name, role="user",
                       training_consent=consent, consent_at=at)
            )  # fmt: skip
            session.flush()
            sealer = store.keys.sealer(session, person)
            one = create_chat(session, sealer, person, title="t", created_at=LATER)
            ids = [one.id]
            turns: list[tuple[int, Any, str]] = [
                (0, "user", f"{name} asks"),
                (1, "assistant", "Well said."),
                (1, "assistant", "Ugh."),
            ]
            for parent, role, said in turns:
                ids.append(
                    add_message(
                        session, sealer, one, parent_id=ids[parent] if parent else None,
                        role=role, content=said, model="harbour", model_fingerprint="f" * 8,
                        created_at=LATER + timedelta(seconds=len(ids)),
                    )
                )  # fmt: skip
            put_feedback(session, sealer, person, ids[2], FeedbackIn(rating="up"))
            put_feedback(session, sealer, person, ids[3], FeedbackIn(
                rating="down", reasons=["incorrect"], better="Good."))  # fmt: skip
            one.current_leaf = ids[2]
            made[name] = ids
    return made


def test_only_people_who_agree_are_read_and_withdrawing_takes_their_rows_away(
    tmp_path: Path,
) -> None:
    store = memory_store()
    ids = _people(store)
    folder = tmp_path / "feedback"
    first = write_rows(rows_for_training(store), folder)
    assert first.rows == {"conversations": 2, "preferences": 4} and not first.removed
    talks = Dataset.open(folder / "conversations")
    pairs = Dataset.open(folder / "preferences")
    everything = (folder / "conversations.jsonl").read_text() + (
        folder / "preferences.jsonl"
    ).read_text()
    assert "eve" not in everything and "usr_" not in everything
    assert {row.meta["user"] for row in talks.rows} == {row.meta["user"] for row in pairs.rows}
    written = list(talks.rows)
    assert all(row.consent for row in written)
    # Again, and nothing has changed: the same bytes.
    again = write_rows(rows_for_training(store), folder)
    assert again.rows == first.rows
    assert Dataset.open(folder / "preferences").info.content_digest == pairs.info.content_digest
    assert Dataset.open(folder / "preferences").fingerprint == pairs.fingerprint
    # Rows are read by `collect` as they are.
    for line in (folder / "preferences.jsonl").read_text().splitlines():
        found = answers_of(json.loads(line))
        assert isinstance(found, Answers) and found.judge.startswith("person:")
    for line in (folder / "conversations.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["consent"] is True and not is_tree(row) and not isinstance(chat_of(row), str)
    with store.begin() as session:
        person = session.get(Person, "usr_ann")
        assert person is not None
        person.training_consent = False
    gone = write_rows(rows_for_training(store), folder)
    assert gone.rows == {"conversations": 1, "preferences": 2} and len(gone.removed) == 3
    (row,) = Dataset.open(folder / "conversations").rows
    assert ids["bob"][1] in row.parents
    lost = next(one for one in written if ids["ann"][1] in one.parents)
    (line,) = Dataset.open(folder / "conversations").ledger.for_row(lost.id)
    assert (line.action, line.rule) == ("drop", "withdrawn")
    assert Dataset.open(folder / "conversations").fingerprint != talks.fingerprint
    removed = [json.loads(x)["id"] for x in (folder / "removed.jsonl").read_text().splitlines()]
    assert sorted(gone.removed) == sorted(removed) and lost.id in removed
    with store.begin() as session:
        delete_chat(session, store.keys.sealer(session, "usr_bob"), "usr_bob", ids["bob"][0])
    last = write_rows(rows_for_training(store), folder)
    assert last.rows == {"conversations": 0, "preferences": 0}
    assert len((folder / "removed.jsonl").read_text().splitlines()) == 6
    assert (folder / "conversations.jsonl").read_text() == ""
    # Agreed anew, and so from now on: what was said before stays out.
    with store.begin() as session:
        person = session.get(Person, "usr_ann")
        assert person is not None
        person.training_consent, person.consent_at = True, LATER + timedelta(days=9)
    renewed = write_rows(rows_for_training(store), folder)
    assert renewed.rows["conversations"] == 0 and renewed.left_out["before-consent"] == 3


def test_what_is_damaged_or_imported_gets_a_line_and_stops_nothing() -> None:
    store = memory_store()
    ids = _people(store)
    with store.begin() as session:
        message = session.get(ChatMessage, ids["ann"][2])
        assert message is not None
        message.sealed_content = message.sealed_content[:-1] + b"x"
        sealer = store.keys.sealer(session, "usr_bob")
        brought = create_chat(session, sealer, "usr_bob", imported_from="chatgpt")
        asked = add_message(session, sealer, brought, parent_id=None, role="user", content="q")
        add_message(session, sealer, brought, parent_id=asked, role="assistant", content="a")
        files = create_chat(session, sealer, "usr_bob")
        asked = add_message(
            session, sealer, files, parent_id=None, role="user",
            content=Content("read this", attachments=[{"id": "f", "name": "n", "size": 1}]),
        )  # fmt: skip
        left = add_message(session, sealer, files, parent_id=asked, role="assistant", content="x")
        right = add_message(session, sealer, files, parent_id=asked, role="assistant", content="y")
        put_comparison(
            session, "usr_bob", ComparisonIn(left_id=left, right_id=right, choice="left")
        )
    made = list(rows_for_training(store))
    rules = sorted(one[1].rule for one in made if isinstance(one, tuple))
    assert rules == ["imported", "private-sources", "private-sources", "unreadable"]
    rows = [one for one in made if not isinstance(one, tuple)]
    assert len(rows) == 3 and all(ids["bob"][1] in row.parents for row in rows)


def test_the_command_reads_the_services_database_and_says_what_still_holds_gone_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHATWRIGHT_MASTER_KEY", raising=False)
    monkeypatch.delenv("CHATWRIGHT_MASTER_KEY_FILE", raising=False)
    place = Workspace(tmp_path)
    run = CliRunner()
    missing = run.invoke(app, ["collect", "feedback", "-w", str(tmp_path)])
    assert missing.exit_code != 0
    store = open_store(None, folder=tmp_path)
    _people(store)
    done = run.invoke(app, ["collect", "feedback", "-w", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == {"conversations": 2, "preferences": 4}
    assert {"feedback/conversations", "feedback/preferences"} <= set(place.list_datasets())
    # What collect makes of the rows: all of them, with their ids.
    recipe = tmp_path / "liked.yaml"
    recipe.write_text(RECIPE.format(folder=place.datasets / "feedback"))
    built = run.invoke(app, ["build", str(recipe), "-w", str(tmp_path)])
    assert built.exit_code == 0, built.output
    before = {row.id for row in Dataset.open(place.datasets / "feedback/preferences").rows}
    assert {row.id for row in Dataset.open(place.datasets / "liked/pairs").rows} == before
    assert len(Dataset.open(place.datasets / "liked/talks")) == 2
    # A dataset that was made of them is named when they are gone.
    copied = place.datasets / "mine" / "chats"
    write_rows(rows_for_training(store), copied)
    with store.begin() as session:
        for name in ("ann", "bob"):
            person = session.get(Person, f"usr_{name}")
            assert person is not None
            person.training_consent = False
    told = json.loads(
        run.invoke(app, ["collect", "feedback", "-w", str(tmp_path), "--json"]).stdout
    )
    assert len(told["removed"]) == 6
    assert told["still_in"] == [
        "liked/pairs", "mine/chats/conversations", "mine/chats/preferences",
    ]  # fmt: skip
    built = run.invoke(app, ["build", str(recipe), "-w", str(tmp_path)])
    assert built.exit_code == 0, built.output
    assert len(Dataset.open(place.datasets / "liked/pairs")) == 0
    assert len(Dataset.open(place.datasets / "liked/talks")) == 0
    store.close()
    (tmp_path / "chat.key").unlink()
    with pytest.raises(UsageError, match="master key"):
        export_feedback(place, "feedback")
    assert not (tmp_path / "chat.key").exists()
    for name in ("../elsewhere", "", "."):
        with pytest.raises(UsageError, match="no name"):
            export_feedback(place, name)
