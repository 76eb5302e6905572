"""What is refused, with which status, in OpenAI's form; and what passes the guard."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_server import HTTP, ScriptedEngine
from chatwright.serve.openai.chat_request import ChatRequest

USER = {"role": "user", "content": "spring tide?"}
GOOD: dict[str, Any] = {"model": "harbour", "messages": [USER]}


def post(server: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    return HTTP.post(f"{server}/v1/chat/completions", content=content, headers=headers)


def refused(reply: httpx.Response, status: int) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": True}, "n"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"chat_template": "{{ messages }}"}, "chat_template"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": "json_object"}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": -2.1}, "frequency_penalty"),
        ({"logit_bias": {"50": 101}}, "logit_bias.50"),
        ({"logit_bias": {"the": 1}}, "logit_bias.the"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {str(i): 1 for i in range(1001)}}, "logit_bias"),
        ({"min_p": 1.1}, "min_p"),
        ({"typical_p": 0}, "typical_p"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": 9}, "num_beams"),
        ({"num_beams": 2, "temperature": 0.5}, "temperature"),
        ({"length_penalty": 2.0}, "length_penalty"),
        ({"early_stopping": "soon", "num_beams": 2}, "early_stopping"),
        ({"colour": "red"}, "colour"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2**63}, "top_k"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 501}, "max_tokens"),
        ({"max_completion_tokens": 2**63}, "max_completion_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -1}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ["a" * 201]}, "stop"),
        ({"stop": ""}, "stop.0"),
        ({"stream": "yes"}, "stream"),
        ({"model": 7}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [USER] * 21}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}, USER]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "function", "content": "x"}, USER]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content",
        ),
        ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages"),
    ],
)
def test_bad_fields(
    server: str, engine: ScriptedEngine, change: dict[str, Any], param: str
) -> None:
    error = refused(post(server, GOOD | change), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert engine.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model": "harbour", "messages": [' + b"[" * 5000,
        b'{"model": "harbour", "temperature": NaN, "messages": []}',
        b'{"model": "harbour", "temperature": Infinity, "messages": []}',
        b'{"model": "harbour", "temperature": 1e999, "messages": [{"role":"user","content":"x"}]}',
        b'{"model": "harbour", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "harbour", "messages": [{"role": "user", "content": "\\ud800"}]}',
    ],
)
def test_bad_json(server: str, body: bytes) -> None:
    refused(post(server, body), 400)


def test_null_and_neutral_values_pass(server: str) -> None:
    neutral = {"n": 1, "tools": None, "presence_penalty": 0, "logit_bias": {}, "stop": None}
    neutral |= {
        "response_format": {"type": "text"},
        "tool_choice": "none",
        "seed": None,
        "top_k": 0,
    }
    assert post(server, GOOD | neutral | {"temperature": 1, "metadata": {"a": "b"}}).is_success


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as told:
        client.chat.completions.create(model="nobody", messages=[USER])
    assert told.value.code == "model_not_found" and told.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_question_that_does_not_fit(
    client: openai.OpenAI, engine: ScriptedEngine, streamed: bool
) -> None:
    engine.context = 100
    long = {"role": "user", "content": "word " * 200}
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(model="harbour", messages=[long], stream=streamed)
    assert told.value.code == "context_length_exceeded"


def test_an_empty_question(server: str) -> None:
    refused(post(server, GOOD | {"messages": [{"role": "user", "content": " \n"}]}), 400)


def test_too_large_is_413_whether_announced_or_not(server: str) -> None:
    large = GOOD | {"messages": [{"role": "user", "content": "x" * 60_000}]}
    error = refused(post(server, large), 413)
    assert error["code"] == "body_too_large"

    def pieces() -> Any:
        for _ in range(70):
            yield b" " * 1000

    reply = HTTP.post(
        f"{server}/v1/chat/completions",
        content=pieces(),
        headers={"content-type": "application/json"},
    )
    refused(reply, 413)


def test_other_content_types(server: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        refused(post(server, GOOD, **{"content-type": kind}), 415)


def test_no_such_route_and_method(server: str) -> None:
    refused(HTTP.get(f"{server}/v1/nothing"), 404)
    refused(HTTP.get(f"{server}/v1/chat/completions"), 405)
    refused(HTTP.get(f"{server}/v1/chatwright/passages/x"), 400)
    for path in ("/assets/../app.py", "/assets/%2e%2e/app.py", "/assets/..%2fapp.py", "/docs"):
        assert HTTP.get(f"{server}{path}").status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:1234", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("192.168.7.9:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:8000", 421),
        ("a@localhost", 400),
        ("localhost/x", 400),
        ("", 400),
    ],
)
def test_host_is_checked(server: str, host: str, status: int) -> None:
    assert HTTP.get(f"{server}/v1/models", headers={"host": host}).status_code == status


def test_two_hosts_are_refused(server: str) -> None:
    name, port = server.removeprefix("http://").split(":")
    with socket.create_connection((name, int(port))) as raw:
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        assert b" 400 " in raw.recv(200)


def test_requests_from_other_pages_are_refused(server: str, engine: ScriptedEngine) -> None:
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": server.replace("http:", "https:") + "1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        refused(post(server, GOOD, **headers), 403)
    assert engine.asked == []
    assert post(server, GOOD, **{"origin": server, "sec-fetch-site": "same-origin"}).is_success


def test_no_cross_origin_access_is_granted(server: str) -> None:
    reply = HTTP.options(
        f"{server}/v1/chat/completions",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_safe_headers_are_on_everything(server: str) -> None:
    replies = [HTTP.get(f"{server}{path}") for path in ("/", "/v1/models", "/nothing")]
    replies += [post(server, GOOD), post(server, b"{"), HTTP.get(server, headers={"host": "x"})]
    for reply in replies:
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["referrer-policy"] == "no-referrer"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = st.sampled_from([*ChatRequest.model_fields, "n", "tools", "response_format", "logit_bias"])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change=st.dictionaries(fields, values, max_size=3))
def test_no_value_makes_the_server_fail(server: str, change: dict[str, Any]) -> None:
    reply = post(server, GOOD | change)
    assert reply.status_code in (200, 400, 404), reply.text
