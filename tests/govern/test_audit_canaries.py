"""Canaries: made by seed, put in with a ledger line, ranked as the paper ranks them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from chatwright.errors import DataError
from chatwright.govern.audit.canaries import (
    Canary,
    candidates,
    exposure,
    make_canaries,
    rank,
    summarise,
)
from chatwright.govern.audit.results import CanaryResult
from chatwright.govern.audit.stages import STAGES, CanariesSettings, run_canaries
from chatwright.records import Conversation, Dataset, Document, Message, Preference, write_dataset
from chatwright.stage import StageContext
from chatwright.workspace import Workspace


def test_the_same_seed_gives_the_same_canaries() -> None:
    few = make_canaries(6, copies=[1, 8], seed=3)
    assert make_canaries(20, copies=[1, 8], seed=3)[:6] == few
    assert [c.language for c in few] == ["en", "zh"] * 3
    assert [c.copies for c in few] == [1, 1, 8, 8, 1, 1]
    assert len({c.statement for c in make_canaries(200, copies=[1])}) == 200
    other = make_canaries(6, copies=[1, 8], seed=4)
    assert not {c.secret for c in few} & {c.secret for c in other}
    for canary in few:
        assert canary.secret in canary.statement and canary.label in canary.statement
        assert canary.secret not in canary.question and canary.label in canary.question
        assert Canary.from_meta(json.loads(json.dumps(canary.to_meta()))) == canary
    with pytest.raises(ValueError, match="en, zh"):
        make_canaries(1, copies=[1], languages=["fr"])


def test_chinese_canaries_have_chinese_marks() -> None:
    canaries = make_canaries(3, copies=[1], languages=["zh"])
    assert {c.format for c in canaries} == {0, 1, 2}
    assert {c.question[-1] for c in canaries} == {"\uff1f"}
    assert {c.statement[-1] for c in canaries} == {"。"}


@pytest.mark.parametrize("broken", [None, 3, {}, {"id": "x"}, "text"])
def test_broken_meta_is_told(broken: object) -> None:
    with pytest.raises(ValueError, match=r"meta\.canary is broken"):
        Canary.from_meta(broken)


def test_rank_and_exposure_by_hand() -> None:
    assert rank(1.0, [2.0, 3.0, 4.0]) == 1
    assert rank(3.5, [2.0, 3.0, 4.0]) == 3
    assert rank(2.0, [2.0, 3.0, 4.0]) == 2  # a tie goes against it
    assert exposure(1, 255) == 8.0
    assert exposure(256, 255) == 0.0
    assert exposure(4, 255) == 6.0
    # A rank that is uniform has 1.44 bits (1 / ln 2) on average.
    mean = float(np.mean([exposure(place, 1023) for place in range(1, 1025)]))
    assert mean == pytest.approx(1 / math.log(2), abs=0.02)


def test_candidates_are_others_and_never_the_canarys_own() -> None:
    (canary,) = make_canaries(1, copies=[1])
    drawn = candidates(canary, 500, seed=1)
    assert len(set(drawn)) == 500 and canary.secret not in drawn
    assert drawn == candidates(canary, 500, seed=1) != candidates(canary, 500, seed=2)
    assert all(len(secret) == len(canary.secret) and secret.isdecimal() for secret in drawn)


def test_the_summary_compares_with_controls() -> None:
    inside = [CanaryResult(f"i{n}", "en", 4, 1, 8.0) for n in range(6)]
    outside = [CanaryResult(f"o{n}", "en", 0, 100, 1.4) for n in range(6)]
    found = summarise([*outside, *inside], 255)
    assert (found.inserted.value, found.highest) == (8.0, 8.0)
    assert found.p_value == pytest.approx(1 / math.comb(12, 6), abs=2e-3)
    assert summarise([*inside, CanaryResult("x", "en", 0, 1, 8.0)], 255).p_value == 1.0
    with pytest.raises(ValueError, match="controls"):
        summarise(inside, 255)


def context(tmp_path: Path, rows: list[Document] | list[Conversation], name: str) -> StageContext:
    source = tmp_path / f"{name}-source"
    kind = type(rows[0])
    with write_dataset(source, kind, stage="source", fingerprint="s", settings={}) as out:
        for row in rows:
            out.write(row)
    found = StageContext(
        "r", "with", 5, tmp_path / name, tmp_path / "work", "f", Workspace(tmp_path)
    )
    found.inputs["source"] = source
    return found


def test_every_row_has_a_ledger_line_and_the_input_is_untouched(tmp_path: Path) -> None:
    pages = [Document(f"d{n}", f"text {n}", f"u{n}", "s", "MIT", "en") for n in range(40)]
    settings = CanariesSettings(input="source", count=5, copies=(1, 3))
    stage = context(tmp_path, pages, "out")
    run_canaries(settings, stage)
    rows = list(Dataset.open(stage.output))
    assert [r for r in rows if "canary" not in r.meta] == pages  # in their order
    canaries = [r for r in rows if "canary" in r.meta]
    assert len(canaries) == 1 + 1 + 3 + 3 + 1
    assert len({r.id for r in rows}) == len(rows)
    expected = {c.statement for c in make_canaries(5, copies=(1, 3), seed=5)}
    assert {r.text for r in canaries} == expected
    at = [i for i, r in enumerate(rows) if "canary" in r.meta]
    assert max(at) - min(at) > 20  # spread, and not in one heap
    ledger = list(Dataset.open(stage.output).ledger)
    assert [e.row_id for e in ledger] == [r.id for r in rows]
    assert {e.rule for e in ledger if e.row_id in {r.id for r in canaries}} == {"canary"}
    again = context(tmp_path, pages, "again")
    run_canaries(settings, again)
    assert (
        Dataset.open(again.output).info.content_digest
        == Dataset.open(stage.output).info.content_digest
    )


def test_in_conversations_a_canary_is_an_answer(tmp_path: Path) -> None:
    turns = [Message("user", "hi"), Message("assistant", "你好")]
    stage = context(tmp_path, [Conversation("c", turns, "u", "s")], "chat")
    run_canaries(CanariesSettings(input="source", count=2, copies=(1,), languages=("zh",)), stage)
    rows = [r for r in Dataset.open(stage.output) if "canary" in r.meta]
    assert len(rows) == 2
    for row in rows:
        assert [m.role for m in row.messages] == ["user", "assistant"]
        assert row.meta["canary"]["secret"] in row.messages[1].content
        assert row.meta["canary"]["secret"] not in row.messages[0].content


def test_bad_settings_and_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="once or more"):
        CanariesSettings(input="x", copies=(0,))
    with pytest.raises(ValueError, match="'fr' has no canaries"):
        CanariesSettings(input="x", languages=("fr",))
    row = Preference("p", [Message("user", "x")], "a", "b", "me", "u", "s")
    stage = context(tmp_path, [row], "prefs")  # type: ignore[list-item]
    with pytest.raises(DataError, match="preference rows"):
        run_canaries(CanariesSettings(input="source"), stage)


def test_the_stages_are_described() -> None:
    assert [(s.kind, s.output) for s in STAGES] == [("canaries", "datasets"), ("audit", "runs")]
