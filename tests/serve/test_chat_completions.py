"""`/v1/chat/completions` as OpenAI's own client sees it, and on the wire."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

from chat_server import HTTP, ScriptedEngine, until
from chatwright.generate.params import Constraint

QUESTION = [{"role": "user", "content": "How long does the gate open at spring tide?"}]


def test_whole_answer(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="harbour", messages=QUESTION)
    assert reply.object == "chat.completion" and reply.model == "harbour"
    choice = reply.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content == "The gate opens for three hours [1]. 是的。"
    assert choice.finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.usage.completion_tokens == 8
    [citation] = choice.message.citations
    assert citation["number"] == 1
    assert citation["title"].startswith("Tides")
    assert citation["uri"].startswith("https://harbour.example/guide/tides.html")
    assert citation == choice.message.retrieved[0]
    assert choice.message.left_out == []


def test_streamed_answer_is_the_whole_answer(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="harbour", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    *body, usage = chunks
    assert usage.choices == [] and usage.usage.completion_tokens == 8
    assert all(chunk.usage is None for chunk in body)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in body)
    assert text == "The gate opens for three hours [1]. 是的。"
    assert body[0].choices[0].delta.role == "assistant"
    assert body[0].choices[0].delta.retrieved[0]["title"].startswith("Tides")
    assert [chunk.choices[0].finish_reason for chunk in body[:-1]] == [None] * (len(body) - 1)
    assert body[-1].choices[0].finish_reason == "stop"
    assert [c["number"] for c in body[-1].choices[0].delta.citations] == [1]


def test_without_asking_there_is_no_usage_chunk(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="harbour", messages=QUESTION, stream=True)
    assert all(chunk.choices and chunk.usage is None for chunk in stream)


def test_wire_format(server: str) -> None:
    body = {"model": "harbour", "messages": QUESTION, "stream": True}
    reply = HTTP.post(f"{server}/v1/chat/completions", json=body)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = reply.text.split("\n\n")
    assert events.pop() == "" and events.pop() == "data: [DONE]"
    for event in events:
        assert event.startswith("data: ") and "\n" not in event
        assert "usage" not in json.loads(event.removeprefix("data: "))


def test_parameters_reach_the_engine(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    client.chat.completions.create(
        model="harbour",
        messages=QUESTION,
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=3,
        stop=["END", "完"],
        seed=7,
        n=1,
        user="somebody",
        extra_body={"top_k": 5, "repetition_penalty": 1.1},
    )
    params = engine.params[-1]
    assert (params.temperature, params.top_p, params.max_tokens) == (0.5, 0.9, 3)
    assert (params.stop, params.seed) == (("END", "完"), 7)
    assert (params.top_k, params.repetition_penalty) == (5, 1.1)


def test_forms_and_penalties_reach_the_engine(
    client: openai.OpenAI, engine: ScriptedEngine
) -> None:
    schema = {"type": "object", "properties": {"城市": {"type": "string"}}}
    client.chat.completions.create(
        model="harbour",
        messages=QUESTION,
        frequency_penalty=0.5,
        presence_penalty=-1,
        logit_bias={"50": -100, "7": 5},
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": schema, "strict": True},
        },
        extra_body={"min_p": 0.05, "typical_p": 0.9, "no_repeat_ngram": 3, "min_tokens": 2},
    )
    params = engine.params[-1]
    assert (params.frequency_penalty, params.presence_penalty) == (0.5, -1)
    assert params.logit_bias == ((7, 5.0), (50, -100.0))
    assert params.constraint == Constraint.json_schema(schema)
    assert (params.min_p, params.typical_p) == (0.05, 0.9)
    assert (params.no_repeat_ngram, params.min_tokens) == (3, 2)


@pytest.mark.parametrize("streamed", [True, False])
def test_beam_search(server: str, engine: ScriptedEngine, streamed: bool) -> None:
    body = {"model": "harbour", "messages": QUESTION, "stream": streamed}
    body |= {"num_beams": 4, "length_penalty": 0.5, "early_stopping": "never"}
    assert HTTP.post(f"{server}/v1/chat/completions", json=body).status_code == 200
    params = engine.params[-1]
    assert (params.beams, params.length_penalty, params.early_stopping) == (4, 0.5, "never")
    assert params.temperature == 0.0


def test_defaults_are_the_assistants_own(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    client.chat.completions.create(model="harbour", messages=QUESTION, max_tokens=9)
    assert engine.params[-1].temperature == 0.0  # the assistant's, not the engine's 0.7
    assert engine.params[-1].max_tokens == 9


def test_length_is_told(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="harbour", messages=QUESTION, max_tokens=2)
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content == "The gate"


def test_text_parts_and_roles(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    parts = [{"type": "text", "text": "How long does"}, {"type": "text", "text": "the gate open?"}]
    client.chat.completions.create(
        model="harbour",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": parts},
        ],
    )
    asked = engine.asked[-1]
    assert [m.role for m in asked] == ["system", "user", "assistant", "user"]
    assert "Be brief." in asked[0].content
    assert "How long does\nthe gate open?" in asked[-1].content


def test_what_did_not_fit_is_told(client: openai.OpenAI, engine: ScriptedEngine) -> None:
    engine.context = 420
    long = "word " * 60
    turns = [{"role": "user", "content": long}, {"role": "assistant", "content": long}] * 3
    reply = client.chat.completions.create(model="harbour", messages=[*turns, *QUESTION])
    assert any("left out" in note for note in reply.choices[0].message.left_out)


def test_several_at_a_time_and_one_too_many(server: str, engine: ScriptedEngine) -> None:
    engine.seconds = 0.05
    engine.answer = lambda _: "word " * 400
    body = {"model": "harbour", "messages": QUESTION, "stream": True}
    url = f"{server}/v1/chat/completions"
    with httpx.Client(verify=False) as http:
        streams = [http.stream("POST", url, json=body) for _ in range(3)]
        opened = [stream.__enter__() for stream in streams]
        assert [one.status_code for one in opened] == [200] * 3
        until(lambda: engine.active == 3)
        refused = http.post(url, json=body)
        assert refused.status_code == 429 and refused.headers["retry-after"]
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert http.get(f"{server}/healthz").json()["active"] == 3
        for one in opened:
            one.close()
    until(lambda: engine.active == 0)
    until(lambda: HTTP.get(f"{server}/healthz").json()["active"] == 0)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_disconnect_stops_the_generation(
    server: str, engine: ScriptedEngine, streamed: bool
) -> None:
    engine.seconds = 0.02
    engine.answer = lambda _: "word " * 400  # 8 seconds if nobody stopped it
    body = {"model": "harbour", "messages": QUESTION, "stream": streamed}
    url = f"{server}/v1/chat/completions"
    with httpx.Client(verify=False) as http:
        if streamed:
            with http.stream("POST", url, json=body) as reply:
                pieces = reply.iter_text()  # kept: httpx hangs up when the iterator is gone
                next(pieces)
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post(url, json=body, timeout=0.3)
    until(lambda: engine.active == 0, seconds=2)
    assert 0 < engine.said < 200
    assert HTTP.get(f"{server}/healthz").json()["active"] == 0
    engine.seconds = 0.0
    assert HTTP.post(url, json={**body, "stream": False}).status_code == 200


def test_a_disconnect_before_the_first_word(server: str, engine: ScriptedEngine) -> None:
    engine.seconds = 30  # a long prefill: no piece comes for half a minute
    body = {"model": "harbour", "messages": QUESTION, "stream": True}
    with pytest.raises(httpx.ReadTimeout):
        HTTP.post(f"{server}/v1/chat/completions", json=body, timeout=0.3)
    until(lambda: engine.active == 0, seconds=2)


def test_a_client_that_reads_nothing_holds_nothing_up(server: str, engine: ScriptedEngine) -> None:
    """Its answer is far larger than the socket buffers; after `stall_seconds` it is given up."""
    import socket

    engine.answer = lambda _: " ".join(["x" * 100_000] * 200)
    body = json.dumps({"model": "harbour", "messages": QUESTION, "stream": True}).encode()
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        until(lambda: engine.said == 200)  # the engine was not slowed by it
        until(lambda: HTTP.get(f"{server}/healthz").json()["active"] == 0, seconds=5)


def test_an_error_in_the_middle_is_told_in_the_stream(
    client: openai.OpenAI, engine: ScriptedEngine
) -> None:
    engine.answer = lambda _: "so far CRASH"
    stream = client.chat.completions.create(model="harbour", messages=QUESTION, stream=True)
    got = []
    with pytest.raises(openai.APIError) as told:
        got.extend(chunk.choices[0].delta.content for chunk in stream)
    assert "somebody" not in str(told.value) and "RuntimeError" in str(told.value)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="harbour", messages=QUESTION)


def test_the_loop_is_never_blocked(server: str, engine: ScriptedEngine) -> None:
    """While an answer that takes long is written, the health check answers in no time."""
    engine.seconds = 0.5
    body = {"model": "harbour", "messages": QUESTION, "stream": True}
    with (
        httpx.Client(verify=False) as http,
        http.stream("POST", f"{server}/v1/chat/completions", json=body),
    ):
        for _ in range(5):
            assert HTTP.get(f"{server}/healthz").elapsed.total_seconds() < 0.4
