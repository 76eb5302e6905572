"""Beam search: the same answers, scores and order as `transformers`, in company and alone."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from house import CONTEXT, VOCABULARY, House, prompts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from chatwright.errors import ChatwrightError
from chatwright.generate import Completion, Engine, SamplingParams
from chatwright.generate.beams import BeamGroup, BeamSearch, best
from chatwright.generate.logits import log_probabilities
from chatwright.generate.params import Constraint
from chatwright.generate.request import Request
from chatwright.generate.runner import Floats
from chatwright.generate.sampler import Sampler
from chatwright.model import ModelConfig, Transformer, load_model, save_model
from chatwright.tokenizer import Tokenizer

PROMPTS = [
    "The engine reads a prompt",
    "and writes an answer, one token after another.",
    "A request joins the batch",
    "when a slot is free and leaves it when it ends.",
    "The batch is free",
    "one",
    "another answer, another request",
    "It ends when",
    "The slot writes",
    "a prompt and a prompt and a prompt",
    "引擎读取提示",
    "然后逐个生成词元，",
    "直到回答结束。",
    "每个请求都有自己的缓存，",
    "互不影响。",
    "请求",
    "缓存读取引擎，引擎读取缓存",
    "词元词元词元",
    "回答结束。The answer ends.",
    "提示，prompt，提示",
]
NEW_TOKENS = 14


# -- the search alone -----------------------------------------------------------------------------


@given(
    totals=npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 9)),
        # few values, so that there are equals
        elements=st.sampled_from([-math.inf, -2.0, -1.0, -0.5, 0.0]),
    ),
    count=st.integers(1, 40),
)
def test_the_best_come_in_order_and_equals_by_row_and_column(totals: Floats, count: int) -> None:
    cells = [(r, c) for r, c in np.ndindex(*totals.shape) if totals[r, c] > -math.inf]
    cells.sort(key=lambda cell: -totals[cell])  # stable
    assert list(best(totals, count)) == cells[:count]


Model = Callable[[Sequence[int]], Floats]


def table_model(seed: int, vocab: int) -> Model:
    """Log-probabilities that depend on the last two tokens."""

    def log_probs(context: Sequence[int]) -> Floats:
        chance = np.random.default_rng([seed, 7, *context[-2:]])
        logits = chance.normal(0, 2, vocab)
        return (logits - np.log(np.exp(logits).sum())).astype(np.float32)

    return log_probs


def run(search: BeamSearch, model: Model, ends: set[int]) -> list[tuple[list[int], float]]:
    texts: list[list[int]] = [[]]
    while not search.done:
        parents, tokens = search.advance(
            [model(text) for text in texts], lambda parent, token: token in ends
        )
        assert len(parents) == len(tokens) <= search.width
        texts = [[*texts[p], t] for p, t in zip(parents, tokens, strict=True)]
        assert not search.done or not texts
    return [(h.last.tokens(), float(h.score)) for h in search.finished]


def score(model: Model, tokens: list[int], length_penalty: float) -> float:
    total = sum(float(model(tokens[:i])[token]) for i, token in enumerate(tokens))
    return total / len(tokens) ** length_penalty


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    ends=st.sets(st.integers(0, 3), max_size=2),
    limit=st.integers(1, 3),
    penalty=st.sampled_from([-1.0, 0.0, 0.7, 1.0, 2.0]),
    early=st.sampled_from([True, False, "never"]),
)
def test_a_beam_as_wide_as_everything_finds_the_best_of_all_answers(
    seed: int, ends: set[int], limit: int, penalty: float, early: Any
) -> None:
    model = table_model(seed, 4)
    answers = [
        [*start, last]
        for length in range(1, limit + 1)
        for start in itertools.product(sorted(set(range(4)) - ends), repeat=length - 1)
        for last in range(4)
        if length == limit or last in ends
    ]
    search = BeamSearch(100, limit, length_penalty=penalty, early_stopping=early, n_ends=len(ends))
    found = run(search, model, ends)
    assert sorted(tokens for tokens, _ in found) == sorted(answers)
    scores = sorted((score(model, answer, penalty) for answer in answers), reverse=True)
    assert [s for _, s in found] == pytest.approx(scores, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    width=st.integers(1, 5),
    ends=st.sets(st.integers(0, 6), max_size=3),
    penalty=st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
    early=st.sampled_from([True, False, "never"]),
)
def test_answers_are_distinct_sorted_whole_and_scored_as_said(
    seed: int, width: int, ends: set[int], penalty: float, early: Any
) -> None:
    model = table_model(seed, 7)
    search = BeamSearch(width, 9, length_penalty=penalty, early_stopping=early, n_ends=len(ends))
    found = run(search, model, ends)
    assert 1 <= len(found) <= width
    assert len({tuple(tokens) for tokens, _ in found}) == len(found)
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    for tokens, total in found:
        assert len(tokens) == 9 or tokens[-1] in ends
        assert not ends.intersection(tokens[:-1])
        assert total == pytest.approx(score(model, tokens, penalty), abs=1e-4)
    again = BeamSearch(width, 9, length_penalty=penalty, early_stopping=early, n_ends=len(ends))
    assert run(again, model, ends) == found


def test_equal_answers_are_ordered_by_beam_and_token() -> None:
    flat = np.full(5, math.log(1 / 5), np.float32)
    found = run(BeamSearch(3, 2, n_ends=0), lambda context: flat, set())
    assert [tokens for tokens, _ in found] == [[0, 0], [0, 1], [0, 2]]


def test_never_looks_on_where_the_guess_stops() -> None:
    """Two poor answers end at once; the good one is long, and divides by its length."""

    def model(context: Sequence[int]) -> Floats:
        return np.log(np.array([0.01, 0.01, 0.98] if context else [0.4, 0.35, 0.25], np.float32))

    for early in (False, True):
        guessed = run(BeamSearch(2, 9, early_stopping=early), model, {0, 1})
        assert [tokens for tokens, _ in guessed] == [[0], [1]]
    patient = run(BeamSearch(2, 9, early_stopping="never"), model, {0, 1})
    assert patient[0][0] == [2] * 9
    assert patient[0][1] > guessed[0][1]
    # Where a longer answer cannot gain by its length, there is nothing to wait for.
    final = run(BeamSearch(2, 9, length_penalty=0.0, early_stopping="never"), model, {0, 1})
    assert [tokens for tokens, _ in final] == [[0], [1]]


def test_forbidden_tokens_are_never_taken_and_a_dead_end_ends_the_search() -> None:
    def model(context: Sequence[int]) -> Floats:
        row = np.full(4, -math.inf, np.float32)
        if len(context) < 2:
            row[len(context)] = -0.5
        return row

    search = BeamSearch(3, 8)
    assert run(search, model, {3}) == []
    assert search.best_unfinished() == []
    search = BeamSearch(3, 8)
    assert run(search, model, {1}) == [([0, 1], -0.5)]


# -- against transformers -------------------------------------------------------------------------


class Pair:
    """A model of ours in the engine, and the same in `transformers`."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, folder: Path) -> None:
        from transformers import AutoModelForCausalLM

        save_model(model, tokenizer, folder)
        self.model, self.tokenizer = model, tokenizer
        self.theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        # What the folder's generation_config says must not add to what a test asks for.
        self.engine = Engine(model, tokenizer, max_batch=12)

    def expected(self, prompt: list[int], params: SamplingParams) -> list[tuple[list[int], float]]:
        ends = sorted(self.tokenizer.eos_ids | set(params.stop_tokens))
        options: dict[str, Any] = {}
        if params.min_tokens:
            options["min_new_tokens"] = params.min_tokens
        if params.logit_bias:
            options["sequence_bias"] = {(t,): b for t, b in dict(params.logit_bias).items()}
        with torch.inference_mode():
            out = self.theirs.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                num_beams=params.beams,
                num_return_sequences=params.n,
                max_new_tokens=params.max_tokens,
                length_penalty=params.length_penalty,
                early_stopping=params.early_stopping,
                repetition_penalty=params.repetition_penalty,
                no_repeat_ngram_size=params.no_repeat_ngram,
                eos_token_id=ends,
                pad_token_id=ends[0],
                return_dict_in_generate=True,
                output_scores=True,
                **options,
            )
        answers = []
        for row, total in zip(out.sequences, out.sequences_scores.tolist(), strict=True):
            tokens = row[len(prompt) :].tolist()
            end = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
            answers.append((tokens[:end], total))
        return answers

    def close(self) -> None:
        self.engine.close()


