"""Recipes: what is accepted, and that every mistake names file, line and key."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.errors import RecipeError
from chatwright.recipe import load_recipe, parse_recipe, stage_kinds

GOOD = """\
name: small
seed: 3
stages:
  pages:
    kind: collect
    sources:
      - source: ./docs
        license: MIT
  corpus:
    kind: curate
    input: pages
    preset: documentation
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_good_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.name == "small"
    assert recipe.seed == 3
    assert [(s.name, s.kind.kind) for s in recipe.stages] == [
        ("pages", "collect"),
        ("corpus", "curate"),
    ]


@pytest.mark.parametrize("path", sorted(Path("recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_our_own_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem.replace("_", "-")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("preset:", "presset:", 12, "unknown key `presset`"),
        ("    input: pages\n", "", 9, "`input` is missing"),
        ("kind: curate", "kind: curat", 10, "'curat' is not a kind of stage"),
        ("seed: 3", "seed: many", 2, "`seed`"),
        ("seed: 3", "sead: 3", 2, "unknown key `sead`"),
        ("name: small", "name: Small Thing", 1, "`name`"),
        ("license: MIT", "licence: MIT", 8, "unknown key `licence`"),
        ("  corpus:", "  work:", 9, "cannot be a stage's name"),
        ("sources:\n      - source: ./docs\n        license: MIT", "sources: 7", 6, "sources"),
        ("name: small", "name: [small", 2, "not YAML"),
    ],
)
def test_a_mistake_names_line_and_key(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, GOOD.replace(old, new)))
    assert says in str(caught.value)
    assert f"recipe.yaml:{line}" in str(caught.value), caught.value


def test_a_misspelt_key_is_answered_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, GOOD.replace("preset:", "presset:")))
    assert "did you mean `preset`?" in str(caught.value)


def test_a_stage_cannot_use_what_comes_after_it() -> None:
    with pytest.raises(RecipeError, match="not before it"):
        parse_recipe(
            {
                "name": "backwards",
                "stages": {
                    "corpus": {"kind": "curate", "input": "pages"},
                    "pages": {"kind": "collect", "sources": [{"source": "x"}]},
                },
            }
        )


def test_no_such_file_lists_those_there(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(tmp_path / "other.yaml")


@pytest.mark.parametrize(
    "text", ["", "[]", "7", "name: x", "name: x\nstages: []", "\x00", "a: &a [*a]"]
)
def test_not_a_recipe(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe(write(tmp_path, text))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["name", "seed", "stages", "title", "x"]), json_values))
def test_any_mapping_is_a_recipe_or_a_recipe_error(raw: dict[str, object]) -> None:
    with contextlib.suppress(RecipeError):
        parse_recipe(raw)


@given(
    kind=st.sampled_from(sorted(stage_kinds())),
    settings=st.dictionaries(
        st.sampled_from(["input", "sources", "model", "data", "preset", "limit", "models"]),
        json_values,
        max_size=4,
    ),
)
def test_any_stage_settings_are_accepted_or_explained(
    kind: str, settings: dict[str, object]
) -> None:
    with contextlib.suppress(RecipeError):
        parse_recipe({"name": "x", "stages": {"one": {"kind": kind, **settings}}})


def test_the_environment_fills_in_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {
        "name": "r",
        "stages": {"pages": {"kind": "collect", "sources": [{"source": "${PAGES:-./here}/a"}]}},
    }
    monkeypatch.delenv("PAGES", raising=False)
    found: Any = parse_recipe(raw).stage("pages").settings
    assert found.sources[0].source == "./here/a"
    monkeypatch.setenv("PAGES", "/there")
    found = parse_recipe(raw).stage("pages").settings
    assert found.sources[0].source == "/there/a"
    raw["stages"] = {"pages": {"kind": "collect", "sources": [{"source": "${NOWHERE}"}]}}
    with pytest.raises(RecipeError, match="NOWHERE is not set"):
        parse_recipe(raw)
