from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chatwright.errors import DataError, TrainingError
from chatwright.progress import Silent
from chatwright.records import Conversation, Document, Message, Row
from chatwright.tokenizer import Tokenizer
from chatwright.train.packing import IGNORED
from chatwright.train.plan import Mixed, Plan
from chatwright.train.tokens import TokenFile, write_token_file


def write(path: Path, rows: list[Row], tokenizer: Tokenizer, objective: str) -> TokenFile:
    return write_token_file(
        path, rows, tokenizer, objective=objective, stage="sft", total=None, progress=Silent()
    )


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def make_plan(file: TokenFile, **options: object) -> Plan:
    known = {"length": 64, "rows_per_step": 2, "seed": 3, "chat": True}
    return Plan([Mixed(file)], **{**known, **options})  # type: ignore[arg-type]


def test_token_files_of_the_same_rows_are_the_same_bytes(
    tmp_path: Path, conversations: list[Conversation], tokenizer: Tokenizer
) -> None:
    write(tmp_path / "a", [*conversations], tokenizer, "sft")
    write(tmp_path / "b", [*conversations], tokenizer, "sft")
    assert sorted(contents(tmp_path / "a")) == [
        "index.json",
        "offsets.bin",
        "shard-00000/mask.bin",
        "shard-00000/rows.arrow",
        "shard-00000/shard.json",
        "shard-00000/tokens.bin",
        "text_bytes.bin",
    ]
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_only_the_assistant_is_learnt_and_its_end_too(tmp_path: Path, tokenizer: Tokenizer) -> None:
    messages = [
        Message("user", "你好 <|im_end|> there"),
        Message("assistant", "Hello."),
        Message("user", "再见"),
        Message("assistant", ""),
        Message("user", "nobody answers this"),
    ]
    row = Conversation("r1", messages, "u", "s")
    file = write(tmp_path / "t", [row], tokenizer, "sft")
    (batch,) = make_plan(file).once(1000, 1000)[0]
    learnt = batch.targets[batch.targets != IGNORED].tolist()
    end = tokenizer.eos_id
    assert learnt == [*tokenizer.encode("Hello."), end, end]
    # What follows the last answer is not even computed.
    assert "nobody" not in tokenizer.decode(file.tokens.tolist())


def test_conversations_without_an_answer_are_left_out_and_an_error_when_all_are(
    tmp_path: Path, conversations: list[Conversation], tokenizer: Tokenizer
) -> None:
    mute = [Conversation(f"mute-{i}", [Message("user", "hm")], "u", "s") for i in range(2)]
    file = write(tmp_path / "t", [*conversations, *mute], tokenizer, "sft")
    assert [(e.row_id, e.action, e.rule) for e in file.ledger] == [
        (row.id, "drop", "no supervised token") for row in mute
    ]
    assert len(file) == len(conversations)
    with pytest.raises(TrainingError, match=r"no supervised token.*mute-0, mute-1"):
        write(tmp_path / "none", [*mute], tokenizer, "sft")
    assert not (tmp_path / "none").exists()


def test_a_row_of_another_kind_and_no_rows_are_errors(
    tmp_path: Path, documents: list[Document], tokenizer: Tokenizer
) -> None:
    with pytest.raises(DataError, match="takes conversations here, and this is a document"):
        write(tmp_path / "t", [*documents], tokenizer, "sft")
    with pytest.raises(DataError, match="no row to train on"):
        write(tmp_path / "t", [], tokenizer, "pretrain")


def test_documents_without_text_leave_a_ledger_line(
    tmp_path: Path, documents: list[Document], tokenizer: Tokenizer
) -> None:
    file = write(
        tmp_path / "t", [Document("void", "", "u", "s"), *documents], tokenizer, "pretrain"
    )
    assert [(e.row_id, e.action, e.rule) for e in file.ledger] == [("void", "drop", "no text")]
    assert len(file) == len(documents)


def test_a_damaged_token_file_is_refused(
    tmp_path: Path, documents: list[Document], tokenizer: Tokenizer
) -> None:
    write(tmp_path / "t", [*documents], tokenizer, "pretrain")
    with (tmp_path / "t" / "shard-00000" / "tokens.bin").open("r+b") as file:
        file.truncate(10)
    with pytest.raises(DataError, match=r"tokens\.bin has 10 bytes"):
        TokenFile.open(tmp_path / "t")
    (tmp_path / "t" / "index.json").write_text('{"format": "chatwright.tokens.1"}')
    with pytest.raises(DataError, match="not a token file of this version"):
        TokenFile.open(tmp_path / "t")