@pytest.fixture(scope="module")
def pair(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,  # not padded: `transformers` would count the padding in
        width=48,
        n_layers=2,
        n_heads=6,
        n_kv_heads=2,
        head_dim=8,
        mlp_width=64,
        context=160,
    )
    model = Transformer.random(config, seed=1)
    with torch.no_grad():
        for weight in (model.embed_tokens.weight, model.head_weight):
            weight.mul_(12)
    both = Pair(model.eval(), tokenizer, tmp_path_factory.mktemp("beams") / "model")
    yield both
    both.close()


def check(pair: Pair, prompts: Sequence[list[int]], asked: Sequence[SamplingParams]) -> int:
    """All of them at once; returns how many answers came to an end of their own."""
    requests = [pair.engine.submit(p, params) for p, params in zip(prompts, asked, strict=True)]
    ended = 0
    for prompt, params, request in zip(prompts, asked, requests, strict=True):
        ours = request.results()
        expected = pair.expected(prompt, params)
        assert [c.token_ids for c in ours] == [tokens for tokens, _ in expected], params
        assert [c.score for c in ours] == pytest.approx([s for _, s in expected], abs=1e-3)
        assert [c.index for c in ours] == list(range(params.n))
        for c in ours:
            assert c.text == _whole(pair, c.token_ids[:-1] + _shown(pair, c, params))
            assert c.finish_reason == ("length" if _shown(pair, c, params) else "stop")
            ended += c.finish_reason == "stop"
    return ended


