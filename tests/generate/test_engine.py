"""The engine against decoding without cache or batch, and under everything that goes wrong."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_runner import FakeLogits, FakeRunner
from torch import Tensor

from chatwright.errors import ChatwrightError, ContextError, ModelError, UsageError
from chatwright.generate import Engine, SamplingParams
from chatwright.generate.group import StepLogits, Vocabulary
from chatwright.generate.memory import Memory
from chatwright.generate.request import PlainGroup
from chatwright.generate.sampler import Sampler
from chatwright.model import Transformer
from chatwright.tokenizer import Tokenizer

GREEDY = SamplingParams(temperature=0, max_tokens=12)
ENDLESS = SamplingParams(temperature=0, max_tokens=10**6)
SETUP = "chatwright.generate.torch_setup"
CONTEXT = 160  # the window of the tiny model in conftest.py
Reference = Callable[[list[int], int], tuple[list[int], list[float]]]


@pytest.fixture
def engine(model: Transformer, tokenizer: Tokenizer) -> Iterator[Engine]:
    with Engine(model, tokenizer, max_batch=4) as engine:
        yield engine


def settled(engine: Engine) -> bool:
    """Whether every slot comes back within a moment."""
    deadline = time.monotonic() + 10
    while engine.load != (0, 0) and time.monotonic() < deadline:
        time.sleep(0.005)
    return engine.load == (0, 0)


# -- the same tokens as plain decoding -----------------------------------------------------------


def test_greedy_equals_decoding_without_cache_batched_and_alone(
    engine: Engine, prompts: list[list[int]], greedy: Reference
) -> None:
    expected = [greedy(prompt, 12)[0] for prompt in prompts]
    batched = engine.generate(prompts, GREEDY)
    assert [c.token_ids for c in batched] == expected
    for prompt, tokens in list(zip(prompts, expected, strict=True))[:6]:
        assert engine.generate([prompt], GREEDY)[0].token_ids == tokens
    assert settled(engine)


def test_random_arrivals_and_departures_change_nobodys_answer(
    model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]], greedy: Reference
) -> None:
    """Requests of all lengths come, end and are cancelled at random; every slot is returned."""
    chance = random.Random(11)
    expected = {tuple(p): greedy(p, 30)[0] for p in prompts}
    with Engine(model, tokenizer, max_batch=5) as engine:

        def client(seed: int, failures: list[str]) -> None:
            mine = random.Random(seed)
            for _ in range(12):
                prompt = mine.choice(prompts)
                size = mine.randrange(1, 30)
                request = engine.submit(prompt, SamplingParams(temperature=0, max_tokens=size))
                if mine.random() < 0.3:
                    for _ in range(mine.randrange(3)):
                        next(request, None)
                    request.cancel()
                completion = request.result()
                wanted = expected[tuple(prompt)][:size]
                got = completion.token_ids
                whole = completion.finish_reason != "cancelled"
                if got != wanted[: len(got)] or (whole and len(got) != len(wanted)):
                    failures.append(f"{prompt}: {got} is not {wanted}")

        failures: list[str] = []
        clients = [
            threading.Thread(target=client, args=(chance.randrange(10**6), failures))
            for _ in range(6)
        ]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(60)
            assert not thread.is_alive()
        assert failures == []
        assert settled(engine)


def test_a_long_prompt_does_not_stop_the_others(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: list[list[int]],
    greedy: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read in small chunks beside a running answer, the prompt gives the same tokens."""
    monkeypatch.setattr("chatwright.generate.scheduler.PREFILL_SHARED", 7)
    long = max(prompts, key=len)
    expected = greedy(long, 5)[0]
    steps: list[int] = []
    hidden = model.hidden

    def counted(tokens: Tensor, *rest: Any, **options: Any) -> Tensor:
        steps.append(tokens.shape[1])
        return hidden(tokens, *rest, **options)

    monkeypatch.setattr(model, "hidden", counted)
    with Engine(model, tokenizer) as engine:
        running = engine.submit(prompts[0], ENDLESS)
        next(running)
        begun = len(steps)
        answer = engine.submit(long, SamplingParams(temperature=0, max_tokens=5)).result()
        running.cancel()
    assert answer.token_ids == expected
    assert max(steps[begun + 1 :]) <= 8  # seven of the prompt and one of the running answer


