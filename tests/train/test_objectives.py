"""Against transformers: the same model, the same tokens, labels of -100."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatwright.model import Transformer, save_model
from chatwright.progress import Silent
from chatwright.records import Conversation, Document
from chatwright.tokenizer import Tokenizer
from chatwright.train.objectives import NextToken
from chatwright.train.plan import Mixed, Plan
from chatwright.train.tokens import write_token_file


def oracle_loss(folder: Path, sequences: list[tuple[list[int], list[bool]]]) -> tuple[float, int]:
    """transformers' mean loss of each row alone, as a sum over supervised tokens."""
    transformers = pytest.importorskip("transformers")
    oracle = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    total, weight = 0.0, 0
    for tokens, mask in sequences:
        labels = [t if m else -100 for t, m in zip(tokens, mask, strict=True)]
        count = sum(mask[1:])
        with torch.no_grad():
            loss = oracle(input_ids=torch.tensor([tokens]), labels=torch.tensor([labels])).loss
        total += float(loss) * count
        weight += count
    return total, weight


def ours(model: Transformer, plan: Plan, objective: str) -> tuple[float, float]:
    total = weight = 0.0
    for batch in plan.once(1 << 20, 256)[0]:
        loss = NextToken().loss(model, batch)
        total += float(loss.sum.detach())
        weight += float(loss.weight)
    return total, weight


def test_sft_loss_is_that_of_transformers(
    model: Transformer, tokenizer: Tokenizer, conversations: list[Conversation], tmp_path: Path
) -> None:
    save_model(model, tokenizer, tmp_path / "model")
    rows = [tokenizer.chat_with_mask(row.messages) for row in conversations]
    wanted, weight = oracle_loss(tmp_path / "model", rows)
    file = write_token_file(
        tmp_path / "t", conversations, tokenizer, objective="sft", stage="s", total=None,
        progress=Silent(),
    )  # fmt: skip
    plan = Plan([Mixed(file)], length=128, rows_per_step=1, seed=0, chat=True)
    total, count = ours(model, plan, "sft")
    assert not plan.ledger
    assert count == weight
    assert total / count == pytest.approx(wanted / weight, rel=1e-5)


def test_pretrain_loss_is_that_of_transformers(
    model: Transformer, tokenizer: Tokenizer, documents: list[Document], tmp_path: Path
) -> None:
    save_model(model, tokenizer, tmp_path / "model")
    file = write_token_file(
        tmp_path / "t", documents, tokenizer, objective="pretrain", stage="s", total=None,
        progress=Silent(),
    )  # fmt: skip
    end = tokenizer.end_of_text_id
    stream = [end]
    for row in documents:
        stream += [*tokenizer.encode(row.text), end]
    assert file.tokens.tolist() == stream
    # Rows of 50 overlap by one token, so that each but the first is predicted once.
    rows = [stream[i : i + 51] for i in range(0, len(stream) - 1, 50)]
    wanted, weight = oracle_loss(tmp_path / "model", [(r, [True] * len(r)) for r in rows])
    plan = Plan([Mixed(file)], length=50, rows_per_step=1, seed=0, chat=False)
    total, count = ours(model, plan, "pretrain")
    assert count == weight == len(stream) - 1
    assert total / count == pytest.approx(wanted / weight, rel=1e-5)
    assert plan.once(1 << 20, 256)[1] == sum(len(row.text.encode()) for row in documents)
