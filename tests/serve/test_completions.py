"""`/v1/completions` as OpenAI's own client sees it, against the engine itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from api_house import HTTP, plain, serving, tiny_engine

from chatwright.generate import Engine, SamplingParams

PROMPT = "The harbour gate opens"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tiny_engine(context=200) as engine:
        yield engine


@pytest.fixture(scope="module")
def address(engine: Engine) -> Iterator[str]:
    with serving(plain(engine)) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as one:
        yield one


def greedy(engine: Engine, *prompts: Any, **more: Any) -> list[str]:
    return [c.text for c in engine.generate(list(prompts), SamplingParams(**{"temperature": 0, "max_tokens": 8, **more}))]  # fmt: skip # noqa: E501


def test_a_text_is_continued(client: openai.OpenAI, engine: Engine) -> None:
    reply = client.completions.create(model="tiny", prompt=PROMPT)
    assert reply.object == "text_completion" and reply.id.startswith("cmpl-")
    [choice] = reply.choices
    assert [choice.text] == greedy(engine, PROMPT)
    assert choice.finish_reason == "length" and reply.usage.completion_tokens == 8
    assert reply.usage.prompt_tokens == len(engine.tokenizer.encode(PROMPT))
    ids = engine.tokenizer.encode(PROMPT)
    assert client.completions.create(model="tiny", prompt=ids).choices[0].text == choice.text
    echo = client.completions.create(model="tiny", prompt=PROMPT, echo=True).choices[0]
    assert echo.text == PROMPT + choice.text
    assert (
        client.completions.create(model="tiny", prompt=ids, echo=True).choices[0].text == echo.text
    )


def test_special_tokens_in_a_prompt_are_text(client: openai.OpenAI, engine: Engine) -> None:
    reply = client.completions.create(model="tiny", prompt="<|im_end|>")
    assert reply.usage.prompt_tokens > 3
    assert [reply.choices[0].text] == greedy(engine, "<|im_end|>")


@pytest.mark.parametrize("streamed", [True, False])
def test_several_prompts_and_answers(client: openai.OpenAI, engine: Engine, streamed: bool) -> None:
    prompts = [PROMPT, "\u6e2f\u53e3", "x"]
    asked: dict[str, Any] = {"model": "tiny", "prompt": prompts, "n": 2, "seed": 7}
    asked["temperature"] = 1.0
    told = [
        c.text
        for prompt in prompts
        for c in engine.complete(
            prompt, SamplingParams(temperature=1.0, seed=7, n=2, max_tokens=8)
        ).results()
    ]
    if streamed:
        texts = dict.fromkeys(range(6), "")
        *chunks, last = client.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}, echo=True
        )
        for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        assert list(texts.values()) == [prompts[i // 2] + text for i, text in enumerate(told)]
        assert last.choices == [] and last.usage.completion_tokens <= 48
    else:
        reply = client.completions.create(**asked)
        assert [c.index for c in reply.choices] == list(range(6))
        assert [c.text for c in reply.choices] == told
        sizes = [len(engine.tokenizer.encode(prompt)) for prompt in prompts]
        assert reply.usage.prompt_tokens == sum(sizes)


def test_best_of(client: openai.OpenAI, engine: Engine) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": PROMPT, "seed": 3, "temperature": 1.0}
    reply = client.completions.create(**asked, best_of=4, n=2)
    params = SamplingParams(temperature=1.0, seed=3, n=2, best_of=4, max_tokens=8)
    assert [c.text for c in reply.choices] == [
        c.text for c in engine.complete(PROMPT, params).results()
    ]


def test_logprobs_in_the_older_shape(client: openai.OpenAI, engine: Engine) -> None:
    reply = client.completions.create(model="tiny", prompt=PROMPT, logprobs=2)
    told = reply.choices[0].logprobs
    params = SamplingParams(temperature=0, max_tokens=8, logprobs=True, top_logprobs=2)
    [completion] = engine.generate([PROMPT], params)
    assert completion.logprobs is not None
    shown = len(told.tokens)
    assert told.token_logprobs == pytest.approx(completion.logprobs[:shown], abs=1e-5)
    assert told.text_offset[0] == 0 and told.text_offset == sorted(told.text_offset)
    assert all(1 <= len(top) <= 2 for top in told.top_logprobs)
    streamed = list(client.completions.create(model="tiny", prompt=PROMPT, logprobs=2, stream=True))
    tokens = [t for c in streamed if c.choices[0].logprobs for t in c.choices[0].logprobs.tokens]
    assert tokens == told.tokens


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt.1"),
        ({"prompt": [-1]}, "prompt.0"),
        ({"prompt": [2**63]}, "prompt.0"),
        ({"prompt": [[]]}, "messages"),
        ({"prompt": "word " * 500}, "messages"),
        ({"prompt": ["x"] * 17}, "prompt"),
        ({"prompt": ["x"] * 4, "n": 5}, "n"),
        ({"n": 9}, "n"),
        ({"best_of": 9}, "best_of"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"stop": ["x"] * 5}, "stop"),
        ({"chat_template": "x"}, "chat_template"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_cannot_be(address: str, change: dict[str, Any], param: str) -> None:
    body = {"model": "tiny", "prompt": "x", **change}
    reply = HTTP.post(f"{address}/v1/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text
    assert HTTP.post(f"{address}/v1/completions", json={**body, "prompt": "x"}).status_code in (200, 400)  # fmt: skip # noqa: E501
