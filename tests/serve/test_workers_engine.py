"""A real engine behind the socket: the same answers, numbers and errors as beside it."""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_client import Page

from chat_server import PAGES, running, until
from chatwright.assist import Assistant, AssistantSettings, Knowledge
from chatwright.errors import ContextError
from chatwright.generate import Engine, SamplingParams
from chatwright.model.config import ModelConfig
from chatwright.model.transformer import Transformer
from chatwright.records import Message
from chatwright.serve import Registry, Served, create_app
from chatwright.serve.errors import ApiError
from chatwright.serve.runs.prompt import continued
from chatwright.serve.workers.engine_server import EngineServer
from chatwright.serve.workers.link import EngineLink
from chatwright.serve.workers.registry import RemoteRegistry
from chatwright.tokenizer import Tokenizer

ASK = [Message("user", "When do tides come?")]
GREEDY = SamplingParams(temperature=0, max_tokens=24)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    tokenizer = Tokenizer.train([text for _, text in PAGES.values()], 400)
    tokenizer.__dict__["eos_ids"] = frozenset()  # nothing but max_tokens ends an answer
    torch.manual_seed(1)
    config = ModelConfig.from_depth(2, tokenizer.vocab_size, context=512)
    with Engine(Transformer(config), tokenizer, max_batch=4) as engine:
        yield engine


@contextmanager
def served(engine: Engine, knowledge: Path, folder: Path, **options: Any) -> Iterator[EngineLink]:
    """The engine's side in a thread, and a worker's end of the connection."""
    assistant = Assistant(engine, Knowledge.open(knowledge), AssistantSettings(passages=2))
    registry = Registry(lambda: [Served("random", "model", "Random")], lambda _: assistant)
    registry.close = lambda: None  # type: ignore[method-assign]  # the fixture's engine lives on
    server = EngineServer(registry, "secret", **options)
    path, ready, loop = folder / "engine.sock", threading.Event(), asyncio.new_event_loop()

    async def main() -> None:
        await server.start(path)
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    link = EngineLink(path, "secret", connect_seconds=1)
    try:
        yield link
    finally:
        link.close()
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def link(
    engine: Engine, knowledge: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineLink]:
    with served(engine, knowledge, tmp_path_factory.mktemp("s")) as one:
        yield one


def leased(link: EngineLink, work: Any) -> Any:
    async def main() -> Any:
        async with RemoteRegistry(link).lease("random") as assistant:
            return await asyncio.to_thread(work, assistant)

    return asyncio.run(main())


def test_the_same_answers_with_the_same_numbers(link: EngineLink, engine: Engine) -> None:
    def work(far: Assistant) -> None:
        there: Any = far.engine
        assert there.context == engine.context
        for params in (
            GREEDY,
            SamplingParams(temperature=1, seed=5, max_tokens=12, n=2),
            SamplingParams(temperature=0, max_tokens=6, logprobs=True, top_logprobs=3),
        ):
            near = {p.index: p.completion for p in engine.stream(ASK, params) if p.completion}
            pieces = list(there.stream(ASK, params))
            far_ones = {p.index: p.completion for p in pieces if p.completion}
            assert {i: c.token_ids for i, c in far_ones.items()} == {
                i: c.token_ids for i, c in near.items()
            }
            if params.logprobs:
                assert far_ones[0].logprobs == pytest.approx(near[0].logprobs)
                assert far_ones[0].top_logprobs[0][0][0] == near[0].top_logprobs[0][0][0]
                assert any(piece.chosen for piece in pieces)
            for index, whole in far_ones.items():
                assert "".join(p.text for p in pieces if p.index == index) == whole.text
        ids = engine.tokenizer.chat(ASK)
        assert there.tokenizer.chat(ASK) == ids
        assert there.tokenizer.encode("tides") == engine.tokenizer.encode("tides")
        assert there.tokenizer.decode(ids[-5:]) == engine.tokenizer.decode(ids[-5:])
        assert there.tokenizer.token_bytes(70) == engine.tokenizer.token_bytes(70)
        assert there.tokenizer.special_ids == engine.tokenizer.special_ids
        assert there.tokenizer.chat_template == engine.tokenizer.chat_template
        np.testing.assert_allclose(there.embed(["tides"]), engine.embed(["tides"]), atol=1e-6)
        prepared = far.prepare(ASK, GREEDY)
        assert len(prepared.passages) == 2 and prepared.passages[0].title

    leased(link, work)


