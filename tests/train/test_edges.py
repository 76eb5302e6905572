"""Fine-tuning's edge cases, from rows to loss: what docs/guides/finetune.md says of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright.errors import DataError, TrainingError
from chatwright.model import ModelConfig, Transformer
from chatwright.progress import Silent
from chatwright.records import Conversation, LedgerEntry, Message
from chatwright.tokenizer import Tokenizer
from chatwright.train import TrainSettings, train
from chatwright.train.packing import IGNORED, Batch
from chatwright.train.padding import padded_batches
from chatwright.train.plan import Mixed, Plan
from chatwright.train.tokens import write_token_file

from .conftest import make_conversations, tiny_model


def chat(name: str, *turns: tuple[str, str]) -> Conversation:
    return Conversation(name, [Message(role, text) for role, text in turns], f"file:{name}", "test")  # type: ignore[arg-type]


def plan_of(
    rows: list[Conversation],
    tokenizer: Tokenizer,
    folder: Path,
    *,
    form: str = "sft",
    **options: Any,
) -> Plan:
    file = write_token_file(
        folder / form, rows, tokenizer, objective=form, stage="sft", total=None, progress=Silent()
    )
    known = {"length": 128, "rows_per_step": 1, "seed": 0, "chat": True}
    return Plan([Mixed(file)], **{**known, **options})


def learnt(plan: Plan, tokenizer: Tokenizer) -> list[str]:
    """What carries loss, sequence by sequence, in the data's order."""
    found = []
    for batch in plan.once(100_000, 1)[0]:  # one sequence each
        wanted = batch.targets[0][batch.targets[0] != IGNORED].tolist()
        found.append(tokenizer.decode(wanted, skip_special=False))
    return found


def told(entry: LedgerEntry) -> tuple[str, str, str]:
    return entry.row_id, entry.action, entry.rule


