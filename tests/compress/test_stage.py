"""`kind: compress` in a recipe: built, skipped when nothing changed, traced and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_compress import random_model, tokenizer

from chatwright.build import build
from chatwright.errors import ChatwrightError
from chatwright.model import load_model, save_model
from chatwright.recipe import load_recipe
from chatwright.workspace import Workspace

RECIPE = """
name: small
seed: 3
stages:
  pages: {{kind: collect, sources: [{{source: {pages}, license: internal}}]}}
  corpus: {{kind: curate, input: pages, preset: documentation}}
  half: {{kind: compress, model: {model}, method: distil, keep: "1", recover: 2, data: corpus}}
  last: {{kind: compress, model: half, method: int8}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    pages = tmp_path / "pages"
    pages.mkdir()
    for name in ("tides", "harbour", "pilots"):
        (pages / f"{name}.md").write_text(
            f"# {name}\n\n" + f"What everybody should know about {name}, in plain words. " * 40
        )
    path = tmp_path / "small.yaml"
    model = save_model(random_model(n_layers=2), tokenizer(), tmp_path / "teacher")
    path.write_text(RECIPE.format(pages=pages, model=model))
    return path


def test_a_recipe_halves_the_layers_and_rounds_the_rest(recipe: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "place")
    build(load_recipe(recipe), workspace)
    half, last = workspace.model("small/half"), workspace.model("small/last")
    assert half is not None and last is not None
    assert load_model(half)[0].config.n_layers == 1
    assert (last / "model.gguf").is_file()
    lineage = json.loads((last / "lineage.json").read_text())
    assert lineage["stage"] == "last" and lineage["recipe"] == "small"
    made = json.loads((half / "lineage.json").read_text())
    assert lineage["parents"][0]["fingerprint"] == made["fingerprint"]
    before = (half / "model.safetensors").stat().st_mtime_ns
    build(load_recipe(recipe), workspace)  # nothing changed, so nothing is made
    assert (half / "model.safetensors").stat().st_mtime_ns == before


def test_options_that_do_not_go_together_name_the_stage(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace("method: int8", "method: int8, keep: '2'")
    recipe.write_text(text)
    with pytest.raises(ChatwrightError, match="does not go with"):
        build(load_recipe(recipe), Workspace(tmp_path / "place"))