def test_logprobs_are_the_models_own(
    engine: Engine, prompts: list[list[int]], greedy: Reference
) -> None:
    wanted = [greedy(prompt, 8) for prompt in prompts[:6]]
    asked = SamplingParams(temperature=0, max_tokens=8, logprobs=True)
    for completion, (tokens, logprobs) in zip(
        engine.generate(prompts[:6], asked), wanted, strict=True
    ):
        assert completion.token_ids == tokens
        assert completion.logprobs == pytest.approx(logprobs, abs=1e-4)
    assert engine.generate(prompts[:1], GREEDY)[0].logprobs is None


def test_a_seed_gives_the_same_answer_in_any_company(
    engine: Engine, prompts: list[list[int]]
) -> None:
    def params(seed: int | None) -> SamplingParams:
        return SamplingParams(
            temperature=1.2, top_k=50, top_p=0.95, repetition_penalty=1.1, max_tokens=15, seed=seed
        )

    prompt = prompts[3]
    alone = engine.generate([prompt], params(5))[0]
    company = [engine.submit(p, params(None)) for p in prompts[4:7]]
    assert engine.submit(prompt, params(5)).result().token_ids == alone.token_ids
    assert engine.generate([prompt], params(6))[0].token_ids != alone.token_ids
    for request in company:
        request.result()


def test_repetition_penalty_counts_prompt_and_answer(
    engine: Engine, model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    from chatwright.generate.logits import penalise_repetition

    prompt = prompts[5]
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(10):
            logits = model(torch.tensor([ids]))[0, -1, : tokenizer.vocab_size].numpy()
            penalise_repetition(logits, np.unique(ids), 1.5)
            ids.append(int(logits.argmax()))
            if ids[-1] in tokenizer.eos_ids:
                break
    params = SamplingParams(temperature=0, max_tokens=10, repetition_penalty=1.5)
    assert engine.generate([prompt], params)[0].token_ids == ids[len(prompt) :]


# -- where an answer ends ------------------------------------------------------------------------


def test_the_windows_end_is_length(engine: Engine, prompts: list[list[int]]) -> None:
    long = max(prompts, key=len)
    completion = engine.submit(long, ENDLESS).result()
    assert completion.finish_reason == "length"
    assert len(completion.token_ids) == CONTEXT - len(long)
    assert completion.prompt_tokens == len(long)
    last = (long * 2)[: CONTEXT - 1]
    assert len(engine.submit(last, ENDLESS).result().token_ids) == 1


def test_end_of_turn_ends_the_answer_and_is_not_shown(
    model: Transformer,
    own_model: Transformer,
    tokenizer: Tokenizer,
    prompts: list[list[int]],
) -> None:
    head = model.head_weight.detach().clone()
    (end,) = [i for i in tokenizer.eos_ids if tokenizer.token_bytes(i) == b"<|im_end|>"]
    with torch.inference_mode(), Engine(model, tokenizer) as engine:
        third = engine.generate([prompts[4]], GREEDY)[0].token_ids[2]
    with torch.no_grad():  # what was the third token's row is now the end of the turn's
        own_model.head_weight[end] = head[third] * 1.01
    with Engine(own_model, tokenizer) as engine:
        completion = engine.generate([prompts[4]], GREEDY)[0]
    assert completion.finish_reason == "stop"
    assert completion.token_ids[-1] == end
    assert completion.text == tokenizer.decode(completion.token_ids[:-1])
    assert "im_end" not in completion.text


def test_a_stop_string_over_token_boundaries_is_never_shown(
    engine: Engine, prompts: list[list[int]]
) -> None:
    checked = 0
    for prompt in prompts[3:12]:
        text = engine.generate([prompt], SamplingParams(temperature=0, max_tokens=30))[0].text
        for start in range(0, len(text) - 4, 3):
            stop = text[start : start + 4]
            if "\ufffd" in stop:
                continue
            request = engine.submit(
                prompt, SamplingParams(temperature=0, max_tokens=30, stop=("never seen", stop))
            )
            pieces = list(request)
            shown = "".join(piece.text for piece in pieces)
            assert shown == text[: text.index(stop)]
            completion = pieces[-1].completion
            assert completion is not None
            assert (completion.text, completion.finish_reason) == (shown, "stop")
            checked += 1
    assert checked > 10


def test_text_held_back_for_a_stop_string_comes_when_the_answer_ends(
    engine: Engine, prompts: list[list[int]]
) -> None:
    whole = engine.generate([prompts[4]], GREEDY)[0].text
    params = SamplingParams(temperature=0, max_tokens=12, stop=(whole[-3:] + "…",))
    completion = engine.generate([prompts[4]], params)[0]
    assert (completion.text, completion.finish_reason) == (whole, "length")


# -- streaming -----------------------------------------------------------------------------------


def test_a_stream_never_splits_a_character(tokenizer: Tokenizer) -> None:
    """Feed the tokens of Chinese text and emoji, most of them parts of characters, one by one."""
    text = "逐个生成：你好，世界！🎉 naïve ☕ 𠮷"
    ids = tokenizer.encode(text)
    assert len(ids) > len(text)  # some characters take more than one token
    size = tokenizer.vocab_size
    params = SamplingParams(temperature=0)
    vocabulary = Vocabulary(size, frozenset(), tokenizer.detokenizer)
    group = PlainGroup([1], params, vocabulary, Sampler(params, [1], size), limit=999)
    runner = FakeRunner(size, n_blocks=4)
    memory = Memory(runner)
    for token in ids:
        row = np.zeros((1, size), np.float32)
        row[0, token] = 1.0
        group.advance([(group.sequences[0], StepLogits(FakeLogits(row), size), range(1))], memory)
    pieces = [group.events.get().text for _ in range(group.events.qsize())]
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece and piece for piece in pieces)


