"""A tiny model that has learnt its few texts by heart, and one of the same shape that has not."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from chatwright.govern.audit.stages import CanariesSettings, run_canaries
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.records import Dataset, Document, Parent, write_dataset
from chatwright.stage import StageContext
from chatwright.tokenizer import Tokenizer
from chatwright.train import TrainSettings, train
from chatwright.workspace import Workspace

WORDS = (
    "river", "stone", "lamp", "garden", "window", "copper", "music", "winter", "bread", "harbour",
    "letter", "engine", "cloud", "paper", "silver", "forest", "bridge", "market", "candle", "ocean",
    "tower", "meadow", "signal", "planet", "shadow", "ticket", "wheel", "island",
)  # fmt: skip
CHARACTERS = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少床前明月光疑是地上霜举头望低思故乡"


def page(number: int) -> str:
    """A text that nobody can guess: words (or characters) in random order."""
    random = np.random.default_rng(number)
    if number % 4 == 3:
        return "".join(random.choice(list(CHARACTERS), 60))
    return " ".join(random.choice(WORDS, 40))


@dataclass(frozen=True)
class AuditHouse:
    """Where everything lies."""

    workspace: Workspace
    train: Path
    held_out: Path
    learnt: Path
    untrained: Path

    def context(self, name: str, **inputs: Path) -> StageContext:
        output = self.workspace.runs / "heart" / name
        parents = [
            Parent(n, json.loads(_description(p).read_text())["fingerprint"], _relative(p, output))
            for n, p in inputs.items()
        ]
        scratch = self.workspace.runs / "heart" / "work" / name
        return StageContext(
            "heart", name, 5, output, scratch, f"{name}-fp", self.workspace, inputs, parents
        )


def _description(path: Path) -> Path:
    return next(path / n for n in ("dataset.json", "lineage.json") if (path / n).exists())


def _relative(path: Path, child: Path) -> str:
    return os.path.relpath(path, child)


def _pages(path: Path, numbers: range) -> Path:
    with write_dataset(
        path, Document, stage=path.name, fingerprint=f"{path.name}-fp", settings={}
    ) as out:
        for n in numbers:
            out.write(Document(f"d{n}", page(n), f"https://x.test/{n}", "test:pages", "MIT", "en"))
    return path


def build_audit_house(folder: Path) -> AuditHouse:
    workspace = Workspace(folder)
    datasets = workspace.datasets / "heart"
    pages, held_out = (
        _pages(datasets / "pages", range(12)),
        _pages(datasets / "held-out", range(100, 112)),
    )
    house = AuditHouse(
        workspace,
        datasets / "train",
        held_out,
        workspace.models / "heart" / "learnt",
        workspace.models / "heart" / "untrained",
    )
    context = house.context("train", pages=pages)
    context.output = house.train
    run_canaries(CanariesSettings(input="pages", count=4, copies=(2,)), context)
    tokenizer = Tokenizer.train([*(page(n) for n in range(200, 280)), "0123456789 " * 40], 700)
    config = ModelConfig.from_depth(1, tokenizer.vocab_size, context=128)
    _save(Transformer.random(config, seed=1), tokenizer, house, house.untrained)
    model = Transformer.random(config, seed=1)
    settings = TrainSettings(
        objective="pretrain", epochs=5, length=64, batch_tokens=512, learning_rate=1e-2,
        precision="fp32", threads=1,
    )  # fmt: skip
    # In many orders: pretraining cuts the texts, end to end, into the same stretches every epoch,
    # and a model this small would tie what it learns to the place in the stretch.
    rows, random = list(Dataset.open(house.train)), np.random.default_rng(0)
    shuffled = [rows[i] for _ in range(20) for i in random.permutation(len(rows))]
    train(model, tokenizer, shuffled, settings, seed=2)
    _save(model, tokenizer, house, house.learnt)
    return house


def _save(model: Transformer, tokenizer: Tokenizer, house: AuditHouse, path: Path) -> None:
    lineage = {
        "fingerprint": f"{path.name}-fp",
        "stage": path.name,
        "recipe": "heart",
        "parents": [
            asdict(Parent("train", "train-fp", _relative(house.train, path))),
            asdict(Parent("held-out", "held-out-fp", _relative(house.held_out, path))),
        ],
        "settings": {
            "objective": "pretrain",
            "model": {"depth": 2, "tokenizer": "tokenizer"},
            "data": "train",
            "validation": "held-out",
        },
        "chatwright": "0.1.0",
    }
    save_model(model, tokenizer, path, lineage=lineage)
