"""Texts to distil on that a model writes: the teacher once, or the student at every step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from chatwright.errors import DataError, TrainingError, UsageError
from chatwright.generate import Completion
from chatwright.model import Transformer
from chatwright.records import (
    Conversation,
    Dataset,
    LedgerEntry,
    Message,
    Row,
    content_id,
    disk_errors,
    fingerprint,
    write_dataset,
)
from chatwright.tokenizer import Tokenizer
from chatwright.train.distil_settings import DistilSettings
from chatwright.train.packing import Batch
from chatwright.train.plan import Mixed, Plan
from chatwright.train.rl.policy import answering_engine
from chatwright.train.rl.prompts import Prompt, Prompts
from chatwright.train.rl.rollout import Rollouts, draw
from chatwright.train.rl.settings import RolloutSettings
from chatwright.train.setup import Data, Setup, digest_of_rows, digest_of_weights

# Answered by one engine: what it remembers of earlier prompts must not hang on where a run was
# interrupted.
_PROMPTS_AT_ONCE = 64


def teacher_plan(setup: Setup, teacher: Transformer) -> Plan:
    """The plan of training on the teacher's answers, which are written first where they are not
    there yet; only they carry loss.
    """
    mixture = []
    for data, weight in setup.data:
        answers = teacher_texts(setup, teacher, data)
        mixture.append(Mixed(setup.opener.open(answers, "sft-last"), weight))
        setup.progress.line(f"the teacher has answered {len(answers):,} of {len(data):,} prompts")
    return Plan(
        mixture,
        length=setup.numbers.length,
        rows_per_step=setup.numbers.rows_per_step,
        seed=setup.seed,
        chat=True,
        too_long=setup.settings.too_long,
        stage=setup.stage,
    )


def teacher_texts(setup: Setup, teacher: Transformer, data: Data) -> Dataset:
    """The teacher's answers to the prompts of `data` (Kim and Rush 2016), as a dataset.

    It lies in the run's folder under a name made of all that decides what is in it, and is made
    once. An answer that did not end within `max_tokens` would teach not to end: it is left out,
    with a line in the dataset's ledger. Interrupted, it goes on after the last batch of prompts.
    """
    s = setup.settings.distil
    name = fingerprint(
        "teacher-texts",
        [
            digest_of_rows(data),
            digest_of_weights(teacher),
            setup.opener.tokenizer_digest,
            [s.max_tokens, s.sampling_temperature, setup.seed, setup.numbers.length],
        ],
    )
    path = setup.folder / "teacher" / name
    if path.exists():
        try:
            return Dataset.open(path)
        except DataError:
            setup.progress.line(f"the teacher's texts at {path} are damaged and are made again")
    prompts = _prompts(setup, [(data, 1.0)])
    answers = _teacher_answers(setup, teacher, prompts, path.with_name(f"{name}.jsonl"))
    by_id = {row.id: row for row in data}
    with write_dataset(
        path, Conversation, stage=setup.stage, fingerprint=name, settings=s.model_dump(mode="json")
    ) as out:
        for entry in prompts.ledger:
            out.log(entry)
        kept = 0
        for prompt, (text, ended) in zip(prompts.all, answers, strict=True):
            row = by_id[prompt.row_id]
            if ended:
                kept += 1
                out.write(_answered(row, prompt, text))
            out.log(
                LedgerEntry(
                    row.id,
                    row.uri,
                    setup.stage,
                    "keep" if ended else "drop",
                    "teacher",
                    bound=f"max {s.max_tokens} tokens",
                    detail=None if ended else "the teacher's answer did not end",
                )
            )
        if not kept:
            raise TrainingError(
                f"the teacher ended none of its {len(prompts.all)} answers within "
                f"{s.max_tokens} tokens",
                where=f"stage {setup.stage}: distil.max_tokens",
                hint="raise max_tokens, or take a teacher that was fine-tuned to end its answers",
            )
    path.with_name(f"{name}.jsonl").unlink(missing_ok=True)
    return Dataset.open(path)


def _answered(row: Row, prompt: Prompt, text: str) -> Conversation:
    messages = [*prompt.messages, Message("assistant", text)]
    said = "\n".join(f"{m.role}: {m.content}" for m in messages)
    return Conversation(
        id=content_id(row.source, f"teacher\n{said}"),
        messages=messages,
        uri=row.uri,
        source=row.source,
        license=row.license,
        language=row.language,
        collected_at=row.collected_at,
        parents=[row.id],
        meta={"answered_by": "teacher"},
    )


def _teacher_answers(
    setup: Setup, teacher: Transformer, prompts: Prompts, file: Path
) -> list[tuple[str, bool]]:
    """Text of each answer, and whether it ended; kept in `file` as they are made."""
    s = setup.settings.distil
    found = list(_kept(file))
    # Only whole batches count: the next one is then computed as it would have been.
    found = found[: len(found) // _PROMPTS_AT_ONCE * _PROMPTS_AT_ONCE]
    with (
        disk_errors(file),
        setup.progress.task("teacher answers", len(prompts.all)) as task,
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(_line(answer) for answer in found), encoding="utf-8")
        task.advance(len(found))
        with file.open("a", encoding="utf-8") as out:
            for start in range(len(found), len(prompts.all), _PROMPTS_AT_ONCE):
                some = list(enumerate(prompts.all))[start : start + _PROMPTS_AT_ONCE]
                drawn = _draw(teacher, setup.tokenizer, some, s, setup, iteration=0)
                answers = [(a.text, a.finish_reason == "stop") for a in drawn]
                out.write("".join(_line(answer) for answer in answers))
                out.flush()
                found += answers
                task.advance(len(some))
    return found


def _line(answer: tuple[str, bool]) -> str:
    return json.dumps(answer, ensure_ascii=False) + "\n"


def _kept(file: Path) -> Iterator[tuple[str, bool]]:
    """The whole lines of a file that may end in the middle of one."""
    if not file.exists():
        return
    for line in file.read_bytes().split(b"\n")[:-1]:
        try:
            text, ended = json.loads(line)
        except ValueError:
            return
        yield text, ended


class StudentTexts:
    """A `Source` of the student's own answers, new ones for each step (Agarwal et al. 2024).

    What a step draws is a function of the seed, the step and the weights, so nothing needs to be
    remembered: an interrupted run draws the same again.
    """

    static = False

    def __init__(self, setup: Setup, prompts: Prompts, per_step: int) -> None:
        self.ledger: list[LedgerEntry] = prompts.ledger
        self.per_step = per_step
        self._setup = setup
        self._prompts = prompts
        self._figures: dict[str, float] = {}

    @classmethod
    def prepare(cls, setup: Setup) -> Self:
        """Read the prompts. Raises `UsageError` where the run is measured in tokens."""
        s, n = setup.settings.distil, setup.numbers
        if setup.settings.tokens is not None:
            raise UsageError(
                "distillation on the student's texts is measured in steps or epochs, not in tokens",
                where=f"stage {setup.stage}: tokens",
                hint="give steps, or epochs of the prompts",
            )
        prompts = _prompts(setup, setup.data)
        mean = sum(len(prompt.ids) for prompt in prompts.all) / len(prompts.all)
        fits = int(n.batch_tokens / (mean + s.max_tokens))
        return cls(setup, prompts, s.prompts or max(1, fits))

    def end_after(self, epochs: float) -> int:
        """How many steps go through the prompts so many times."""
        return max(1, math.ceil(epochs * self._prompts.per_epoch / self.per_step))

    def step(self, step: int, tokens_at_once: int) -> list[Batch]:
        setup = self._setup
        began = time.monotonic()
        numbers = self._prompts.take(step * self.per_step, self.per_step)
        prompts = [self._prompts.all[number] for number in numbers]
        s = setup.settings.distil
        some = list(enumerate(prompts))
        answers = _draw(setup.model, setup.tokenizer, some, s, setup, iteration=step)
        drawn = [[(a.token_ids, a.finish_reason != "stop")] for a in answers]
        rollouts = Rollouts.of(step, numbers, prompts, drawn)
        self._figures = {
            "answer_tokens": float(rollouts.answer_lengths.double().mean()),
            "ended": 1 - float(rollouts.cut.double().mean()),
            "rollout_seconds": round(time.monotonic() - began, 3),
        }
        order = sorted(range(len(rollouts)), key=lambda i: (-int(rollouts.lengths[i]), i))
        groups = rollouts.groups(order, tokens_at_once)
        return [rollouts.batch(g, [prompts[i].row_id for i in g], {}) for g in groups]

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing to put back."""

    def metrics(self) -> dict[str, float]:
        return self._figures


def _draw(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[tuple[int, Prompt]],
    s: DistilSettings,
    setup: Setup,
    *,
    iteration: int,
) -> list[Completion]:
    """One answer to each prompt, by an engine of their own."""
    how = RolloutSettings(max_new_tokens=s.max_tokens)
    # Not checked again: an answer may be the likeliest one here, which reinforcement cannot use.
    how = how.model_copy(update={"temperature": s.sampling_temperature})
    with (
        torch.no_grad(),
        answering_engine(model, tokenizer, how, setup.numbers.length) as engine,
    ):
        found = draw(engine, prompts, how, seed=setup.seed, iteration=iteration)
    return [answers[0] for answers in found]


def _prompts(setup: Setup, data: Sequence[tuple[Data, float]]) -> Prompts:
    longest = setup.numbers.length - setup.settings.distil.max_tokens
    if longest < 1:
        raise TrainingError(
            f"answers of {setup.settings.distil.max_tokens} tokens leave no room for a prompt in "
            f"{setup.numbers.length}",
            where=f"stage {setup.stage}: distil.max_tokens",
            hint="lower max_tokens, or raise length",
        )
    return Prompts(data, setup.tokenizer, longest=longest, seed=setup.seed, stage=setup.stage)
