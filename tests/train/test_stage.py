from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from chatwright.model import load_model, save_model
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    Ledger,
    Message,
    Parent,
    write_dataset,
)
from chatwright.stage import StageContext
from chatwright.tokenizer import Tokenizer
from chatwright.train.stages import STAGES, TrainStage
from chatwright.workspace import Workspace

from .conftest import make_conversations, make_documents, tiny_model

(STAGE,) = STAGES


def dataset(path: Path, rows: list[Any]) -> Path:
    with write_dataset(
        path, type(rows[0]), stage="test", fingerprint=path.name, settings={}
    ) as out:
        for row in rows:
            out.write(row)
    return path


def context(root: Path, stage: str, **inputs: Path) -> StageContext:
    output = root / "models" / "small" / stage
    return StageContext(
        recipe="small", stage=stage, seed=7, output=output, scratch=root / "work" / stage,
        fingerprint=f"fingerprint-{stage}", workspace=Workspace(root), inputs=inputs,
        parents=[Parent(name, f"of-{name}", str(path)) for name, path in inputs.items()],
    )  # fmt: skip


def stage(**values: Any) -> TrainStage:
    return TrainStage(**{"length": 128, "batch_tokens": 512, "epochs": 2, **values})


def test_from_scratch_then_fine_tuned_by_two_stages(tmp_path: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(tmp_path / "tok")
    pages = dataset(tmp_path / "pages", make_documents(24))
    long = Conversation("long", [Message("user", "x" * 999), Message("assistant", "y")], "u", "s")
    chats = dataset(tmp_path / "chats", [*make_conversations(24), long])

    first = stage(
        objective="pretrain", data="pages", validation="pages",
        model={"depth": 1, "tokenizer": "tok", "context": 128},
    )  # fmt: skip
    assert first.referenced() == ["tok", "pages", "pages"]
    made = context(tmp_path, "pretrain", tok=tmp_path / "tok", pages=pages)
    STAGE.run(first, made)
    model, _ = load_model(made.output, dtype=torch.float32)
    assert (model.config.n_layers, model.config.width, model.config.context) == (1, 64, 128)
    assert model.config.vocab_size % 64 == 0
    assert not (made.output / "ledger").exists()

    second = stage(
        model="pretrain", data=[{"data": "chats", "weight": 2}], lora={"rank": 4}, precision="fp32"
    )
    assert second.referenced() == ["pretrain", "chats"]
    tuned = context(tmp_path, "sft", pretrain=made.output, chats=chats)
    STAGE.run(second, tuned)
    names = {p.name for p in tuned.output.iterdir()}
    assert names >= {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "README.md", "lineage.json", "metrics.jsonl", "adapter", "ledger",
    }  # fmt: skip
    lineage = json.loads((tuned.output / "lineage.json").read_text())
    assert lineage["fingerprint"] == "fingerprint-sft"
    assert [p["name"] for p in lineage["parents"]] == ["pretrain", "chats"]
    (entry,) = Ledger(tuned.output / "ledger")
    assert (entry.row_id, entry.action, entry.rule) == ("long", "drop", "too long")
    card = (tuned.output / "README.md").read_text()
    assert "LoRA rank 4" in card and "| chats | 25 | 2 | `chats` |" in card
    # Only what a person may still want to look at stays.
    left = {p.name for p in (tmp_path / "work" / "sft").iterdir()}
    assert left == {"metrics.jsonl", "tensorboard"}

    # The saved weights are base and adapter added, and PEFT reads the adapter alone.
    merged, _ = load_model(tuned.output, dtype=torch.float32)
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    base = transformers.AutoModelForCausalLM.from_pretrained(made.output, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(base, tuned.output / "adapter")
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(
            merged(tokens), adapted(input_ids=tokens).logits, rtol=1e-4, atol=1e-4
        )
        assert not torch.allclose(merged(tokens), model(tokens), atol=1e-3)


def test_the_same_stage_gives_the_same_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_model(tiny_model(tokenizer), tokenizer, tmp_path / "base")
    chats = dataset(tmp_path / "chats", make_conversations(12))
    digests = []
    for name in ("one", "two"):
        made = context(tmp_path / name, "sft", base=tmp_path / "base", chats=chats)
        STAGE.run(stage(model="base", data="chats", lora={"rank": 2, "dropout": 0.1}), made)
        digests.append((made.output / "model.safetensors").read_bytes())
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epochs": 1, "steps": 3}, "exclude each other"),
        ({"batch_size": 2, "batch_tokens": 3, "epochs": None}, "exclude each other"),
        ({"learning_rte": 1}, "learning_rte"),
        ({"minutes": 5}, "minutes"),
        ({"data": []}, "at least 1"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainStage(**{"model": "m", "data": "d", **values})


def test_what_is_outside_the_recipe_enters_the_fingerprint(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    assert STAGE.external is not None
    workspace = Workspace(tmp_path)
    dataset(workspace.datasets / "mine", [Document("a", "t", "u", "s")])
    tokenizer.save(tmp_path / "tok")
    settings = stage(
        objective="pretrain", data=["mine", "other-stage"],
        model={"depth": 1, "tokenizer": str(tmp_path / "tok")},
    )  # fmt: skip
    found = STAGE.external(settings, workspace)
    assert found["mine"] == "mine" == Dataset.open(workspace.datasets / "mine").fingerprint
    assert set(found) == {"mine", str(tmp_path / "tok")}
    (tmp_path / "tok" / "tokenizer_config.json").write_text("{}")
    assert STAGE.external(settings, workspace) != found
