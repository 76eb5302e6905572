"""Token files in shards: read as one, and whatever happens while they are made, the same bytes."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.errors import DataError, TrainingError
from chatwright.progress import Silent
from chatwright.records import Conversation, Dataset, Document, Message, Row, write_dataset
from chatwright.tokenizer import Tokenizer
from chatwright.train import tokens as tokens_module
from chatwright.train.shards import JoinedArray, TokenFile
from chatwright.train.tokens import write_token_file
from forked import start

from .conftest import make_conversations, make_documents

SHARD = 300


def dataset(path: Path, rows: list[Row]) -> Dataset:
    with write_dataset(path, type(rows[0]), stage="c", fingerprint="f", settings={}) as out:
        for row in rows:
            out.write(row)
    return Dataset.open(path)


def write(path: Path, rows: Dataset | list[Row], tokenizer: Tokenizer, **how: object) -> TokenFile:
    known: dict[str, object] = {"objective": "pretrain", "shard_tokens": SHARD}
    return write_token_file(
        path, rows, tokenizer, stage="s", total=None, progress=Silent(), **{**known, **how}
    )  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def inodes(folder: Path) -> dict[str, int]:
    return {p.name: (p / "tokens.bin").stat().st_ino for p in sorted(folder.glob("shard-*"))}


@pytest.fixture(autouse=True)
def _few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "_ROWS_AT_ONCE", 3)


@pytest.fixture
def pages(tmp_path: Path) -> Dataset:
    rows: list[Row] = [Document("void", "", "u", "s"), *make_documents(40)]
    return dataset(tmp_path / "pages", rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.data())
def test_a_joined_array_reads_as_the_whole(sizes: list[int], data: st.DataObject) -> None:
    at, parts = 0, []
    for size in sizes:
        parts.append(np.arange(at, at + size))
        at += size
    joined, whole = JoinedArray(parts), np.concatenate(parts)
    start, stop = (data.draw(st.none() | st.integers(-at - 2, at + 2)) for _ in range(2))
    assert joined[start:stop].tolist() == whole[start:stop].tolist()
    assert len(joined) == at and joined.tolist() == whole.tolist() == list(joined)
    assert np.array_equal(np.asarray(joined), whole)
    if at:
        index = data.draw(st.integers(-at, at - 1))
        assert joined[index] == whole[index]
    for bad in (at, -at - 1):
        with pytest.raises(IndexError):
            joined[bad]


@pytest.mark.parametrize("chat", [False, True])
def test_many_shards_hold_what_one_does(tmp_path: Path, tokenizer: Tokenizer, chat: bool) -> None:
    rows: list[Row] = [*make_conversations(30)] if chat else [*make_documents(40)]
    how = {"objective": "sft" if chat else "pretrain"}
    many = write(tmp_path / "many", rows, tokenizer, **how)
    one = write(tmp_path / "one", rows, tokenizer, shard_tokens=1 << 20, **how)
    assert len(inodes(many.path)) > 2 and len(inodes(one.path)) == 1
    assert many.tokens.tolist() == one.tokens.tolist()
    assert many.offsets.tolist() == one.offsets.tolist() and many.offsets[-1] == len(one.tokens)
    assert many.text_bytes.tolist() == one.text_bytes.tolist()
    assert list(many.row_ids) == list(one.row_ids) == [row.id for row in rows]
    assert list(many.uris) == list(one.uris) and many.uris[3] == rows[3].uri
    assert many.row_ids[2:5] == [row.id for row in rows[2:5]]
    for row in (0, 7, len(rows) - 1):
        start, end = many.offsets[row], many.offsets[row + 1]
        assert many.tokens[start:end].tolist() == one.tokens[start:end].tolist()
        assert many.row_at(start) == many.row_at(end - 1) == row
    if chat:
        assert many.mask is not None and one.mask is not None
        assert many.mask.tolist() == one.mask.tolist()


def test_rows_that_come_one_by_one_are_read_once(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows: list[Row] = [*make_documents(40)]
    coming = write(tmp_path / "a", iter(rows), tokenizer)  # type: ignore[arg-type]
    write(tmp_path / "b", rows, tokenizer)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert coming.text_bytes.sum() == sum(len(row.text.encode()) for row in make_documents(40))


def test_only_a_damaged_shard_is_made_again(
    tmp_path: Path, pages: Dataset, tokenizer: Tokenizer
) -> None:
    file = write(tmp_path / "t", pages, tokenizer)
    before, made = contents(file.path), inodes(file.path)
    assert len(made) > 3
    with (file.path / "shard-00001" / "tokens.bin").open("r+b") as cut:
        cut.truncate(20)
    with (file.path / "shard-00002" / "rows.arrow").open("r+b") as cut:
        cut.truncate(100)
    with pytest.raises(DataError, match="made again"):
        TokenFile.open(file.path)
    again = write(tmp_path / "t", pages, tokenizer)
    assert contents(again.path) == before
    kept = {name for name, number in inodes(again.path).items() if made[name] == number}
    assert kept == set(made) - {"shard-00001", "shard-00002"}
    assert [(e.row_id, e.rule) for e in again.ledger] == [("void", "no text")]


def test_other_rows_under_the_same_name_are_not_mixed_in(
    tmp_path: Path, pages: Dataset, tokenizer: Tokenizer
) -> None:
    write(tmp_path / "t", pages, tokenizer)
    others = dataset(tmp_path / "others", [*make_documents(60)[40:]])
    write(tmp_path / "t", others, tokenizer)
    write(tmp_path / "fresh", others, tokenizer)
    read = {n: b for n, b in contents(tmp_path / "t").items() if not n.endswith("shard.json")}
    fresh = contents(tmp_path / "fresh")
    assert read == {n: b for n, b in fresh.items() if not n.endswith("shard.json")}
    assert not list(tmp_path.glob(".t.*"))


def test_a_full_disk_leaves_no_half_shard_and_is_gone_on_from(
    tmp_path: Path, pages: Dataset, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "whole" / "t", pages, tokenizer)
    names, calls = tokens_module._names, 0

    def full(lines: list[object]) -> object:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return names(lines)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(tokens_module, "_names", full)
        with pytest.raises(DataError, match="No space left on device"):
            write(tmp_path / "t", pages, tokenizer)
    growing = tmp_path / ".t.growing"
    made = inodes(growing)
    assert not (tmp_path / "t").exists() and len(made) > 1
    assert not list(growing.glob(".*")) and not (growing / "index.json").exists()
    again = write(tmp_path / "t", pages, tokenizer)
    assert contents(again.path) == contents(tmp_path / "whole" / "t")
    assert made.items() <= inodes(again.path).items() and not growing.exists()


def be_killed(root: Path) -> None:
    names_of = tokens_module._names

    def slowly(lines: list[object]) -> object:
        time.sleep(0.05)  # so that the parent is in time with its signal
        return names_of(lines)  # type: ignore[arg-type]

    tokens_module._ROWS_AT_ONCE = 3
    tokens_module._names = slowly  # type: ignore[assignment]
    write(root / "t", Dataset.open(root / "pages"), Tokenizer.load(root / "tokenizer"))


def test_killed_while_tokenising_loses_one_shard_and_ends_with_the_same_bytes(
    tmp_path: Path, pages: Dataset, tokenizer: Tokenizer
) -> None:
    write(tmp_path / "whole" / "t", pages, tokenizer)
    tokenizer.save(tmp_path / "tokenizer")
    process = start(be_killed, tmp_path)
    growing = tmp_path / ".t.growing"
    end = time.monotonic() + 60
    try:
        while not ((growing / "shard-00002").exists() and list(growing.glob(".shard-*"))):
            assert process.is_alive() and time.monotonic() < end
            time.sleep(0.002)
    finally:
        process.kill()
        process.join(20)
    assert process.exitcode == -signal.SIGKILL
    made = inodes(growing)
    assert len(made) >= 3 and not (tmp_path / "t").exists()
    again = write(tmp_path / "t", pages, tokenizer)
    assert contents(again.path) == contents(tmp_path / "whole" / "t")
    assert made.items() <= inodes(again.path).items()


def test_rows_that_cannot_be_learnt_leave_nothing_behind(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    mute = [Conversation(f"mute-{i}", [Message("user", "hm")], "u", "s") for i in range(12)]
    rows = dataset(tmp_path / "rows", [*mute])
    with pytest.raises(TrainingError, match=r"12 conversation.*mute-0, .*mute-9 and 2 more"):
        write(tmp_path / "t", rows, tokenizer, objective="sft")
    assert not list(tmp_path.glob("*t")) and not list(tmp_path.glob(".t*"))
