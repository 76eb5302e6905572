"""The scheduler over a toy model that shows every wrong table, stale block and missing copy."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeLogits
from house import VOCABULARY, House, prompts_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chatwright.errors import ChatwrightError, ModelError
from chatwright.generate.embedding import EmbeddingGroup
from chatwright.generate.fairness import FairQueue
from chatwright.generate.group import Group
from chatwright.generate.logits import log_probability, top_log_probabilities
from chatwright.generate.params import Completion, SamplingParams
from chatwright.generate.prefill import share
from chatwright.generate.request import Request
from chatwright.generate.runner import StepResult

PROMPTS = prompts_of(3, 12)
KINDS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0, "lookup": 4},
    {"temperature": 0, "n": 3},
    {"temperature": 0, "guidance": 1.7, "negative_prompt": tuple(PROMPTS[1][:9])},
    {"temperature": 0, "guidance": 1.7},
    {"temperature": 0.9, "seed": 5, "top_p": 0.9},
    {"temperature": 0.9, "seed": 6, "n": 2, "lookup": 3},
    {"temperature": 1.1, "seed": 7, "n": 2, "guidance": 1.3, "repetition_penalty": 1.2},
]


def greedy(size: int, **options: Any) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=size, **options)


# -- how a step's prompt tokens are divided ------------------------------------------------------


@given(st.integers(0, 600), st.lists(st.integers(1, 5000), min_size=1, max_size=40))
def test_shares_use_the_budget_and_serve_the_shortest_and_the_first(
    budget: int, needs: list[int]
) -> None:
    shares = share(budget, needs)
    assert sum(shares) == min(budget, sum(needs))
    assert all(0 <= got <= need for got, need in zip(shares, needs, strict=True))
    assert shares[0] >= min(needs[0], budget - budget // 2)
    shortest = min(range(len(needs)), key=lambda i: needs[i])
    assert shares[shortest] >= min(needs[shortest], budget // 2)


# -- the same tokens, whatever happens -----------------------------------------------------------


class Company(RuleBasedStateMachine):
    """Requests of all kinds come and go at random in little memory; each is answered as alone."""

    @initialize(n_blocks=st.integers(36, 60), max_batch=st.integers(1, 8), reuse=st.booleans())
    def open(self, n_blocks: int, max_batch: int, reuse: bool) -> None:
        self.house = House(n_blocks=n_blocks, max_batch=max_batch, reuse=reuse, ends=frozenset([0]))
        self.requests: list[tuple[Request, list[int], SamplingParams]] = []

    @rule(
        prompt=st.sampled_from(PROMPTS),
        kind=st.sampled_from(KINDS),
        size=st.integers(1, 25),
        tenant=st.sampled_from(["", "b"]),
    )
    def submit(self, prompt: list[int], kind: dict[str, Any], size: int, tenant: str) -> None:
        params = SamplingParams(**kind, max_tokens=size)
        request = self.house.submit(prompt, params, tenant=tenant)
        self.requests.append((request, prompt, params))

    @rule(turns=st.integers(1, 12))
    def go_on(self, turns: int) -> None:
        for _ in range(turns):
            self.house.turn()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.requests:
            data.draw(st.sampled_from(self.requests))[0].cancel()

    @invariant()
    def room_is_kept(self) -> None:
        if hasattr(self, "house"):
            width = sum(group.width for group in self.house.groups)
            assert width <= self.house.scheduler._max_batch or len(self.house.groups) == 1

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        self.house.run()
        for request, prompt, params in self.requests:
            results = request.results()
            wanted = self.house.alone(prompt, params)
            assert [r.index for r in results] == list(range(params.n))
            for result, tokens in zip(results, wanted, strict=True):
                if result.finish_reason == "cancelled":
                    assert result.token_ids == tokens[: len(result.token_ids)]
                else:
                    assert result.token_ids == tokens
                    assert result.finish_reason == ("stop" if tokens[-1] == 0 else "length")


TestCompany = Company.TestCase
TestCompany.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_in_little_memory_the_youngest_makes_room_and_nobody_notices() -> None:
    house = House(n_blocks=17, max_batch=4)
    requests = [house.submit(prompt, greedy(40)) for prompt in PROMPTS[:8]]
    house.run()
    for request, prompt in zip(requests, PROMPTS, strict=False):
        assert request.result().token_ids == house.alone(prompt, greedy(40))[0]
    assert house.scheduler.preemptions > 0


def test_answers_that_share_a_prompt_fit_again_after_they_made_room() -> None:
    """Eight answers fit only while they share the prompt: also when it is computed again."""
    prompt, params = (
        (PROMPTS[0] * 9)[:41],
        SamplingParams(temperature=1, seed=1, n=8, max_tokens=11),
    )
    preemptions = 0
    for begun in range(14, 18):
        # Ten shared blocks and 8 * 3 own ones; an older request takes some of them for a while.
        house = House(n_blocks=34, max_batch=9, reuse=begun % 2 == 0)
        older = house.submit([9, 8, 7], greedy(50))
        for _ in range(begun):
            house.turn()
        several = house.submit(prompt, params)
        house.run()
        assert [r.token_ids for r in several.results()] == house.alone(prompt, params)
        assert older.result().token_ids == house.alone([9, 8, 7], greedy(50))[0]
        preemptions += house.scheduler.preemptions
    assert preemptions > 0


def test_several_answers_to_a_prompt_read_it_once() -> None:
    house = House(max_batch=8)
    prompt = (PROMPTS[0] * 9)[:41]
    results = house.submit(prompt, SamplingParams(temperature=1, seed=2, n=8, max_tokens=4))
    house.run()
    assert len({tuple(r.token_ids) for r in results.results()}) == 8
    assert house.scheduler.tokens == len(prompt) + 8 * 3


def test_the_window_slides_over_shared_blocks_too() -> None:
    house = House(context=40)
    for n, sinks, size in [(1, 4, 120), (1, 0, 90), (2, 5, 60), (1, 13, 60)]:
        params = greedy(size, window_end="slide", sinks=sinks, n=n)
        prompt = PROMPTS[2][:30]
        request = house.submit(prompt, params)
        beside = house.submit(prompt, greedy(8))
        house.run()
        wanted = house.toy.greedy(prompt, size, context=40, block=4, sinks=sinks)
        assert [r.token_ids for r in request.results()] == [wanted] * n
        assert beside.result().token_ids == house.alone(prompt, greedy(8))[0]


def test_sliding_in_little_memory_waits_for_others() -> None:
    house = House(context=40, n_blocks=26)
    params = greedy(70, window_end="slide", n=2)
    prompt = PROMPTS[2][:30]
    request = house.submit(prompt, params)
    others = [house.submit(p[:20], greedy(15)) for p in PROMPTS[3:8]]
    house.run()
    assert [len(r.token_ids) for r in request.results()] == [70, 70]
    for other, p in zip(others, PROMPTS[3:8], strict=True):
        assert other.result().token_ids == house.alone(p[:20], greedy(15))[0]


# -- reuse ---------------------------------------------------------------------------------------


def test_a_prompt_is_not_computed_again_but_for_its_last_token() -> None:
    house = House()
    prompt = (PROMPTS[0] * 9)[:40]  # whole blocks exactly
    first = house.result(prompt, greedy(3))
    before = house.scheduler.tokens
    again = house.result(prompt, greedy(3))
    assert (first.cached_tokens, again.cached_tokens) == (0, 36)
    assert again.token_ids == first.token_ids
    assert house.scheduler.tokens - before == 4 + 2
    longer = [*prompt, *first.token_ids[:2], 7]  # the next turn of a conversation
    assert house.result(longer, greedy(3)).cached_tokens == 40
    assert house.result([*prompt[:-9], 5, 5], greedy(3)).cached_tokens == 28
    assert house.result([5, *prompt], greedy(3)).cached_tokens == 0


def test_a_repeated_request_computes_what_it_computes_in_the_same_steps() -> None:
    for size in (1, 4, 5, 36, 40, 41):
        house = House(repeatable=True)
        prompt = (PROMPTS[0] * 9)[:size]
        steps: list[list[tuple[list[int], int]]] = []
        for _ in range(2):
            before = len(house.runner.steps)
            house.result(prompt, greedy(5))
            runs = [run for (run,) in house.runner.steps[before:]]
            steps.append([(list(run.tokens), run.start) for run in runs])
        assert steps[1] == steps[0][-len(steps[1]) :]
        assert len(steps[1]) == 5


def test_no_tenant_finds_anothers_prompt_and_without_reuse_nobody_does() -> None:
    prompt = (PROMPTS[0] * 9)[:40]
    house, closed = House(), House(reuse=False)
    for _ in range(2):
        for tenant in ("a", "b"):
            request = house.submit(prompt, greedy(2), tenant=tenant)
            house.run()
            cached = request.result().cached_tokens
            assert cached == (36 if _ else 0)
        assert closed.result(prompt, greedy(2)).cached_tokens == 0
    assert closed.scheduler.memory.pool.kept == 0


def test_prompts_that_begin_alike_and_come_together_are_read_once() -> None:
    house = House(max_batch=8)
    stem = (PROMPTS[0] * 9)[:40]
    requests = [house.submit([*stem, end], greedy(2)) for end in range(8)]
    house.run()
    assert house.scheduler.tokens == 40 + 8 * 2
    for end, request in enumerate(requests):
        assert request.result().token_ids == house.alone([*stem, end], greedy(2))[0]


def test_new_weights_make_what_was_kept_worthless() -> None:
    version = [1]
    house = House(fingerprint=lambda: version[0])
    prompt = (PROMPTS[0] * 9)[:40]
    house.result(prompt, greedy(2))
    assert house.result(prompt, greedy(2)).cached_tokens == 36
    version[0] = 2
    assert house.result(prompt, greedy(2)).cached_tokens == 0


def test_kept_blocks_take_a_bounded_share_of_memory() -> None:
    house = House(n_blocks=160, max_batch=2)
    for prompt in prompts_of(9, 60):
        house.result(prompt, greedy(5))
    assert house.scheduler.memory.pool.touched <= 15 + 160 // 8


# -- who takes part ------------------------------------------------------------------------------


def test_a_short_prompt_overtakes_a_long_one_and_no_stream_stalls() -> None:
    house = House(n_blocks=3000, context=10_000, max_batch=4)
    house.runner.step = fast_step(house)  # type: ignore[method-assign]
    running = house.submit([1, 2], greedy(5000))
    house.turn()
    long = house.submit([3] * 4000, greedy(5))
    house.turn()
    short = house.submit(list(range(20)), greedy(5))
    before = len(house.runner.steps)
    house.turn()
    assert not short._group.events.empty()  # its first token came with the very next step
    for _ in range(3):
        house.turn()
    assert long._group.events.empty()
    for runs in house.runner.steps[before:]:
        assert sum(len(run.tokens) for run in runs) <= 64 + 3
        assert any(run.start > 0 and run.outputs == 1 for run in runs)  # the stream went on
    steps = len(house.runner.steps)
    while long._group.events.empty():
        house.turn()
        assert len(house.runner.steps) - steps < 100
    running.cancel()
    house.run()


def fast_step(house: House) -> Any:
    """Steps without arithmetic, for prompts too long for the toy model."""

    def step(runs: Any) -> StepResult:
        house.runner.steps.append(list(runs))
        rows = np.zeros((sum(run.outputs for run in runs), VOCABULARY), np.float32)
        rows[:, 3] = 1
        return StepResult(FakeLogits(rows), [None] * len(runs))

    return step


def test_tenants_take_turns_by_what_they_have_had() -> None:
    house = House(max_batch=1)
    many = [house.submit([1, 2, 3], greedy(10), tenant="greedy") for _ in range(6)]
    house.turn()
    late = [house.submit([4, 5, 6], greedy(10), tenant="modest") for _ in range(2)]
    order: list[str] = []
    while house.scheduler.load != (0, 0):
        house.turn()
        for group in house.groups:
            if not order or order[-1] != f"{group.tenant}{id(group)}":
                order.append(f"{group.tenant}{id(group)}")
    names = [name.rstrip("0123456789") for name in order]
    assert names == ["greedy", "modest", "greedy", "modest", "greedy", "greedy", "greedy", "greedy"]
    assert order[0] == f"greedy{id(many[0]._group)}"
    assert order[1] == f"modest{id(late[0]._group)}"
    assert not house.scheduler._queue._accounts  # nothing is remembered of who is gone


def test_a_wide_request_runs_alone_and_a_long_one_waits_for_memory() -> None:
    house = House(max_batch=2, n_blocks=40)
    wide = house.submit([1, 2], SamplingParams(temperature=1, seed=1, n=5, max_tokens=5))
    beside = house.submit([3, 4], greedy(5))
    while house.scheduler.load != (0, 0):
        house.turn()
        assert len(house.groups) <= 1 or wide._group not in house.groups
    assert len(wide.results()) == 5
    assert beside.result().token_ids == house.alone([3, 4], greedy(5))[0]
    small = House(max_batch=4, n_blocks=15)
    first = small.submit((PROMPTS[0] * 9)[:41], greedy(10))
    second = small.submit((PROMPTS[1] * 9)[:41], greedy(2))
    small.turn()
    assert small.scheduler.load == (1, 1)  # there is a place in the batch, but no memory
    small.run()
    assert small.scheduler.preemptions == 0
    assert first.result().finish_reason == second.result().finish_reason == "length"


# -- ends ----------------------------------------------------------------------------------------


def test_deadlines_end_waiting_reading_and_answering_requests() -> None:
    house = House(max_batch=2)
    soon = time.monotonic() + 0.2
    answering = house.submit([1, 2], greedy(50), deadline=soon)
    untroubled = house.submit([3], greedy(50))
    waiting = house.submit([4], greedy(50), deadline=soon)
    patient = house.submit([5], greedy(5), deadline=soon + 1000)
    for _ in range(4):
        house.turn()
    assert house.scheduler.load == (2, 2)
    time.sleep(max(0.0, soon - time.monotonic()))
    house.run()
    result = answering.result()
    assert result.finish_reason == "timeout"
    assert result.token_ids == house.alone([1, 2], greedy(50))[0][: len(result.token_ids)]
    assert 0 < len(result.token_ids) < 10
    assert (waiting.result().finish_reason, waiting.result().token_ids) == ("timeout", [])
    assert untroubled.result().finish_reason == patient.result().finish_reason == "length"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_whenever_it_is_cancelled_every_answer_ends(kind: dict[str, Any], turns: int) -> None:
    house = House(max_batch=2)
    params = SamplingParams(**kind, max_tokens=30)
    request = house.submit((PROMPTS[0] * 9)[:30], params)
    for _ in range(turns):
        house.turn()
    request.cancel()
    house.run()
    pieces = list(request)
    ends = [piece for piece in pieces if piece.completion is not None]
    assert sorted(piece.index for piece in ends) == list(range(params.n))
    assert {piece.finish_reason for piece in ends} == {"cancelled"}
    for piece in ends:
        text = "".join(p.text for p in pieces if p.index == piece.index)
        assert piece.completion is not None and piece.completion.text == text


# -- what breaks ---------------------------------------------------------------------------------


def test_nan_stays_with_its_request_and_its_blocks_are_clean_when_used_again() -> None:
    house = House(n_blocks=30, poison=23, keep=30)
    clean = [[t for t in p if t != 23] or [1] for p in PROMPTS]
    short = [p for p in clean if 23 not in house.alone(p, greedy(6))[0]]
    assert len(short) >= 3
    stem = (clean[0] * 9)[:24]
    bad = house.submit([*stem, 23, 2], greedy(4))
    good = house.submit(short[0], greedy(6))
    house.run()
    with pytest.raises(ModelError, match=r"after 26 tokens.*NaN"):
        bad.result()
    assert good.result().token_ids == house.alone(short[0], greedy(6))[0]
    # The same beginning is not found any more, and every block can be used again.
    assert house.result(stem, greedy(1)).cached_tokens == 0
    for _ in range(3):
        requests = [house.submit(p, greedy(6)) for p in short]
        house.run()
        for request, prompt in zip(requests, short, strict=True):
            assert request.result().token_ids == house.alone(prompt, greedy(6))[0]


def test_a_failing_step_fails_its_requests_and_nobody_else() -> None:
    house = House(max_batch=2)
    requests = [house.submit(prompt, greedy(8)) for prompt in PROMPTS[:4]]
    house.turn()
    check = house.runner.before_step

    def breaks(runs: Any) -> None:
        raise MemoryError("no more")

    house.runner.before_step = breaks
    house.turn()
    house.runner.before_step = check
    house.run()
    errors = []
    for request in requests[:2]:
        with pytest.raises(ChatwrightError, match=r"out of memory.*no more") as caught:
            request.result()
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    for request, prompt in zip(requests[2:], PROMPTS[2:], strict=False):
        assert request.result().token_ids == house.alone(prompt, greedy(8))[0]


def test_an_error_of_one_request_stays_with_it() -> None:
    """Here: a bias, n-grams and a stop token that leave nothing to choose."""
    house = House()
    biases = {token: -float("inf") for token in range(1, VOCABULARY)}
    bad = house.submit([1, 2], greedy(9, logit_bias=biases, no_repeat_ngram=1))
    good = house.submit([1, 2], greedy(9))
    house.run()
    with pytest.raises(ChatwrightError, match="no token is left"):
        bad.result()
    assert good.result().token_ids == house.alone([1, 2], greedy(9))[0]


# -- several answers -----------------------------------------------------------------------------


def test_the_best_of_several_by_mean_log_probability() -> None:
    house = House(max_batch=8)
    common: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 6, "logprobs": True}
    every = house.submit([1, 2, 3], SamplingParams(n=6, **common))
    best = house.submit([1, 2, 3], SamplingParams(n=2, best_of=6, **common))
    house.run()

    def mean(completion: Completion) -> float:
        assert completion.logprobs is not None
        return sum(completion.logprobs) / len(completion.logprobs)

    ranked = sorted(every.results(), key=mean, reverse=True)
    got = best.results()
    assert [r.token_ids for r in got] == [r.token_ids for r in ranked[:2]]
    assert [r.index for r in got] == [0, 1]
    assert [r.score for r in got] == pytest.approx([mean(r) for r in ranked[:2]])
    assert every.results()[0].score is None


@pytest.mark.parametrize("kind", [{}, {"lookup": 4}, {"guidance": 1.5}, {"n": 2}])
def test_log_probabilities_are_the_models_own(kind: dict[str, Any]) -> None:
    house = House()
    params = SamplingParams(
        temperature=0.8, seed=4, max_tokens=12, logprobs=True, top_logprobs=3,
        repetition_penalty=1.3, **kind
    )  # fmt: skip
    prompt = PROMPTS[1]
    request = house.submit(prompt, params)
    house.run()
    for result in request.results():
        assert result.logprobs is not None and result.top_logprobs is not None
        assert len(result.logprobs) == len(result.top_logprobs) == len(result.token_ids)
        for at, token in enumerate(result.token_ids):
            row = house.toy.row([*prompt, *result.token_ids[:at]])
            assert result.logprobs[at] == pytest.approx(log_probability(row, token), abs=1e-5)
            assert result.top_logprobs[at] == top_log_probabilities(row, 3)


def test_speculation_saves_steps_and_ends_exactly_where_it_would() -> None:
    """The toy model says anything; a bias makes it repeat, so that guesses come true."""
    house = House()
    biases = {token: 20.0 for token in (3, 4)}
    for options in (
        {},
        {"stop": ("dde",)},
        {"stop_tokens": (4,), "min_tokens": 9},
        {"logit_bias": {3: 20.0}, "logprobs": True},
    ):
        plain = greedy(40, **({"logit_bias": biases} | options))
        guessed = greedy(40, **({"logit_bias": biases, "lookup": 8} | options))
        steps = house.scheduler.steps
        expected = house.result([3, 4], plain)
        taken = house.scheduler.steps - steps
        got = house.result([3, 4], guessed)
        assert got.token_ids == expected.token_ids
        assert got.text == expected.text
        assert got.finish_reason == expected.finish_reason
        if got.logprobs is not None:
            assert got.logprobs == pytest.approx(expected.logprobs)
        if len(expected.token_ids) == 40 and "logprobs" in options:
            assert house.scheduler.steps - steps - taken < taken / 2


def test_an_embedding_that_made_room_is_computed_anew_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chatwright.generate.scheduler.PREFILL_SHARED", 4)
    house = House(n_blocks=20, max_batch=3)
    text = (PROMPTS[0] * 9)[:50]

    def embedding() -> EmbeddingGroup:
        group = EmbeddingGroup(text, house.vocabulary, pooling="mean")
        house.scheduler.submit(group)
        return group

    alone = embedding()
    house.run()
    assert house.scheduler.memory.pool.kept == 0  # nobody can use its blocks
    beside = [house.submit([n, 2, 3], greedy(50)) for n in (1, 2)]
    for _ in range(3):
        house.turn()
    crowded = embedding()
    house.run()
    assert house.scheduler.preemptions > 0
    np.testing.assert_allclose(crowded.result(), alone.result(), rtol=1e-6)
    for request, n in zip(beside, (1, 2), strict=True):
        assert request.result().token_ids == house.alone([n, 2, 3], greedy(50))[0]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50), st.booleans()), max_size=60))
def test_nobody_is_forgotten_and_nobody_is_served_before_who_had_less(
    events: list[tuple[str, int, bool]],
) -> None:
    house = House()
    queue, waiting, running = FairQueue(), [], []
    for tenant, tokens, comes in events:
        if comes:
            group = house.submit([1], greedy(1), tenant=tenant)._group
            queue.push(group)
            waiting.append(group)
        elif waiting:
            group = queue.pop()
            first = {g.tenant: g for g in reversed(waiting)}
            assert group is first[group.tenant]  # first come first served within a tenant
            had = {name: account.served for name, account in queue._accounts.items()}
            assert all(had[group.tenant] <= had[name] for name in first)
            waiting.remove(group)
            queue.charge(group, tokens)
            running.append(group)
        elif running:
            queue.leave(running.pop())
        assert list(sorted(map(id, queue))) == sorted(map(id, waiting))
        assert len(queue) == len(waiting)
        assert set(queue._accounts) == {g.tenant for g in [*waiting, *running]}
    removed = queue.remove(lambda group: group.tenant == "a")
    assert [g for g in waiting if g.tenant == "a"] == removed
    assert len(queue) == len(waiting) - len(removed)


def test_a_copy_that_fails_loses_no_block() -> None:
    house = House(max_batch=8)
    params = SamplingParams(temperature=1, seed=1, n=4, max_tokens=9)
    broken = house.submit([1, 2], params)
    copy = house.runner.copy

    def fails(source: int, target: int) -> None:
        raise MemoryError("no more")

    house.runner.copy = fails  # type: ignore[method-assign]
    house.run()
    with pytest.raises(ChatwrightError, match="out of memory"):
        broken.result()
    house.runner.copy = copy  # type: ignore[method-assign]
    again = house.submit([1, 2], params)
    house.run()
    assert [r.token_ids for r in again.results()] == house.alone([1, 2], params)


def test_a_newcomer_saves_nothing_up_and_who_made_room_comes_first() -> None:
    house, queue = House(), FairQueue()

    def group(tenant: str) -> Group:
        return house.submit([1], greedy(1), tenant=tenant)._group

    running = [group("much"), group("little")]
    for one in running:
        queue.push(one)
    for one, tokens in zip(running, (100, 10), strict=True):
        assert queue.pop() is one
        queue.charge(one, tokens)
    new, later = group("new"), group("much")
    queue.push(later)
    queue.push(new)
    assert {name: a.served for name, a in queue._accounts.items()} == {
        "much": 100, "little": 10, "new": 10
    }  # fmt: skip
    assert queue.peek() is new
    queue.push_back(running[0])
    assert [queue.pop() for _ in range(3)] == [new, running[0], later]


def test_tokens_found_again_after_making_room_are_not_called_cached() -> None:
    house = House(n_blocks=17, max_batch=4)
    requests = [house.submit([n, *PROMPTS[0][:12]], greedy(40)) for n in range(1, 5)]
    house.run()
    assert house.scheduler.preemptions > 0
    assert house.scheduler.memory.pool.hits > 0
    assert [request.result().cached_tokens for request in requests] == [0] * 4
