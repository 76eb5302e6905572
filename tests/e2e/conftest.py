"""One whole small build, shared by the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small import SmallBuild, run_build, write_recipe


@pytest.fixture(scope="session")
def small_build(tmp_path_factory: pytest.TempPathFactory) -> SmallBuild:
    """Built once, from nothing, undisturbed."""
    folder = tmp_path_factory.mktemp("small")
    recipe = write_recipe(folder)
    workspace = folder / "workspace"
    return SmallBuild(recipe, workspace, run_build(recipe, workspace))