def test_errors_come_over_as_what_they_are(link: EngineLink) -> None:
    def work(far: Assistant) -> None:
        with pytest.raises(ContextError, match="512"):
            list(far.engine.stream([Message("user", "tide " * 2000)], GREEDY))

    leased(link, work)
    with pytest.raises(ApiError) as refused:
        RemoteRegistry(link).get("none")
    assert refused.value.status == 404
    assert [entry.name for entry in RemoteRegistry(link).entries()] == ["random"]


def test_leaving_frees_the_engine(link: EngineLink, engine: Engine) -> None:
    long = SamplingParams(temperature=1, seed=1, max_tokens=400)

    def work(far: Assistant) -> None:
        pieces = far.engine.stream(ASK, long)
        next(pieces)
        assert engine.load[0] == 1
        pieces.close()
        rest = list(pieces)
        assert rest[-1].finish_reason == "cancelled" and rest[-1].completion is not None
        forgotten = far.engine.stream(ASK, long)
        next(forgotten)
        del forgotten

    leased(link, work)
    until(lambda: engine.load == (0, 0))


def test_a_worker_that_is_gone_frees_all(engine: Engine, knowledge: Path, tmp_path: Path) -> None:
    with served(engine, knowledge, tmp_path, most_streams=2) as link:
        failures: list[BaseException] = []

        def work(far: Assistant) -> None:
            long = SamplingParams(temperature=1, seed=1, max_tokens=400)
            streams = [far.engine.stream(ASK, long) for _ in range(2)]
            for one in streams:
                next(one)
            with pytest.raises(ApiError) as busy:
                next(far.engine.stream(ASK, long))
            assert busy.value.status == 429
            link.close()
            for one in streams:
                try:
                    list(one)
                except ApiError as error:
                    failures.append(error)

        with suppress(ApiError):
            leased(link, work)
        assert [getattr(f, "code", "") for f in failures] == ["engine_restarted"] * 2
        until(lambda: engine.load == (0, 0))


def test_a_continued_answer_is_the_one_that_was_not_cut(engine: Engine, link: EngineLink) -> None:
    # Letters alone: what a model without training writes is seldom text.
    tokenizer = engine.tokenizer
    encode, decode, bytes_of = tokenizer.encode, tokenizer.decode, tokenizer.token_bytes
    plain = re.compile(rb" ?[a-z]+")
    forbidden = {
        one: -math.inf for one in range(tokenizer.vocab_size) if not plain.fullmatch(bytes_of(one))
    }
    letters = replace(GREEDY, logit_bias=forbidden)
    asked = [[Message("user", f"tide {i}?")] for i in range(20)]
    ask, whole, cut = next(
        (ask, made, n)
        for ask, made in ((ask, engine.chat(ask, letters)) for ask in asked)
        for n in range(20, 4, -1)
        if encode(decode(made.token_ids[:n])) == made.token_ids[:n]
    )
    prefix = decode(whole.token_ids[:cut])
    rest = replace(letters, max_tokens=24 - cut)
    near = "".join(p.text for p in continued(engine, ask, prefix, rest, ""))
    assert prefix + near == whole.text

    def work(far: Assistant) -> str:
        return "".join(p.text for p in continued(far.engine, ask, prefix, rest, ""))

    assert leased(link, work) == near


def test_the_whole_service_over_the_socket(link: EngineLink, engine: Engine) -> None:
    app = create_app(RemoteRegistry(link))
    app.state.service.moderator = None
    with running(app) as address:
        page = Page(address)
        told, done = page.answer(text="When do tides come?", params={"max_tokens": 8})
        assert done["usage"]["completion_tokens"] == 8 and done["finish_reason"] == "length"
        _, more = page.answer(
            action="continue", message_id=told["answer_id"], params={"max_tokens": 4}
        )
        assert more["text"].startswith(done["text"]) and len(more["text"]) > len(done["text"])
        body = {"model": "random", "messages": [{"role": "user", "content": "tides"}]}
        reply = page.http.post(f"{address}/v1/chat/completions", json={**body, "max_tokens": 5})
        assert reply.json()["usage"]["completion_tokens"] == 5
    until(lambda: engine.load == (0, 0))