def test_pieces_joined_are_the_answer(engine: Engine, tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": "写一句话。"}]
    params = SamplingParams(temperature=1.0, seed=2, max_tokens=40)
    pieces = list(engine.stream(messages, params))
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    last = pieces[-1].completion
    assert last is not None
    assert "".join(piece.text for piece in pieces) == last.text == tokenizer.decode(last.token_ids)
    assert engine.chat(messages, params) == last
    assert engine.chat_many([messages, messages], params) == [last, last]
    assert last.prompt_tokens == len(tokenizer.chat(messages))


def test_reading_on_after_the_end_stays_ended(engine: Engine, prompts: list[list[int]]) -> None:
    request = engine.submit(prompts[0], GREEDY)
    completion = request.result()
    assert list(request) == []
    assert request.result() is completion
    request.cancel()
    assert request.result().finish_reason != "cancelled"


# -- cancellation --------------------------------------------------------------------------------


def test_cancelling_frees_the_slot_and_keeps_the_text(
    engine: Engine, prompts: list[list[int]]
) -> None:
    running = [engine.submit(prompts[0], ENDLESS) for _ in range(4)]
    waiting = engine.submit(prompts[1], ENDLESS)
    first = next(running[0]).text
    waiting.cancel()  # it never had a slot
    assert waiting.result().finish_reason == "cancelled"
    running[0].cancel()
    completion = running[0].result()
    assert completion.finish_reason == "cancelled"
    assert completion.text.startswith(first)
    for request in running[1:]:
        request.close()
    assert settled(engine)


def test_a_request_that_nobody_holds_is_cancelled(engine: Engine, prompts: list[list[int]]) -> None:
    for piece in engine.submit(prompts[0], ENDLESS):
        if piece:
            break
    del piece
    gc.collect()
    assert settled(engine)


def test_cancelling_from_another_thread_ends_a_blocked_reader(
    engine: Engine, prompts: list[list[int]]
) -> None:
    request = engine.submit(prompts[0], ENDLESS)
    threading.Timer(0.02, request.cancel).start()
    assert request.result().finish_reason in ("cancelled", "length")


# -- what cannot be ------------------------------------------------------------------------------


def test_what_cannot_fit_is_refused_at_once(engine: Engine, tokenizer: Tokenizer) -> None:
    with pytest.raises(ContextError, match=f"{CONTEXT} tokens.*may have {CONTEXT}"):
        engine.submit([1] * CONTEXT)
    with pytest.raises(ContextError):
        engine.stream([{"role": "user", "content": "too long " * CONTEXT}])
    with pytest.raises(ContextError, match="empty"):
        engine.submit([])
    with pytest.raises(ContextError):
        engine.chat([])
    for token in (-1, tokenizer.vocab_size):  # the second is padding of the embedding
        with pytest.raises(UsageError, match="not in the vocabulary"):
            engine.submit([token])
    with pytest.raises(UsageError, match="list of prompts"):
        engine.generate("one prompt")
    # One impossible prompt among many: nothing starts.
    with pytest.raises(ContextError):
        engine.generate([[1], [1] * CONTEXT], ENDLESS)
    assert engine.load == (0, 0)


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"context": 1}, {"context": CONTEXT + 1}])
def test_impossible_engines_are_refused(
    model: Transformer, tokenizer: Tokenizer, wrong: dict[str, int]
) -> None:
    with pytest.raises(ChatwrightError):
        Engine(model, tokenizer, **wrong)  # type: ignore[arg-type]


