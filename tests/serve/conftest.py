from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from accounts_server import House, house
from chat_server import ScriptedEngine, build_corpus, running, scripted, until
from chatwright.serve import Limits, create_app
from chatwright.serve.limits import Rate


@pytest.fixture(scope="session")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("workspace"))


def _scripted_engine() -> ScriptedEngine:
    return ScriptedEngine(lambda _: "The gate opens for three hours [1]. 是的。")


@pytest.fixture(scope="session")
def scripted_server(knowledge: Path) -> Iterator[tuple[ScriptedEngine, str]]:
    """One server for all tests that ask it something: making one costs more than most of them."""
    engine = _scripted_engine()
    registry, _ = scripted(engine, knowledge)
    rates = {group: Rate(1e6, 1e6) for group in Limits().rates}  # counted in test_ratelimit.py
    limits = Limits(
        body_bytes=50_000, messages=20, max_tokens=500, active=3, stall_seconds=1, rates=rates
    )
    with running(create_app(registry, limits=limits)) as address:
        yield engine, address


@pytest.fixture
def engine(scripted_server: tuple[ScriptedEngine, str]) -> ScriptedEngine:
    """The server's engine as new: nothing was asked of it, and nothing is under way."""
    one = scripted_server[0]
    until(lambda: not one.active)
    vars(one).update(vars(_scripted_engine()))
    return one


@pytest.fixture
def server(scripted_server: tuple[ScriptedEngine, str], engine: ScriptedEngine) -> str:
    return scripted_server[1]


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
