"""Names to assistants: what is listed, loaded lazily, shared, replaced and closed."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import anyio
import httpx
import openai
import pytest

from chat_server import HTTP, ScriptedEngine, running, until
from chatwright.assist import Assistant
from chatwright.errors import ModelError, UsageError
from chatwright.serve import Registry, Served, create_app, workspace_registry
from chatwright.serve.errors import ApiError
from chatwright.workspace import Workspace


class Loader:
    """Counts what is loaded, and can be told to fail or to wait."""

    def __init__(self) -> None:
        self.stamps = {"a": "1", "b": "1", "c": "1"}
        self.loads: list[str] = []
        self.engines: dict[str, ScriptedEngine] = {}
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def entries(self) -> list[Served]:
        return [Served(name, "model", name, stamp=stamp) for name, stamp in self.stamps.items()]

    def load(self, name: str) -> Assistant:
        self.loads.append(name)
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.engines[name] = ScriptedEngine(lambda _: f"I am {name}.")
        return Assistant(self.engines[name])


@pytest.mark.anyio
async def test_loaded_once_for_many_and_only_when_asked() -> None:
    loader = Loader()
    registry = Registry(loader.entries, loader.load)
    assert loader.loads == []
    seen: list[Assistant] = []

    async def use() -> None:
        async with registry.lease("a") as assistant:
            seen.append(assistant)
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(use)
    assert loader.loads == ["a"] and len({id(one) for one in seen}) == 1


@pytest.mark.anyio
async def test_the_longest_unused_is_closed_but_never_one_in_use() -> None:
    loader = Loader()
    registry = Registry(loader.entries, loader.load, most_loaded=1)
    async with registry.lease("a"):
        async with registry.lease("b"), registry.lease("c"):
            assert not any(engine.closed for engine in loader.engines.values())
        until(lambda: loader.engines["b"].closed and loader.engines["c"].closed)
        assert not loader.engines["a"].closed
    async with registry.lease("a"):
        pass
    assert loader.loads == ["a", "b", "c"]


@pytest.mark.anyio
async def test_what_was_rebuilt_is_loaded_anew() -> None:
    loader = Loader()
    registry = Registry(loader.entries, loader.load)
    async with registry.lease("a") as before:
        first = loader.engines["a"]
        loader.stamps["a"] = "2"
        async with registry.lease("a") as after:
            assert after is not before and not first.closed
    until(lambda: first.closed)
    assert not loader.engines["a"].closed


@pytest.mark.anyio
async def test_a_failed_load_is_told_and_tried_again() -> None:
    loader = Loader()
    registry = Registry(loader.entries, loader.load)
    loader.error = ModelError("the weights are cut off", hint="build it again")
    with pytest.raises(ApiError) as told:
        async with registry.lease("a"):
            pass
    assert told.value.status == 503
    assert "the weights are cut off" in told.value.message
    loader.error = None
    async with registry.lease("a"):
        pass


def test_loading_does_not_block_the_server_and_failures_have_a_status() -> None:
    loader = Loader()
    loader.gate.clear()
    body = {"model": "a", "messages": [{"role": "user", "content": "who?"}], "stream": True}
    with running(create_app(Registry(loader.entries, loader.load))) as address:
        url = f"{address}/v1/chat/completions"
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(httpx.post(url, json=body)))
        asking.start()
        until(lambda: loader.loads == ["a"])
        assert HTTP.get(f"{address}/healthz").json()["active"] == 1
        loader.gate.set()
        asking.join(10)
        assert "I" in answers[0].text and answers[0].status_code == 200
        loader.error = ModelError("no such file")
        refused = HTTP.post(url, json={**body, "model": "b"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "model_not_ready"
    assert loader.engines["a"].closed  # at shutdown


def describe(workspace: Workspace, name: str, **more: object) -> None:
    workspace.assistants.mkdir(parents=True, exist_ok=True)
    told = {"format": "chatwright.assistant", "name": name, "title": name.title(), "model": "x"}
    (workspace.assistants / f"{name}.json").write_text(json.dumps(told | more))


def test_a_workspace_as_openai_lists_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(UsageError, match="no assistant or model to serve"):
        workspace_registry(workspace)
    describe(workspace, "guide", examples=["大潮？"], knowledge="datasets/guide/knowledge")
    (workspace.models / "guide" / "sft").mkdir(parents=True)
    (workspace.models / "guide" / "sft" / "config.json").write_text("{}")
    registry = workspace_registry(workspace)
    with running(create_app(registry)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        assert [model.id for model in client.models.list()] == ["guide", "guide/sft"]
        guide = client.models.retrieve("guide")
        assert guide.object == "model" and guide.owned_by == "chatwright" and guide.created > 0
        assert guide.chatwright["examples"] == ["大潮？"] and guide.chatwright["grounded"]
        assert client.models.retrieve("guide/sft").chatwright["kind"] == "model"
        describe(workspace, "second")  # built while the server runs
        assert "second" in [model.id for model in client.models.list()]
        (workspace.assistants / "guide.json").write_text("{")  # one that broke does not hide others
        assert [model.id for model in client.models.list()] == ["second", "guide/sft"]


def test_only_what_is_named_is_served(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    describe(workspace, "guide")
    describe(workspace, "other")
    names = ["guide", "smollm2-135m-instruct"]
    registry = workspace_registry(workspace, names)
    assert [entry.name for entry in registry.entries()] == names
    with pytest.raises(ApiError):
        registry.get("other")
    with pytest.raises(UsageError, match="no assistant or model called 'nobody'"):
        workspace_registry(workspace, ["nobody"])
