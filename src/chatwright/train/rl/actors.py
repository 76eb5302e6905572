"""Who takes part in reinforcement learning, and what they do together: answer, judge, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from chatwright.generate import Completion
from chatwright.model import Transformer
from chatwright.tokenizer import Tokenizer
from chatwright.train.packing import Batch
from chatwright.train.rl.policy import adapters_off, answering_engine
from chatwright.train.rl.prompts import Prompt, Prompts
from chatwright.train.rl.rewards import Sample
from chatwright.train.rl.rollout import Rollouts, draw
from chatwright.train.rl.settings import RolloutSettings
from chatwright.train.world import current_world

Judge = Callable[[Sequence[Sample]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Actors:
    """Who takes part: the policy that learns, its reference, and who judges.

    `reference` None is the policy itself without its adapters.
    """

    model: Transformer
    tokenizer: Tokenizer
    reference: Transformer | None
    judge: Judge

    def referring(self) -> AbstractContextManager[object]:
        """Within, `referee` computes as the reference."""
        return adapters_off(self.model) if self.reference is None else nullcontext()

    @property
    def referee(self) -> Transformer:
        return self.model if self.reference is None else self.reference

    def answer(
        self,
        prompts: Sequence[Prompt],
        settings: RolloutSettings,
        *,
        seed: int,
        iteration: int,
        context: int,
    ) -> tuple[list[list[Completion]], list[float]]:
        """Answers to each prompt, and a reward for each answer, in order.

        Of several ranks each makes and judges its share; all of them get everything.
        """
        world = current_world()
        slots = range(world.rank, len(prompts), world.size)
        mine = [prompts[slot] for slot in slots]
        answers: list[list[Completion]] = []
        rewards: list[float] = []
        failed: Exception | None = None
        try:
            with answering_engine(self.model, self.tokenizer, settings, context) as engine:
                pairs = list(zip(slots, mine, strict=True))
                answers = draw(engine, pairs, settings, seed=seed, iteration=iteration)
            rewards = list(self.judge(samples_of(mine, answers))) if mine else []
        except Exception as error:  # the others must not wait for this one's answers
            failed = error
        world.agree(failed)
        whole: dict[int, tuple[list[Completion], list[float]]] = {}
        each = settings.answers
        for made, its_answers, its_rewards in world.gather((list(slots), answers, rewards)):
            for n, slot in enumerate(made):
                whole[slot] = its_answers[n], its_rewards[n * each : (n + 1) * each]
        in_order = [whole[slot] for slot in range(len(prompts))]
        return [found for found, _ in in_order], [x for _, own in in_order for x in own]


class HeldOutPrompts:
    """Validation: answers to prompts that are not learnt from, always drawn with the same seeds.

    The loss on them is minus the mean reward.
    """

    def __init__(
        self,
        actors: Actors,
        prompts: Prompts,
        settings: RolloutSettings,
        *,
        seed: int,
        context: int,
    ) -> None:
        self._actors = actors
        self._prompts = prompts.all
        self._settings = settings.model_copy(update={"answers": 1})
        self._seed = seed
        self._context = context

    def once(self, tokens: int, tokens_at_once: int) -> tuple[list[Batch], int | None]:
        a, s = self._actors, self._settings
        sizes = np.cumsum([len(p.ids) + s.max_new_tokens for p in self._prompts])
        prompts = self._prompts[: max(1, int(np.searchsorted(sizes, tokens, side="right")))]
        answers, judged = a.answer(prompts, s, seed=self._seed, iteration=-1, context=self._context)
        cut = [[(x.token_ids, x.finish_reason != "stop") for x in found] for found in answers]
        rollouts = Rollouts.of(-1, range(len(prompts)), prompts, cut)
        rewards = torch.tensor(judged, dtype=torch.float64)
        extra = {"judged": rewards, "ended": 1.0 - rollouts.cut.double()}
        names = [p.row_id for p in prompts]
        return [rollouts.batch(range(len(rollouts)), names, extra)], None


def samples_of(prompts: Sequence[Prompt], answers: Sequence[Sequence[Completion]]) -> list[Sample]:
    """What a reward function sees of the answers."""
    return [
        Sample(p.messages, a.text, a.finish_reason, p.row_id, p.reference, p.meta)
        for p, found in zip(prompts, answers, strict=True)
        for a in found
    ]
