"""Several answers, log-probabilities and forms, from a real engine through OpenAI's own client."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from api_house import HTTP, Saying, plain, serving, tiny_engine
from pydantic import BaseModel

from chatwright.assist import Assistant, AssistantSettings, Knowledge
from chatwright.generate import Engine, SamplingParams

QUESTION = [{"role": "user", "content": "How long does the gate open at spring tide?"}]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tiny_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def address(engine: Engine, knowledge: Path) -> Iterator[str]:
    saying = Saying(engine, lambda _: " Three hours [1]. \u4e09\u4e2a\u5c0f\u65f6\u3002 ")
    sampling = SamplingParams(temperature=0.0, max_tokens=60)
    settings = AssistantSettings("harbour", passages=1, max_words=10, sampling=sampling)
    with serving(plain(engine), Assistant(saying, Knowledge.open(knowledge), settings)) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as one:
        yield one


def collected(chunks: Any) -> dict[int, dict[str, Any]]:
    """The answers of a stream, by index."""
    found: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            one = found.setdefault(choice.index, {"text": "", "tokens": [], "ends": []})
            one["text"] += choice.delta.content or ""
            one["tokens"] += choice.logprobs.content if choice.logprobs else []
            one["ends"] += [choice.finish_reason] if choice.finish_reason else []
            one.setdefault("first", choice.delta)
            one["last"] = choice.delta
    return found


def test_several_answers_are_the_engines(client: openai.OpenAI, engine: Engine) -> None:
    asked = {"model": "tiny", "messages": QUESTION, "n": 3, "seed": 5, "temperature": 1.0}
    reply = client.chat.completions.create(**asked)
    params = SamplingParams(temperature=1.0, seed=5, n=3, max_tokens=8)
    told = engine.stream([{"role": "user", "content": QUESTION[0]["content"]}], params).results()
    assert [c.index for c in reply.choices] == [0, 1, 2]
    assert [c.message.content for c in reply.choices] == [one.text.strip() for one in told]
    assert len({c.message.content for c in reply.choices}) == 3
    assert reply.usage.completion_tokens == sum(len(one.token_ids) for one in told)
    assert reply.usage.prompt_tokens == told[0].prompt_tokens
    options = {"include_usage": True}
    *chunks, last = client.chat.completions.create(**asked, stream=True, stream_options=options)
    streamed = collected(chunks)
    assert [streamed[i]["text"].strip() for i in range(3)] == [o.text.strip() for o in told]
    assert all(one["ends"] == ["length"] for one in streamed.values())
    assert all(one["first"].role == "assistant" for one in streamed.values())
    assert last.choices == [] and last.usage.completion_tokens == reply.usage.completion_tokens


def test_each_of_several_grounded_answers_has_its_citations(client: openai.OpenAI) -> None:
    asked = {"model": "harbour", "messages": QUESTION, "n": 2, "max_tokens": 60}
    reply = client.chat.completions.create(**asked)
    for choice in reply.choices:
        assert choice.message.content == "Three hours [1]. \u4e09\u4e2a\u5c0f\u65f6\u3002"
        assert [c["number"] for c in choice.message.citations] == [1]
        assert choice.finish_reason == "stop"
    streamed = collected(client.chat.completions.create(**asked, stream=True))
    assert [[c["number"] for c in one["last"].citations] for one in streamed.values()] == [[1], [1]]
    assert streamed[0]["first"].retrieved and not hasattr(streamed[1]["first"], "retrieved")


def test_logprobs_are_the_engines(client: openai.OpenAI, engine: Engine) -> None:
    asked = {"model": "tiny", "messages": QUESTION, "logprobs": True, "top_logprobs": 3}
    reply = client.chat.completions.create(**asked)
    params = SamplingParams(temperature=0.0, max_tokens=8, logprobs=True, top_logprobs=3)
    told = engine.chat([{"role": "user", "content": QUESTION[0]["content"]}], params)
    tokens = reply.choices[0].logprobs.content
    assert told.logprobs is not None
    assert [t.logprob for t in tokens] == pytest.approx(told.logprobs[: len(tokens)], abs=1e-5)
    data = b"".join(bytes(t.bytes) for t in tokens)
    assert data.decode("utf-8", "replace").startswith(told.text)
    for one in tokens:
        assert bytes(one.bytes).decode("utf-8", "replace") == one.token
        assert len(one.top_logprobs) == 3
        assert one.top_logprobs[0].logprob == pytest.approx(one.logprob)  # greedy: the likeliest
        assert all(t.logprob <= 0 and math.isfinite(t.logprob) for t in one.top_logprobs)
    streamed = collected(client.chat.completions.create(**asked, stream=True))[0]
    assert [t.model_dump() for t in streamed["tokens"]] == [t.model_dump() for t in tokens]


def test_tokens_are_those_of_the_text(client: openai.OpenAI) -> None:
    """The end of the turn and a stop string are no part of it, streamed or not."""
    for stop in (None, ["hours"], ["\u5c0f"]):
        asked = {"model": "harbour", "messages": QUESTION, "logprobs": True, "stop": stop}
        reply = client.chat.completions.create(**asked)
        tokens = reply.choices[0].logprobs.content
        text = b"".join(bytes(t.bytes) for t in tokens).decode("utf-8", "ignore")
        content = reply.choices[0].message.content
        if stop is None:
            assert text == f" {content} "
        else:  # its last token may go on into the stop string
            assert text.startswith(f" {content}") and len(text) < len(content) + 5
        assert all(t.top_logprobs == [] for t in tokens)
        streamed = collected(client.chat.completions.create(**asked, stream=True))[0]
        assert [t.logprob for t in streamed["tokens"]] == [t.logprob for t in tokens]
        assert streamed["text"].strip() == content


def test_beams_and_logprobs(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": QUESTION, "n": 2, "logprobs": True}
    more = {"num_beams": 3, "length_penalty": 0.7, "early_stopping": True}
    reply = client.chat.completions.create(**asked, extra_body=more)
    assert len(reply.choices) == 2 and all(c.logprobs.content for c in reply.choices)
    streamed = collected(client.chat.completions.create(**asked, stream=True, extra_body=more))
    for choice in reply.choices:
        assert streamed[choice.index]["text"].strip() == choice.message.content
        assert len(streamed[choice.index]["tokens"]) == len(choice.logprobs.content)


def test_bias_forbids_a_token(client: openai.OpenAI, engine: Engine) -> None:
    asked = {"model": "tiny", "messages": QUESTION, "logprobs": True, "max_tokens": 1}
    first = client.chat.completions.create(**asked).choices[0].logprobs.content[0]
    token = next(
        i
        for i in range(engine.tokenizer.vocab_size)
        if engine.tokenizer.token_bytes(i) == bytes(first.bytes)
    )
    other = client.chat.completions.create(**asked, logit_bias={str(token): -100})
    assert other.choices[0].logprobs.content[0].bytes != first.bytes
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(**asked, logit_bias={"99999": 1})
    assert told.value.param == "logit_bias"


class Tide(BaseModel):
    gate: bool
    hours: int


def test_a_schema_is_followed_and_parsed(client: openai.OpenAI) -> None:
    asked = {"model": "tiny", "messages": QUESTION, "max_tokens": 100}
    reply = client.chat.completions.parse(**asked, response_format=Tide, seed=1, temperature=1)
    assert isinstance(reply.choices[0].message.parsed, Tide)
    form = {"type": "json_object"}
    whole = client.chat.completions.create(**asked, response_format=form, seed=3, temperature=1)
    if whole.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(whole.choices[0].message.content), dict)
    assert whole.choices[0].message.content.startswith("{")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 9}, "n"),
        ({"n": 2**31}, "n"),
        ({"n": 2**63}, "n"),
        ({"n": -1}, "n"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"n": 3, "num_beams": 2}, "n"),
        ({"logprobs": 1}, "logprobs"),
    ],
)
def test_what_cannot_be(address: str, change: dict[str, Any], param: str) -> None:
    body = {"model": "tiny", "messages": QUESTION, **change}
    reply = HTTP.post(f"{address}/v1/chat/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text
