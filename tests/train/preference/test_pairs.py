"""Pairs on disk and the order in which training sees them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.errors import DataError, TrainingError
from chatwright.progress import Silent
from chatwright.records import Conversation, Message, Preference
from chatwright.tokenizer import Tokenizer
from chatwright.train.packing import IGNORED, Batch
from chatwright.train.preference.pairs import (
    PairFile,
    encode_answer,
    encode_pair,
    open_pairs,
    place_of,
    write_pair_file,
)
from chatwright.train.preference.plan import MixedPairs, PairPlan
from chatwright.train.setup import Opener

from .conftest import make_preferences


def written(path: Path, rows: list[Any], tokenizer: Tokenizer) -> PairFile:
    return write_pair_file(path, rows, tokenizer, stage="s", total=None, progress=Silent())


@pytest.fixture(scope="module")
def file(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> PairFile:
    return written(tmp_path_factory.mktemp("pairs") / "p", make_preferences(24), tokenizer)


def plan(file: PairFile, **changes: Any) -> PairPlan:
    options: dict[str, Any] = {"length": 200, "pairs_per_step": 5, "seed": 3} | changes
    return PairPlan([MixedPairs(file, options.pop("weight", 1.0))], **options)


def sequences(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """(inputs, targets) of each sequence."""
    found, at = [], 0
    for length in batch.lengths:
        part = slice(at, at + length)
        found.append((batch.tokens[0, part].tolist(), batch.targets[0, part].tolist()))
        at += length
    return found


# -- one row -------------------------------------------------------------------------------------


def test_a_pair_is_what_the_chat_template_writes(tokenizer: Tokenizer) -> None:
    row = make_preferences(1)[0]  # two user turns, one earlier answer
    pair = encode_pair(row, tokenizer)
    for answer, tokens in ((row.chosen, pair.chosen), (row.rejected, pair.rejected)):
        whole = [*row.prompt, Message("assistant", answer)]
        ids, mask = tokenizer.chat_with_mask(whole)
        assert ids[: len(pair.prompt) + len(tokens)] == pair.prompt + tokens
        assert not any(mask[len(pair.prompt) + len(tokens) :])
        assert tokens[-1] == tokenizer.eos_id
        assert tokenizer.decode(tokens[:-1]) == answer
    assert pair.prompt == tokenizer.chat(row.prompt, add_generation_prompt=True)


def test_an_answer_must_come_last(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="must end with an answer"):
        encode_answer([Message("user", "hi")], tokenizer)
    with pytest.raises(DataError, match="must end with an answer"):
        encode_answer([], tokenizer)


def test_rows_that_are_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    good = make_preferences(2)
    prompt = [Message("user", "什么？")]
    bad = [
        Preference("empty", prompt, "  ", "no", "j", "u", "s"),
        Preference("tie", prompt, "yes", "yes", "j", "u", "s"),
    ]
    found = written(tmp_path / "p", [good[0], *bad, good[1]], tokenizer)
    assert found.row_ids == [row.id for row in good]
    assert [(e.row_id, e.action, e.rule) for e in found.ledger] == [
        ("empty", "drop", "empty answer"),
        ("tie", "drop", "tie"),
    ]
    assert plan(found).ledger == found.ledger
    with pytest.raises(DataError, match="no pair to learn from; 2 rows were left out"):
        written(tmp_path / "q", bad, tokenizer)
    assert not (tmp_path / "q").exists()


def test_rows_of_another_kind(tokenizer: Tokenizer, tmp_path: Path) -> None:
    chat = Conversation("c", [Message("user", "a"), Message("assistant", "b")], "u", "s")
    with pytest.raises(DataError, match="takes preferences") as caught:
        written(tmp_path / "p", [chat], tokenizer)
    assert caught.value.hint and "rows: preferences" in caught.value.hint


def test_places_are_by_the_first_question() -> None:
    rows = make_preferences(400)
    places = [place_of(row.prompt) for row in rows]
    assert all(0 <= place < 1 for place in places)
    assert 0.42 < np.mean(places) < 0.58
    first = [Message("system", "be kind"), Message("user", "  问 ")]
    longer = [Message("user", "问"), Message("assistant", "a"), Message("user", "b")]
    assert place_of(first) == place_of(longer)
    assert place_of([Message("user", "问?")]) != place_of(longer)


# -- the file --------------------------------------------------------------------------------------


def test_the_file_opens_as_it_was_written(file: PairFile, tokenizer: Tokenizer) -> None:
    rows = make_preferences(24)
    again = PairFile.open(file.path)
    assert len(again) == 24 and again.row_ids == [row.id for row in rows]
    assert again.margins.tolist() == [float(row.meta.get("margin", 0)) for row in rows]
    for i, row in enumerate(rows):
        pair = encode_pair(row, tokenizer)
        for side, answer in ((2 * i, pair.chosen), (2 * i + 1, pair.rejected)):
            begin, end = again.offsets[side], again.offsets[side + 1]
            assert again.tokens[begin:end].tolist() == pair.prompt + answer
            assert again.starts[side] == len(pair.prompt)


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "starts.bin", "rows.parquet"])
def test_a_damaged_file_is_made_again(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = make_preferences(3)
    opener = Opener(tmp_path, tokenizer, "s", Silent())
    made = open_pairs(opener, rows)
    whole = (made.path / name).read_bytes()
    (made.path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        PairFile.open(made.path)
    assert len(open_pairs(opener, rows)) == 3
    assert (made.path / name).read_bytes() == whole
    (made.path / "index.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(DataError, match="not a pair file"):
        PairFile.open(made.path)


# -- the order -------------------------------------------------------------------------------------


def test_batches_hold_whole_pairs_with_the_answers_as_targets(
    file: PairFile, tokenizer: Tokenizer
) -> None:
    rows = {row.id: row for row in make_preferences(24)}
    order = plan(file)
    batches = order.step(0, 150)
    assert len(batches) > 1 and sum(len(b.lengths) for b in batches) == 10
    for batch in batches:
        assert batch.together == 2
        computed = batch.tokens.shape[1] - int(batch.extra["shared"][0::2].sum())
        assert computed <= 150 or len(batch.lengths) == 2
        found = sequences(batch)
        for number, row_id in enumerate(batch.row_ids):
            pair = encode_pair(rows[row_id], tokenizer)
            for (inputs, targets), answer in zip(
                found[2 * number : 2 * number + 2], (pair.chosen, pair.rejected), strict=True
            ):
                assert inputs == pair.prompt + answer
                ignored = [IGNORED] * (len(pair.prompt) - 1)
                assert targets == [*ignored, *answer, IGNORED]
            margin = float(rows[row_id].meta.get("margin", 0))
            assert batch.extra["margin"][2 * number : 2 * number + 2].tolist() == [margin] * 2


def test_known_numbers_come_along(file: PairFile) -> None:
    order = plan(file)
    order.known["reference"] = np.arange(48).reshape(24, 2)
    by_row = {file.row_ids[p.row]: order.known["reference"][p.number] for p in order.pairs}
    for batch in order.step(1, 10**6):
        expected = np.concatenate([by_row[row_id] for row_id in batch.row_ids])
        assert batch.extra["reference"].tolist() == expected.tolist()


def test_an_epoch_takes_every_pair_once_in_an_order_of_its_own(file: PairFile) -> None:
    order = plan(file)
    assert order.end_after(2) == 10  # 48 pairs, 5 a step; the last step takes the 3 that are left
    seen = [row for step in range(10) for b in order.step(step, 10**6) for row in b.row_ids]
    assert len(order.step(9, 10**6)[0].lengths) == 6
    assert Counter(seen) == {row: 2 for row in file.row_ids}
    assert sorted(seen[:24]) == sorted(seen[24:]) and seen[:24] != seen[24:]
    assert plan(file).end_after(0.5) == 3


@settings(max_examples=20, deadline=None)
@given(step=st.integers(0, 60), tokens=st.integers(1, 2000))
def test_a_step_is_a_function_of_its_number(file: PairFile, step: int, tokens: int) -> None:
    one, other = plan(file), plan(file)
    for earlier in range(step % 4):
        other.step(earlier, 100)
    a = [row for batch in one.step(step, tokens) for row in batch.row_ids]
    b = [row for batch in other.step(step, 10**6) for row in batch.row_ids]
    assert (a == b and len(set(a)) == len(a)) or step % 5 == 4
    assert Counter(a) == Counter(b)


def test_weights(file: PairFile) -> None:
    twice, half = plan(file, weight=2.0), plan(file, weight=0.5)
    assert twice.end_after(1) == 10 and half.end_after(1) == 3
    rows = [row for step in range(3) for b in half.step(step, 10**6) for row in b.row_ids]
    assert len(set(rows)) == 12
    with pytest.raises(TrainingError, match="leave no pair"):
        plan(file, weight=0.001)


def test_sides_of_a_split_share_no_prompt(file: PairFile) -> None:
    left, right = plan(file, places=(0.0, 0.6)), plan(file, places=(0.6, 1.0))
    assert len(left.pairs) + len(right.pairs) == 24
    assert not {p.row for p in left.pairs} & {p.row for p in right.pairs}
    assert right.once(10**9, 10**6)[0][0].row_ids == tuple(
        file.row_ids[i] for i in np.argsort(file.places) if file.places[i] >= 0.6
    )
    first = right.once(1, 10**6)[0]
    assert len(first) == 1 and len(first[0].lengths) == 2
    with pytest.raises(TrainingError, match=r"range \[2, 3\]"):
        plan(file, places=(2, 3))


# -- too long --------------------------------------------------------------------------------------


def test_too_long_is_dropped_with_a_line(file: PairFile) -> None:
    sizes = np.diff(file.offsets).reshape(-1, 2).max(1)
    bound = int(np.median(sizes))
    short = plan(file, length=bound)
    assert {p.row for p in short.pairs} == set(np.flatnonzero(sizes <= bound))
    assert len(short.ledger) == int((sizes > bound).sum())
    line = short.ledger[0]
    assert (line.action, line.rule, line.bound) == ("drop", "too long", f"max {bound} tokens")
    assert line.value in sizes
    with pytest.raises(TrainingError, match="fits into 3 tokens"):
        plan(file, length=3)


def test_too_long_is_cut_from_the_left_of_both_prompts(file: PairFile) -> None:
    bound = 40
    cut = plan(file, length=bound, too_long="cut")
    whole = {file.row_ids[p.row]: p for p in plan(file).pairs}
    edits = {line.row_id for line in cut.ledger if line.action == "edit"}
    assert edits
    for pair in cut.pairs:
        row_id = file.row_ids[pair.row]
        assert max(pair.lengths) <= bound
        assert (row_id in edits) == (pair.cut > 0)
        (full,), (batch,) = (p.batches([q], 10**6) for p, q in ((cut, whole[row_id]), (cut, pair)))
        for (inputs, targets), (all_inputs, all_targets) in zip(
            sequences(batch), sequences(full), strict=True
        ):
            assert inputs == all_inputs[pair.cut :]
            assert [t for t in targets if t != IGNORED] == [t for t in all_targets if t != IGNORED]
            assert targets[0] == IGNORED or len(inputs) == 1 + len(targets[:-1])
        assert batch.positions[0, : batch.lengths[0]].tolist() == list(range(batch.lengths[0]))


def test_an_answer_that_is_too_long_alone_is_dropped(file: PairFile) -> None:
    answers = (np.diff(file.offsets) - file.starts).reshape(-1, 2).max(1)
    bound = int(np.median(answers))
    cut = plan(file, length=bound, too_long="cut")
    assert {p.row for p in cut.pairs} == set(np.flatnonzero(answers < bound))
    assert sum(line.action == "drop" for line in cut.ledger) == int((answers >= bound).sum())