def _whole(pair: Pair, tokens: list[int]) -> str:
    """The text of tokens, without a character at the end that is not whole."""
    detokenizer = pair.tokenizer.detokenizer()
    return "".join(map(detokenizer.push, tokens)) + detokenizer.flush().rstrip("\ufffd")


def _shown(pair: Pair, completion: Completion, params: SamplingParams) -> list[int]:
    """The last token, unless it ends the answer."""
    last = completion.token_ids[-1]
    return [] if last in pair.tokenizer.eos_ids or last in params.stop_tokens else [last]


def some_params(chance: random.Random, vocab: int, beams: int) -> SamplingParams:
    return SamplingParams(
        temperature=0,
        beams=beams,
        n=chance.randint(1, beams),
        max_tokens=chance.choice([1, 5, NEW_TOKENS, NEW_TOKENS]),
        length_penalty=chance.choice([-0.5, 0.0, 0.6, 1.0, 1.0, 2.0]),
        early_stopping=chance.choice([True, False, "never"]),
        # Ends that are as likely as any other token, so that answers do end.
        stop_tokens=tuple(chance.sample(range(10, vocab), chance.choice([0, 3, 12, 40]))),
    )


def test_answers_and_scores_are_those_of_transformers(pair: Pair) -> None:
    chance = random.Random(3)
    prompts, asked = [], []
    for number, text in enumerate(PROMPTS):
        for beams in (2 + number % 2, 4 + number % 2):
            prompts.append(pair.tokenizer.encode(text))
            asked.append(some_params(chance, pair.tokenizer.vocab_size, beams))
    ended = check(pair, prompts, asked)
    assert 10 < ended < sum(params.n for params in asked) - 10


def test_processed_log_probabilities_are_those_of_transformers(pair: Pair) -> None:
    chance = random.Random(5)
    vocab = pair.tokenizer.vocab_size
    changes: list[dict[str, Any]] = [
        {"min_tokens": 5},
        {"repetition_penalty": 1.4},
        {"no_repeat_ngram": 2},
        {"logit_bias": {t: chance.uniform(-3, 6) for t in range(40, 120, 7)}},
        {"min_tokens": 3, "repetition_penalty": 0.8, "no_repeat_ngram": 1},
    ]
    prompts, asked = [], []
    for number, text in enumerate(PROMPTS):
        params = some_params(chance, vocab, 2 + number % 4)
        prompts.append(pair.tokenizer.encode(text))
        asked.append(replace(params, max_tokens=NEW_TOKENS, **changes[number % len(changes)]))
    check(pair, prompts, asked)


# -- in the scheduler, over a toy model whose every number shows which blocks were read -----------


