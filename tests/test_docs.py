"""What the documents promise is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chatwright.recipe import parse_recipe, stage_kinds

ROOT = Path(__file__).parent.parent
NOT_OURS = {".venv", ".bench", "node_modules"}
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", sorted(stage_kinds()))
def test_every_setting_of_every_stage_is_documented(kind: str) -> None:
    section = re.search(rf"^## {kind} →.*?(?=^## |\Z)", RECIPES, re.M | re.S)
    assert section, f"docs/recipes.md has no section on {kind}"
    told = " ".join(re.findall(r"`([^`]+)`", section[0]))
    missing = [
        n for n in stage_kinds()[kind].settings.model_fields if not re.search(rf"\b{n}\b", told)
    ]
    assert not missing


@pytest.mark.parametrize(
    "page",
    [p for p in sorted(ROOT.rglob("*.md")) if not NOT_OURS & set(p.parts)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "docs/getting-started.md"])
def test_recipes_in_the_documents_are_valid(page: str) -> None:
    from ruamel.yaml import YAML

    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    whole = [b for b in blocks if b.startswith("name:")]
    assert whole
    for block in whole:
        parse_recipe(YAML(typ="rt").load(block), page)