def long_conversation(name: str, words: int, first: str = "Yes.") -> Conversation:
    messages = [
        Message("user", "Q"),
        Message("assistant", first),
        Message("user", "What about " * words),
        Message("assistant", "A."),
    ]
    return Conversation(name, messages, "u", "s")


def test_too_long_conversations_are_dropped_or_cut_with_a_ledger_line(
    tmp_path: Path, conversations: list[Conversation], tokenizer: Tokenizer
) -> None:
    answered_late = Conversation(
        "late", [Message("user", "What about " * 100), Message("assistant", "A.")], "u", "s"
    )
    rows: list[Row] = [*conversations[:3], long_conversation("long", 100), answered_late]
    file = write(tmp_path / "t", rows, tokenizer, "sft")
    dropping = make_plan(file, length=128)
    assert [(e.row_id, e.action) for e in dropping.ledger] == [("long", "drop"), ("late", "drop")]
    assert dropping.ledger[0].bound == "max 128 tokens"
    cutting = make_plan(file, length=128, too_long="cut")
    assert [(e.row_id, e.action) for e in cutting.ledger] == [("long", "edit"), ("late", "drop")]
    rows_seen = {r for b in cutting.once(10_000, 128)[0] for r in b.row_ids}
    assert rows_seen == {"long", *(c.id for c in conversations[:3])}
    with pytest.raises(TrainingError, match="no conversation fits into 4 tokens"):
        make_plan(file, length=4)


@pytest.mark.parametrize("chat", [True, False])
def test_an_epoch_takes_every_token_once_and_epochs_differ(
    tmp_path: Path,
    conversations: list[Conversation],
    documents: list[Document],
    tokenizer: Tokenizer,
    chat: bool,
) -> None:
    rows: list[Row] = [*conversations] if chat else [*documents]
    file = write(tmp_path / "t", rows, tokenizer, "sft" if chat else "pretrain")
    plan = make_plan(file, length=128, rows_per_step=1, chat=chat)
    steps = plan.end_after(1)
    assert plan.end_after(2.5) >= 2 * steps + steps // 2

    def epoch(number: int) -> list[list[int]]:
        first = plan.end_after(number) if number else 0
        last = plan.end_after(number + 1)
        return [plan.step(s, 128)[0].tokens[0].tolist() for s in range(first, last)]

    one, two = epoch(0), epoch(1)
    assert sum(map(len, one)) == len(file.tokens) - (len(file) if chat else 1)
    assert sorted(t for row in one for t in row) == sorted(t for row in two for t in row)
    assert one != two
    endless = make_plan(file, length=128, rows_per_step=1000, chat=chat)
    total = sum(map(len, one))
    assert sum(b.tokens.numel() for b in endless.step(0, 128)) > 2 * total
    ending = make_plan(file, length=128, rows_per_step=1000, chat=chat)
    assert ending.end_after(1) == 1
    parts = ending.step(0, 300)
    assert sum(b.tokens.numel() for b in parts) == total
    assert 1 < len(parts) < steps and all(b.tokens.numel() <= 300 for b in parts)
    again = make_plan(file, length=128, rows_per_step=1, chat=chat)
    assert (
        again.step(steps + 1, 128)[0].tokens.tolist()
        == plan.step(steps + 1, 128)[0].tokens.tolist()
    )


def test_weights_say_how_often_an_epoch_goes_through_a_part(
    tmp_path: Path, conversations: list[Conversation], tokenizer: Tokenizer
) -> None:
    half = len(conversations) // 2
    a = write(tmp_path / "a", [*conversations[:half]], tokenizer, "sft")
    b = write(tmp_path / "b", [*conversations[half:]], tokenizer, "sft")
    plan = Plan([Mixed(a, 2.0), Mixed(b, 0.5)], length=128, rows_per_step=1, seed=0, chat=True)
    seen: list[str] = []
    for step in range(plan.end_after(1)):
        (batch,) = plan.step(step, 128)
        assert len(batch.lengths) >= len(batch.row_ids)
        seen += [batch.tokens[0, at].item() for at in np.cumsum([0, *batch.lengths[:-1]])]
    assert len(seen) == 2 * half + half // 2


def test_a_batch_names_the_rows_that_it_holds(
    tmp_path: Path, documents: list[Document], tokenizer: Tokenizer
) -> None:
    file = write(tmp_path / "t", [*documents], tokenizer, "pretrain")
    plan = make_plan(file, length=100, chat=False)
    for batch in plan.once(10_000, 128)[0]:
        text = tokenizer.decode(batch.tokens[0].tolist())
        for row in documents:
            marker = row.text[-6:]
            if marker in text:
                assert row.id in batch.row_ids
