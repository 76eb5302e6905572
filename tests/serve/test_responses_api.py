"""`/v1/responses` as OpenAI's own client sees it: whole and streamed, with tools and forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from api_house import HTTP, Saying, saying_server, tiny_engine
from pydantic import BaseModel

QUESTION = "How long does the gate open at spring tide?"
WORDS = "Three hours [1]. \u4e09\u4e2a\u5c0f\u65f6\u3002"
CALL = '<tool_call>\n{"name": "clock", "arguments": {"zone": "UTC"}}\n</tool_call>'
CLOCK: dict[str, Any] = {
    "type": "function",
    "name": "clock",
    "description": "The time.",
    "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}},
    "strict": False,
}


@pytest.fixture(scope="module")
def saying() -> Iterator[Saying]:
    with tiny_engine(context=1024) as engine:
        yield Saying(engine, lambda _: WORDS)


@pytest.fixture(scope="module")
def address(saying: Saying, knowledge: Path) -> Iterator[str]:
    with saying_server(saying, knowledge, plain_name="plain", max_tokens=200) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as one:
        yield one


def test_whole(client: openai.OpenAI, saying: Saying) -> None:
    saying.say = lambda _: WORDS
    reply = client.responses.create(
        model="harbour", input=QUESTION, instructions="Be brief.", metadata={"a": "b"}
    )
    assert reply.object == "response" and reply.status == "completed" and reply.error is None
    assert reply.output_text == WORDS and reply.metadata == {"a": "b"}
    [item] = reply.output
    [part] = item.content
    assert item.role == "assistant" and item.id.startswith("msg_")
    [citation] = part.annotations
    assert citation.type == "url_citation" and citation.url.startswith("https://harbour.example")
    assert part.text[citation.start_index : citation.end_index] == "[1]"
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
    assert reply.usage.output_tokens > 5 and reply.instructions == "Be brief."
    assert "Be brief." in saying.asked[-1][0].content


@pytest.mark.parametrize("model", ["harbour", "plain"])
def test_events(client: openai.OpenAI, saying: Saying, model: str) -> None:
    saying.say = lambda _: WORDS
    events = list(client.responses.create(model=model, input=QUESTION, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    kinds = [e.type for e in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert deltas == WORDS == events[-4].text
    assert len({e.item_id for e in events if hasattr(e, "item_id")}) == 1
    final = events[-1].response
    assert final.output_text == WORDS and final.usage.output_tokens > 5
    assert events[0].response.status == "in_progress" and events[0].response.usage is None
    with client.responses.stream(model=model, input=QUESTION) as helper:
        assert helper.get_final_response().output_text == WORDS


def test_wire_format(address: str, saying: Saying) -> None:
    saying.say = lambda _: WORDS
    body = {"model": "plain", "input": QUESTION, "stream": True}
    reply = HTTP.post(f"{address}/v1/responses", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    for event in reply.text.strip().split("\n\n"):
        kind, data = event.split("\n")
        assert kind == "event: " + json.loads(data.removeprefix("data: "))["type"]


@pytest.mark.parametrize("streamed", [True, False])
def test_calls_and_their_results(client: openai.OpenAI, saying: Saying, streamed: bool) -> None:
    saying.say = lambda _: f"Let me look.\n{CALL}\n{CALL}"
    asked: dict[str, Any] = {"model": "plain", "tools": [CLOCK]}
    start: list[Any] = [{"role": "user", "content": QUESTION}]
    if streamed:
        events = list(client.responses.create(**asked, input=start, stream=True))
        reply = events[-1].response
        arguments = [e for e in events if e.type == "response.function_call_arguments.delta"]
        assert [json.loads(e.delta) for e in arguments] == [{"zone": "UTC"}] * 2
        added = [e for e in events if e.type == "response.output_item.added"]
        assert [e.output_index for e in added] == [0, 1, 2]
        done = [e.item for e in events if e.type == "response.output_item.done"]
        assert [item.model_dump() for item in done] == [i.model_dump() for i in reply.output]
    else:
        reply = client.responses.create(**asked, input=start)
    said, first, second = reply.output
    assert said.content[0].text == "Let me look."
    assert first.type == "function_call" and first.name == "clock"
    assert first.call_id != second.call_id and json.loads(first.arguments) == {"zone": "UTC"}
    saying.say = lambda _: "Noon."
    results = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "12:00"}
        for item in (first, second)
    ]
    again = client.responses.create(**asked, input=[*start, *reply.output, *results])
    assert again.output_text == "Noon."
    _, question, called, told = saying.asked[-1]
    assert question.content == QUESTION and called.role == "assistant"
    assert called.content.startswith("Let me look.\n<tool_call>")
    assert called.content.count('{"name": "clock", "arguments": {"zone": "UTC"}}') == 2
    assert told.content.count("12:00") == 2


class Gate(BaseModel):
    hours: int


def test_forms_and_forced_calls(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "plain", "input": QUESTION, "temperature": 0}
    reply = client.responses.parse(**asked, text_format=Gate, max_output_tokens=60)
    if reply.status == "completed":
        assert isinstance(reply.output_parsed, Gate)
    choice: Any = {"type": "function", "name": "pick"}
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    pick: Any = {"type": "function", "name": "pick", "strict": True}
    pick["parameters"] = schema | {"additionalProperties": False}
    forced = client.responses.create(
        **asked, tools=[CLOCK, pick], tool_choice=choice, parallel_tool_calls=False
    )
    [call] = forced.output
    assert call.type == "function_call" and json.loads(call.arguments)["n"] in (1, 2)


def test_too_few_tokens_are_told(client: openai.OpenAI, saying: Saying) -> None:
    saying.say = lambda _: WORDS
    reply = client.responses.create(model="plain", input=QUESTION, max_output_tokens=3)
    assert reply.status == "incomplete" and reply.incomplete_details.reason == "max_output_tokens"
    assert reply.usage.output_tokens == 3 and WORDS.startswith(reply.output_text)
    events = list(
        client.responses.create(model="plain", input=QUESTION, max_output_tokens=3, stream=True)
    )
    assert events[-1].type == "response.incomplete"


def test_tokens_of_the_answer(client: openai.OpenAI, saying: Saying) -> None:
    saying.say = lambda _: WORDS
    asked: dict[str, Any] = {"model": "plain", "input": QUESTION, "top_logprobs": 2}
    asked["include"] = ["message.output_text.logprobs"]
    [item] = client.responses.create(**asked).output
    tokens = item.content[0].logprobs
    assert b"".join(bytes(t.bytes) for t in tokens).decode() == WORDS
    assert all(len(t.top_logprobs) == 2 for t in tokens)
    events = list(client.responses.create(**asked, stream=True))
    deltas = [t for e in events if e.type == "response.output_text.delta" for t in e.logprobs]
    assert [t.logprob for t in deltas] == [t.logprob for t in tokens]


def test_an_error_in_the_middle(client: openai.OpenAI, saying: Saying) -> None:
    def broken(_: Any) -> str:
        raise RuntimeError("a secret path /home/somebody")

    saying.say = broken
    with pytest.raises(openai.InternalServerError) as told:
        client.responses.create(model="plain", input=QUESTION, stream=True)
    assert "somebody" not in str(told.value)
    saying.say = lambda _: WORDS


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"chat_template": "x"}, "chat_template"),
        ({"whatever": 1}, "whatever"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"role": "user", "content": "x"}] * 501}, "input"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        (
            {"input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]},
            "input.0.call_id",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 2**63}, "max_output_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"tools": [{"type": "web_search_preview"}]}, "tools.0.type"),
        ({"tools": [{**CLOCK, "name": "a b"}]}, "tools.0.name"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "schema": {"pattern": "["}}}}, "text"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
    ],
)
def test_what_cannot_be(address: str, change: dict[str, Any], param: str) -> None:
    body = {"model": "plain", "input": QUESTION, **change}
    reply = HTTP.post(f"{address}/v1/responses", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text


def test_neutral_values_pass(client: openai.OpenAI, saying: Saying) -> None:
    saying.say = lambda _: WORDS
    reply = client.responses.create(
        model="plain",
        input=QUESTION,
        store=False,
        background=False,
        previous_response_id=None,
        truncation="auto",
        user="somebody",
        reasoning=None,
        service_tier="auto",
    )
    assert reply.output_text == WORDS and reply.store is False
