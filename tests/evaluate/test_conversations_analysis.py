"""The whole analysis against histories whose true rates are known (`synthetic_conversations`)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatwright.curate.textmodels import sentiment
from chatwright.errors import DataError, UsageError
from chatwright.evaluate.conversations import ConversationReport, analyse
from chatwright.evaluate.conversations.analysis import bucket_start
from chatwright.evaluate.conversations.intents import Question, automatic_intents
from chatwright.evaluate.results import Skipped
from chatwright.records import Conversation
from synthetic_conversations import BASE, QUESTIONS, Version, conversations, worse

NEXT = worse(
    BASE,
    name="assistant-2",
    first_day=BASE.first_day + timedelta(days=28),
    up=0.5,
    seconds=3.0,
    repeats=0.3,
)


def report(rows: Sequence[Conversation | Skipped], **settings: Any) -> ConversationReport:
    return analyse(rows, **{"resamples": 200, "permutations": 300, **settings})


@pytest.fixture(scope="module")
def history() -> list[Conversation]:
    return [
        *conversations(BASE, 300, seed=1, users=150),
        *conversations(NEXT, 300, seed=2, users=150),
    ]


@pytest.fixture(scope="module")
def found(history: list[Conversation]) -> ConversationReport:
    return report(
        history, by=["intent", "language", "model", "language+model"], sentiment=sentiment
    )


def truth(v: Version) -> dict[str, float]:
    """What the generator makes, worked out from its rates."""
    answered = 1 - v.unanswered
    confirmed = answered * (v.rates * v.up + (1 - v.rates) * v.thanks)
    return {
        "satisfaction": v.up,
        "confirmed": confirmed,
        "abandoned": v.unanswered + answered * v.rates * (1 - v.up),
        "repeated": v.repeats,
        "refusals": v.refuses,
        "redone": 0.0,
        "turns": 2 + answered * (1 - v.rates) * v.thanks,
        "turns_to_resolution": 2.0,
        "rated": answered * v.rates / (1 + answered),
        "seconds": v.seconds,
        "seconds_p95": v.seconds * math.exp(0.4 * 1.645),
        "first_token_seconds": v.seconds / 5,
    }


def test_every_figure_is_near_the_truth(found: ConversationReport) -> None:
    for group, version in zip(found.groups["model"], (BASE, NEXT), strict=True):
        assert (group.name, group.conversations) == (version.name, 300)
        for name, expected in truth(version).items():
            figure = group.figures[name]
            # Twice the interval: a dozen figures of two versions, each of 300 conversations.
            slack = (figure.high - figure.low) + 1e-9
            assert figure.value == pytest.approx(expected, abs=slack), name
            assert figure.low <= figure.value <= figure.high


def test_alerts_name_what_got_worse_and_nothing_else(found: ConversationReport) -> None:
    alerts = {c.measure for c in found.alerts}
    assert alerts >= {"satisfaction", "repeated", "seconds", "seconds_p95", "first_token_seconds"}
    # Follows from the fewer thumbs up.
    assert alerts - {
        "satisfaction",
        "repeated",
        "seconds",
        "seconds_p95",
        "first_token_seconds",
    } <= {
        "confirmed",
        "abandoned",
        "sentiment_change",
    }
    assert {(c.old, c.new) for c in found.alerts} == {("assistant-1", "assistant-2")}
    assert all(c.examples for c in found.alerts)
    assert found.newest == "assistant-2"
    assert found.past_alerts == []
    text = "\n".join(found.lines())
    assert "alert: Satisfaction is worse with assistant-2 than with assistant-1" in text


def test_groups_partition_the_conversations(found: ConversationReport) -> None:
    for name, groups in found.groups.items():
        assert sum(g.conversations for g in groups) == 600, name
    assert {g.name for g in found.groups["intent"]} == set(QUESTIONS)
    assert {g.name for g in found.groups["language"]} == {"en", "zh"}
    assert {g.name for g in found.groups["language+model"]} == {
        f"{language} · {model}"
        for language in ("en", "zh")
        for model in ("assistant-1", "assistant-2")
    }
    assert not any(g.automatic for groups in found.groups.values() for g in groups)
    assert sum(p.group.conversations for p in found.periods) == 600
    assert {p.model for p in found.periods if p.start < "2026-03-30"} == {"assistant-1"}
    assert all(datetime.fromisoformat(p.start).weekday() == 0 for p in found.periods)


def test_endings_and_sentiment(found: ConversationReport) -> None:
    overall = found.overall
    assert sum(overall.settled_by.values()) == 600
    assert set(overall.left_by) == {"unanswered", "thumb down"}
    assert sum(overall.left_by.values()) == pytest.approx(600 * overall.figures["abandoned"].value)
    assert overall.reasons == {"incorrect": overall.left_by["thumb down"]}
    assert overall.wilson is not None
    assert overall.wilson.value == overall.figures["satisfaction"].value
    turns = overall.sentiment_turns
    assert len(turns) == 3
    assert turns[2].value > turns[0].value + 0.1  # thanks sound better than questions


def test_same_rows_same_report_and_it_is_json(
    history: list[Conversation], found: ConversationReport
) -> None:
    again = report(
        history, by=["intent", "language", "model", "language+model"], sentiment=sentiment
    )
    assert again.to_json() == found.to_json()
    assert again.lines() == found.lines()
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["alerts"][0]["new"] == "assistant-2"
    # No word of anybody's is in it.
    assert "refund for order" not in text
    assert "订单1" not in text


def test_consent_decides_and_bad_rows_are_listed(history: list[Conversation]) -> None:
    rows: list[Conversation | Skipped] = [replace(r, meta={**r.meta}) for r in history[:60]]
    refused = [replace(r, consent=False) for r in history[60:70]]
    unknown = [replace(r, consent=None) for r in history[70:75]]
    bad = replace(history[80], id="bad", meta={"turns": [{"feedback": "meh"}]})
    silent = replace(history[81], id="silent", messages=history[81].messages[1:2], meta={})
    result = report([*refused, *rows, *unknown, bad, silent, Skipped("f:7", "no JSON")])
    alone = report(rows)
    assert result.overall == alone.overall
    assert (result.rows, result.used) == (78, 60)
    assert result.left_out == {
        "consent not stated": 5,
        "consent refused": 10,
        "no message of a person": 1,
        "the row cannot be read": 2,
    }
    assert [(s.id, s.reason.partition(":")[0]) for s in result.skipped] == [
        ("bad", "meta.turns[0].feedback"),
        ("silent", "no message of a person"),
        ("f:7", "no JSON"),
    ]
    assert "left out: 10 (consent refused)" in "\n".join(result.lines())


def test_nothing_to_use_is_an_error(history: list[Conversation]) -> None:
    with pytest.raises(DataError, match=r"none of the 2 rows can be used \(consent refused: 2"):
        report([replace(r, consent=False) for r in history[:2]])
    with pytest.raises(DataError, match="there are none"):
        report([])


def test_bare_conversations_are_enough(history: list[Conversation]) -> None:
    bare = [replace(r, meta={}, language=None, collected_at=None) for r in history[:50]]
    result = report(bare)
    assert result.periods == []
    assert result.versions == []
    assert [g.name for g in result.groups["model"]] == ["(not known)"]
    assert {g.name for g in result.groups["language"]} == {"en", "zh"}
    assert not {"satisfaction", "rated", "seconds", "redone", "sentiment"} & set(
        result.overall.figures
    )
    assert "no two model versions" in result.lines()[-1]


@pytest.mark.parametrize("by", ["colour", "model+model", "", "language+"])
def test_unknown_groupings_are_refused(by: str) -> None:
    with pytest.raises(UsageError, match="cannot be grouped"):
        report([], by=[by])


def test_buckets() -> None:
    with pytest.raises(UsageError, match="no bucket"):
        report([], bucket="year")
    at = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)  # a Thursday
    assert bucket_start(at, "day") == "2026-01-01"
    assert bucket_start(at, "week") == "2025-12-29"
    assert bucket_start(at, "month") == "2026-01-01"


def test_intents_nobody_stated_are_found_and_marked() -> None:
    rows = list(conversations(BASE, 240, seed=5, intents=False))
    result = report(rows, by=["intent"])
    groups = result.groups["intent"]
    assert all(g.automatic for g in groups if g.name != "(not known)")
    questions = [Question(r.messages[0].content, None) for r in rows]
    names = automatic_intents(questions)
    assert names == automatic_intents(questions)
    # Against what was asked about: nearly every group is of one intent and one language.
    intents = [r.meta for r in conversations(BASE, 240, seed=5)]
    right = 0
    for name in {n for n in names if n}:
        members = [
            (intents[i]["intent"], rows[i].language) for i, n in enumerate(names) if n == name
        ]
        right += max(members.count(m) for m in members)
    assert right >= 0.9 * len(rows)
    # Forms that people write and not stems, and nothing that one person alone wrote.
    assert any("delivery" in (n or "") for n in names)
    assert any("快递" in (n or "") for n in names)
    assert not any("1000" in (n or "") for n in names)
    assert "auto: found by clustering" in "\n".join(result.lines())


def test_too_few_or_wordless_questions_have_no_intent() -> None:
    assert automatic_intents([]) == []
    few = [Question("How do I get a refund?", None)] * 39
    assert set(automatic_intents(few)) == {None}
    nothing = [Question(f"word{i} unique{i}", None) for i in range(60)]
    assert set(automatic_intents(nothing)) == {None}
    same = automatic_intents([Question("How do I get a refund for shoes?", None)] * 60)
    assert len(set(same)) == 1


def test_what_one_person_writes_names_no_group() -> None:
    asked = [Question("How do I get a refund for shoes?", f"u{i}") for i in range(30)]
    asked += [Question("Where is the parcel of Mallory Quux delivered?", "m")] * 20
    asked += [Question("Where is the parcel delivered today?", f"v{i}") for i in range(30)]
    assert not any("mallory" in (n or "").lower() for n in automatic_intents(asked))


def test_small_groups_are_left_to_the_json(history: list[Conversation]) -> None:
    rare = [replace(r, language="fr") for r in history[40:43]]
    result = report([*history[:40], *rare], by=["language"])
    text = "\n".join(result.lines())
    assert {g.name for g in result.groups["language"]} == {"en", "zh", "fr"}
    assert "1 of fewer than 10 conversations: see --json" in text
    assert "  fr" not in text
    narrow = result.lines(60)
    assert max(len(line) for line in narrow if "%" in line and "alert" not in line) <= 60
