"""The two objectives as a recipe's stages, from a file of pairs to checkpoints that open again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from chatwright.collect.stages import CollectSettings, run_collect
from chatwright.errors import DataError, UsageError
from chatwright.model import load_model, save_model
from chatwright.records import Dataset, Ledger, Parent
from chatwright.stage import StageContext
from chatwright.tokenizer import Tokenizer
from chatwright.train.preference import score_conversations
from chatwright.train.stages import STAGES, TrainStage
from chatwright.workspace import Workspace

from .conftest import make_preferences, tiny_model

(STAGE,) = STAGES


def context(root: Path, stage: str, **inputs: Path) -> StageContext:
    return StageContext(
        recipe="align", stage=stage, seed=7, output=root / "models" / "align" / stage,
        scratch=root / "work" / stage, fingerprint=f"fingerprint-{stage}",
        workspace=Workspace(root), inputs=inputs,
        parents=[Parent(name, f"of-{name}", str(path)) for name, path in inputs.items()],
    )  # fmt: skip


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A dataset collected from a file of HH-RLHF's form, one row of it a tie."""
    lines = []
    for row in make_preferences(40):
        names = {"user": "Human", "assistant": "Assistant"}
        said = "".join(f"\n\n{names[m.role]}: {m.content}" for m in row.prompt)
        chosen, rejected = (f"{said}\n\nAssistant: {a}" for a in (row.chosen, row.rejected))
        lines.append({"chosen": chosen, "rejected": rejected})
    lines.append({"chosen": lines[0]["chosen"], "rejected": lines[0]["chosen"]})
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    out = tmp_path / "datasets/pairs"
    wanted = CollectSettings.model_validate(
        {"rows": "preferences", "sources": [{"source": str(file)}]}
    )
    run_collect(
        wanted,
        StageContext("align", "pairs", 7, out, tmp_path / "w", "f", Workspace(tmp_path)),
    )
    return out


def stage(**values: Any) -> TrainStage:
    few = {"length": 128, "batch_size": 8, "epochs": 2, "learning_rate": 3e-3, "precision": "fp32"}
    return TrainStage(**{**few, "data": "pairs", "model": "base", **values})


def test_from_pairs_to_a_reward_model_and_a_policy(
    tmp_path: Path, pairs: Path, tokenizer: Tokenizer
) -> None:
    assert len(Dataset.open(pairs)) == 40
    base = save_model(tiny_model(tokenizer), tokenizer, tmp_path / "base")
    made = context(tmp_path, "reward", base=base, pairs=pairs)
    STAGE.run(
        stage(objective="reward", lora={"rank": 4}, preference={"held_out": 0.2}, too_long="cut"),
        made,
    )
    names = {p.name for p in made.output.iterdir()}
    assert names >= {"config.json", "model.safetensors", "adapter", "metrics.jsonl", "README.md"}
    lines = [json.loads(x) for x in (made.output / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["validation_accuracy"] > 0.5 and len(lines) == 7  # 27 pairs, twice
    model, its_tokenizer = load_model(made.output, dtype=torch.float32, device="cpu")
    rows = make_preferences(40)
    chats = [[*r.prompt, type(r.prompt[0])("assistant", r.chosen)] for r in rows]
    scores = score_conversations(model, its_tokenizer, chats)
    assert np.isfinite(scores).all() and model.config.reward_std != 1.0
    assert "score.weight" in load_file(made.output / "model.safetensors")
    assert "modules_to_save" in (made.output / "adapter/adapter_config.json").read_text()

    policy = context(tmp_path, "dpo", base=base, pairs=pairs)
    STAGE.run(stage(objective="dpo", reference="base"), policy)
    lines = [json.loads(x) for x in (policy.output / "metrics.jsonl").read_text().splitlines()]
    assert abs(lines[0]["margin"]) < 1e-5 < lines[-1]["margin"]
    tuned, _ = load_model(policy.output, dtype=torch.float32, device="cpu")
    assert tuned.score is None

    # A reference that reads other tokens could not say how likely an answer is.
    with pytest.raises(UsageError, match="vocabulary"):
        other = Tokenizer.train(["abc"] * 4, 300)
        small = save_model(tiny_model(other), other, tmp_path / "other")
        STAGE.run(
            stage(objective="dpo", reference="small"),
            context(tmp_path, "dpo2", base=base, pairs=pairs, small=small),
        )


def test_pairs_that_are_too_long_are_in_the_ledger(
    tmp_path: Path, pairs: Path, tokenizer: Tokenizer
) -> None:
    base = save_model(tiny_model(tokenizer), tokenizer, tmp_path / "base")
    made = context(tmp_path, "reward", base=base, pairs=pairs)
    STAGE.run(stage(objective="reward", length=70, steps=1, epochs=None), made)
    entries = list(Ledger(made.output / "ledger"))
    assert entries and {(e.action, e.rule) for e in entries} == {("drop", "too long")}
    assert all(e.value is not None and e.value > 70 for e in entries)


def test_conversations_are_no_pairs(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from ..conftest import make_conversations
    from ..test_stage import dataset

    base = save_model(tiny_model(tokenizer), tokenizer, tmp_path / "base")
    chats = dataset(tmp_path / "chats", make_conversations(4))
    made = context(tmp_path, "reward", base=base, chats=chats)
    with pytest.raises(DataError, match="takes preferences") as caught:
        STAGE.run(stage(objective="reward", data="chats"), made)
    assert "rows: preferences" in (caught.value.hint or "")
    assert not made.output.exists()
