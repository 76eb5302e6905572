"""A scheduler over the toy model, driven turn by turn, with its memory checked at each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from fake_runner import FakeRunner, Toy

from chatwright.generate.group import Group, Vocabulary
from chatwright.generate.logits import guide
from chatwright.generate.params import Completion, SamplingParams
from chatwright.generate.request import PlainGroup, Request
from chatwright.generate.runner import Run
from chatwright.generate.sampler import Sampler
from chatwright.generate.scheduler import Scheduler
from chatwright.generate.speculation import NGramProposer

VOCABULARY = 24
CONTEXT = 60


class Letters:
    """One letter for each token."""

    def push(self, token: int) -> str:
        return chr(ord("a") + token)

    def flush(self) -> str:
        return ""


class House:
    def __init__(self, **options: Any) -> None:
        n_blocks = options.pop("n_blocks", 100)
        context = options.pop("context", CONTEXT)
        poison = options.pop("poison", None)
        ends = options.pop("ends", frozenset())
        self.toy = Toy(VOCABULARY)
        self.runner = FakeRunner(VOCABULARY, n_blocks=n_blocks, context=context, poison=poison)
        self.runner.before_step = self.check_runs
        self.vocabulary = Vocabulary(VOCABULARY, ends, Letters)
        self.context = context
        self.scheduler = Scheduler(
            self.runner,
            max_batch=options.pop("max_batch", 4),
            context=context,
            vocab_size=VOCABULARY,
            **options,
        )
        self.scheduler._thread = threading.current_thread()  # the test's own: nothing is started

    def submit(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        *,
        tenant: str = "",
        deadline: float | None = None,
    ) -> Request:
        room = self.context - len(prompt)
        if params.guidance != 1.0:
            room = self.context - max(len(prompt), len(params.negative_prompt))
        slides = params.window_end == "slide"
        group = PlainGroup(
            prompt,
            params,
            self.vocabulary,
            Sampler(params, prompt, VOCABULARY, ends=self.vocabulary.ends),
            limit=params.max_tokens if slides else min(params.max_tokens, room),
            tenant=tenant,
            deadline=deadline,
            proposer=(lambda index: NGramProposer()) if params.lookup else None,
        )
        self.scheduler.submit(group)
        return Request(group, self)

    def turn(self) -> None:
        self.scheduler.turn()
        self.check()

    @property
    def groups(self) -> list[Group]:
        return self.scheduler._active

    def run(self, most: int = 5000) -> None:
        """Until nothing is left to do."""
        for _ in range(most):
            if self.scheduler.load == (0, 0):
                break
            self.turn()
        assert self.scheduler.load == (0, 0)
        assert self.scheduler.memory.pool.used == 0

    def result(self, prompt: Sequence[int], params: SamplingParams) -> Completion:
        request = self.submit(prompt, params)
        self.run()
        return request.result()

    def check_runs(self, runs: Sequence[Run]) -> None:
        """What is written to belongs to one sequence only, and has no name."""
        pool = self.scheduler.memory.pool
        written: set[int] = set()
        for run in runs:
            size, end = self.runner.block_size, run.start + len(run.tokens)
            for block in run.blocks[run.start // size : (end - 1) // size + 1]:
                assert pool.references[block] == 1
                assert block not in pool._names
                assert block not in written
                written.add(block)
            # What may hold NaN is cleared before it is written to again.
            assert pool.tainted.isdisjoint(run.blocks[run.start // size :])

    def check(self) -> None:
        """References are counted exactly: every block belongs to those that hold it."""
        pool = self.scheduler.memory.pool
        counted = [0] * pool.n_blocks
        for group in self.groups:
            assert group.sequences and not group.finished
            for sequence in group.sequences:
                assert 0 <= sequence.computed < len(sequence.tokens)
                assert len(sequence.blocks) * self.runner.block_size >= sequence.computed
                for block in sequence.blocks:
                    counted[block] += 1
        assert pool.references == counted

    def alone(self, prompt: Sequence[int], params: SamplingParams) -> list[list[int]]:
        """All answers, one after another, without engine, cache or batch."""
        answers = []
        for index in range(params.n):
            sampler = Sampler(params, prompt, VOCABULARY, ends=self.vocabulary.ends)
            if index:
                sampler = sampler.fork(index)
            made: list[int] = []
            negative = list(params.negative_prompt or prompt[-1:])
            room = self.context - len(prompt)
            if params.guidance != 1.0:
                room = self.context - max(len(prompt), len(negative))
            while len(made) < min(params.max_tokens, room):
                row = self.toy.row([*prompt, *made])
                if params.guidance != 1.0:
                    guide(row, self.toy.row([*negative, *made]), params.guidance)
                made.append(sampler.choose(row))
                sampler.accept(made[-1])
                if made[-1] in self.vocabulary.ends_of(params):
                    break
            answers.append(made)
        return answers


def prompts_of(seed: int, count: int, longest: int = 45) -> list[list[int]]:
    """Prompts of which many begin alike, and have equal blocks after different beginnings."""
    chance = np.random.default_rng(seed)
    pieces = chance.integers(1, VOCABULARY, (3, 8)).tolist()
    prompts = []
    for _ in range(count):
        stem = [token for i in chance.integers(0, 3, 5) for token in pieces[i]]
        end = chance.integers(1, VOCABULARY, chance.integers(1, 5)).tolist()
        prompts.append([*stem[: chance.integers(0, longest - 5)], *end])
    return prompts
