"""A built house for the tests of this room (see `built_house`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from built_house import Built, build_house


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return build_house(tmp_path / "workspace")
