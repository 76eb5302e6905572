"""What callers get wrong stays with them: other requests go on."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest

from chatwright.errors import ChatwrightError, UsageError
from chatwright.generate import Engine, SamplingParams, load_engine
from chatwright.model import Transformer
from chatwright.tokenizer import Tokenizer

GREEDY = SamplingParams(temperature=0, max_tokens=6)


@pytest.fixture
def engine(model: Transformer, tokenizer: Tokenizer) -> Iterator[Engine]:
    with Engine(model, tokenizer, max_batch=4) as engine:
        yield engine


@pytest.mark.parametrize("tenant", [None, 7, b"alice"])
def test_a_tenant_that_is_no_text_harms_nobody(engine: Engine, tenant: Any) -> None:
    with pytest.raises(UsageError, match="tenant"):
        engine.submit([1, 2, 3], GREEDY, tenant=tenant)
    with pytest.raises(UsageError, match="tenant"):
        engine.embed(["tides"], tenant=tenant)
    assert len(engine.submit([1, 2, 3], GREEDY).result().token_ids) == 6


def test_what_breaks_on_the_way_in_ends_that_request_only(engine: Engine) -> None:
    admit = engine._scheduler.memory.admit
    broken: list[Any] = []

    def once(group: Any) -> None:
        if not broken:
            broken.append(group)
            raise RuntimeError("boom")
        admit(group)

    engine._scheduler.memory.admit = once  # type: ignore[method-assign]
    with pytest.raises(ChatwrightError, match="boom"):
        engine.submit([1, 2, 3], GREEDY).result()
    assert len(engine.submit([1, 2, 3], GREEDY).result().token_ids) == 6


@pytest.mark.parametrize("prompt", ["text", b"text", ["a"], [1.5], [None]])
def test_a_prompt_that_is_no_token_ids(engine: Engine, prompt: Any) -> None:
    with pytest.raises(UsageError, match="token ids"):
        engine.submit(prompt, GREEDY)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 1.5}, {"best_of": 2.5}, {"beams": 2.0}, {"top_k": 2.5}, {"top_logprobs": 1.5},
        {"seed": 1.5}, {"seed": "x"}, {"no_repeat_ngram": 1.5}, {"temperature": None},
        {"temperature": "a"}, {"top_k": "3"}, {"stop": 5}, {"timeout": "3"}, {"max_tokens": 2.5},
        {"max_tokens": True}, {"lookup": 2.5}, {"sinks": 2.5}, {"logit_bias": {7: 1e39}},
        {"guidance": 1e38}, {"frequency_penalty": 1e308}, {"presence_penalty": -math.inf},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_the_wrong_kind_name_their_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        SamplingParams(**wrong)
    assert caught.value.where == next(iter(wrong))


def test_a_length_penalty_stays_within_what_a_score_can_hold() -> None:
    with pytest.raises(UsageError, match="length_penalty"):
        SamplingParams(temperature=0, beams=2, length_penalty=1000)


def _in_a_child(engine: Engine, said: Any) -> None:
    try:
        engine.submit([1, 2, 3], GREEDY)
    except ChatwrightError as error:
        said.put(str(error))
    else:
        said.put("accepted")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_and_does_not_wait_for_ever(engine: Engine) -> None:
    engine.submit([1, 2, 3], GREEDY).result()
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    child = context.Process(target=_in_a_child, args=(engine, said))
    child.start()
    try:
        assert "forked" in said.get(timeout=20)
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "gpu"}, {"max_batch": 0}, {"kv_memory": 0}, {"weights": "int3"},
        {"rope": {"type": "yarn"}}, {"rope": {"factor": 2}},
    ],
    ids=str,
)  # fmt: skip
def test_load_engine_names_what_cannot_be(wrong: dict[str, Any], tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        load_engine(tmp_path, **wrong)


def test_a_character_that_is_cut_off_is_not_shown(model: Transformer) -> None:
    """Ending after one byte of three gives no replacement sign, streamed or whole."""
    from chatwright.generate.group import Answer, Vocabulary
    from chatwright.generate.request import PlainGroup
    from chatwright.generate.sampler import Sampler

    tokenizer = Tokenizer.train(["abc"], 260)  # bytes only, so a Chinese character is three
    tokens = tokenizer.encode("a今天")
    vocabulary = Vocabulary(tokenizer.vocab_size, frozenset(), tokenizer.detokenizer)
    for length, text in [(2, "a"), (3, "a"), (4, "a今"), (5, "a今"), (7, "a今天")]:
        params = SamplingParams(max_tokens=length)
        sampler = Sampler(params, [0], vocabulary.size)
        group = PlainGroup([0], params, vocabulary, sampler, limit=length)
        answer = Answer(group)
        shown = "".join(answer.accept(token) for token in tokens[:length])
        assert shown == text == answer.completion(group).text
        assert answer.reason == "length"


def test_text_held_back_for_a_stop_string_comes_when_the_answer_is_cut_short(
    tokenizer: Tokenizer,
) -> None:
    from chatwright.generate.group import Answer, Vocabulary
    from chatwright.generate.request import PlainGroup
    from chatwright.generate.sampler import Sampler

    vocabulary = Vocabulary(tokenizer.vocab_size, frozenset(), tokenizer.detokenizer)
    params = SamplingParams(max_tokens=99, stop=("END",))
    sampler = Sampler(params, [0], vocabulary.size)
    answer = Answer(PlainGroup([0], params, vocabulary, sampler, limit=99))
    shown = "".join(answer.accept(token) for token in tokenizer.encode("one E"))
    assert shown + answer.close("cancelled") == "one E"
