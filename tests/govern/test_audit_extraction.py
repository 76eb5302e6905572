"""Extraction: distances and rates against references, rows as training sees them, copies."""

from __future__ import annotations

from pathlib import Path

import nltk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.errors import DataError
from chatwright.govern.audit.extraction import (
    compare,
    edit_distance,
    mask_personal,
    rates,
    rates_by_copies,
)
from chatwright.govern.audit.results import Match
from chatwright.govern.audit.rows import as_sample, count_holders, draw, training_data
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    Message,
    Preference,
    write_dataset,
)
from chatwright.tokenizer import Tokenizer

HOW = {"prefixes": (4, 8), "suffix": 6, "window": 64}
tokens = st.lists(st.integers(0, 4), max_size=12)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the cat sat on the mat and 猫坐在垫子上 " * 20], 400)


@given(tokens, tokens)
def test_edit_distance_is_nltks(a: list[int], b: list[int]) -> None:
    assert edit_distance(a, b) == nltk.edit_distance(a, b)


@given(tokens, tokens)
def test_a_match_says_what_is_equal(made: list[int], target: list[int]) -> None:
    match = compare(made, target)
    assert match.exact == (made[: len(target)] == target)
    assert 0 <= match.similarity <= 1
    assert match.exact <= (match.similarity == 1.0)
    assert made[: match.common] == target[: match.common]


def test_compare_by_hand() -> None:
    assert compare([1, 2, 3, 4, 5], [1, 2, 9, 4]) == Match(2, 4, 0.75)  # longer is cut first
    assert compare([1, 2], [1, 2, 3, 4]) == Match(2, 4, 0.5)  # the model stopped early


def test_rates_per_length_and_by_copies() -> None:
    hit, near, miss = Match(10, 10, 1.0), Match(3, 10, 0.8), Match(0, 10, 0.1)
    found = {4: {"a": miss, "b": miss}, 8: {"a": hit, "b": near}}
    short, long = rates(found)
    assert (short.prefix, short.exact.value, short.near.value) == (4, 0.0, 0.0)
    assert (long.exact.value, long.near.value, long.common.value) == (0.5, 1.0, 6.5)
    by = rates_by_copies({"a": hit, "b": miss, "c": hit, "d": hit}, {"a": 7, "b": 1, "c": 2})
    assert [(c.low, c.high, c.exact.value, c.exact.count) for c in by] == [
        (1, 1, 0.5, 2),  # b, and d, of which nothing is known
        (2, 4, 1.0, 1),
        (5, None, 1.0, 1),
    ]


def test_a_document_is_taken_after_its_longest_prefix(tokenizer: Tokenizer) -> None:
    row = Document("d", "the cat sat on the mat " * 4, "u", "s")
    sample = as_sample(row, tokenizer, **HOW)
    assert sample.tokens[0] == tokenizer.end_of_text_id  # as in training
    assert sample.counted == [False] + [True] * (len(sample.tokens) - 1)
    assert tokenizer.encode(row.text) == sample.tokens[1:]
    assert sample.start == 9 and len(sample.target) == 6
    assert [*sample.prefix(8), *sample.target] == sample.tokens[1:15]
    assert sample.prefix(4) == sample.prefix(8)[4:]  # every length has the same target
    short = as_sample(
        Document("e", "the cat sat on the mat and the cat", "u", "s"), tokenizer, **HOW
    )
    assert short.end == len(short.tokens) and len(short.prefix(8)) < 8


def test_a_conversations_target_is_its_last_answer(tokenizer: Tokenizer) -> None:
    turns = [
        Message("user", "the cat"),
        Message("assistant", "sat"),
        Message("user", "猫坐在垫子上"),
        Message("assistant", "the mat sat on the cat and the mat sat"),
    ]
    row = Conversation("c", turns, "u", "s")
    sample = as_sample(row, tokenizer, prefixes=(4, 8), suffix=40, window=200)
    assert tokenizer.decode(sample.target) == turns[-1].content
    assert all(sample.counted[sample.start : sample.end])
    assert not any(sample.counted[sample.start - 4 : sample.start])
    # Longer than the window: what stands before the answer goes, the answer stays.
    cut = as_sample(row, tokenizer, prefixes=(4, 8), suffix=40, window=24)
    assert len(cut.tokens) == 24 and cut.target == sample.target and not cut.counted[0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (Document("a", "  ", "u", "s"), "text is empty"),
        (Document("b", "the cat", "u", "s"), "too short"),
        (Conversation("c", [Message("user", "x")], "u", "s"), "assistant says nothing"),
        (
            Conversation("d", [Message("user", "x"), Message("assistant", "the")], "u", "s"),
            "8 are needed",
        ),
    ],
)
def test_a_row_that_cannot_be_used_says_why(
    tokenizer: Tokenizer, row: Document | Conversation, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        as_sample(row, tokenizer, **HOW)


def write(path: Path, rows: list[Document]) -> Dataset:
    with write_dataset(path, Document, stage=path.name, fingerprint="f", settings={}) as out:
        for row in rows:
            out.write(row)
    return Dataset.open(path)


def test_rows_are_drawn_by_seed_and_the_bad_ones_listed(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = [Document(f"d{n}", f"the cat sat on the mat {n} " * 4, "u", "s") for n in range(30)]
    rows[3].text = ""
    rows[4].meta = {"canary": {"id": "x"}}
    dataset = write(tmp_path / "rows", rows)
    shuffled = write(tmp_path / "shuffled", rows[::-1])
    drawn, skipped = draw([dataset], tokenizer, limit=100, seed=1, **HOW)
    assert len(drawn) == 28 and "d4" not in {s.id for s in drawn}
    assert [(s.id, s.reason) for s in skipped] == [("d3", "the text is empty")]
    few, _ = draw([shuffled], tokenizer, limit=5, seed=1, **HOW)
    assert [s.id for s in few] == [s.id for s in drawn[:5]]
    other, _ = draw([dataset], tokenizer, limit=5, seed=2, **HOW)
    assert [s.id for s in few] != [s.id for s in other]


def test_copies_are_counted_word_for_word(tmp_path: Path) -> None:
    rows = [Document(f"d{n}", text, "u", "s") for n, text in enumerate(["a b c", "x b c", "b"])]
    dataset = write(tmp_path / "rows", rows)
    assert count_holders([dataset], {"p": "b c", "q": "b", "r": "猫"}) == {"p": 2, "q": 3, "r": 0}


def test_preferences_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with write_dataset(tmp_path / "p", Preference, stage="p", fingerprint="f", settings={}) as out:
        out.write(Preference("p", [Message("user", "x")], "a", "b", "me", "u", "s"))
    with pytest.raises(DataError, match="preference rows"):
        draw([Dataset.open(tmp_path / "p")], tokenizer, limit=2, seed=0, **HOW)


def test_a_folder_without_lineage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset, model"):
        training_data(tmp_path)


def test_examples_hide_numbers_and_addresses() -> None:
    shown = mask_personal("call +49 (30) 123-456 or ann.b@mail.example.org at 10, 电话13800138000")
    assert shown == "call +⟨number⟩ or ⟨address⟩ at 10, 电话⟨number⟩"