def searched(house: House, prompt: list[int], params: SamplingParams) -> list[list[int]]:
    """The oracle: no cache, no blocks, no company."""
    ends = house.vocabulary.ends_of(params)
    search = BeamSearch(
        params.beams,
        min(params.max_tokens, house.context - len(prompt)),
        length_penalty=params.length_penalty,
        early_stopping=params.early_stopping,
        n_ends=len(ends),
    )
    texts: list[list[int]] = [[]]
    while not search.done:
        rows = []
        for text in texts:
            sampler = Sampler(params, prompt, VOCABULARY, ends=house.vocabulary.ends)
            for token in text:
                sampler.accept(token)
            rows.append(sampler.process(log_probabilities(house.toy.row([*prompt, *text]))))
        parents, tokens = search.advance(rows, lambda parent, token: token in ends)
        texts = [[*texts[p], t] for p, t in zip(parents, tokens, strict=True)]
    return [h.last.tokens() for h in search.finished[: params.n]]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000), n_blocks=st.sampled_from([36, 64, 200]), batch=st.integers(1, 9)
)
def test_in_any_company_beams_are_those_of_the_search_alone(
    seed: int, n_blocks: int, batch: int
) -> None:
    chance = random.Random(seed)
    house = House(n_blocks=n_blocks, max_batch=batch, ends=frozenset({0, 1}))
    asked: list[tuple[Request, list[int], SamplingParams]] = []
    for prompt in prompts_of(seed, 6):
        params = SamplingParams(temperature=0, max_tokens=chance.randint(1, 20))
        if chance.random() < 0.7:
            width = chance.randint(2, 5)
            params = replace(
                params,
                beams=width,
                n=chance.randint(1, width),
                length_penalty=chance.choice([0.0, 1.0, 1.5]),
                early_stopping=chance.choice([True, False, "never"]),
                repetition_penalty=chance.choice([1.0, 1.3]),
                min_tokens=chance.choice([0, 0, 1]),
            )
            group = BeamGroup(
                prompt,
                params,
                house.vocabulary,
                Sampler(params, prompt, VOCABULARY, ends=house.vocabulary.ends),
                limit=min(params.max_tokens, CONTEXT - len(prompt)),
            )
            house.scheduler.submit(group)
            asked.append((Request(group, house), prompt, params))
        else:
            asked.append((house.submit(prompt, params), prompt, params))
        for _ in range(chance.randrange(4)):
            house.turn()
    given_up = chance.randrange(12)
    if given_up < len(asked):
        asked.pop(given_up)[0].cancel()
    house.run()
    for request, prompt, params in asked:
        ours = [completion.token_ids for completion in request.results()]
        if params.beams > 1:
            assert ours == searched(house, prompt, params)
        else:
            assert ours == house.alone(prompt, params)


@pytest.mark.parametrize(("steps", "reason"), [(0, "cancelled"), (1, "timeout"), (4, "cancelled")])
def test_a_search_that_is_cut_off_gives_what_it_has(steps: int, reason: str) -> None:
    """Some ends are likely, so that after some steps there are finished answers and running."""
    house, prompt = House(ends=frozenset(range(4))), [5, 6, 7]
    params = SamplingParams(temperature=0, beams=4, n=4, max_tokens=30, early_stopping="never")
    sampler = Sampler(params, prompt, VOCABULARY, ends=house.vocabulary.ends)
    group = BeamGroup(prompt, params, house.vocabulary, sampler, limit=30)
    request = Request(group, house)
    house.scheduler.submit(group)
    while len(group.sequences[0].tokens) - len(prompt) < steps:
        house.turn()
    if reason == "timeout":
        house.scheduler._deadline = group.deadline = 0.0  # long ago
    else:
        request.cancel()
    house.run()
    results = request.results()
    assert [c.finish_reason for c in results] == [reason] * 4
    assert [c.index for c in results] == [0, 1, 2, 3]

    search, texts = BeamSearch(4, 30, early_stopping="never", n_ends=4), [[]]
    for _ in range(steps):
        rows = [log_probabilities(house.toy.row([*prompt, *text])) for text in texts]
        parents, tokens = search.advance(rows, lambda parent, token: token < 4)
        texts = [[*texts[p], t] for p, t in zip(parents, tokens, strict=True)]
    assert not search.done
    found = [*search.finished, *search.best_unfinished()][:4]
    if steps == 4:
        assert 0 < len(search.finished) < 4
    assert [c.token_ids for c in results] == [h.last.tokens() for h in found] + [[]] * (
        4 - len(found)
    )


# -- in the engine --------------------------------------------------------------------------------


def beams(k: int = 4, **options: Any) -> SamplingParams:
    return SamplingParams(**({"temperature": 0, "beams": k, "max_tokens": 12} | options))


def log_rows(pair: Pair, prompt: list[int], tokens: list[int]) -> torch.Tensor:
    """The model's own log-probabilities [len(tokens), V], without a cache."""
    with torch.inference_mode():
        return pair.model(torch.tensor([prompt + tokens]))[0, len(prompt) - 1 : -1].log_softmax(-1)


