"""One conversation: its facts are checked, its outcome and its numbers follow from them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatwright.errors import DataError
from chatwright.evaluate.conversations.facts import ConversationFacts, TurnFacts, read_facts
from chatwright.evaluate.conversations.measured import SEVERAL, Measured, measure
from chatwright.evaluate.conversations.outcome import judge_outcome
from chatwright.evaluate.conversations.reading import Reading, consented, read_conversations
from chatwright.evaluate.results import Skipped
from chatwright.records import Conversation, Document, Message, write_dataset


def chat(*said: str, consent: bool | None = True, **meta: Any) -> Conversation:
    """Messages by turns, a person first; `turns` in meta may name some by place."""
    messages = [Message("assistant" if i % 2 else "user", text) for i, text in enumerate(said)]
    if isinstance(meta.get("turns"), dict):
        meta["turns"] = [meta["turns"].get(i, {}) for i in range(len(said))]
    return Conversation("1", messages, "test:1", "test", meta=meta, consent=consent)


def measured(*said: str, **meta: Any) -> Measured:
    conversation = chat(*said, **meta)
    return measure(conversation, read_facts(conversation))


def outcome(*said: str, **meta: Any) -> tuple[int | None, str | None, str | None]:
    conversation = chat(*said, **meta)
    found = judge_outcome(conversation.messages, read_facts(conversation))
    return found.turns, found.sign, found.left


def test_facts_as_exports_write_them() -> None:
    turn = {
        "at": "2026-03-02T09:00:00+08:00",
        "seconds": 2,
        "first_token_seconds": 0.4,
        "feedback": "up",
        "reasons": ["accurate"],
        "stopped": False,
        "regenerated": 1,
        "edited": True,
        "model": "a",
        "something_else": 1,
    }
    facts = read_facts(chat("Hi", turns=[turn], user="u1", colour="red"))
    assert facts == ConversationFacts(
        turns=(TurnFacts(**{**turn, "reasons": ("accurate",)}),), user="u1"
    )
    assert facts.turns is not None
    assert facts.turns[0].at == datetime(2026, 3, 2, 1, tzinfo=UTC)
    for same in (1772413200, 1772413200.0, "2026-03-02T01:00:00Z", "2026-03-02T01:00:00"):
        assert TurnFacts(at=same).at == datetime(2026, 3, 2, 1, tzinfo=UTC)  # type: ignore[arg-type]
    assert read_facts(chat("Hi")) == ConversationFacts()


@pytest.mark.parametrize(
    ("meta", "where", "message"),
    [
        ({"turns": [{"feedback": "meh"}]}, "meta.turns[0].feedback", "'meh'"),
        ({"turns": [{"at": "yesterday"}]}, "meta.turns[0].at", "not an ISO 8601 time"),
        ({"turns": [{"at": 1772413200000}]}, "meta.turns[0].at", "year|plausible|no date"),
        ({"turns": [{"at": True}]}, "meta.turns[0].at", "ISO 8601"),
        ({"turns": [{"seconds": -1}]}, "meta.turns[0].seconds", "≥ 0"),
        ({"turns": [{"seconds": float("nan")}]}, "meta.turns[0].seconds", "≥ 0"),
        ({"turns": [{"seconds": "2"}]}, "meta.turns[0].seconds", "number of seconds"),
        ({"turns": [{"regenerated": -1}]}, "meta.turns[0].regenerated", "greater"),
        ({"turns": [{"stopped": "yes"}]}, "meta.turns[0].stopped", "boolean"),
        ({"turns": []}, "meta.turns", "0 turns for 1 messages"),
        ({"turns": [{}, {}]}, "meta.turns", "2 turns for 1 messages"),
        ({"turns": "none"}, "meta.turns", "tuple|list"),
        ({"turns": [3]}, "meta.turns[0]", "TurnFacts|dictionary"),
        ({"model": ""}, "meta.model", "at least 1"),
        ({"model": 7}, "meta.model", "string"),
        ({"abandoned": 1}, "meta.abandoned", "boolean"),
    ],
)
def test_wrong_facts_are_named(meta: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_facts(chat("Hi", **meta))
    assert error.value.where == where


@pytest.mark.parametrize(
    ("said", "meta", "expected"),
    [
        (("Q", "A"), {}, (1, "end", None)),
        (("Q", "A", "Q2", "A2"), {}, (2, "end", None)),
        (("Q", "A", "Thanks!"), {}, (1, "thanks", None)),
        (("Q", "A", "谢谢,解决了"), {}, (1, "thanks", None)),
        (("Q", "A", "Q2", "A2", "好的", "A3"), {}, (2, "thanks", None)),
        (("Q", "A", "Thanks! And what about X?", "A2"), {}, (1, "thanks", None)),
        (("Q", "A", "Thanks, but it still fails", "A2"), {}, (2, "end", None)),
        (("Thanks for coming. Q?", "A"), {}, (1, "end", None)),
        (("Q", "A", "Q2", "A2"), {"turns": {1: {"feedback": "up"}}}, (1, "thumb up", None)),
        (("Q", "A", "Q2", "A2"), {"turns": {3: {"feedback": "up"}}}, (2, "thumb up", None)),
        (("Q",), {}, (None, None, "unanswered")),
        (("Q", ""), {}, (None, None, "unanswered")),
        (("Q", "A", "Q2"), {}, (None, None, "unanswered")),
        (("Q", "A", "Thanks!", "A2", "Q2"), {}, (1, "thanks", "unanswered")),
        (("Q", "A"), {"turns": {1: {"stopped": True}}}, (None, None, "stopped")),
        (("Q", "A", "Thanks"), {"turns": {1: {"stopped": True}}}, (1, "thanks", None)),
        (("Q", "A"), {"turns": {1: {"feedback": "down"}}}, (None, None, "thumb down")),
        (("Q", "A", "没用"), {}, (None, None, "complaint")),
        (("Q", "A", "That is wrong.", "Sorry!"), {}, (None, None, "complaint")),
        (("Q", "A", "That is wrong.", "B", "Q2", "A2"), {}, (3, "end", None)),
        (("Q", "A"), {"abandoned": True}, (None, None, "stated")),
        (("Q", "A", "Q2"), {"abandoned": False}, (2, "end", None)),
        (("Q", "A", "Q2", "A2"), {"resolved": True}, (2, "stated", None)),
        (("Q", "A", "Thanks"), {"resolved": True}, (1, "stated", None)),
        (("Q", "A", "Thanks"), {"resolved": False}, (None, None, None)),
    ],
)
def test_outcome(said: tuple[str, ...], meta: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert outcome(*said, **meta) == expected


def test_numbers_of_a_conversation_counted_by_hand() -> None:
    found = measured(
        "How do I reset my password?",  # 6 words
        "Open your account and choose Reset.",  # 6
        "How can I reset the password?",  # 6
        "The passages do not contain information about this.",  # 8
        "Thanks anyway!",  # 2
        turns={
            0: {"at": "2026-03-02T08:00:00Z"},
            1: {"seconds": 2.0, "first_token_seconds": 0.5, "feedback": "down", "reasons": ["x"]},
            3: {"seconds": 4.0, "feedback": "up", "regenerated": 1},
        },
        model="a",
        user="u",
        intent="account",
    )
    assert (found.turns, found.requests, found.answers) == (3, 2, 2)
    assert (found.asked_words, found.words) == (14, 14)
    assert (found.thumbs_up, found.thumbs_down, found.reasons) == (1, 1, ("x",))
    assert (found.repeated, found.refused) == (1, 1)
    assert (found.redone, found.redone_recorded) == (1, 1)
    assert found.seconds == (2.0, 4.0)
    assert found.first_token_seconds == (0.5,)
    assert found.at == datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert (found.model, found.user, found.intent, found.language) == ("a", "u", "account", "en")
    assert (found.outcome.turns, found.outcome.sign) == (2, "thumb up")


def test_language_model_and_sentiment() -> None:
    assert measured("怎么退款?", "请看页面。").language == "zh"
    assert measured("Hi", "Hello").language is None
    assert measured("Q", "A").model is None
    assert measured("Q", "A", model="a", turns={1: {"model": "b"}}).model == "b"
    assert measured("Q", "A", "Q", "A", model="a", turns={1: {"model": "b"}}).model == SEVERAL
    conversation = chat("good", "A", "bad")
    tone = {"good": 1.0, "bad": -1.0}
    assert measure(
        conversation, read_facts(conversation), sentiment=tone.__getitem__
    ).sentiment == (
        1.0,
        -1.0,
    )


def test_a_file_of_openai_messages(tmp_path: Path) -> None:
    lines = [
        {
            "id": "c1",
            "consent": True,
            "model": "m",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "看图"}, {"type": "image"}]},
                {"role": "assistant", "content": None, "create_time": 1772413200},
                {"role": "assistant", "content": "一只猫。", "feedback": "up", "seconds": 2},
            ],
        },
        {"consent": True, "messages": [{"role": "robot", "content": "x"}]},
        {"consent": True, "messages": [{"role": ["user"], "content": "x"}]},
        {"consent": True, "messages": [{"role": "user", "content": 5}]},
        {"consent": "yes", "messages": [{"role": "user", "content": "x"}]},
        {"consent": True, "messages": "x"},
        {"consent": True, "messages": [{"role": "user", "content": "x", "at": "never"}]},
        {"consent": True, "messages": []},
        {"consent": False, "messages": [{"role": "user", "content": "x", "at": "never"}]},
        {"messages": [{"role": "user", "content": "x"}]},
    ]
    file = tmp_path / "chats.jsonl"
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    file.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\n\n{broken\n\xff\xfe\n")
    reading = Reading()
    used = list(consented(read_conversations(file), reading))
    assert [row.id for row, _ in used] == ["c1"]
    row, facts = used[0]
    assert [m.role for m in row.messages] == ["system", "user", "assistant", "assistant"]
    assert row.messages[1].content == "看图"
    found = measure(row, facts)
    assert (found.model, found.language, found.thumbs_up, found.seconds) == ("m", "zh", 1, (2.0,))
    assert found.at == datetime(2026, 3, 2, 1, tzinfo=UTC)
    assert reading.rows == 12
    assert reading.left_out == {
        "the row cannot be read": 8,
        "no message of a person": 1,
        "consent refused": 1,
        "consent not stated": 1,
    }
    reasons = {s.id.rpartition(":")[2]: s.reason for s in reading.skipped}
    assert "unknown role 'robot'" in reasons["2"]
    assert "unknown role" in reasons["3"]
    assert "neither a text nor a list" in reasons["4"]
    assert "`consent` must be true or false" in reasons["5"]
    assert "`messages`" in reasons["6"]
    assert "not a line of JSON" in reasons["12"]
    assert any("meta.turns[0].at" in s.reason for s in reading.skipped)


def test_the_same_line_gets_the_same_id_and_files_without_chats_are_refused(tmp_path: Path) -> None:
    line = '{"messages": [{"role": "user", "content": "x"}]}\n'
    file = tmp_path / "chats.jsonl"
    file.write_text(line)
    first = [row.id for row in read_conversations(file)]
    assert first == [row.id for row in read_conversations(file)]
    file.write_text('{"text": "no chat"}\n')
    rows = read_conversations(file)
    assert isinstance(next(rows), Skipped)
    with pytest.raises(DataError, match="no line of this file is a conversation"):
        next(rows)
    file.write_text("")
    with pytest.raises(DataError, match="no line"):
        list(read_conversations(file))


def test_datasets_of_conversations_only(tmp_path: Path) -> None:
    with write_dataset(
        tmp_path / "chats", Conversation, stage="t", fingerprint="f", settings={}
    ) as out:
        out.write(chat("Hi", "Hello"))
    assert [row.messages[0].content for row in read_conversations(tmp_path / "chats")] == ["Hi"]
    with write_dataset(
        tmp_path / "pages", Document, stage="t", fingerprint="f", settings={}
    ) as out:
        out.write(Document("1", "text", "u", "s"))
    with pytest.raises(DataError, match="a dataset of documents, not of conversations"):
        list(read_conversations(tmp_path / "pages"))
