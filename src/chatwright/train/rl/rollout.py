"""Answers that the policy draws, and everything that is known about each of their tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from chatwright.generate import Completion, Engine, SamplingParams
from chatwright.train.packing import IGNORED, Batch, make_batch
from chatwright.train.rl.prompts import Prompt
from chatwright.train.rl.settings import RolloutSettings

_BY_TOKEN = "by_token."


def draw(
    engine: Engine,
    prompts: Sequence[tuple[int, Prompt]],
    settings: RolloutSettings,
    *,
    seed: int,
    iteration: int,
) -> list[list[Completion]]:
    """`settings.answers` answers to each of `prompts`, which are pairs of slot and prompt.

    An answer's randomness comes from (seed, iteration, slot, answer) alone. All requests are queued
    before the engine begins, so that what it computes together does not hang on the clock either:
    with PyTorch the last bits of a logit depend on that.
    """
    requests = []
    try:
        with engine.held():
            for slot, prompt in prompts:
                params = SamplingParams(
                    temperature=settings.temperature,
                    max_tokens=settings.max_new_tokens,
                    seed=seed_of(seed, iteration, slot),
                    n=settings.answers,
                    logprobs=settings.temperature == 1.0,
                )
                requests.append(engine.submit(prompt.ids, params))
        return [request.results() for request in requests]
    finally:
        for request in requests:
            request.cancel()


def seed_of(seed: int, iteration: int, slot: int) -> int:
    """The seed of the answers to one prompt of one iteration."""
    text = f"rollout {seed} {iteration} {slot}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@dataclass(slots=True)
class Rollouts:
    """The answers of one iteration: S of them, of T tokens in all.

    `tokens` int64 are the whole sequences, prompt and answer, end to end; `lengths` and
    `prompt_lengths` int64 [S] say where each ends and its answer begins. `prompts` int64 [S] are
    numbers of prompts, `cut` bool [S] says which answers did not end by themselves. `rewards`
    float64 [S] are one per answer, and so are `counts`, how much of a loss's weight an answer is.
    `by_token` are float32 [T], over the answers' tokens in order.
    """

    iteration: int
    tokens: Tensor
    lengths: Tensor
    prompt_lengths: Tensor
    prompts: Tensor
    cut: Tensor
    rewards: Tensor
    counts: Tensor
    by_token: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        iteration: int,
        numbers: Sequence[int],
        prompts: Sequence[Prompt],
        answers: Sequence[Sequence[tuple[Sequence[int], bool]]],
    ) -> Self:
        """From prompts, their numbers, and for each its answers: token ids, and whether cut off."""
        rows = [
            (number, prompt, ids, cut)
            for number, prompt, found in zip(numbers, prompts, answers, strict=True)
            for ids, cut in found
        ]
        return cls(
            iteration=iteration,
            tokens=torch.tensor([t for _, p, ids, _ in rows for t in (*p.ids, *ids)]),
            lengths=torch.tensor([len(p.ids) + len(ids) for _, p, ids, _ in rows]),
            prompt_lengths=torch.tensor([len(p.ids) for _, p, _, _ in rows]),
            prompts=torch.tensor([number for number, _, _, _ in rows]),
            cut=torch.tensor([cut for _, _, _, cut in rows]),
            rewards=torch.zeros(len(rows), dtype=torch.float64),
            counts=torch.zeros(len(rows), dtype=torch.float64),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def answer_lengths(self) -> Tensor:
        return self.lengths - self.prompt_lengths

    def rows(self, values: Tensor) -> Tensor:
        """Numbers by token as a matrix [S, A], 0 after each answer's end."""
        lengths = self.answer_lengths
        width = int(lengths.max())
        out = torch.zeros(len(lengths), width, dtype=values.dtype)
        out[torch.arange(width) < lengths[:, None]] = values
        return out

    def flat(self, rows: Tensor) -> Tensor:
        """What `rows` made a matrix, by token again, float32 [T]."""
        lengths = self.answer_lengths
        return rows[torch.arange(rows.shape[1]) < lengths[:, None]].float()

    def batch(
        self, chosen: Sequence[int], row_ids: Sequence[str], extra: Mapping[str, Tensor]
    ) -> Batch:
        """The sequences number `chosen` as one batch, with all numbers by token as extras.

        Only the answers' tokens are targets. Of `extra`, numbers by answer [S], theirs go along.
        """
        ends, answer_ends = self.lengths.cumsum(0).tolist(), self.answer_lengths.cumsum(0).tolist()
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        parts: dict[str, list[Tensor]] = {name: [] for name in self.by_token}
        for s in chosen:
            length, answer = int(self.lengths[s]), int(self.answer_lengths[s])
            ids = self.tokens[ends[s] - length : ends[s]].numpy()
            targets = np.full(length - 1, IGNORED, np.int64)
            targets[-answer:] = ids[-answer:]
            pairs.append((ids[:-1], targets))
            before = torch.zeros(length - 1 - answer)
            for name, values in self.by_token.items():
                parts[name] += [before, values[answer_ends[s] - answer : answer_ends[s]]]
        batch = make_batch(pairs, row_ids)
        by_token = {name: torch.cat(found)[None] for name, found in parts.items()}
        by_answer = {name: values[list(chosen)] for name, values in extra.items()}
        return replace(batch, extra=by_token | by_answer)

    def groups(self, chosen: Sequence[int], tokens_at_once: int) -> list[list[int]]:
        """The sequences number `chosen`, in order, in parts of at most so many tokens (or one)."""
        groups: list[list[int]] = []
        room = 0
        for i in chosen:
            length = int(self.lengths[i]) - 1
            if not groups or length > room:
                groups.append([])
                room = tokens_at_once
            groups[-1].append(i)
            room -= length
        return groups

    # -- kept in checkpoints ---------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors."""
        return {
            "iteration": torch.tensor(self.iteration),
            **{name: getattr(self, name) for name in _FIELDS},
            **{_BY_TOKEN + name: values for name, values in self.by_token.items()},
        }

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What `state` gave."""
        by_token = {
            name.removeprefix(_BY_TOKEN): values
            for name, values in tensors.items()
            if name.startswith(_BY_TOKEN)
        }
        fields = {name: tensors[name] for name in _FIELDS}
        return cls(int(tensors["iteration"]), **fields, by_token=by_token)


_FIELDS = ("tokens", "lengths", "prompt_lengths", "prompts", "cut", "rewards", "counts")