def test_a_smaller_context_is_kept(
    model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    with Engine(model, tokenizer, context=20) as engine:
        assert len(engine.submit([1, 2, 3], ENDLESS).result().token_ids) == 17
        with pytest.raises(ContextError):
            engine.submit([1] * 20)


def test_little_memory_means_fewer_at_a_time_before_a_smaller_window(
    model: Transformer,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    prompts: list[list[int]],
    greedy: Reference,
) -> None:
    """By default at most half of the machine's memory is used; all are answered all the same."""
    from chatwright.generate.torch_cache import bytes_per_block

    block = bytes_per_block(model.config, 32, model.dtype)
    blocks = CONTEXT // 32
    for memory, n_blocks, context in [(8, 4 * blocks, CONTEXT), (4, 2 * blocks, CONTEXT)]:
        size = memory * blocks * block
        monkeypatch.setattr(
            "chatwright.generate.torch_setup.physical_memory", lambda size=size: size
        )
        with Engine(model, tokenizer, max_batch=4) as engine:
            assert (engine.stats()["blocks"]["total"], engine.context) == (n_blocks, context)
            answers = engine.generate(prompts[:8], GREEDY)
            assert [c.token_ids for c in answers] == [greedy(p, 12)[0] for p in prompts[:8]]
            assert settled(engine)
    for bound in (2 * block, None):
        size = 4 * block
        monkeypatch.setattr(
            "chatwright.generate.torch_setup.physical_memory", lambda size=size: size
        )
        with Engine(model, tokenizer, max_batch=4, kv_memory=bound) as engine:
            assert engine.context == 64
            with pytest.raises(ContextError):
                engine.submit([1] * 64)
    with pytest.raises(UsageError, match="do not hold one block"):
        Engine(model, tokenizer, kv_memory=10)


# -- what breaks ---------------------------------------------------------------------------------


def test_nan_fails_its_own_request_and_leaves_no_trace(
    own_model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]], greedy: Reference
) -> None:
    poison = tokenizer.encode("请")[0]
    clean = [p for p in prompts if poison not in p][:8]
    expected = []
    for prompt in clean:
        tokens = greedy(prompt, 12)[0]
        expected.append(tokens)
        assert poison not in tokens
    with torch.no_grad():
        own_model.embed_tokens.weight[poison] = torch.nan
    with Engine(own_model, tokenizer, max_batch=3) as engine:
        good = [engine.submit(prompt, GREEDY) for prompt in clean[:2]]
        bad = engine.submit([1] * 140 + [poison, 2], GREEDY)
        with pytest.raises(ModelError, match="NaN"):
            bad.result()
        with pytest.raises(ModelError, match="NaN"):
            next(bad)  # it stays failed
        assert [r.result().token_ids for r in good] == expected[:2]
        # The slot that held NaN is used again, by shorter requests beside longer ones.
        got = [c.token_ids for c in engine.generate(clean, GREEDY)]
        assert got == expected
        assert settled(engine)