def test_the_shortest_chats(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """One word, no word, no question: from the first token that has one before it."""
    rows = [
        chat("word", ("user", "?"), ("assistant", "!")),
        chat("nothing", ("user", ""), ("assistant", "")),
        chat("alone", ("assistant", "Hi.")),
    ]
    plan = plan_of(rows, tokenizer, tmp_path)
    assert learnt(plan, tokenizer) == ["!<|im_end|>", "<|im_end|>", "Hi.<|im_end|>"]
    assert not plan.ledger
    wanted = TrainSettings(length=64, steps=2, precision="fp32")
    assert train(tiny_model(tokenizer), tokenizer, rows, wanted).supervised_tokens > 0


def test_a_user_at_the_end_is_not_even_computed(tokenizer: Tokenizer, tmp_path: Path) -> None:
    row = chat("open", ("user", "a"), ("assistant", "b"), ("user", "unanswered"))
    plan = plan_of([row], tokenizer, tmp_path)
    assert learnt(plan, tokenizer) == ["b<|im_end|>"]
    (batch,) = plan.once(1000, 1000)[0]
    seen = tokenizer.decode(batch.tokens[0].tolist(), skip_special=False)
    assert "unanswered" not in seen and not plan.ledger


def test_an_empty_answer_teaches_to_say_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    row = chat("silent", ("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "c"))
    assert learnt(plan_of([row], tokenizer, tmp_path), tokenizer) == ["<|im_end|>c<|im_end|>"]


def test_without_an_answer_a_row_is_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [
        chat("rules-only", ("system", "Be kind.")),
        chat("asked-only", ("system", "Be kind."), ("user", "Hello?")),
        chat("good", ("user", "a"), ("assistant", "b")),
    ]
    plan = plan_of(rows, tokenizer, tmp_path)
    assert [told(entry) for entry in plan.ledger] == [
        ("rules-only", "drop", "no supervised token"),
        ("asked-only", "drop", "no supervised token"),
    ]
    assert learnt(plan, tokenizer) == ["b<|im_end|>"]
    with pytest.raises(TrainingError, match=r"nothing to learn: 2 .*rules-only, asked-only"):
        plan_of(rows[:2], tokenizer, tmp_path / "none")


def test_longer_than_the_context(tokenizer: Tokenizer, tmp_path: Path) -> None:
    words = " ".join(["word"] * 200)
    rows = [
        chat("late", ("user", words), ("assistant", "too late")),
        chat("early", ("user", "q"), ("assistant", "soon"), ("user", "more"), ("assistant", words)),
        chat("fits", ("user", "a"), ("assistant", "b")),
    ]
    dropping = plan_of(rows, tokenizer, tmp_path)
    assert [told(e) for e in dropping.ledger] == [
        ("late", "drop", "too long"), ("early", "drop", "too long"),
    ]  # fmt: skip
    assert all(e.bound == "max 128 tokens" and (e.value or 0) > 128 for e in dropping.ledger)
    assert learnt(dropping, tokenizer) == ["b<|im_end|>"]
    cutting = plan_of(rows, tokenizer, tmp_path / "cut", too_long="cut")
    assert [told(e) for e in cutting.ledger] == [
        ("late", "drop", "too long"), ("early", "edit", "too long"),
    ]  # fmt: skip
    first, second = learnt(cutting, tokenizer)
    # Cut in the middle of the last answer, whose end is therefore not learnt.
    assert first.startswith("soon<|im_end|>word word") and first.endswith("word")
    assert second == "b<|im_end|>"
    assert max(n for b in cutting.once(10**6, 1)[0] for n in b.lengths) == 128


def test_a_cut_that_takes_all_that_is_learnt_is_a_drop(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    words = " ".join(["word"] * 200)
    row = chat("row", ("user", "q"), ("assistant", "soon"), ("user", words), ("assistant", "end"))
    plan = plan_of([row], tokenizer, tmp_path, too_long="cut")
    assert [told(e) for e in plan.ledger] == [("row", "edit", "too long")]
    assert learnt(plan, tokenizer) == ["soon<|im_end|>"]
    with pytest.raises(TrainingError, match=r"nothing is left to train on.*\(row\)"):
        plan_of([row], tokenizer, tmp_path, form="sft-last", too_long="cut")


def test_every_answer_or_only_the_last(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [
        chat(
            "long", ("system", "s"), ("user", "1"), ("assistant", "one"), ("user", "2"),
            ("assistant", "二"), ("user", "3"),
        ),
        chat("short", ("user", "1"), ("assistant", "one")),
    ]  # fmt: skip
    assert learnt(plan_of(rows, tokenizer, tmp_path), tokenizer) == [
        "one<|im_end|>二<|im_end|>", "one<|im_end|>",
    ]  # fmt: skip
    assert learnt(plan_of(rows, tokenizer, tmp_path, form="sft-last"), tokenizer) == [
        "二<|im_end|>", "one<|im_end|>",
    ]  # fmt: skip


def test_learn_last_reaches_the_loss(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = make_conversations(12)
    counts = {}
    for learn in ("all", "last"):
        wanted = TrainSettings(length=128, epochs=1, precision="fp32", learn=learn)  # type: ignore[arg-type]
        # One folder: the two forms of the same rows are two files.
        result = train(tiny_model(tokenizer), tokenizer, rows, wanted, scratch=tmp_path)
        counts[learn] = result.supervised_tokens
    masks = [tokenizer.chat_with_mask(row.messages)[1] for row in rows]
    last = [tokenizer.chat_with_mask(row.messages, last_only=True)[1] for row in rows]
    assert counts == {"all": sum(map(sum, masks)), "last": sum(map(sum, last))}
    assert counts["last"] < counts["all"]


REWRITING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('\n')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_template_that_rewrites_old_answers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """As reasoning models do; only the last answer is learnt as it was said."""
    reasoning = Tokenizer(tokenizer.spec, tokenizer.special, REWRITING)
    row = chat(
        "thinking", ("user", "1"), ("assistant", "hm\none"), ("user", "2"), ("assistant", "so\ntwo")
    )
    one = chat("one", ("user", "1"), ("assistant", "hm\none"))
    plan = plan_of([row, one], reasoning, tmp_path)
    assert [told(e) for e in plan.ledger] == [("thinking", "drop", "chat template")]
    assert learnt(plan, reasoning) == ["hm\none<|im_end|>"]
    plan = plan_of([row, one], reasoning, tmp_path, form="sft-last")
    assert not plan.ledger
    assert learnt(plan, reasoning) == ["so\ntwo<|im_end|>", "hm\none<|im_end|>"]
    assert "hm" not in reasoning.decode(plan.once(1000, 1)[0][0].tokens[0].tolist())


def test_tools_calls_are_learnt_and_their_results_are_not(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    call = '<tool_call>{"name": "clock", "arguments": {}}</tool_call>'
    row = chat(
        "tools", ("system", "You have a clock."), ("user", "What time is it?"), ("assistant", call),
        ("tool", '{"time": "12:00"}'), ("assistant", "Noon."),
    )  # fmt: skip
    assert learnt(plan_of([row], tokenizer, tmp_path, length=256), tokenizer) == [
        f"{call}<|im_end|>Noon.<|im_end|>"
    ]
    last = plan_of([row], tokenizer, tmp_path, form="sft-last", length=256)
    assert learnt(last, tokenizer) == ["Noon.<|im_end|>"]


@pytest.fixture
def pad_is_eos(tokenizer: Tokenizer, tmp_path: Path) -> Tokenizer:
    """The same tokenizer as its files would be with `pad_token` = `eos_token`."""
    tokenizer.save(tmp_path / "tokenizer")
    file = tmp_path / "tokenizer" / "tokenizer_config.json"
    config = json.loads(file.read_text())
    assert config["eos_token"]
    file.write_text(json.dumps({**config, "pad_token": config["eos_token"]}))
    return Tokenizer.load(tmp_path / "tokenizer")


def test_where_the_padding_token_is_the_end_token(pad_is_eos: Tokenizer, tmp_path: Path) -> None:
    """The end is learnt after every answer, and no padding is: masks go by place, not by token."""
    rows = make_conversations(6)
    plan = plan_of(rows, pad_is_eos, tmp_path)
    end = pad_is_eos.eos_id
    answers = sum(m.role == "assistant" for row in rows for m in row.messages)
    packed = plan.once(100_000, 10_000)[0]
    padded = padded_batches(packed, 10_000)
    assert padded[0].padding > 0
    for batches in (packed, padded):
        assert sum(int((b.targets == end).sum()) for b in batches) == answers
    (batch,) = padded
    targets = batch.targets.view(len(batch.lengths), -1)
    assert (targets[:, -1] == IGNORED).sum() == len(rows) - 1  # all but the longest end in padding


def test_the_end_is_learnt_so_that_the_model_stops(pad_is_eos: Tokenizer) -> None:
    """After a short training on one answer, the most probable next token after it is the end."""
    rows = [chat(f"r{i}", ("user", f"{i}?"), ("assistant", "It is so.")) for i in range(4)]
    model = tiny_model(pad_is_eos)
    wanted = TrainSettings(
        length=64, steps=60, batch_tokens=256, precision="fp32", packing="padded",
        optimizer="adamw", learning_rate=0.01,
    )  # fmt: skip
    train(model, pad_is_eos, rows, wanted)
    prompt = pad_is_eos.chat(rows[0].messages[:1], add_generation_prompt=True)
    answer = pad_is_eos.encode("It is so.")
    with torch.no_grad():
        likely = model(torch.tensor([[*prompt, *answer]]))[0].argmax(-1).tolist()
    assert likely[len(prompt) - 1 :] == [*answer, pad_is_eos.eos_id]


@pytest.mark.parametrize("packing", ["packed", "padded"])
def test_a_step_in_which_nothing_carries_loss_names_its_rows(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, packing: Any
) -> None:
    step = Plan.step

    def mute(self: Plan, number: int, tokens_at_once: int) -> list[Batch]:
        batches = step(self, number, tokens_at_once)
        if number == 1:
            for batch in batches:
                batch.targets.fill_(IGNORED)
        return batches

    monkeypatch.setattr(Plan, "step", mute)
    rows = make_conversations(8)
    wanted = TrainSettings(length=128, batch_tokens=128, steps=3, precision="fp32", packing=packing)
    with pytest.raises(TrainingError, match=r"no token of step 2 carries loss; its rows: ") as got:
        train(tiny_model(tokenizer), tokenizer, rows, wanted)
    assert any(row.id in str(got.value) for row in rows)


def test_a_micro_batch_without_loss_is_nothing_special(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the whole step counts."""
    step = Plan.step

    def half_mute(self: Plan, number: int, tokens_at_once: int) -> list[Batch]:
        batches = step(self, number, tokens_at_once)
        assert len(batches) > 1
        batches[0].targets.fill_(IGNORED)
        return batches

    monkeypatch.setattr(Plan, "step", half_mute)
    wanted = TrainSettings(
        length=128, batch_tokens=512, micro_batch_tokens=64, steps=3, precision="fp32"
    )
    result = train(tiny_model(tokenizer), tokenizer, make_conversations(24), wanted)
    assert result.steps == 3 and result.loss == result.loss


def test_a_model_with_a_short_context_says_what_fits(tokenizer: Tokenizer) -> None:
    config = tiny_model(tokenizer).config.model_copy(update={"context": 8})
    model = Transformer.random(ModelConfig.model_validate(config.model_dump()), 1)
    rows = make_conversations(3)
    with pytest.raises(TrainingError, match="no conversation fits into 8 tokens") as got:
        train(model, tokenizer, rows, TrainSettings(precision="fp32"))
    assert rows[0].id in str(got.value)


def test_other_kinds_of_rows_and_none(tokenizer: Tokenizer, documents: Any) -> None:
    with pytest.raises(DataError, match="training takes conversations here, and this is a doc"):
        train(tiny_model(tokenizer), tokenizer, documents, TrainSettings())
    with pytest.raises(DataError, match="no row to train on"):
        train(tiny_model(tokenizer), tokenizer, [], TrainSettings())


def test_the_rows_that_were_left_out_are_in_the_result(tokenizer: Tokenizer) -> None:
    rows = [*make_conversations(6), chat("mute", ("user", "hm"))]
    wanted = TrainSettings(length=128, steps=1, precision="fp32")
    result = train(tiny_model(tokenizer), tokenizer, rows, wanted)
    assert [told(e) for e in result.ledger] == [("mute", "drop", "no supervised token")]
