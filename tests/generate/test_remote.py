"""The remote engine against a server with faults, over real sockets, and against an actual one."""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_fake import (
    CHAT,
    PLAIN,
    USAGE,
    Exchange,
    Fake,
    fails,
    gives,
    says,
    serving,
)

from chatwright.assist import Assistant, AssistantSettings
from chatwright.errors import ChatwrightError, ContextError, UsageError
from chatwright.generate.params import Constraint, SamplingParams
from chatwright.generate.remote import RemoteEngine, RemoteError, Timeouts, is_remote, open_remote
from chatwright.generate.remote_dialects import Server, ServerName, request_body
from chatwright.generate.remote_http import Call
from chatwright.generate.remote_tokens import estimated_tokens
from chatwright.records import Message
from chatwright.workspace import cache_folder

HI = [{"role": "user", "content": "Hi"}]
GREEDY = SamplingParams(temperature=0.0, max_tokens=8)
KEY = "sk-a-very-secret-key"
DIALECTS: list[ServerName] = ["openai", "vllm", "llama-server", "llama-cpp-python", "ollama"]


@pytest.fixture
def fake() -> Iterator[Fake]:
    with serving() as server:
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each pause before another attempt would have been; none is made."""
    asked: list[float] = []
    monkeypatch.setattr(Call, "wait", lambda self, seconds: asked.append(seconds) or self.broken)
    return asked


@contextmanager
def engine_at(fake: Fake, **settings: Any) -> Iterator[RemoteEngine]:
    with RemoteEngine(fake.url, "tiny", **settings) as engine:
        yield engine


def test_an_answer_comes_in_pieces_and_whole(fake: Fake) -> None:
    with engine_at(fake) as engine:
        request = engine.stream([Message("system", "Be brief."), *HI], GREEDY)
        pieces = list(request)
        answer = request.result()
    assert [p.text for p in pieces] == ["Hel", "lo", "!", ""]
    assert [p.completion for p in pieces[:-1]] == [None] * 3
    assert pieces[-1].completion == answer
    assert (answer.text, answer.finish_reason) == ("Hello!", "stop")
    assert (answer.prompt_tokens, answer.cached_tokens, answer.token_ids) == (7, 5, [-1] * 3)
    sent = fake.asked(CHAT)[0].body
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, *HI]
    assert (sent["temperature"], sent["max_tokens"], sent["stream"]) == (0.0, 8, True)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("stop", "stop"), ("length", "length"), ("tool_calls", "stop")]
)
def test_finish_reasons(fake: Fake, theirs: str, ours: str) -> None:
    fake.on(CHAT, says(reason=theirs))
    with engine_at(fake) as engine:
        assert engine.chat(HI, GREEDY).finish_reason == ours


def test_logprobs_and_token_ids(fake: Fake) -> None:
    def answer(exchange: Exchange) -> None:
        assert exchange.body["logprobs"] is True
        assert exchange.body["top_logprobs"] == 2
        exchange.head()
        for token, text in ((11, "a"), (12, "b")):
            tops = [{"token": text, "logprob": -0.5, "id": token}, {"token": "z", "logprob": -1.5}]
            content = [{"token": text, "logprob": -0.5, "top_logprobs": tops}]
            exchange.say(text, logprobs={"content": content}, token_ids=[token])
        exchange.finish()

    fake.on(CHAT, answer)
    with engine_at(fake) as engine:
        params = SamplingParams(temperature=0.0, logprobs=True, top_logprobs=2)
        made = engine.chat(HI, params)
    assert made.token_ids == [11, 12]
    assert made.logprobs == [-0.5, -0.5]
    assert made.top_logprobs == [[(11, -0.5), (-1, -1.5)], [(12, -0.5), (-1, -1.5)]]


def test_logprobs_that_do_not_come_are_missed(fake: Fake) -> None:
    with engine_at(fake) as engine, pytest.raises(UsageError, match="logprobs"):
        engine.chat(HI, SamplingParams(logprobs=True))


def test_plain_completions_with_logprobs_of_the_older_form(fake: Fake) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.head()
        logprobs = {"tokens": [" is"], "token_logprobs": [-0.25], "top_logprobs": [{" is": -0.25}]}
        exchange.say(f" {exchange.body['prompt']}", logprobs=logprobs)
        exchange.finish("length")

    fake.on(PLAIN, answer)
    with engine_at(fake) as engine:
        params = SamplingParams(temperature=0.0, logprobs=True, max_tokens=1)
        made = engine.generate(["one", [5, 6]], params)
        assert [m.text for m in made] == [" one", " [5, 6]"]
        assert [m.logprobs for m in made] == [[-0.25], [-0.25]]
        assert engine.submit([5, 6], params).result().text == " [5, 6]"
        with pytest.raises(UsageError, match="list of prompts"):
            engine.generate("one")
        with pytest.raises(ContextError, match="empty"):
            engine.generate([""])


def test_several_answers_are_requests_of_their_own(fake: Fake) -> None:
    fake.on(CHAT, lambda e: says([f"seed {e.body['seed']}"])(e))
    with engine_at(fake) as engine:
        made = engine.stream(HI, SamplingParams(n=3, seed=40)).results()
    assert [(m.index, m.text) for m in made] == [(0, "seed 40"), (1, "seed 41"), (2, "seed 42")]


def test_the_best_of_several_by_mean_logprob(fake: Fake) -> None:
    def answer(exchange: Exchange) -> None:
        seed = exchange.body["seed"]
        content = [{"token": "x", "logprob": {1: -3.0, 2: -1.0, 3: -2.0}[seed], "top_logprobs": []}]
        exchange.head()
        exchange.say(f"seed {seed}", logprobs={"content": content})
        exchange.finish()

    fake.on(CHAT, answer)
    with engine_at(fake) as engine:
        request = engine.stream(HI, SamplingParams(n=2, best_of=3, seed=1))
        pieces = list(request)
    assert [p.text for p in pieces] == ["seed 2", "seed 3"]
    assert [(m.index, m.score) for m in request.results()] == [(0, -1.0), (1, -2.0)]
    assert request.results()[0].logprobs is None  # they were not asked for


def test_conversations_are_answered_side_by_side_within_a_bound_and_in_order(fake: Fake) -> None:
    fake.on(CHAT, lambda e: says([e.body["messages"][0]["content"]], seconds=0.03)(e))
    with engine_at(fake, max_batch=3) as engine:
        asked = [[{"role": "user", "content": str(i)}] for i in range(9)]
        assert [m.text for m in engine.chat_many(asked, GREEDY)] == [str(i) for i in range(9)]
        assert engine.load == (0, 0)
    assert fake.most == 3


# --- the stream, however it is cut

TEXTS = ["Hello", " wörld", "，世界", "🙂", " ", "\n\n", "data: x", "\u2028", ""]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_a_stream_means_the_same_however_it_is_cut(
    texts: list[str], newline: str, cuts: list[int], spread: bool, done: bool
) -> None:
    lines = [": a comment", "", "event: message", "id: 3", "retry: 10"]
    for text in texts:
        value = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        written = json.dumps(value, ensure_ascii=False, indent=1 if spread else None)
        lines += [f"data:{' ' if spread else ''}{line}" for line in written.split("\n")]
        lines += ["", ": ping", ""]
    lines += ['data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}', ""]
    lines += ["data: [DONE]", ""] if done else []
    raw = newline.join([*lines, ""]).encode()

    def answer(exchange: Exchange) -> None:
        exchange.head(kind="text/event-stream; charset=latin-1")
        at, turn = 0, 0
        while at < len(raw):
            exchange.raw(raw[at : (at := at + cuts[turn % len(cuts)])])
            turn += 1

    with serving() as fake:
        fake.on(CHAT, answer)
        with engine_at(fake) as engine:
            made = engine.chat(HI, GREEDY)
    assert (made.text, made.finish_reason) == ("".join(texts), "stop")


def test_a_server_that_does_not_stream_is_read_all_the_same(fake: Fake) -> None:
    said = {"message": {"content": "All at once."}, "finish_reason": "length", "index": 0}
    fake.on(CHAT, gives({"choices": [said], "usage": USAGE}))
    with engine_at(fake) as engine:
        made = engine.chat(HI, GREEDY)
        assert (made.text, made.finish_reason, made.prompt_tokens) == ("All at once.", "length", 7)
        fake.on(
            CHAT, lambda e: e.bytes(b'{"choices": [{"message": {"content": "Hm"}}]}', kind="x/y")
        )
        made = engine.chat(HI, GREEDY)
        assert (made.text, made.finish_reason) == ("Hm", "stop")


@pytest.mark.parametrize("ending", ["close", "reset", "error", "nonsense", "filter"])
def test_a_stream_that_breaks_off_is_an_error_that_keeps_what_came(fake: Fake, ending: str) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.head()
        exchange.say("The first ")
        exchange.say("half")
        time.sleep(0.05)
        if ending == "error":
            exchange.event({"error": {"message": "out of memory", "code": 500}})
        elif ending == "nonsense":
            exchange.raw(b"data: {not json\n\n")
        elif ending == "filter":
            exchange.finish("content_filter")
        elif ending == "reset":
            exchange.reset()

    fake.on(CHAT, answer)
    with engine_at(fake) as engine:
        request = engine.stream(HI, GREEDY)
        assert [next(request).text, next(request).text] == ["The first ", "half"]
        with pytest.raises(RemoteError) as caught:
            request.result()
        assert caught.value.text == "The first half"
        assert caught.value.where == fake.url + "/chat/completions"
        with pytest.raises(RemoteError):  # and again, whoever asks
            next(request)
    assert len(fake.asked(CHAT)) == 1  # never a second time after the first token


def test_thoughts_are_not_the_answer_but_are_progress(fake: Fake) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.head()
        for _ in range(4):
            time.sleep(0.06)
            exchange.event({"choices": [{"delta": {"reasoning_content": "hm"}}]})
        exchange.say("Yes")
        exchange.finish()

    fake.on(CHAT, answer)
    with engine_at(fake, timeout=Timeouts(first_token=0.2, between_tokens=0.2)) as engine:
        assert engine.chat(HI, GREEDY).text == "Yes"


# --- tried again, or not


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(fake: Fake, status: int, waits: list[float]) -> None:
    fake.on(CHAT, fails(status), fails(status), says())
    with engine_at(fake) as engine:
        assert engine.chat(HI, GREEDY).text == "Hello!"
    assert len(waits) == 2
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1.0


def test_a_connection_that_breaks_before_the_first_token_is_made_again(
    fake: Fake, waits: list[float]
) -> None:
    def role_only(exchange: Exchange) -> None:
        exchange.head()
        exchange.event({"choices": [{"delta": {"role": "assistant"}}]})
        time.sleep(0.02)
        exchange.reset()

    fake.on(CHAT, lambda e: e.reset(), role_only, says())
    with engine_at(fake) as engine:
        assert engine.chat(HI, GREEDY).text == "Hello!"
    assert len(fake.asked(CHAT)) == 3


def test_retry_after_is_kept_to(fake: Fake, waits: list[float]) -> None:
    fake.on(CHAT, fails(429, Retry_After="7"), says())
    with engine_at(fake) as engine:
        assert engine.chat(HI, GREEDY).text == "Hello!"
    assert 7.0 <= waits[0] < 7.2


def test_a_retry_after_of_an_hour_is_not_waited_for(fake: Fake, waits: list[float]) -> None:
    fake.on(CHAT, fails(429, "slow down", Retry_After="3600"))
    with engine_at(fake) as engine, pytest.raises(RemoteError, match="slow down") as caught:
        engine.chat(HI, GREEDY)
    assert "3600" in (caught.value.hint or "")
    assert waits == []


def test_it_gives_up_in_the_end(fake: Fake, waits: list[float]) -> None:
    fake.on(CHAT, fails(503, "loading the model"))
    with engine_at(fake, retries=2) as engine, pytest.raises(RemoteError, match="loading"):
        engine.chat(HI, GREEDY)
    assert len(fake.asked(CHAT)) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_what_would_fail_again_is_not_asked_again(
    fake: Fake, status: int, waits: list[float]
) -> None:
    fake.on(CHAT, fails(status, "nothing doing"))
    with engine_at(fake) as engine, pytest.raises(ChatwrightError, match="nothing doing") as caught:
        engine.chat(HI, GREEDY)
    assert len(fake.asked(CHAT)) == 1
    assert (caught.value.where or "").startswith(fake.url)


def test_a_pause_before_another_attempt_ends_when_cancelled(fake: Fake) -> None:
    fake.on(CHAT, fails(503, Retry_After="20"))
    with engine_at(fake) as engine:
        request = engine.stream(HI, GREEDY)
        _wait(lambda: len(fake.asked(CHAT)) == 1)
        started = time.monotonic()
        request.cancel()
        assert request.result().finish_reason == "cancelled"
        assert time.monotonic() - started < 2.0


# --- time


def _stalls(after: int, ping: bool = True) -> Any:
    def answer(exchange: Exchange) -> None:
        exchange.head()
        for _ in range(after):
            exchange.say("tick ")
        exchange.hang(ping=ping)

    return answer


@pytest.mark.parametrize("ping", [False, True])
@pytest.mark.parametrize("after", [0, 2])
def test_a_stall_is_an_error_even_when_the_server_sends_comments(
    fake: Fake, ping: bool, after: int
) -> None:
    fake.on(CHAT, _stalls(after, ping))
    times = Timeouts(first_token=0.2, between_tokens=0.15)
    with engine_at(fake, timeout=times) as engine:
        started = time.monotonic()
        with pytest.raises(RemoteError, match="came for 0 seconds") as caught:
            engine.chat(HI, GREEDY)
        assert time.monotonic() - started < 2.0
    assert caught.value.text == "tick " * after
    _wait(lambda: fake.asked(CHAT)[0].gone)  # the connection was closed
    assert len(fake.asked(CHAT)) == 1


def test_a_long_first_token_time_does_not_hide_a_stall_between_tokens(fake: Fake) -> None:
    fake.on(CHAT, _stalls(1))
    with engine_at(fake, timeout=Timeouts(first_token=60, between_tokens=0.15)) as engine:
        started = time.monotonic()
        with pytest.raises(RemoteError, match="nothing more"):
            engine.chat(HI, GREEDY)
        assert time.monotonic() - started < 2.0


def test_the_time_of_the_whole_gives_what_there_is(fake: Fake) -> None:
    fake.on(CHAT, _stalls(2))
    with engine_at(fake) as engine:
        made = engine.chat(HI, SamplingParams(timeout=0.3))
    assert (made.text, made.finish_reason) == ("tick tick ", "timeout")


def test_the_time_of_the_whole_counts_from_submission(fake: Fake) -> None:
    fake.on(CHAT, _stalls(0))
    with engine_at(fake, max_batch=1) as engine:
        first = engine.stream(HI, SamplingParams(timeout=5.0))
        waiting = engine.stream(HI, SamplingParams(timeout=0.2))
        started = time.monotonic()
        assert waiting.result().finish_reason == "timeout"
        assert time.monotonic() - started < 2.0
        first.cancel()
    assert len(fake.asked(CHAT)) == 1  # it was never sent


# --- cancelled


def test_cancelling_closes_the_connection_and_keeps_what_came(fake: Fake) -> None:
    fake.on(CHAT, _stalls(2, ping=False))
    with engine_at(fake) as engine:
        request = engine.stream(HI, GREEDY)
        assert next(request).text == "tick "
        threading.Timer(0.1, request.cancel).start()  # while the reader waits
        made = request.result()
        assert (made.text, made.finish_reason) == ("tick tick ", "cancelled")
        _wait(lambda: fake.asked(CHAT)[0].gone)
        _wait(lambda: engine.load == (0, 0))
        request.cancel()  # nothing happens
        assert request.result() == made


def test_cancelling_before_the_server_has_answered_at_all(fake: Fake) -> None:
    fake.on(CHAT, lambda e: e.hang())
    with engine_at(fake) as engine:
        request = engine.stream(HI, GREEDY)
        _wait(lambda: len(fake.asked(CHAT)) == 1)
        request.close()
        assert request.result().finish_reason == "cancelled"
        _wait(lambda: fake.asked(CHAT)[0].gone)


def test_a_request_that_nobody_holds_is_cancelled(fake: Fake) -> None:
    fake.on(CHAT, _stalls(1, ping=False))
    with engine_at(fake) as engine:
        request = engine.stream(HI, GREEDY)
        next(request)
        del request
        gc.collect()
        _wait(lambda: fake.asked(CHAT)[0].gone)


def test_closing_the_engine_ends_what_runs(fake: Fake) -> None:
    fake.on(CHAT, _stalls(1, ping=False))
    engine = RemoteEngine(fake.url)
    requests = [engine.stream(HI, GREEDY) for _ in range(12)]
    next(requests[0])
    engine.close()
    engine.close()
    assert [r.result().finish_reason for r in requests] == ["cancelled"] * 12
    with pytest.raises(UsageError, match="closed"):
        engine.stream(HI, GREEDY)


def test_nothing_is_left_behind_by_requests_that_come_and_go(fake: Fake) -> None:
    fake.on(CHAT, says([f"{i} " for i in range(12)], seconds=0.004))
    before = threading.active_count()
    chance = random.Random(7)
    with engine_at(fake, max_batch=6) as engine:
        running = []
        for _ in range(60):
            request = engine.stream(HI, SamplingParams(n=chance.choice([1, 1, 2])))
            running.append((request, chance.random() < 0.5))
            if running[-1][1]:
                threading.Timer(chance.random() * 0.15, request.cancel).start()
        for request, called_off in running:
            for answer in request.results():
                whole = "".join(f"{i} " for i in range(12))
                assert answer.text == whole or (called_off and whole.startswith(answer.text))
                assert answer.finish_reason == "stop" or called_off
        _wait(lambda: engine.load == (0, 0))
    _wait(lambda: fake.active == 0)
    _wait(lambda: threading.active_count() <= before)


# --- what can be wrong


def test_no_server(waits: list[float]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(RemoteError, match="no connection") as caught:
            RemoteEngine(url, "tiny")
    assert (caught.value.where or "").startswith(url)
    assert "start the server" in (caught.value.hint or "")
    assert len(waits) == 3


def test_a_model_that_is_not_there(fake: Fake) -> None:
    with pytest.raises(UsageError, match="'huge'") as caught:
        RemoteEngine(fake.url, "huge")
    assert "tiny" in (caught.value.hint or "")
    fake.on(CHAT, fails(404, "The model `tiny` does not exist.", "model_not_found"))
    with engine_at(fake) as engine, pytest.raises(UsageError, match="does not know") as caught:
        engine.chat(HI, GREEDY)
    assert "tiny" in (caught.value.hint or "")


def test_which_model_where_there_are_several(fake: Fake) -> None:
    fake.on("/v1/models", gives({"data": [{"id": "a:latest"}, {"id": "b"}]}))
    with pytest.raises(UsageError, match="name one") as caught:
        RemoteEngine(fake.url)
    assert "a:latest, b" in (caught.value.hint or "")
    with RemoteEngine(fake.url, "a") as engine:
        assert engine.server.model == "a:latest"


@pytest.mark.parametrize("page", [b"<html>Welcome</html>", b"[1, 2]", b'{"data": 3}', b"\xff\xfe"])
def test_something_that_is_no_such_server(fake: Fake, page: bytes) -> None:
    fake.on("/v1/models", lambda e: e.bytes(page))
    with pytest.raises(RemoteError) as caught:
        RemoteEngine(fake.url, "tiny")
    assert "/v1" in (caught.value.hint or "")


TOO_LONG = [
    ("vllm", 400, "This model's maximum context length is 400 tokens. However, you requested 507 "
     "tokens (500 in the messages, 7 in the completion).", {}),
    ("llama-server", 400, "the request exceeds the available context size",
     {"type": "exceed_context_size_error", "n_prompt_tokens": 500, "n_ctx": 400}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status", "message", "more"), TOO_LONG)
def test_a_prompt_that_does_not_fit(
    kind: str, status: int, message: str, more: dict[str, Any]
) -> None:
    with serving(kind) as fake:
        error = {"message": message, **more}
        fake.on(CHAT, lambda e: e.json({"error": error}, status))
        with engine_at(fake) as engine:
            assert engine.context > 400
            with pytest.raises(ContextError, match="too long") as caught:
                engine.chat(HI, GREEDY)
            assert engine.context == 400  # what it said counts from now on
        assert "shorten" in (caught.value.hint or "")
        assert len(fake.asked(CHAT)) == 1


def test_an_answer_gets_as_much_room_as_there_is(fake: Fake) -> None:
    message = (
        "'max_tokens' or 'max_completion_tokens' is too large: 900. This model's maximum context "
        "length is 512 tokens and your request has 12 input tokens (900 > 512 - 12)."
    )
    fake.on(CHAT, fails(400, message), says(reason="length"))
    with engine_at(fake) as engine:
        made = engine.chat(HI, SamplingParams(max_tokens=900))
    assert (made.text, made.finish_reason) == ("Hello!", "length")
    assert [e.body["max_tokens"] for e in fake.asked(CHAT)] == [900, 500]


def test_what_must_fit_is_counted_before_it_is_sent(fake: Fake) -> None:
    fake.on("/tokenize", gives({"tokens": list(range(20)), "count": 20}))
    with engine_at(fake) as engine:
        with pytest.raises(ContextError, match="20 tokens"):
            engine.chat(HI, SamplingParams(max_tokens=493, window_end="refuse"))
        assert engine.chat(HI, SamplingParams(max_tokens=492, window_end="refuse")).text
    assert len(fake.asked(CHAT)) == 1


def test_ollama_would_cut_a_long_prompt_without_a_word() -> None:
    with serving("ollama") as fake, engine_at(fake) as engine:
        assert (engine.server.name, engine.context) == ("ollama", 300)
        with pytest.raises(ContextError, match="num_ctx"):
            engine.chat([{"role": "user", "content": "字" * 200}], GREEDY)
        assert fake.asked(CHAT) == []


def test_a_server_that_can_only_say_it_without_streaming() -> None:
    def mute(exchange: Exchange) -> None:
        if exchange.body["stream"]:
            exchange.head()
        else:
            fails(400, "maximum context length is 64 tokens", "context_length_exceeded")(exchange)

    with serving("llama-cpp-python") as fake:
        fake.on(CHAT, mute)
        with engine_at(fake) as engine, pytest.raises(ContextError, match="64 tokens"):
            engine.chat(HI, GREEDY)


# --- keys


def test_a_key_is_sent_and_never_shown(
    fake: Fake, caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.on(CHAT, fails(401, f"Incorrect API key provided: {KEY}."))
    with engine_at(fake, api_key=KEY) as engine:
        with pytest.raises(RemoteError, match="accept the key") as caught:
            engine.chat(HI, GREEDY)
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        shown += repr(engine) + repr(vars(engine)) + repr(engine.stats()) + caplog.text
    assert KEY not in shown
    assert {e.headers["Authorization"] for e in fake.seen} == {f"Bearer {KEY}"}


def test_a_key_does_not_follow_a_redirect_to_another_host(fake: Fake) -> None:
    with serving() as other:
        fake.on(CHAT, lambda e: e.json({}, 307, Location=other.url + "/chat/completions"))
        with engine_at(fake, api_key=KEY) as engine, pytest.raises(RemoteError, match="sends one"):
            engine.chat(HI, GREEDY)
        assert other.seen == []


def test_a_redirect_on_the_same_host_is_followed(fake: Fake) -> None:
    fake.on(CHAT, lambda e: e.json({}, 308, Location="/other/chat"))
    fake.on("/other/chat", says(["moved"]))
    with engine_at(fake, api_key=KEY) as engine:
        assert engine.chat(HI, GREEDY).text == "moved"
    fake.on(CHAT, lambda e: e.json({}, 307, Location=CHAT))
    with engine_at(fake) as engine, pytest.raises(RemoteError, match="address to address"):
        engine.chat(HI, GREEDY)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://somewhere.example/v1", KEY),  # it could be read on its way
        ("http://me:hunter2@localhost/v1", None),
        ("http://localhost/v1?api_key=abc", None),
        ("ftp://localhost/v1", None),
        ("localhost:8080", None),
        ("http://localhost/v1", "two\nlines"),
    ],
)
def test_addresses_and_keys_that_are_refused(url: str, key: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        RemoteEngine(url, "tiny", api_key=key)
    assert "hunter2" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_references(fake: Fake, tmp_path: Path) -> None:
    reference = f"openai:{fake.url}#tiny"
    assert is_remote(reference)
    assert not is_remote("hf:somebody/model")
    assert not is_remote(Path("openai"))
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    for environ, sent in (
        ({}, None),
        ({"CHATWRIGHT_API_KEY": KEY}, KEY),
        ({"CHATWRIGHT_API_KEY_FILE": str(file)}, KEY),
        ({"OPENAI_API_KEY": KEY}, None),  # not OpenAI's host: it is not to see that key
        ({"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": fake.url}, KEY),
    ):
        fake.seen.clear()
        with open_remote(reference, environ=environ) as engine:
            assert (engine.server.model, engine.context) == ("tiny", 512)
        expected = {None} if sent is None else {f"Bearer {sent}"}
        assert {e.headers.get("Authorization") for e in fake.seen} == expected
    with open_remote(f"openai:{fake.url}?context=300", environ={}) as engine:
        assert (engine.server.model, engine.context) == ("tiny", 300)
    with pytest.raises(ContextError, match="window of 512"):
        open_remote(f"openai:{fake.url}?context=3000#tiny", environ={})
    for wrong in (f"openai:{fake.url}?key={KEY}#tiny", "hf:a/b"):
        with pytest.raises(UsageError) as caught:
            open_remote(wrong, environ={})
        assert KEY not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        open_remote(reference, environ={"CHATWRIGHT_API_KEY_FILE": str(tmp_path / "none")})


# --- what servers can do

CHANGED: dict[str, Any] = {
    "temperature": 0.3, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.9,
    "repetition_penalty": 1.2, "frequency_penalty": 0.5, "presence_penalty": 0.5,
    "no_repeat_ngram": 3, "logit_bias": {4: -1.0}, "min_tokens": 2, "max_tokens": 9,
    "stop": ("END",), "stop_tokens": (3,), "ignore_end": True, "seed": 1, "n": 2, "best_of": 2,
    "beams": 2, "length_penalty": 0.5, "early_stopping": True, "logprobs": True, "top_logprobs": 2,
    "guidance": 1.5, "negative_prompt": (1,), "constraint": Constraint.json_schema({"a": 1}),
    "lookup": 4, "window_end": "slide", "sinks": 8, "timeout": 1.0,
}  # fmt: skip
NEEDS: dict[str, dict[str, Any]] = {
    "beams": {"temperature": 0.0}, "length_penalty": {"temperature": 0.0, "beams": 2},
    "early_stopping": {"temperature": 0.0, "beams": 2}, "top_logprobs": {"logprobs": True},
    "negative_prompt": {"guidance": 1.5},
}  # fmt: skip
# Done on our side, or no part of what the answer is.
OURS = {"n", "timeout", "lookup", "sinks"}


@pytest.mark.parametrize("name", [*DIALECTS, "unknown"])
def test_no_setting_is_dropped_without_a_word(name: ServerName) -> None:
    server = Server(name, "tiny", version=(0, 11))
    refused = set()
    for field in (f.name for f in fields(SamplingParams)):
        needed = NEEDS.get(field, {})
        changed = SamplingParams(**needed, **{field: CHANGED[field]})
        try:
            body = request_body(changed, server)
        except UsageError as error:
            assert name in str(error)
            assert error.where in {field, *needed}
            refused.add(field)
        else:
            assert field in OURS or body != request_body(SamplingParams(**needed), server), field
    assert refused >= {"no_repeat_ngram", "beams", "guidance"}
    assert not refused & {"temperature", "top_p", "stop", "seed", "max_tokens", "n", "best_of"}


def test_the_extras_of_each_server() -> None:
    params = SamplingParams(top_k=7, min_p=0.1, repetition_penalty=1.2, stop=("a", "b"), seed=5)
    vllm = request_body(params, Server("vllm", "m"))
    assert (vllm["top_k"], vllm["min_p"], vllm["repetition_penalty"]) == (7, 0.1, 1.2)
    llama = request_body(params, Server("llama-server", "m"))
    assert (llama["top_k"], llama["repeat_penalty"], llama["repeat_last_n"]) == (7, 1.2, -1)
    assert (llama["stop"], llama["seed"], llama["model"]) == (["a", "b"], 5, "m")
    # Their own defaults (top_k 40, min_p 0.05) must not creep in.
    neutral = request_body(SamplingParams(), Server("llama-cpp-python", "m"))
    assert (neutral["top_k"], neutral["min_p"], neutral["repeat_penalty"]) == (0, 0.0, 1.0)
    assert request_body(SamplingParams(), Server("vllm", "m"))["top_k"] == -1
    with pytest.raises(UsageError, match="top_k"):
        request_body(params, Server("ollama", "m"))
    hosted = request_body(SamplingParams(max_tokens=3), Server("openai", "m"))
    assert hosted["max_completion_tokens"] == 3
    assert "max_tokens" not in hosted
    with pytest.raises(UsageError, match="4 stop"):
        request_body(SamplingParams(stop=tuple("abcde")), Server("openai", "m"))


def test_constraints_in_each_servers_words() -> None:
    schema = Constraint.json_schema({"type": "object", "properties": {"名": {"type": "string"}}})
    gbnf = Constraint.grammar('root ::= "yes" | "no"')

    def body(name: ServerName, constraint: Constraint, version: tuple[int, ...] = ()) -> Any:
        params = SamplingParams(constraint=constraint)
        return request_body(params, Server(name, "m", version=version))

    for name in ("openai", "vllm", "llama-server", "ollama"):
        form = body(name, schema)["response_format"]  # type: ignore[arg-type]
        assert form["json_schema"]["schema"]["properties"] == {"名": {"type": "string"}}
    assert body("llama-cpp-python", schema)["response_format"]["schema"]["type"] == "object"
    assert body("ollama", Constraint.json())["response_format"] == {"type": "json_object"}
    assert body("vllm", Constraint.regex("a+"), (0, 11))["structured_outputs"] == {"regex": "a+"}
    assert body("vllm", Constraint.regex("a+"), (0, 9))["guided_regex"] == "a+"
    assert body("llama-server", gbnf)["grammar"] == gbnf.text
    for name, constraint in (
        ("ollama", Constraint.regex("a")),
        ("llama-server", Constraint.regex("a")),
        ("openai", gbnf),
        ("vllm", Constraint.grammar("start: /a/")),
    ):
        with pytest.raises(UsageError, match="held to"):
            body(name, constraint)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "context"),
    [("vllm", 512), ("llama-server", 600), ("llama-cpp-python", 2048), ("ollama", 300),
     ("unknown", 4096)],
)  # fmt: skip
def test_servers_are_recognised(kind: str, context: int) -> None:
    with serving(kind) as fake, engine_at(fake) as engine:
        assert (engine.server.name, engine.context) == (kind, context)
    with serving(kind) as fake, RemoteEngine(fake.url, server="vllm", context=100) as engine:
        assert (engine.server.name, engine.context) == ("vllm", 100)


def test_tenants_of_vllm_do_not_share_a_prefix_cache(fake: Fake) -> None:
    with engine_at(fake) as engine:
        for tenant in ("ann", "ben", "ann", ""):
            engine.chat(HI, GREEDY, tenant=tenant)
    salts = [e.body.get("cache_salt") for e in fake.asked(CHAT)]
    assert salts[0] == salts[2] != salts[1]
    assert salts[3] is None
    assert "ann" not in str(salts)


# --- counting


def test_tokens_as_the_server_counts_them() -> None:
    with serving("vllm") as fake:
        fake.on("/tokenize", gives({"tokens": [1, 2, 3], "count": 3}))
        with engine_at(fake) as engine:
            assert engine.tokenizer.chat(HI) == [1, 2, 3]
            assert engine.tokenizer.chat(HI) == [1, 2, 3]
            assert len(fake.asked("/tokenize")) == 1  # remembered
            assert fake.asked("/tokenize")[0].body["messages"] == HI
    with serving("llama-server") as fake:
        fake.on("/apply-template", gives({"prompt": "<|im_start|>user\nHi"}))
        fake.on("/tokenize", gives({"tokens": [5, 6]}))
        with engine_at(fake) as engine:
            assert engine.tokenizer.chat(HI) == [5, 6]
            assert fake.asked("/tokenize")[0].body["content"] == "<|im_start|>user\nHi"
            fake.on("/apply-template", fails(404))  # an older one: the estimate
            assert len(engine.tokenizer.chat([*HI, *HI])) > 4
    with serving("llama-cpp-python") as fake:
        fake.on("/extras/tokenize/count", gives({"count": 100}))
        with engine_at(fake) as engine:
            tokens = engine.tokenizer.chat(HI)
            assert 100 < len(tokens) < 170
            with pytest.raises(UsageError, match="token ids"):
                list(tokens)


TEXT = [
    "The quick brown fox jumps over the lazy dog, and nobody minded it in the least.",
    "def f(x: int) -> dict[str, int]:\n    return {'a': x ** 2, \"b\": 0x1F}  # 12345678\n",
    "引擎读取提示，然后逐个生成词元，直到回答结束。2026年1月，气温为零下十二度。",
    "Ünïcödé naïveté — “quotes” … 🙂🙂 𝒳",
    "    indented\n\n\n\tand\t\ttabs   ",
    "pneumonoultramicroscopicsilicovolcanoconiosis https://example.com/a?b=c&d=%20e",
]


def test_the_estimate_is_never_below_what_a_real_tokenizer_makes() -> None:
    found = sorted(cache_folder().glob("models/*/SmolLM2-135M-Instruct.Q4_1.gguf"))
    if not found:
        pytest.skip("SmolLM2 is not in the download cache")
    from chatwright.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_gguf(found[0])
    for text in TEXT:
        assert estimated_tokens(text) >= len(tokenizer.encode(text)), text
    with serving("unknown") as fake, engine_at(fake) as engine:
        for text in TEXT:
            said = [{"role": "user", "content": text}, {"role": "assistant", "content": "Well."}]
            assert len(engine.tokenizer.chat([*said, *HI])) >= len(tokenizer.chat([*said, *HI]))


def test_an_assistant_answers_with_a_remote_engine(fake: Fake) -> None:
    def words(exchange: Exchange) -> None:
        total = sum(len(m["content"].split()) for m in exchange.body["messages"])
        exchange.json({"tokens": [0] * total, "count": total})

    fake.on("/tokenize", words)
    with engine_at(fake) as engine:
        assistant = Assistant(engine, None, AssistantSettings(sampling=GREEDY))
        old = [{"role": "user", "content": "word " * 300}, {"role": "assistant", "content": "Yes."}]
        answer = assistant.answer([*old, *old, {"role": "user", "content": "And now?"}])
    assert answer.text == "Hello!"
    assert "did not fit" in answer.left_out[0]
    assert len(fake.asked(CHAT)[0].body["messages"]) == 3  # the younger turns still fit


def test_messages_are_checked_before_anything_is_sent(fake: Fake) -> None:
    with engine_at(fake) as engine:
        with pytest.raises(ContextError, match="no messages"):
            engine.chat([])
        with pytest.raises(ChatwrightError, match="role"):
            engine.chat([{"role": "emperor", "content": "x"}])
        assert engine.chat([{"role": "user", "content": "a \ud800 b"}], GREEDY).text == "Hello!"
        assert fake.asked(CHAT)[0].body["messages"][0]["content"] == "a \ufffd b"
    assert len(fake.asked(CHAT)) == 1


# --- embeddings


def test_embeddings(fake: Fake) -> None:
    def answer(exchange: Exchange) -> None:
        texts = exchange.body["input"]
        rows = [{"index": i, "embedding": [float(len(t)), 0.0, 3.0]} for i, t in enumerate(texts)]
        exchange.json({"data": rows[::-1]})

    fake.on("/v1/embeddings", answer)
    with engine_at(fake) as engine:
        vectors = engine.embed(["four"] * 70 + [""])
        assert vectors.dtype == np.float32
        assert vectors.shape == (71, 3)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0)
        assert np.allclose(engine.embed(["four"], normalise=False), [[4.0, 0.0, 3.0]])
        assert np.allclose(vectors[0], [0.8, 0.0, 0.6])
        assert engine.embed([]).shape[0] == 0
        with pytest.raises(UsageError, match="pools"):
            engine.embed(["a"], pooling="last")
        fake.on("/v1/embeddings", gives({"data": [{"index": 0, "embedding": [1.0]}]}))
        with pytest.raises(RemoteError, match="one vector for each"):
            engine.embed(["a", "b"])


# --- an actual server


def _interpreter() -> Path | None:
    root = Path(__file__).parents[2]
    path = Path(os.environ.get("CHATWRIGHT_LLAMA_PYTHON", root / ".bench/llama/bin/python"))
    return path if path.exists() else None


@contextmanager
def _llama_server(model: Path, python: Path, log: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(python), "-m", "llama_cpp.server", "--model", str(model), "--model_alias", "smollm2",
        "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "512", "--n_threads", "2",
        "--logits_all", "true", "--chat_format", "chatml", "--api_key", KEY,
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            url = f"http://127.0.0.1:{port}/v1"
            for _ in range(600):
                if process.poll() is not None:
                    pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
                try:
                    httpx2.get(url + "/models", headers={"Authorization": f"Bearer {KEY}"})
                    break
                except httpx2.HTTPError:
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.slow
def test_against_an_actual_llama_cpp_server(tmp_path: Path) -> None:
    python = _interpreter()
    found = sorted(cache_folder().glob("models/*/SmolLM2-135M-Instruct.Q4_1.gguf"))
    if python is None:
        pytest.skip("no llama-cpp-python: set CHATWRIGHT_LLAMA_PYTHON to an interpreter with it")
    if not found:
        pytest.skip("SmolLM2 is not in the download cache")
    log = tmp_path / "server.log"
    with _llama_server(found[0], python, log) as url:
        with pytest.raises(RemoteError, match="accept the key"):
            RemoteEngine(url, api_key="wrong").chat(HI, GREEDY)
        with RemoteEngine(url, "smollm2", api_key=KEY) as engine:
            assert engine.server.name == "llama-cpp-python"
            question = [{"role": "user", "content": "What is the capital of France?"}]
            params = SamplingParams(temperature=0.0, max_tokens=12, logprobs=True, top_logprobs=3)
            request = engine.stream(question, params)
            pieces = list(request)
            made = request.result()
            assert "Paris" in made.text
            assert len([p for p in pieces if p.text]) > 3
            assert "".join(p.text for p in pieces) == made.text
            assert made.logprobs is not None
            assert len(made.logprobs) == len(made.token_ids) > 3
            assert made.top_logprobs is not None
            best = [max(p for _, p in tops) for tops in made.top_logprobs]
            assert made.logprobs == best  # greedy: each was the likeliest
            again = engine.chat_many([question] * 3, params)
            assert [a.text for a in again] == [made.text] * 3
            seeded = SamplingParams(temperature=1.0, seed=11, max_tokens=12)
            assert engine.chat(question, seeded).text == engine.chat(question, seeded).text
            assert (
                engine.chat(question, SamplingParams(temperature=0.0, max_tokens=2)).finish_reason
                == "length"
            )
            stopped = engine.chat(question, SamplingParams(temperature=0.0, stop=("France",)))
            assert made.text.startswith(stopped.text)
            assert (stopped.finish_reason, "France" in stopped.text) == ("stop", False)
            assert (
                "巴黎"
                in engine.chat(
                    [{"role": "user", "content": "Repeat exactly: 巴黎是法国的首都。"}],
                    SamplingParams(
                        temperature=0.0,
                        max_tokens=24,
                        constraint=Constraint.grammar('root ::= "巴黎" [a-z]*'),
                    ),
                ).text
            )
            form = {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            }
            told = engine.chat(question, SamplingParams(
                temperature=0.0, max_tokens=60, constraint=Constraint.json_schema(form)
            )).text  # fmt: skip
            assert set(json.loads(told)) == {"city"}
            with pytest.raises(ContextError):
                engine.chat([{"role": "user", "content": "word " * 2000}], GREEDY)
            assert engine.context == 512  # it was guessed, and is known now
            count = len(engine.tokenizer.chat(question))
            body = {"model": "smollm2", "messages": question, "max_tokens": 1}
            key = {"Authorization": f"Bearer {KEY}"}
            whole = httpx2.post(
                f"{url}/chat/completions", json=body, headers=key, timeout=60
            ).json()
            assert count >= whole["usage"]["prompt_tokens"]
            assert engine.generate(["1, 2, 3, 4,"], params)[0].text.startswith(" 5")
            timed = engine.chat(question, SamplingParams(max_tokens=400, timeout=0.2, seed=1))
            assert timed.finish_reason == "timeout"
            running = engine.stream(question, SamplingParams(max_tokens=400, seed=1))
            next(running)
            running.cancel()
            assert running.result().finish_reason == "cancelled"
            assert engine.chat(question, params).text == made.text  # the server is free again
    assert KEY not in log.read_text()


def _wait(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
