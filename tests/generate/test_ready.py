"""Pieces that are collected without waiting are the same that are waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from chatwright.errors import ChatwrightError
from chatwright.generate import Engine, Piece, SamplingParams
from chatwright.generate.request import Request
from chatwright.model import Transformer
from chatwright.tokenizer import Tokenizer


@pytest.fixture
def engine(model: Transformer, tokenizer: Tokenizer) -> Iterator[Engine]:
    with Engine(model, tokenizer, max_batch=4) as engine:
        yield engine


def collected(request: Request) -> list[Piece]:
    found: list[Piece] = []
    end = time.monotonic() + 10
    while not request.over:
        found += request.ready()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)
    return found


@pytest.mark.parametrize("n", [1, 3])
def test_what_is_collected_is_what_is_waited_for(
    engine: Engine, prompts: list[list[int]], n: int
) -> None:
    params = SamplingParams(temperature=1, seed=4, max_tokens=12, n=n)
    waited = list(engine.submit(prompts[0], params))
    request = engine.submit(prompts[0], params)
    found = collected(request)
    for index in range(n):
        texts = [[p.text for p in pieces if p.index == index] for pieces in (waited, found)]
        assert texts[0] == texts[1]
    assert [c.token_ids for c in request.results()] == [
        p.completion.token_ids
        for p in sorted(waited, key=lambda p: p.index)
        if p.completion is not None
    ]
    assert request.ready() == []


def test_a_cancelled_request_tells_its_end(engine: Engine, prompts: list[list[int]]) -> None:
    request = engine.submit(prompts[0], SamplingParams(max_tokens=100))
    request.close()
    last = collected(request)[-1]
    assert last.completion is not None and last.completion.finish_reason == "cancelled"


def test_what_went_wrong_comes_after_what_came_before(
    engine: Engine, prompts: list[list[int]]
) -> None:
    request = engine.submit(prompts[0], SamplingParams(max_tokens=100))
    request._group.events.put(ChatwrightError("broken"))  # as `Group.fail` does
    found: list[Piece] = []
    with pytest.raises(ChatwrightError, match="broken"):
        while True:
            found += request.ready()
    assert request.over
    with pytest.raises(ChatwrightError, match="broken"):
        request.ready()
    request.close()