def test_an_error_in_the_model_reaches_who_takes_part_and_the_engine_goes_on(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: list[list[int]],
    greedy: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hidden = model.hidden
    calls = 0

    def fails_once(*args: Any, **options: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise RuntimeError("the disk of the sun fell in")
        return hidden(*args, **options)

    monkeypatch.setattr(model, "hidden", fails_once)
    with Engine(model, tokenizer, max_batch=2) as engine:
        with engine.held():  # the first two take part in the step that fails, both of them
            requests = [engine.submit(prompt, GREEDY) for prompt in prompts[3:7]]
        errors = []
        for request in requests[:2]:
            with pytest.raises(ChatwrightError, match="the disk of the sun fell in") as caught:
                request.result()
            errors.append(caught.value)
            assert isinstance(caught.value.__cause__, RuntimeError)
        assert errors[0] is not errors[1]
        for request, prompt in zip(requests[2:], prompts[5:7], strict=True):
            assert request.result().token_ids == greedy(prompt, 12)[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_engine_hangs_nobody(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine(model, tokenizer, max_batch=1)
    requests = [engine.submit(prompts[0], ENDLESS) for _ in range(3)]
    next(requests[0])

    def bug(*args: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(engine._scheduler, "_drop_cancelled", bug)
    for request in requests:
        with pytest.raises(ChatwrightError, match="a bug"):
            request.result()
    with pytest.raises(ChatwrightError, match="closed"):
        engine.submit(prompts[0])
    engine.close()


def test_closing_ends_everything_and_the_thread(
    model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    engine = Engine(model, tokenizer, max_batch=1)
    requests = [engine.submit(prompts[0], ENDLESS) for _ in range(3)]
    next(requests[0])
    engine.close()
    assert not any(t.name == "chatwright-engine" and t.is_alive() for t in threading.enumerate())
    assert {r.result().finish_reason for r in requests} <= {"cancelled", "length"}
    with pytest.raises(ChatwrightError, match="closed"):
        engine.submit([1])
    engine.close()


def test_an_engine_lives_as_long_as_its_requests(
    model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    request = Engine(model, tokenizer).submit(prompts[0], GREEDY)
    gc.collect()
    assert request.result().finish_reason != "cancelled"
    del request
    gc.collect()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not any(t.name == "chatwright-engine" for t in threading.enumerate()):
            return
        time.sleep(0.01)
    pytest.fail("the thread of an engine that nobody holds goes on")


def test_text_prompts(engine: Engine, tokenizer: Tokenizer) -> None:
    both = engine.generate(["The engine reads", tokenizer.encode("每个请求")], GREEDY)
    assert both[0].prompt_tokens == len(tokenizer.encode("The engine reads"))
    assert [c.text for c in engine.generate(["The engine reads", "每个请求"], GREEDY)] == [
        c.text for c in both
    ]
    # A special token in text is plain text, so it is more than one token.
    assert engine.generate(["<|im_end|>"], GREEDY)[0].prompt_tokens > 1


# -- what one may ask besides --------------------------------------------------------------------


def test_several_answers_come_mixed_and_are_told_apart(
    engine: Engine, prompts: list[list[int]], tokenizer: Tokenizer
) -> None:
    params = SamplingParams(temperature=1.1, seed=3, n=3, max_tokens=10)
    pieces = list(engine.submit(prompts[3], params))
    results = engine.submit(prompts[3], params).results()
    assert [r.index for r in results] == [0, 1, 2]
    assert len({tuple(r.token_ids) for r in results}) == 3
    for result in results:
        shown = "".join(piece.text for piece in pieces if piece.index == result.index)
        assert shown == result.text == tokenizer.decode(result.token_ids)
    request = engine.submit(prompts[3], params)
    assert request.result() == request.results()[0]
    # The first of several is the answer that one alone would be.
    alone = SamplingParams(temperature=1.1, seed=3, max_tokens=10)
    assert engine.generate([prompts[3]], alone)[0].token_ids == results[0].token_ids
    assert settled(engine)


def test_stop_tokens_end_and_ignored_ends_do_not(
    model: Transformer, tokenizer: Tokenizer, engine: Engine, prompts: list[list[int]]
) -> None:
    whole = engine.generate([prompts[4]], GREEDY)[0]
    third = whole.token_ids[2]
    first = whole.token_ids.index(third)
    stopped = engine.submit(
        prompts[4], SamplingParams(temperature=0, max_tokens=12, stop_tokens=(third,))
    ).result()
    assert (stopped.token_ids, stopped.finish_reason) == (whole.token_ids[: first + 1], "stop")
    assert stopped.text == tokenizer.decode(whole.token_ids[:first])
    (end,) = [i for i in tokenizer.eos_ids if tokenizer.token_bytes(i) == b"<|im_end|>"]
    for ignore, made in ((False, 1), (True, 6)):
        params = SamplingParams(
            temperature=0, max_tokens=6, logit_bias={end: 1e4}, ignore_end=ignore
        )
        answer = engine.submit(prompts[4], params).result()
        assert (answer.token_ids, answer.text) == ([end] * made, "")


def test_a_time_limit_ends_an_answer_with_what_there_is(
    engine: Engine, prompts: list[list[int]], model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = model.hidden

    def slow(*args: Any, **options: Any) -> Tensor:
        time.sleep(0.02)
        return hidden(*args, **options)

    monkeypatch.setattr(model, "hidden", slow)
    params = SamplingParams(temperature=0, max_tokens=10**6, timeout=0.3)
    answer = engine.submit(prompts[0], params).result()
    assert answer.finish_reason == "timeout"
    assert 0 < len(answer.token_ids) < 40


def test_what_happens_at_the_windows_end_is_chosen(
    model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    def params(end: str, size: int) -> SamplingParams:
        return SamplingParams(temperature=0, max_tokens=size, window_end=end)  # type: ignore[arg-type]

    prompt = max(prompts, key=len)
    room = CONTEXT - len(prompt)
    with Engine(model, tokenizer) as engine:
        plain = engine.submit(prompt, params("stop", 300)).result()
        assert len(plain.token_ids) == room
        with pytest.raises(ContextError, match=f"{room + 1}.*together") as caught:
            engine.submit(prompt, params("refuse", room + 1))
        assert caught.value.where == "window_end"
        assert len(engine.submit(prompt, params("refuse", room)).result().token_ids) == room
        slid = engine.submit(prompt, params("slide", 300)).result()
        assert len(slid.token_ids) == 300
        assert slid.token_ids[:room] == plain.token_ids
        assert len(engine.submit(prompt, params("slide", 300)).result().token_ids) == 300
        assert settled(engine)
        with pytest.raises(UsageError, match="too short to slide"):
            engine.submit(prompt, SamplingParams(window_end="slide", sinks=100))
    with (
        Engine(model, tokenizer, context=90) as engine,
        pytest.raises(UsageError, match="too short to slide"),
    ):
        engine.submit([1], params("slide", 300))


def test_what_can_never_fit_the_memory_is_refused(
    model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    from chatwright.generate.torch_cache import bytes_per_block

    memory = 8 * bytes_per_block(model.config, 32, model.dtype)
    with Engine(model, tokenizer, kv_memory=memory) as engine:
        assert engine.context == CONTEXT
        for options in ({"n": 4}, {"beams": 4}, {"n": 2, "guidance": 1.5}):
            params = SamplingParams(temperature=0, max_tokens=100, **options)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match="KV memory"):
                engine.submit([1] * 40, params)
        with pytest.raises(UsageError, match="KV memory"):
            engine.submit([1], SamplingParams(n=2, window_end="slide"))
        params = SamplingParams(temperature=1, seed=1, max_tokens=50, n=3)
        fits = [engine.submit([1] * 40, params) for _ in range(3)]
        answers = [[r.token_ids for r in request.results()] for request in fits]
        assert answers[0] == answers[1] == answers[2]
        assert settled(engine)


def test_changed_weights_count_at_once_prefixes_or_not(
    own_model: Transformer, tokenizer: Tokenizer, prompts: list[list[int]]
) -> None:
    prompt = max(prompts, key=len)[:100]
    with Engine(own_model, tokenizer) as engine:
        before = engine.generate([prompt], GREEDY)[0]
        assert engine.generate([prompt], GREEDY)[0].cached_tokens == 96
        with torch.no_grad():
            for parameter in own_model.parameters():
                parameter.mul_(1.1)
        changed = engine.generate([prompt], GREEDY)[0]
        assert settled(engine)
    with Engine(own_model, tokenizer, prefix_reuse=False) as engine:
        wanted = engine.generate([prompt], GREEDY)[0]
    assert changed == wanted
    assert changed.token_ids != before.token_ids


def test_reuse_is_told_and_kept_apart_by_tenant(
    engine: Engine, prompts: list[list[int]], greedy: Reference
) -> None:
    prompt = max(prompts, key=len)[:100]
    for tenant in ("one", "two"):
        for cached in (0, 96):
            answer = engine.generate([prompt], GREEDY, tenant=tenant)[0]
            assert answer.cached_tokens == cached
            assert answer.token_ids == greedy(prompt, 12)[0]
    stats = engine.stats()
    assert stats["reused_tokens"] == 192
    assert stats["blocks"]["used"] == 0
    assert stats["blocks"]["cached"] > 0
    assert stats["runner"]["backend"] == "torch"


# -- embeddings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [256, 7])
def test_embeddings_are_the_models_own_states(
    engine: Engine,
    model: Transformer,
    prompts: list[list[int]],
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatwright.generate.scheduler.PREFILL_SHARED", chunk)
    answers = [engine.submit(p, GREEDY) for p in prompts[:4]]
    with torch.inference_mode():
        states = [model.hidden(torch.tensor([p]))[0] for p in prompts]
    mean = np.stack([s.mean(0).numpy() for s in states])
    last = np.stack([s[-1].numpy() for s in states])
    np.testing.assert_allclose(engine.embed(prompts, normalise=False), mean, atol=1e-5)
    np.testing.assert_allclose(engine.embed(prompts, "last", normalise=False), last, atol=1e-5)
    unit = engine.embed(prompts, tenant="x")
    np.testing.assert_allclose(unit, mean / np.linalg.norm(mean, axis=1)[:, None], atol=1e-5)
    assert unit.dtype == np.float32
    assert all(request.result().token_ids for request in answers)
    assert settled(engine)


def test_embeddings_of_text_and_what_cannot_be_embedded(
    engine: Engine, own_model: Transformer, tokenizer: Tokenizer
) -> None:
    text = "引擎读取提示"
    both = engine.embed([text, tokenizer.encode(text)])
    np.testing.assert_array_equal(both[0], both[1])
    assert engine.embed([]).shape[0] == 0
    for texts, said in (([text, ""], "text 1 has 0"), ([[1] * 161], "text 0 has 161")):
        with pytest.raises(ContextError, match=said):
            engine.embed(texts)  # type: ignore[arg-type]
    assert engine.embed([[1] * 160]).shape == (1, 48)
    with pytest.raises(UsageError, match="list of texts"):
        engine.embed(text)
    with pytest.raises(UsageError, match="pooling"):
        engine.embed([text], pooling="max")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not in the vocabulary"):
        engine.embed([[-1]])
    with torch.no_grad():
        own_model.embed_tokens.weight[5] = torch.nan
    with Engine(own_model, tokenizer) as other:
        with pytest.raises(ModelError, match="NaN"):
            other.embed([[1, 2], [5, 5]])
        assert np.isfinite(other.embed([[1] * 70])).all()


# -- other runners -------------------------------------------------------------------------------


def test_an_engine_over_another_runner_takes_it_over(tokenizer: Tokenizer) -> None:
    runner = FakeRunner(tokenizer.vocab_size + 9, n_blocks=20, context=160)
    with Engine(runner, tokenizer) as engine:
        assert engine.context == 80  # twenty blocks of four
        assert engine.runner is runner
        # Padding of the vocabulary is never chosen, however likely.
        answers = engine.generate([[1, 2, 3], [4]], GREEDY)
        assert all(t < tokenizer.vocab_size for a in answers for t in a.token_ids)
        assert engine.embed([[1, 2, 3]]).shape == (1, 8)
        with pytest.raises(UsageError, match="without PyTorch"):
            engine.model  # noqa: B018
    assert runner.closed
    for options in ({"kv_memory": 10**6}, {"kv_dtype": "int8"}):
        with pytest.raises(UsageError, match="runner's own"):
            Engine(runner, tokenizer, **options)  # type: ignore[arg-type]


def test_an_answer_without_torch_does_not_import_it() -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from fake_runner import FakeRunner
from chatwright.generate import Engine, SamplingParams

class Tokenizer:
    vocab_size, eos_ids, bos_id = 20, frozenset(), None
    def detokenizer(self):
        class Letters:
            push = staticmethod(lambda token: chr(97 + token))
            flush = staticmethod(lambda: "")
        return Letters()

with Engine(FakeRunner(20, n_blocks=40), Tokenizer()) as engine:
    asked = (
        SamplingParams(max_tokens=5, n=2, logprobs=True, top_p=0.9, repetition_penalty=1.1),
        SamplingParams(max_tokens=5, temperature=0, lookup=3),
        SamplingParams(max_tokens=5, temperature=0, beams=2),
    )
    for params in asked:
        assert len(engine.submit([1, 2], params).result().token_ids) == 5
    engine.embed([[1, 2]])
heavy = {"torch", "scipy", "transformers", "pandas", "sklearn", "llguidance"} & set(sys.modules)
assert not heavy, heavy
"""
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, here], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
