from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from accounts_server import House, house
from chat_server import ScriptedEngine, build_corpus, running, scripted
from chatwright.serve import Limits, create_app


@pytest.fixture(scope="session")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda _: "The gate opens for three hours [1]. 是的。")


@pytest.fixture
def server(engine: ScriptedEngine, knowledge: Path) -> Iterator[str]:
    registry, _ = scripted(engine, knowledge)
    limits = Limits(body_bytes=50_000, messages=20, max_tokens=500, active=3, stall_seconds=1)
    with running(create_app(registry, limits=limits)) as address:
        yield address


@pytest.fixture
def client(server: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as one:
        yield one


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def house_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server with accounts, an administrator among them. Tests make people of their own."""
    with house(tmp_path_factory.mktemp("house")) as here:
        here.person("admin")
        yield here


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server without accounts: one person is taken for granted."""
    with house(tmp_path_factory.mktemp("local"), accounts=False) as here:
        yield here


@dataclass
class Done:
    """How a command ended, and what it printed."""

    exit_code: int
    output: str


@pytest.fixture
def run_command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """The `chatwright` command in this process, as somebody types it."""

    def run(*arguments: str) -> Done:
        from chatwright.cli import main

        capfd.readouterr()
        monkeypatch.setattr("sys.argv", ["chatwright", *arguments])
        handler = signal.getsignal(signal.SIGTERM)
        try:
            main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            signal.signal(signal.SIGTERM, handler)
        told = capfd.readouterr()
        return Done(int(code), told.out + told.err)

    return run
