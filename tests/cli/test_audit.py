"""`chatwright audit` as a user calls it, on a tiny model without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from chatwright.cli.audit import audit
from chatwright.errors import UsageError
from chatwright.govern.audit.keeping import read_audit
from chatwright.model import ModelConfig, Transformer, save_model
from chatwright.records import Document, write_dataset
from chatwright.tokenizer import Tokenizer
from chatwright.workspace import Workspace

app = typer.Typer()
app.command()(audit)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    place = Workspace(tmp_path_factory.mktemp("audit"))
    words = "tea is made with hot water and 面条是用面粉和水做成的食物 "
    for name in ("train", "held"):
        path = place.datasets / "food" / name
        with write_dataset(path, Document, stage=name, fingerprint=name, settings={}) as out:
            for n in range(4):
                out.write(Document(f"{name}{n}", f"{name} {n} " + words * 20, f"u{n}", "s"))
    tokenizer = Tokenizer.train([words * 50, "train held 0123456789" * 9], 400)
    model = Transformer.random(ModelConfig.from_depth(1, tokenizer.vocab_size, context=256), seed=0)
    lineage = {
        "fingerprint": "tiny-fp",
        "stage": "tiny",
        "parents": [
            {"name": "train", "fingerprint": "train", "path": "../../../datasets/food/train"}
        ],
        "settings": {"data": "train", "model": {"depth": 1}},
    }
    save_model(model, tokenizer, place.models / "food" / "tiny", lineage=lineage)
    return place


def run(workspace: Workspace, *words: str) -> tuple[str, BaseException | None]:
    done = CliRunner().invoke(app, [*words, "-w", str(workspace.root)])
    return done.stdout, done.exception


def test_it_prints_what_it_found(workspace: Workspace) -> None:
    only = ["--only", "memorisation,membership,canaries", "--limit", "4"]
    text, error = run(workspace, "food/tiny", "--held-out", "food/held", *only)
    assert error is None, error
    assert "audit of food/tiny" in text and "training rows (4)" in text
    assert "min-20%" in text and "not measured: the training data hold no canaries" in text


def test_json_and_a_folder(workspace: Workspace, tmp_path: Path) -> None:
    words = ["food/tiny", "--only", "memorisation", "--limit", "4", "--json", "-o", str(tmp_path)]
    text, error = run(workspace, *words)
    assert error is None, error
    printed = json.loads(text)
    assert printed["format"] == "chatwright.audit" and printed["training"] == ["food/train"]
    kept, parents = read_audit(tmp_path)
    assert kept.to_json() == printed and parents == {"tiny-fp"}
    parent = json.loads((tmp_path / "audit.json").read_text())["parents"][0]
    assert (tmp_path / parent["path"]).resolve() == (workspace.models / "food" / "tiny").resolve()
    assert run(workspace, *words)[0] == text  # again, from what is kept


def test_a_wrong_part_is_told(workspace: Workspace) -> None:
    _, error = run(workspace, "food/tiny", "--only", "memory")
    assert isinstance(error, UsageError)
    assert "memorisation, membership, canaries, bias" in str(error)


def test_help_shows_an_example() -> None:
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0 and "xample" in done.stdout
