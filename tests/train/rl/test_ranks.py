"""Two processes under torchrun roll out and learn as one does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from chatwright.tokenizer import Tokenizer
from chatwright.train import train
from chatwright.train.world import current_world

from ..conftest import tiny_model
from ..test_distributed import end_of, in_two_processes
from .conftest import letters, make_prompts, settings
from .test_train import CASES, data_for

STEPS = 4
NAMES = ("loss", "reward", "gradient_norm", "ratio", "kl", "kl_coefficient", "validation_loss")


def run(case: str, tokenizer: Tokenizer, scratch: Path) -> tuple[list[Any], dict[str, Any]]:
    more = {"distributed": "ddp"} if current_world().size > 1 else {}
    wanted = settings(**CASES[case], steps=STEPS, validate_every=2, **more)
    model = tiny_model(tokenizer)
    result = train(
        model,
        tokenizer,
        data_for(case),
        wanted,
        validation=make_prompts(3),
        reward=letters,
        scratch=scratch / case,
        run=case,
    )
    lines = [[line.get(name) or 0.0 for name in NAMES] for line in result.metrics]
    return lines, dict(result.model.state_dict())


def main(root: Path) -> None:
    found = {c: run(c, Tokenizer.load(root / "tokenizer"), root / "two") for c in ("ppo", "grpo")}
    if current_world().is_main:
        (root / "lines.json").write_text(json.dumps({c: lines for c, (lines, _) in found.items()}))
        for c, (_, weights) in found.items():
            save_file({n: w.clone() for n, w in weights.items()}, root / f"{c}.safetensors")


def test_two_processes_are_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    process = in_two_processes(main, tmp_path, said=tmp_path / "said")
    alone = {case: run(case, tokenizer, tmp_path / "alone") for case in ("ppo", "grpo")}
    end_of(process)
    assert process.exitcode == 0, (tmp_path / "said").read_text()
    together = json.loads((tmp_path / "lines.json").read_text())
    for case, (lines, weights) in alone.items():
        for one, two in zip(lines, together[case], strict=True):
            assert two == pytest.approx(one, abs=1e-5, rel=1e-4), case
        found = load_file(tmp_path / f"{case}.safetensors")
        for name, weight in weights.items():
            torch.testing.assert_close(found[name], weight, atol=1e-3, rtol=1e-3)
