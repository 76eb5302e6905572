"""Guesses change how soon an answer comes, and nothing else."""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.generate.draft import DraftModel
from chatwright.generate.params import SamplingParams
from chatwright.generate.runner import Floats, Run, StepResult
from chatwright.generate.sampler import Sampler
from chatwright.generate.speculation import (
    NGramProposer,
    Pace,
    Proposal,
    accept_or_replace,
    common_prefix,
    verify,
)

VOCAB = 6


class Rows:
    """The logits of a step, made from plain arrays."""

    def __init__(self, rows: Sequence[Floats]) -> None:
        self.rows = [np.array(row, np.float32) for row in rows]
        self.likeliest = np.array([row.argmax() for row in self.rows], np.int64)
        self.finite = np.array([np.isfinite(row.max()) for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> Floats:
        return self.rows[index]


def toy(context: Sequence[int], salt: int = 0, vocab: int = VOCAB) -> Floats:
    """Logits that depend on the last three tokens: a model that can be called anywhere."""
    return _toy(tuple(context[-3:]), salt, vocab).copy()


@functools.cache
def _toy(last: tuple[int, ...], salt: int, vocab: int) -> Floats:
    chance = random.Random(repr((last, salt)))
    return np.array([chance.gauss(0, 2) for _ in range(vocab)], np.float32)


class ToyRunner:
    """A runner whose cache holds the tokens themselves: what it reads must be what was written."""

    vocab_size = VOCAB
    bytes_per_block = 64

    def __init__(
        self,
        model: Callable[[Sequence[int]], Floats] = toy,
        *,
        n_blocks: int = 64,
        block_size: int = 4,
        context: int = 128,
    ) -> None:
        self.model = model
        self.n_blocks, self.block_size, self.context = n_blocks, block_size, context
        self.cells = np.full((n_blocks, block_size), -1)
        self.steps: list[list[Run]] = []
        self.cleared: list[int] = []
        self.latest = Rows([])

    def step(self, runs: Sequence[Run]) -> StepResult:
        self.steps.append(list(runs))
        for row in self.latest.rows:
            row[:] = np.nan  # rows are valid until the next step
        rows = []
        for run in runs:
            assert run.start + len(run.tokens) <= self.context
            for at, token in enumerate(run.tokens, start=run.start):
                self.cells[run.blocks[at // self.block_size], at % self.block_size] = token
            read = self.cells[list(run.blocks)].reshape(-1)
            for end in range(len(run.tokens) - run.outputs + 1, len(run.tokens) + 1):
                rows.append(self.model(read[: run.start + end].tolist()))
        self.latest = Rows(rows)
        return StepResult(self.latest, [None] * len(runs))

    def copy(self, source: int, target: int) -> None:
        self.cells[target] = self.cells[source]

    def clear(self, blocks: Sequence[int]) -> None:
        self.cleared += blocks

    def close(self) -> None: ...


# -- verification ---------------------------------------------------------------------------------


def plain(prompt: list[int], n: int, params: SamplingParams) -> list[int]:
    """The oracle: one token at a time."""
    sampler, made = Sampler(params, prompt, VOCAB), []
    while len(made) < n:
        made.append(sampler.choose(toy(prompt + made)))
        sampler.accept(made[-1])
    return made


def speculated(
    prompt: list[int],
    n: int,
    params: SamplingParams,
    propose: Callable[[list[int]], Proposal],
) -> tuple[list[int], int]:
    """The same with guesses; and the number of steps that it took."""
    sampler, made, steps = Sampler(params, prompt, VOCAB), [], 0
    while len(made) < n:
        tokens = prompt + made
        proposal = propose(tokens)
        guess = proposal.tokens
        # Rows of another sequence lie before and after: only those of `rows` may be looked at.
        logits = Rows(
            [np.full(VOCAB, np.nan)]
            + [toy(tokens + guess[:i]) for i in range(len(guess) + 1)]
            + [np.full(VOCAB, np.nan)]
        )
        for token in verify(logits, range(1, len(guess) + 2), proposal, sampler):
            made.append(token)
            if len(made) == n:  # the answer's end: nothing more is chosen
                break
        steps += 1
    return made, steps


tokens_of = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=6)
processed = st.sampled_from(
    [
        {},
        {"repetition_penalty": 1.7},
        {"frequency_penalty": 0.8, "presence_penalty": 0.5},
        {"no_repeat_ngram": 3, "logit_bias": {1: 2.0}},  # 18 tokens always leave one
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    prompt=tokens_of,
    options=processed,
    drawn=st.sampled_from(
        [{"temperature": 0}, {"temperature": 0.9}, {"temperature": 1.3, "top_k": 4, "top_p": 0.9}]
    ),
    seed=st.integers(0, 10_000),
    hits=st.floats(0, 1),
)
def test_guesses_of_any_quality_give_the_tokens_of_plain_decoding(
    prompt: list[int], options: dict, drawn: dict, seed: int, hits: float
) -> None:
    params = SamplingParams(seed=seed, **options, **drawn)
    n = 12
    expected = plain(prompt, n, params)
    chance = random.Random(seed)

    def propose(tokens: list[int]) -> Proposal:
        made = len(tokens) - len(prompt)
        guess = [
            expected[i] if chance.random() < hits else chance.randrange(VOCAB)
            for i in range(made, min(n, made + chance.randrange(6)))
        ]
        return Proposal(guess)

    made, steps = speculated(prompt, n, params, propose)
    assert made == expected
    assert steps <= n


def test_right_guesses_save_steps_and_wrong_ones_cost_none() -> None:
    params = SamplingParams(temperature=0)
    expected = plain([1, 2], 24, params)

    def right(tokens: list[int]) -> Proposal:
        made = len(tokens) - 2
        return Proposal(expected[made : made + 5])

    def wrong(tokens: list[int]) -> Proposal:
        return Proposal([(expected[len(tokens) - 2] + 1) % VOCAB] * 5)

    assert speculated([1, 2], 24, params, right) == (expected, 4)
    assert speculated([1, 2], 24, params, wrong) == (expected, 24)


class Enumerated:
    """Uniform numbers from a grid, every combination in turn: laws become exact sums."""

    def __init__(self, points: int) -> None:
        self.points = points
        self.path: list[int] = []
        self.at = 0

    def runs(self) -> Iterator[Fraction]:
        """Once per combination, with its weight: known when the run is over, so ask `weight`."""
        while True:
            self.at = 0
            yield Fraction(0)
            del self.path[self.at :]
            while self.path and self.path[-1] == self.points - 1:
                self.path.pop()
            if not self.path:
                return
            self.path[-1] += 1

    @property
    def weight(self) -> Fraction:
        return Fraction(1, self.points) ** self.at

    def __call__(self) -> float:
        if self.at == len(self.path):
            self.path.append(0)
        self.at += 1
        return (self.path[self.at - 1] + 0.5) / self.points


@st.composite
def fourths(draw: st.DrawFn, size: int = 4) -> list[int]:
    """How 4 quarters are divided among `size` tokens."""
    cuts = sorted(draw(st.lists(st.integers(0, 4), min_size=size - 1, max_size=size - 1)))
    return [b - a for a, b in itertools.pairwise([0, *cuts, 4])]


@settings(max_examples=80, deadline=None)
@given(wanted=fourths(), drawn=fourths())
def test_an_accepted_or_replaced_token_has_exactly_the_wanted_law(
    wanted: list[int], drawn: list[int]
) -> None:
    p, q = np.array(wanted) / 4, np.array(drawn) / 4
    law: Counter[int] = Counter()
    for guess, share in enumerate(drawn):
        if share == 0:
            continue  # never guessed
        uniform = Enumerated(12)  # every ratio of quarters lies between two of its points
        for _ in uniform.runs():
            token = accept_or_replace(p, q, guess, uniform)
            law[token] += Fraction(share, 4) * uniform.weight
    assert [law[token] for token in range(4)] == [Fraction(w, 4) for w in wanted]


class Tabled:
    """A sampler whose distribution is the row itself."""

    needs_row = True
    finished = False

    def __init__(self, uniform: Enumerated) -> None:
        self.uniform = uniform
        self.accepted: list[int] = []

    def distribution(self, row: Floats) -> Floats:
        return row

    def choose(self, row: Floats) -> int:
        return int(np.searchsorted(np.cumsum(row), self.uniform(), side="right"))

    def accept(self, token: int) -> None:
        self.accepted.append(token)


@settings(max_examples=8, deadline=None)
@given(
    wanted=st.lists(fourths(3), min_size=4, max_size=4),
    drawn=st.lists(fourths(3), min_size=4, max_size=4),
)
def test_the_law_of_two_tokens_is_that_of_the_model_whatever_the_draft(
    wanted: list[list[int]], drawn: list[list[int]]
) -> None:
    """Two tokens are guessed; the model's and the draft's laws depend on the token before."""
    p, q = np.array(wanted) / 4, np.array(drawn) / 4  # row 3: after the prompt
    law: Counter[tuple[int, ...]] = Counter()
    for guess in itertools.product(range(3), repeat=2):
        share = Fraction(drawn[3][guess[0]] * drawn[guess[0]][guess[1]], 16)
        if share == 0:
            continue
        uniform = Enumerated(12)
        for _ in uniform.runs():
            sampler = Tabled(uniform)
            proposal = Proposal(list(guess), [q[3], q[guess[0]]])
            logits = Rows([p[3], p[guess[0]], p[guess[1]]])
            made = list(verify(logits, range(3), proposal, sampler))
            if len(made) == 1:
                made.append(sampler.choose(p[made[0]]))
            law[tuple(made[:2])] += share * uniform.weight
            assert sampler.accepted[: len(made)] == made[: len(sampler.accepted)]
    expected = {
        (a, b): Fraction(wanted[3][a] * wanted[a][b], 16)
        for a in range(3)
        for b in range(3)
        if wanted[3][a] * wanted[a][b]
    }
    assert {pair: weight for pair, weight in law.items() if weight} == expected


def test_a_draft_with_a_smaller_or_larger_vocabulary_changes_no_law() -> None:
    p = np.array([0.25, 0.25, 0.5])
    for q in (np.array([0.5, 0.5]), np.array([0.25, 0.25, 0.25, 0.25])):
        law: Counter[int] = Counter()
        for guess, share in enumerate(q[:3]):
            uniform = Enumerated(12)
            for _ in uniform.runs():
                law[accept_or_replace(p, q, guess, uniform)] += (
                    Fraction(share / q[:3].sum()) * uniform.weight
                )
        if len(q) == 2:  # a draft never proposes what is beyond the model's vocabulary
            assert [law[t] for t in range(3)] == [Fraction(1, 4), Fraction(1, 4), Fraction(1, 2)]


def test_nothing_is_chosen_after_a_constraint_is_complete() -> None:
    class Done(Tabled):
        @property
        def finished(self) -> bool:  # type: ignore[override]
            return len(self.accepted) == 2

    sampler = Done(Enumerated(4))
    rows = Rows([np.eye(3)[1]] * 4)
    assert list(verify(rows, range(4), Proposal([1, 1, 1]), sampler)) == [1, 1]


# -- prompt lookup --------------------------------------------------------------------------------


def careless(**options: Any) -> NGramProposer:
    """One that always guesses as much as it may."""
    proposer = NGramProposer(**options)
    proposer._pace.reach = lambda kind, most: most  # type: ignore[method-assign]
    return proposer


def rescan(tokens: list[int], most: int, longest: int = 3) -> list[int]:
    """The oracle: look through the whole text each time."""
    size = len(tokens)
    for n in range(min(longest, size), 0, -1):
        ends = [e for e in range(n - 1, size - 1) if tokens[e - n + 1 : e + 1] == tokens[-n:]]
        if not ends:
            continue

        def past(end: int) -> int:
            back = 0
            while back < 16 and back <= end and tokens[end - back] == tokens[size - 1 - back]:
                back += 1
            return back

        best = max(reversed(ends[-4:]), key=past)
        text = list(tokens)
        while len(text) < size + most:
            text.append(text[best + 1 + len(text) - size])
        return text[size:]
    return []


@settings(max_examples=200, deadline=None)
@given(tokens=st.lists(st.integers(0, 3), min_size=1, max_size=60), cut=st.integers(0, 60))
def test_the_index_finds_what_looking_through_the_whole_text_finds(
    tokens: list[int], cut: int
) -> None:
    proposer = careless()
    for end in range(max(1, cut), len(tokens)):  # grows token by token
        assert len(proposer.propose(tokens[:end], end % 3).tokens) <= end % 3
    expected = rescan(tokens, 30)
    assert proposer.propose(tokens, 30).tokens == expected
    assert careless().propose(tokens, 2).tokens == expected[:2]
    cautious = NGramProposer().propose(tokens, 30).tokens
    assert cautious == expected[: len(cautious)]


def test_what_followed_in_the_prompt_is_proposed() -> None:
    text = [9, 8, 7, 1, 2, 3, 4, 5, 6, 9, 8, 7]
    assert careless().propose(text, 3).tokens == [1, 2, 3]
    assert careless(ends={2}).propose(text, 4).tokens == [1, 2]
    assert careless().propose([1, 2, 1, 2, 1], 4).tokens == [2, 1, 2, 1]  # round in a circle
    assert careless().propose([1, 2, 3], 4).tokens == []
    # Of two places the one with more of the same before it, though it is further back.
    text = [5, 1, 2, 3, 30, 6, 1, 2, 3, 40, 5, 1, 2, 3]
    assert careless().propose(text, 1).tokens == [30]


def test_more_is_proposed_the_more_the_pasts_agree() -> None:
    def guessed(common: int) -> int:
        past = list(range(100, 100 + common))
        text = [1, *past, *range(200, 240), 2, *past]
        return len(NGramProposer().propose(text, 30).tokens)

    counts = [guessed(common) for common in (1, 2, 3, 5, 9)]
    assert counts == [1, 1, 2, 4, 9]


def test_a_text_that_became_shorter_is_indexed_anew() -> None:
    proposer = careless()
    proposer.propose([*range(40), 1, 2, 3], 4)
    short = [7, 8, 9, 10, 11, 7, 8, 9]
    assert proposer.propose(short, 2).tokens == [10, 11]


class Counting(list[int]):
    reads = 0

    def __getitem__(self, at):  # type: ignore[no-untyped-def, override]
        Counting.reads += 1 if isinstance(at, int) else len(range(*at.indices(len(self))))
        return super().__getitem__(at)


def test_a_step_reads_a_few_tokens_of_a_long_prompt() -> None:
    chance = random.Random(0)
    text = Counting(chance.randrange(50) for _ in range(4000))
    proposer = NGramProposer()
    proposer.propose(text, 8)
    for _ in range(20):
        text.append(chance.randrange(50))
        Counting.reads = 0
        proposer.propose(text, 8)
        assert Counting.reads < 200


def test_on_text_that_does_not_repeat_itself_guessing_stops() -> None:
    chance = random.Random(1)
    tokens, proposer = [chance.randrange(8) for _ in range(50)], NGramProposer()
    guessed = 0
    for _ in range(600):
        guessed += len(proposer.propose(tokens, 8).tokens)
        tokens.append(8 + chance.randrange(8) if chance.random() < 0.5 else chance.randrange(8))
    assert guessed > 0
    lavish = careless()
    wasted = sum(len(lavish.propose(tokens[:end], 8).tokens) for end in range(50, 650))
    assert guessed < wasted / 20


def test_guessing_is_tried_again_after_a_while() -> None:
    pace, gaps, gap = Pace((0.5,), 0.2), [], 0
    for at in range(400):
        pace.judge([0] * at)
        if pace.reach(0, 8):
            pace.guessed(0, [0] * at, [1])  # never right
            gaps.append(gap)
            gap = 0
        else:
            gap += 1
    assert gaps[0] == 0
    assert 15 < max(gaps) < 60
    assert len(gaps) < 40


def test_repetitive_text_takes_a_fraction_of_the_steps() -> None:
    phrase = [3, 14, 15, 9, 26, 5, 35, 89, 79, 32]
    answer = phrase * 12
    proposer, tokens, steps = NGramProposer(), [*phrase, 100], 0
    start = len(tokens)
    while len(tokens) - start < len(answer):
        made = len(tokens) - start
        guess = proposer.propose(tokens, 16).tokens
        right = common_prefix(guess, answer[made:])
        tokens += answer[made : made + right + 1]
        steps += 1
    assert steps <= 16  # for 120 tokens


# -- a draft model --------------------------------------------------------------------------------


def greedy_toy(tokens: list[int], n: int) -> list[int]:
    made: list[int] = []
    while len(made) < n:
        made.append(int(toy(tokens + made).argmax()))
    return made


@settings(max_examples=40, deadline=None)
@given(
    prompt=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=30),
    seed=st.integers(0, 1000),
    prefill=st.sampled_from([3, 8, 256]),
)
def test_the_drafts_cache_follows_the_sequence_wherever_it_goes(
    prompt: list[int], seed: int, prefill: int
) -> None:
    runner = ToyRunner()
    draft = DraftModel(runner, VOCAB, prefill=prefill)
    proposer = draft.proposer(SamplingParams(temperature=0))
    chance, tokens = random.Random(seed), list(prompt)
    while len(tokens) < 100:
        guess = proposer.propose(tokens, 50).tokens
        assert len(guess) <= 8
        assert guess == greedy_toy(tokens, len(guess))
        kept = chance.randrange(len(guess) + 1)  # some are accepted; then another token comes
        tokens += [*guess[:kept], chance.randrange(VOCAB)]
        if chance.random() < 0.1:  # the window slides
            del tokens[2:5]
    proposer.close()
    proposer.close()
    assert sorted(draft._pool.take() for _ in range(runner.n_blocks)) == list(range(64))


def test_drafts_of_several_sequences_share_their_steps() -> None:
    runner = ToyRunner()
    draft = DraftModel(runner, VOCAB)
    texts = [[1, 2, 3], [4], [5, 0, 1, 2, 2, 2, 1]]
    proposers = [draft.proposer(SamplingParams(temperature=0)) for _ in texts]
    proposals = draft.propose(list(zip(proposers, texts, (4, 2, 3), strict=True)))
    assert proposals == [
        Proposal(greedy_toy(texts[0], 4)),
        Proposal(greedy_toy(texts[1], 2)),
        Proposal(greedy_toy(texts[2], 3)),
    ]
    assert [len(runs) for runs in runner.steps] == [3, 3, 2, 1]


def test_likeliest_guesses_stop_at_an_end_and_drawn_ones_do_not() -> None:
    draft, text = DraftModel(ToyRunner(), VOCAB), [1, 2, 3]
    first = greedy_toy(text, 1)
    stopped = draft.proposer(SamplingParams(temperature=0), ends=first).propose(text, 4)
    assert stopped.tokens == first
    drawn = draft.proposer(SamplingParams(seed=1), ends=range(VOCAB)).propose(text, 4)
    assert len(drawn.tokens) == 4


def test_a_long_prompt_is_read_in_parts_before_guessing_begins() -> None:
    runner = ToyRunner(n_blocks=200, context=400)
    proposer = DraftModel(runner, VOCAB, prefill=100).proposer(SamplingParams(temperature=0))
    text = [i % VOCAB for i in range(350)]
    assert [len(proposer.propose(text, 2).tokens) for _ in range(4)] == [0, 0, 0, 2]
    assert max(len(run.tokens) for runs in runner.steps for run in runs) == 100


def test_drawn_guesses_come_with_the_distributions_they_came_from() -> None:
    params = SamplingParams(temperature=0.8, top_k=3, seed=5, repetition_penalty=1.5)
    text = [1, 2, 3, 1]
    draft = DraftModel(ToyRunner(), VOCAB)
    proposal = draft.proposer(params).propose(text, 4)
    assert proposal.tokens == draft.proposer(params).propose(text, 4).tokens
    assert len(proposal.tokens) == 4
    assert proposal.distributions is not None
    for i, (token, given_) in enumerate(zip(proposal.tokens, proposal.distributions, strict=True)):
        row = toy(text + proposal.tokens[:i]).astype(np.float64) / 0.8
        weights = np.where(row >= np.sort(row)[-3], np.exp(row - row.max()), 0)
        assert given_ == pytest.approx(weights / weights.sum(), abs=1e-6)
        assert given_[token] > 0
    # Other answers to the same prompt are guessed with other random numbers.
    guesses = {tuple(draft.proposer(params, index=i).propose(text, 4).tokens) for i in range(8)}
    assert len(guesses) > 1


def test_answers_with_a_draft_have_the_models_law() -> None:
    """Draft and model disagree; many answers of 3 tokens, against the exact law."""
    from scipy.stats import chisquare

    n = 1200
    params = SamplingParams(temperature=0.9, top_p=0.95)
    draft = DraftModel(ToyRunner(lambda context: toy(context, salt=1)), VOCAB)
    prompt, counts = [2, 3, 4], Counter()
    accepted = 0
    for seed in range(n):
        seeded = SamplingParams(temperature=0.9, top_p=0.95, seed=seed)
        proposer = draft.proposer(seeded)
        made, steps = speculated(prompt, 3, seeded, lambda t, p=proposer: p.propose(t, 2))
        accepted += steps < 3
        counts[tuple(made)] += 1
        proposer.close()
    assert accepted > n / 10
    law = {}
    for answer in itertools.product(range(VOCAB), repeat=3):
        weight = 1.0
        for i in range(3):
            row = toy([*prompt, *answer[:i]])
            weight *= float(Sampler(params, prompt, VOCAB).distribution(row)[answer[i]])
        law[answer] = weight
    assert all(law[answer] > 0 for answer in counts)
    common = [answer for answer in law if law[answer] * n >= 5]
    rare = 1 - sum(law[answer] for answer in common)
    observed = [counts[answer] for answer in common]
    observed.append(n - sum(observed))
    expected = [law[answer] * n for answer in common] + [rare * n]
    assert chisquare(observed, np.array(expected) * n / sum(expected)).pvalue > 0.01


def test_where_the_draft_has_no_room_nothing_is_guessed() -> None:
    draft = DraftModel(ToyRunner(n_blocks=4), VOCAB)  # 16 positions
    one, other = (draft.proposer(SamplingParams(temperature=0)) for _ in range(2))
    assert len(one.propose([1] * 10, 4).tokens) == 4
    assert other.propose([1] * 10, 4) == Proposal([])
    one.close()
    assert other.propose([1] * 14, 4) == Proposal([])  # it waits a little before it tries again
    later = draft.proposer(SamplingParams(temperature=0))
    assert len(later.propose([1] * 14, 4).tokens) == 3  # so far as the blocks reach
    runner = ToyRunner(context=12)
    short = DraftModel(runner, VOCAB).proposer(SamplingParams(temperature=0))
    assert len(short.propose([1] * 10, 9).tokens) == 3  # so far as its context reaches
    steps = len(runner.steps)
    for length in range(13, 200):
        assert short.propose([1] * length, 9) == Proposal([])
    assert short.blocks == []
    assert len(runner.steps) == steps  # and nothing is read in vain


def test_a_failing_draft_costs_guesses_only() -> None:
    def failing(context: Sequence[int]) -> Floats:
        if len(context) == 6:
            raise MemoryError("all gone")
        return toy(context)

    draft = DraftModel(ToyRunner(failing), VOCAB)
    proposer = draft.proposer(SamplingParams(temperature=0))
    assert proposer.propose([1, 2, 3], 8).tokens == greedy_toy([1, 2, 3], 3)
    assert proposer.blocks == []
    assert draft.failures == 1 and draft.failure == "MemoryError: all gone"
    assert proposer.propose([1, 2, 3, 4], 8) == Proposal([])  # it waits a little
    proposer = draft.proposer(SamplingParams(temperature=0))
    later = [1, 2, 3, 4, 5, 0, 1]
    assert proposer.propose(later, 2).tokens == greedy_toy(later, 2)


def test_a_draft_that_says_nan_is_not_asked_again() -> None:
    runner = ToyRunner(lambda context: toy(context) * (np.nan if len(context) == 5 else 1))
    draft = DraftModel(runner, VOCAB)
    proposer = draft.proposer(SamplingParams(temperature=0))
    assert proposer.propose([1, 2, 3], 8).tokens == greedy_toy([1, 2, 3], 2)
    assert proposer.propose([1, 2, 3, 4], 8) == Proposal([])
    other = draft.proposer(SamplingParams(temperature=0))
    other.propose([1, 2, 3], 1)
    assert runner.cleared  # the blocks that it left are clean before another sequence has them
