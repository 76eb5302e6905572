"""Speculation with a draft model: a small model guesses what the large one will say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from chatwright.generate.blocks import BlockPool
from chatwright.generate.params import SamplingParams
from chatwright.generate.runner import Logits, Run, Runner
from chatwright.generate.sampler import Sampler
from chatwright.generate.speculation import Pace, Probabilities, Proposal, common_prefix
from chatwright.generate.truncation import draw

# A guess costs a step of the draft and a row to verify, so it must come true more often than not
# by far; before anything is known, that much is hoped of it.
_WORTH = 0.3
_HOPE = 0.8
# So many tokens it waits after memory ran out or a step failed, before it reads everything anew.
_REST = 64
# So many tokens of a backlog are computed for each sequence in any case: what one step adds.
_ALWAYS = 8


class DraftModel:
    """A small model with a cache of its own that guesses for any number of sequences.

    Its vocabulary must be that of the model it guesses for: the same tokens under the same ids.
    `vocab_size` is the width of that model's rows. At most `most` tokens are guessed at a time. A
    prompt is read in parts of `prefill` tokens a step, all sequences together, so that no stream
    stalls; guesses begin when it has been read. Where memory or context runs out nothing is
    guessed. No request ever fails for a guess: what goes wrong is counted in `failures`, and the
    last said in `failure`. One thread at a time uses it.
    """

    def __init__(
        self, runner: Runner, vocab_size: int, *, most: int = 8, prefill: int = 256
    ) -> None:
        self.runner = runner
        self.vocab_size = vocab_size
        self.most = most
        self.failures = 0
        self.failure = ""
        self._prefill = prefill
        self._pool = BlockPool(runner.n_blocks, runner.block_size, keep=0)

    def proposer(
        self, params: SamplingParams, *, ends: Collection[int] = (), index: int = 0
    ) -> DraftProposer:
        """A proposer for answer `index` of a request.

        With a temperature the guesses are drawn from the draft's distribution, with the request's
        own temperature and truncation, and random numbers that come from its seed. Otherwise they
        are the likeliest tokens, and nothing is guessed after one of `ends`.
        """
        return DraftProposer(self, params, frozenset(ends), index)

    def propose(self, wants: Sequence[tuple[DraftProposer, Sequence[int], int]]) -> list[Proposal]:
        """Proposals for several sequences side by side: (its proposer, its tokens, at most).

        Costs as many steps of the small model as the longest proposal has tokens.
        """
        guesses = [_Guess(*want) for want in wants]
        try:
            live = self._catch_up([guess for guess in guesses if guess.begin()])
            while live:
                live = self._step(
                    live, [Run([g.tokens[-1]], len(g.cached), g.blocks) for g in live]
                )
        except Exception as error:  # whatever it is, the answers do not depend on it
            self.failures += 1
            self.failure = f"{type(error).__name__}: {error}"
            for guess in guesses:  # what the failed step wrote is not known
                guess.proposer.rest(guess.context, tainted=True)
        return [guess.proposal() for guess in guesses]

    def close(self) -> None:
        """Give the memory back."""
        self.runner.close()

    def fits(self, blocks: list[int], positions: int) -> bool:
        """Whether the table `blocks` could cover so many positions as things stand."""
        lacking = positions - len(blocks) * self.runner.block_size
        room = self._pool.available * self.runner.block_size
        return positions <= self.runner.context and lacking <= room

    def reserve(self, blocks: list[int], positions: int) -> bool:
        """Make the table `blocks` cover so many positions. False: context or memory is full."""
        if positions > self.runner.context:
            return False
        while len(blocks) * self.runner.block_size < positions:
            block = self._pool.take()
            if block is None:
                return False
            if block in self._pool.tainted:
                self.runner.clear([block])
                self._pool.tainted.discard(block)
            blocks.append(block)
        return True

    def release(self, blocks: list[int], *, tainted: bool = False) -> None:
        """Take the blocks back. `tainted`: they may hold NaN."""
        if tainted:
            self._pool.taint(blocks)
        self._pool.release(blocks)
        blocks.clear()

    def _catch_up(self, guesses: list[_Guess]) -> list[_Guess]:
        """Compute what the draft has not read yet; return those that are ready to go on."""
        budget = self._prefill
        live, runs = [], []
        for guess in guesses:
            backlog = guess.context[len(guess.cached) :]
            part = backlog[: max(budget, _ALWAYS)]
            if not self.reserve(guess.blocks, len(guess.cached) + len(part)):
                guess.proposer.rest(guess.context)
                continue
            budget -= len(part)
            live.append(guess)
            whole = len(part) == len(backlog)
            runs.append(Run(part, len(guess.cached), guess.blocks, outputs=int(whole)))
        return self._step(live, runs) if live else []

    def _step(self, live: list[_Guess], runs: list[Run]) -> list[_Guess]:
        """Compute `runs`, one for each of `live`; return those that guess further."""
        logits = self.runner.step(runs).logits
        row, going = 0, []
        for guess, run in zip(live, runs, strict=True):
            guess.cached.extend(run.tokens)
            if run.outputs == 0:
                continue
            if guess.take(logits, row) and self.reserve(guess.blocks, len(guess.cached) + 1):
                going.append(guess)
            row += 1
        return going


class DraftProposer:
    """Guesses for one sequence, which its cache follows; what was rejected is rolled back."""

    def __init__(
        self, model: DraftModel, params: SamplingParams, ends: frozenset[int], index: int
    ) -> None:
        self.model = model
        self.ends = ends
        self.pace = Pace((_HOPE,), _WORTH)
        self.cached: list[int] = []  # the tokens whose keys and values are in `blocks`
        self.blocks: list[int] = []
        self.damaged = False  # the draft's numbers were NaN: it is not asked again
        self.resting = 0  # length of the sequence up to which nothing is tried
        self.sampler: Sampler | None = None
        if not params.greedy:
            own = SamplingParams(
                temperature=params.temperature,
                top_k=params.top_k,
                top_p=params.top_p,
                min_p=params.min_p,
                typical_p=params.typical_p,
            )
            self.sampler = Sampler(own, (), model.vocab_size)
            # Another stream than that of the answer itself, which decides about the guesses.
            seed = None if params.seed is None else [params.seed % 2**64, index, 0xD4AF7]
            self.chance = np.random.default_rng(seed)

    def propose(self, tokens: Sequence[int], most: int) -> Proposal:
        """At most `most` tokens that may follow `tokens`."""
        return self.model.propose([(self, tokens, most)])[0]

    def close(self, *, tainted: bool = False) -> None:
        """Give the blocks back. It may be used again, and then reads everything anew."""
        self.model.release(self.blocks, tainted=tainted)
        self.cached.clear()

    def rest(self, tokens: Sequence[int], *, tainted: bool = False) -> None:
        """Give the blocks back and let the sequence grow before trying again."""
        self.resting = len(tokens) + _REST
        self.close(tainted=tainted)


@dataclass(slots=True)
class _Guess:
    """A proposal in the making."""

    proposer: DraftProposer
    context: Sequence[int]
    most: int
    tokens: list[int] = field(default_factory=list)
    distributions: list[Probabilities] = field(default_factory=list)

    @property
    def cached(self) -> list[int]:
        return self.proposer.cached

    @property
    def blocks(self) -> list[int]:
        return self.proposer.blocks

    def begin(self) -> bool:
        """Roll the cache back to what it has in common with the sequence; whether to guess now."""
        proposer = self.proposer
        if proposer.damaged or len(self.context) < proposer.resting:
            return False
        pace = proposer.pace
        pace.judge(self.context)
        self.most = pace.reach(0, min(self.most, proposer.model.most))
        # At least the last token is computed: its logits are what the guess begins with.
        del self.cached[min(common_prefix(self.cached, self.context), len(self.context) - 1) :]
        if self.most > 0 and not proposer.model.fits(self.blocks, len(self.context)):
            proposer.rest(self.context)
            return False
        return self.most > 0

    def take(self, logits: Logits, row: int) -> bool:
        """Choose the next token of the proposal; whether another one may follow it."""
        proposer = self.proposer
        if not logits.finite[row]:
            proposer.damaged = True
            proposer.close(tainted=True)
            return False
        if proposer.sampler is None:
            token = int(logits.likeliest[row])
            if token >= proposer.model.vocab_size:  # padding of a vocabulary: stands for nothing
                return False
            ended = token in proposer.ends
        else:
            # Who has no memory for a proposal drops it. That must not depend on what was drawn, or
            # the answer's law would: so a drawn one is as long after an end as without.
            ended = False
            width = proposer.model.vocab_size
            distribution = proposer.sampler.distribution(logits.row(row)[:width]).copy()
            token = draw(distribution, float(proposer.chance.random()))
            self.distributions.append(distribution)
        self.tokens.append(token)
        return len(self.tokens) < self.most and not ended

    def proposal(self) -> Proposal:
        if self.tokens:
            self.proposer.pace.guessed(0, self.context, self.tokens)
        drawn = self.proposer.sampler is not None
        return Proposal(self.tokens, self.distributions if drawn else None)
