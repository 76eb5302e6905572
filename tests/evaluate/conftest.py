"""A small house for the tests of this room (see `tiny_house`)."""

from __future__ import annotations

import pytest
from tiny_house import House, build_house


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return build_house(tmp_path_factory.mktemp("house"))
