"""Where PPO's and GRPO's batches come from: answers that the policy makes while it learns."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from chatwright.records import LedgerEntry
from chatwright.train.fused import fused_blocks
from chatwright.train.packing import IGNORED, Batch
from chatwright.train.plan import Plan
from chatwright.train.rl.actors import Actors, samples_of
from chatwright.train.rl.kl import KlController, k1
from chatwright.train.rl.policy import look
from chatwright.train.rl.prompts import Prompts
from chatwright.train.rl.rollout import Rollouts
from chatwright.train.rl.samples import SampleLog
from chatwright.train.rl.settings import KlSettings, RolloutSettings
from chatwright.train.sharing import share
from chatwright.train.world import current_world

_FIGURE, _ROLLOUT, _COEFFICIENT = "figure.", "rollouts.", "kl_coefficient"


class RolloutSource(ABC):
    """A `Source` that makes its own data: every `steps_per_iteration` steps, new answers.

    What an iteration draws is a function of (seed, iteration) and the weights; what it learns from
    is kept whole in every checkpoint, with the coefficient of the penalty, so that a run that is
    interrupted anywhere goes on as if it had not been.
    """

    # Every rank calls `step`: each makes its share, and all of them have all of it afterwards.
    static = True
    values = False  # whether the policy has a value head

    def __init__(
        self,
        actors: Actors,
        prompts: Prompts,
        settings: RolloutSettings,
        kl: KlSettings,
        *,
        seed: int,
        context: int,
        log: SampleLog | None = None,
        pretrain: tuple[Plan, float] | None = None,
    ) -> None:
        self.ledger: list[LedgerEntry] = [
            *prompts.ledger,
            *([] if pretrain is None else pretrain[0].ledger),
        ]
        self.settings = settings
        self.kl = KlController.begin(kl)
        self.rollouts: Rollouts | None = None
        self._actors = actors
        self._prompts = prompts
        self._seed = seed
        self._context = context
        self._log = log
        self._pretrain = pretrain
        self._figures: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._world = current_world()

    @abstractmethod
    def learn_from(self, rollouts: Rollouts) -> dict[str, float]:
        """Turn rewards into what the loss takes; returns figures for `metrics.jsonl`.

        Sets `counts`, and by token "advantages" and "weight" (and what else the loss asks for).
        """

    # -- the source ------------------------------------------------------------------------------

    def step(self, step: int, tokens_at_once: int) -> list[Batch]:
        iteration, within = divmod(step, self.settings.steps_per_iteration)
        self._seconds = {}
        if self.rollouts is None or self.rollouts.iteration != iteration:
            self._iterate(iteration, tokens_at_once)
        epoch, part = divmod(within, self.settings.minibatches)
        rollouts = self._now
        chosen = self._part(rollouts, epoch, part)
        counts = rollouts.counts.clone()
        if not counts[chosen].any():  # all were cut off and are masked: a step that changes nothing
            counts[chosen] = 1.0
        batches = [
            self._batch(group, {"count": counts})
            for group in rollouts.groups(chosen, tokens_at_once)
        ]
        return self._mixed(step, batches, tokens_at_once)

    def state(self) -> dict[str, Tensor]:
        found = {_COEFFICIENT: torch.tensor(self.kl.coefficient, dtype=torch.float64)}
        if self.rollouts is not None:
            found |= {_ROLLOUT + name: t for name, t in self.rollouts.state().items()}
        for name, value in self._figures.items():
            found[_FIGURE + name] = torch.tensor(value, dtype=torch.float64)
        return found

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        self.kl.coefficient = float(tensors[_COEFFICIENT])
        kept = under(_ROLLOUT)
        self.rollouts = Rollouts.from_state(kept) if kept else None
        self._figures = {name: float(value) for name, value in under(_FIGURE).items()}

    def metrics(self) -> dict[str, float]:
        return {**self._figures, **self._seconds}

    def end_after(self, epochs: float) -> int:
        """How many steps go through the prompts so many times."""
        iterations = math.ceil(epochs * self._prompts.per_epoch / self.settings.prompts)
        return max(1, iterations) * self.settings.steps_per_iteration

    # -- an iteration ----------------------------------------------------------------------------

    @property
    def _now(self) -> Rollouts:
        assert self.rollouts is not None
        return self.rollouts

    @property
    def _direct(self) -> bool:
        """Whether nothing need be known of the policy before its only update.

        The probabilities that an answer was drawn with are then those of the update itself.
        """
        steers = self.kl.settings.target is not None
        return self.settings.steps_per_iteration == 1 and not self.values and not steers

    def _iterate(self, iteration: int, tokens_at_once: int) -> None:
        s = self.settings
        numbers = self._prompts.take(iteration * s.prompts, s.prompts)
        prompts = [self._prompts.all[n] for n in numbers]
        with _timed(self._seconds, "rollout_seconds"):
            answers, rewards = self._actors.answer(
                prompts, s, seed=self._seed, iteration=iteration, context=self._context
            )
        rollouts = Rollouts.of(
            iteration,
            numbers,
            prompts,
            [[(a.token_ids, a.finish_reason != "stop") for a in found] for found in answers],
        )
        self.rollouts = rollouts
        rollouts.rewards = torch.tensor(rewards, dtype=torch.float64)
        if s.temperature == 1.0:  # else the engine's are of another distribution
            drawn = [x for found in answers for a in found for x in a.logprobs or ()]
            rollouts.by_token["engine"] = torch.tensor(drawn)
        with _timed(self._seconds, "scoring_seconds"):
            figures = self._look(rollouts, tokens_at_once)
        figures |= {
            "reward": float(rollouts.rewards.mean()),
            "reward_std": float(rollouts.rewards.std(correction=0)),
            "answer_tokens": float(rollouts.answer_lengths.double().mean()),
            "ended": 1 - float(rollouts.cut.double().mean()),
        }
        figures |= self.learn_from(rollouts)
        if "kl" in figures:
            figures["kl_coefficient"] = self.kl.coefficient
            self.kl.update(figures["kl"], len(rollouts))
        self._figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        if self._log is not None and self._world.is_main:
            step = iteration * s.steps_per_iteration
            self._log.write(step, samples_of(prompts, answers), rewards, every=s.answers)

    def _look(self, rollouts: Rollouts, tokens_at_once: int) -> dict[str, float]:
        """Log-probabilities of policy and reference, and values, of every token.

        By the micro-batches of the first epoch: the first update of each then meets the very
        products that are computed here, so that its ratios are 1 in bfloat16 too.
        """
        refer = self.kl.coefficient > 0
        if self._direct and not refer:
            return {}
        found: dict[int, dict[str, Tensor]] = {}
        with ExitStack() as stack:
            if refer and self._actors.reference is not None:
                stack.enter_context(fused_blocks(self._actors.reference))
            for part in range(self.settings.minibatches):
                chosen = self._part(rollouts, 0, part)
                groups = rollouts.groups(chosen, tokens_at_once)
                found |= self._look_at(rollouts, groups, tokens_at_once, refer=refer)
        for made in self._world.gather(found):
            found |= made
        for name in found[0]:
            rollouts.by_token[name] = torch.cat([found[i][name] for i in range(len(rollouts))])
        figures = {}
        if (entropy := rollouts.by_token.pop("entropy", None)) is not None:
            figures["entropy"] = float(entropy.double().mean())
        if refer and not self._direct:
            drift = k1(rollouts.by_token["log_probs"], rollouts.by_token["reference"])
            figures["kl"] = float(drift.double().sum()) / len(rollouts)
        return figures

    def _look_at(
        self,
        rollouts: Rollouts,
        groups: Sequence[Sequence[int]],
        tokens_at_once: int,
        *,
        refer: bool,
    ) -> dict[int, dict[str, Tensor]]:
        """By answer, of the share of the micro-batches that the loop gives this rank."""
        a, temperature = self._actors, self.settings.temperature
        number = {"number": torch.arange(len(rollouts))}
        batches = [self._batch(group, number) for group in groups]
        found: dict[int, dict[str, Tensor]] = {}
        for part in share(batches, self._world.rank, self._world.size, tokens_at_once):
            batch = part.batch.to(a.model.device)
            numbers: dict[str, Tensor] = {}
            if not self._direct:
                numbers = look(a.model, batch, temperature, entropy=True, values=self.values)
            if refer:
                with a.referring():
                    numbers["reference"] = look(a.referee, batch, temperature)["log_probs"]
            if not part.counts:
                continue
            answers = part.batch.extra["number"].tolist()
            lengths = [int(rollouts.answer_lengths[i]) for i in answers]
            for name, values in numbers.items():
                for i, own in zip(answers, values.split(lengths), strict=True):
                    found.setdefault(i, {})[name] = own
        return found

    def scores(self, rollouts: Rollouts) -> Tensor:
        """Rewards as they are learnt from: bounded, and less where an answer did not end."""
        s = self.settings
        rewards = rollouts.rewards
        if s.reward_clip is not None:
            rewards = rewards.clamp(-s.reward_clip, s.reward_clip)
        return rewards - s.missing_end_penalty * rollouts.cut

    # -- batches ---------------------------------------------------------------------------------

    def _part(self, rollouts: Rollouts, epoch: int, part: int) -> list[int]:
        """The answers of one minibatch, the longest first: equal lengths are computed together."""
        random = np.random.default_rng([self._seed, rollouts.iteration, epoch])
        order = random.permutation(len(rollouts))
        chosen = np.array_split(order, self.settings.minibatches)[part].tolist()
        return sorted(chosen, key=lambda i: (-int(rollouts.lengths[i]), i))

    def _batch(self, group: Sequence[int], extra: Mapping[str, Tensor]) -> Batch:
        rollouts = self._now
        names = [self._prompts.all[int(rollouts.prompts[i])].row_id for i in group]
        return rollouts.batch(group, names, extra)

    def _mixed(self, step: int, batches: list[Batch], tokens_at_once: int) -> list[Batch]:
        """`batches`, and documents beside them: their mean loss counts `mix` times the policy's.

        All have the same extras, so that they can be shared out among ranks together.
        """
        if self._pretrain is None:
            return batches
        plan, mix = self._pretrain
        weight = sum(float(batch.extra["count"].sum()) for batch in batches)
        documents = plan.step(step, tokens_at_once)
        factor = mix * weight / max(1, sum(batch.supervised for batch in documents))

        def beside(batch: Batch, like: Mapping[str, Tensor], value: float) -> Batch:
            count, tokens = len(batch.lengths), batch.tokens.shape[1]
            zeros = {
                name: values.new_zeros((1, tokens) if values.ndim == 2 else count)
                for name, values in like.items()
            }
            weights = torch.where(batch.targets != IGNORED, value, 0.0)
            return replace(batch, extra={**zeros, **batch.extra, "pretrain": weights})

        like = batches[0].extra
        return [
            *(beside(batch, {}, 0.0) for batch in batches),
            *(beside(batch, like, factor) for batch in documents),
        ]


@contextmanager
def _timed(into: dict[str, float], name: str) -> Iterator[None]:
    """Writes the seconds that its block takes to `into[name]`."""
    started = time.monotonic()
    yield
    into[name] = round(time.monotonic() - started, 3)