def own_log_probabilities(pair: Pair, prompt: list[int], tokens: list[int]) -> list[float]:
    rows = log_rows(pair, prompt, tokens)
    return rows.gather(-1, torch.tensor(tokens)[:, None])[:, 0].tolist()


def test_text_comes_once_and_whole_for_each_answer(pair: Pair) -> None:
    request = pair.engine.submit(pair.tokenizer.encode(PROMPTS[0]), beams(3, n=2))
    pieces = list(request)
    assert [piece.index for piece in pieces] == [0, 1]
    for piece, completion in zip(pieces, request.results(), strict=True):
        assert piece.completion is completion
        assert piece.text == completion.text != ""
    first, second = request.results()
    assert first.score is not None and second.score is not None
    assert first.score >= second.score


def test_the_prompt_is_computed_once_and_all_blocks_come_back(pair: Pair) -> None:
    prompt = pair.tokenizer.encode(PROMPTS[0] * 10)[:120]
    with Engine(pair.model, pair.tokenizer, prefix_reuse=False) as engine:
        before = engine.stats()["tokens"]
        engine.submit(prompt, beams(5, max_tokens=20)).results()
        stats = engine.stats()
        assert stats["tokens"] - before <= len(prompt) + 19 * 5
        assert stats["blocks"]["used"] == 0
        # Five beams of 140 tokens would be 25 blocks; the prompt's 3 whole ones are shared.
        assert stats["blocks"]["touched"] <= 3 + 5 * 2 + 5


def test_beams_are_the_same_in_company_where_memory_is_short(
    pair: Pair, prompts: list[list[int]]
) -> None:
    texts = [p for p in prompts if 5 < len(p) < 80][:6]
    asked = [beams(2 + i % 3, max_tokens=30) for i in range(len(texts))]
    alone = [pair.engine.submit(p, a).results() for p, a in zip(texts, asked, strict=True)]
    from chatwright.generate.torch_runner import TorchRunner

    runner = TorchRunner(pair.model, n_blocks=40, context=160, block_size=8)
    with Engine(runner, pair.tokenizer, max_batch=8) as engine:
        plain = [engine.submit(p, SamplingParams(temperature=0, max_tokens=40)) for p in texts]
        requests = [engine.submit(p, a) for p, a in zip(texts, asked, strict=True)]
        for request, expected in zip(requests, alone, strict=True):
            assert [c.token_ids for c in request.results()] == [c.token_ids for c in expected]
        for request in plain:
            request.result()
        assert engine.stats()["blocks"]["used"] == 0


def test_log_probabilities_are_the_models_own_of_the_answers_tokens(pair: Pair) -> None:
    prompt = pair.tokenizer.encode(PROMPTS[3])
    asked = beams(3, n=3, logprobs=True, top_logprobs=2, repetition_penalty=1.5)
    for completion in pair.engine.submit(prompt, asked).results():
        own = own_log_probabilities(pair, prompt, completion.token_ids)
        assert completion.logprobs == pytest.approx(own, abs=1e-4)
        rows = log_rows(pair, prompt, completion.token_ids)
        assert completion.top_logprobs is not None
        for row, top in zip(rows, completion.top_logprobs, strict=True):
            values, tokens = row.topk(2)
            assert [t for t, _ in top] == tokens.tolist()
            assert [v for _, v in top] == pytest.approx(values.tolist(), abs=1e-4)


@pytest.mark.parametrize("stops", [("e",), ("引", "on"), ("er", "e p", "结束。"), ("\ufffd",)])
@pytest.mark.parametrize("number", [1, 11])
def test_a_stop_string_ends_a_beam_as_soon_as_it_is_there(
    pair: Pair, stops: tuple[str, ...], number: int
) -> None:
    """The oracle decodes each candidate's whole answer."""
    prompt = pair.tokenizer.encode(PROMPTS[number])
    asked = beams(4, n=4, stop=stops, max_tokens=16, early_stopping=True)
    texts: list[list[int]] = [[]]

    def text(tokens: list[int]) -> str:
        detokenizer = pair.tokenizer.detokenizer()
        return "".join(map(detokenizer.push, tokens))

    def ends(parent: int, token: int) -> bool:
        if token in pair.tokenizer.eos_ids:
            return True
        return any(stop in text([*texts[parent], token]) for stop in stops)

    search = BeamSearch(4, 16, early_stopping=True, n_ends=len(pair.tokenizer.eos_ids))
    while not search.done:
        with torch.inference_mode():
            rows = pair.model(torch.tensor([prompt + t for t in texts]))[:, -1].log_softmax(-1)
        parents, tokens = search.advance(list(rows.numpy()), ends)
        texts = [[*texts[p], t] for p, t in zip(parents, tokens, strict=True)]
    ours = pair.engine.submit(prompt, asked).results()
    assert [c.token_ids for c in ours] == [h.last.tokens() for h in search.finished]
    for completion in ours:
        whole = _whole(pair, completion.token_ids)
        found = [at for stop in stops if (at := whole.find(stop)) >= 0]
        assert completion.text == whole[: min(found, default=None)]
        if found:
            assert completion.finish_reason == "stop"


