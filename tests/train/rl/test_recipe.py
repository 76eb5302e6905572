"""The stage of a recipe: a model, prompts and who judges in; a checkpoint folder out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from chatwright.model import load_model, save_model
from chatwright.tokenizer import Tokenizer
from chatwright.train.stages import STAGES, TrainStage

from ..conftest import tiny_model
from ..test_stage import context, dataset
from .conftest import make_preferences, make_prompts

(STAGE,) = STAGES


@pytest.mark.parametrize("objective", ["ppo", "grpo"])
def test_from_recipe_to_checkpoint(objective: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_model(tiny_model(tokenizer), tokenizer, tmp_path / "base")
    prompts = dataset(tmp_path / "prompts", make_prompts())
    pairs = dataset(tmp_path / "pairs", make_preferences())
    judge = tmp_path / "judge.py"
    judge.write_text("def brief(samples):\n    return [-float(len(s.text)) for s in samples]\n")
    block = {"prompts": 3, "answers": 2, "max_new_tokens": 4}
    if objective == "ppo":
        block["lambda"] = 0.9
    wanted = TrainStage.model_validate({
        "objective": objective, objective: block, "model": "base", "data": ["prompts", "pairs"],
        "validation": "pairs", "reward_function": f"{judge}:brief", "steps": 2, "length": 64,
        "precision": "fp32", "lora": {"rank": 2},
    })  # fmt: skip
    made = context(tmp_path, objective, base=tmp_path / "base", prompts=prompts, pairs=pairs)
    STAGE.run(wanted, made)
    model, _ = load_model(made.output, dtype=torch.float32)
    assert model.value is None  # the value head served training only
    names = {p.name for p in made.output.iterdir()}
    assert {"adapter", "metrics.jsonl", "rollouts.jsonl", "README.md"} <= names
    lines = [json.loads(x) for x in (made.output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["reward"] <= 0 for line in lines)
    assert lines[-1]["validation_loss"] == -lines[-1]["validation_reward"]
    answer = json.loads((made.output / "rollouts.jsonl").read_text().splitlines()[0])
    assert answer["reward"] == -len(answer["answer"])
