"""One service over a scripted engine, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_client import Page, page_of
from run_script import Script

from chat_server import ScriptedEngine, until


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def engine(script: Script) -> ScriptedEngine:
    return ScriptedEngine(script)


@pytest.fixture(scope="module")
def served(engine: ScriptedEngine, knowledge: Path) -> Iterator[tuple[Page, Any]]:
    with page_of(engine, knowledge) as both:
        yield both


@pytest.fixture
def page(served: tuple[Page, Any], script: Script, engine: ScriptedEngine) -> Iterator[Page]:
    script.__init__()  # type: ignore[misc]
    engine.seconds = 0
    engine.asked.clear()
    engine.params.clear()
    yield served[0]
    service = served[1]
    service.moderator = service.tools = service.collections = None
    until(lambda: not served[0].runs())


@pytest.fixture
def service(served: tuple[Page, Any]) -> Any:
    return served[1]