def test_a_cancelled_search_says_so(pair: Pair) -> None:
    prompt = pair.tokenizer.encode(PROMPTS[5])
    request = pair.engine.submit(prompt, beams(3, n=3, max_tokens=150, early_stopping="never"))
    request.cancel()
    assert [c.finish_reason for c in request.results()] == ["cancelled"] * 3
    assert pair.engine.submit(prompt, beams(3)).result().finish_reason in ("stop", "length")


def test_the_windows_end_ends_the_beams(pair: Pair, prompts: list[list[int]]) -> None:
    longest = max(prompts, key=len)
    assert len(longest) == 150
    for completion in pair.engine.submit(longest, beams(3, n=3, max_tokens=100)).results():
        assert len(completion.token_ids) == 10 or completion.finish_reason == "stop"
        assert completion.prompt_tokens == 150


def test_where_nothing_may_follow_the_request_fails_and_says_why(pair: Pair) -> None:
    nothing = {token: -math.inf for token in range(pair.tokenizer.vocab_size)}
    with pytest.raises(ChatwrightError, match="no token may follow"):
        pair.engine.submit([1, 2, 3], beams(3, logit_bias=nothing)).results()
    only = nothing | {token: 0.0 for token in (7, 8)}
    answers = pair.engine.submit([1, 2, 3], beams(5, n=5, max_tokens=2, logit_bias=only)).results()
    assert {tuple(c.token_ids) for c in answers[:4]} == {(7, 7), (7, 8), (8, 7), (8, 8)}
    assert answers[4].token_ids == [] and answers[4].text == "" and answers[4].score is None


def test_every_beam_keeps_to_the_constraint(pair: Pair) -> None:
    pytest.importorskip("llguidance")
    prompt = pair.tokenizer.encode(PROMPTS[2])
    words = Constraint.regex("(yes|no|perhaps not|也许)")
    answers = pair.engine.submit(prompt, beams(5, n=3, constraint=words)).results()
    assert {c.text for c in answers} <= {"yes", "no", "perhaps not", "也许"}
    assert {c.finish_reason for c in answers} == {"stop"}
    schema = Constraint.json_schema(
        {
            "type": "object",
            "properties": {"free": {"type": "boolean"}, "who": {"enum": ["slot", "引擎"]}},
            "required": ["free", "who"],
            "additionalProperties": False,
        }
    )
    asked = beams(4, n=4, constraint=schema, max_tokens=60)
    answers = pair.engine.submit(prompt, asked).results()
    for completion in answers:
        value = json.loads(completion.text)
        assert value["free"] in (False, True) and value["who"] in ("slot", "引擎")
        assert completion.score is not None
        logprobs = own_log_probabilities(pair, prompt, completion.token_ids)
        assert completion.score == pytest.approx(sum(logprobs) / len(logprobs), abs=1e-4)


# -- the default chat model -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_chat_models_answers_are_those_of_transformers(
    smollm2_gguf: Path, tmp_path: Path
) -> None:
    from test_against_transformers import QUESTIONS

    model, tokenizer = load_model(str(smollm2_gguf), dtype=torch.float32)
    both = Pair(model, tokenizer, tmp_path / "hf")
    chance = random.Random(9)
    prompts = [tokenizer.chat([{"role": "user", "content": question}]) for question in QUESTIONS]
    asked = [
        SamplingParams(
            temperature=0,
            beams=2 + number % 4,
            n=1 + number % 2,
            max_tokens=14,
            length_penalty=chance.choice([0.0, 1.0, 2.0]),
            early_stopping=chance.choice([True, False, "never"]),
            repetition_penalty=chance.choice([1.0, 1.2]),
            min_tokens=chance.choice([0, 8]),
        )
        for number in range(len(QUESTIONS))
    ]
    check(both, prompts, asked)
    both.close()
