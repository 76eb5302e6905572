"""Answers that a model gives while it is trained, to the same prompts again and again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import Field

from chatwright.errors import UsageError
from chatwright.stage import Settings

if TYPE_CHECKING:
    from chatwright.tokenizer import Tokenizer
    from chatwright.train.loop import Trainer

FILE = "samples.jsonl"
_SHOWN = 160


class SampleSettings(Settings):
    """What to ask the model, every how many steps, and how long its answers may be.

    It is asked before the first step, after each `every` steps and at the end, and always takes
    the likeliest token. In pretraining a prompt is the beginning of a text, otherwise a person's
    first message. Samples change nothing in training: with and without them the weights are the
    same bits.
    """

    prompts: tuple[str, ...] = Field(min_length=1)
    every: int = Field(default=100, ge=1)
    max_tokens: int = Field(default=64, ge=1)


class Samples:
    """The callback that asks: answers go to `samples.jsonl` and, the first ones, to the terminal.

    A line is `{"step", "prompt", "answer", "finish_reason"}`; a resumed run leaves none twice.
    Raises `UsageError` where the model cannot answer, before the first step.
    """

    def __init__(self, settings: SampleSettings, tokenizer: Tokenizer) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._asked = -1

    needs_weights = True  # whole ones, in this process

    def begin(self, trainer: Trainer) -> None:
        from chatwright.train.metrics import forget_after

        if trainer.settings.objective == "reward":
            raise UsageError(
                "a reward model writes no text",
                where="samples",
                hint="leave `samples` out of this stage",
            )
        done = trainer.position.step
        if trainer.folder is not None:
            forget_after(trainer.folder / FILE, done)
        if done == 0:
            self._ask(trainer, 0)

    def after_step(self, trainer: Trainer, step: int, values: dict[str, float]) -> None:
        if step % self._settings.every == 0 or step == trainer.total:
            self._ask(trainer, step)

    def end(self, trainer: Trainer) -> None:
        return None

    def _ask(self, trainer: Trainer, step: int) -> None:
        from chatwright.records import disk_errors

        answers = self._answers(trainer)
        lines = [
            {"step": step, "prompt": prompt, "answer": answer, "finish_reason": reason}
            for prompt, (answer, reason) in zip(self._settings.prompts, answers, strict=True)
        ]
        if trainer.folder is not None:
            path = trainer.folder / FILE
            with disk_errors(path), path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        for line in lines:
            shown = f"{_one_line(str(line['prompt']))} → {_one_line(str(line['answer']))}"
            trainer.progress.line(f"sample at step {step}: {shown}")

    def _answers(self, trainer: Trainer) -> list[tuple[str, str]]:
        """Greedy answers with the weights as they are now; leaves no trace in model or RNG."""
        import torch

        from chatwright.generate import Engine, SamplingParams

        model, settings = trainer.model, self._settings
        params = SamplingParams(temperature=0.0, max_tokens=settings.max_tokens)
        training = model.training
        model.eval()
        try:
            with (
                torch.random.fork_rng(),
                Engine(
                    model,
                    self._tokenizer,
                    max_batch=min(8, len(settings.prompts)),
                    prefix_reuse=False,
                ) as engine,
            ):
                if trainer.settings.objective == "pretrain":
                    found = engine.generate(list(settings.prompts), params)
                else:
                    asked = [[{"role": "user", "content": p}] for p in settings.prompts]
                    found = engine.chat_many(asked, params)
        finally:
            model.train(training)
        return [(answer.text, answer.finish_reason) for answer in found]


def _one_line(text: str) -> str:
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= _SHOWN else flat[: _SHOWN - 1] + "…"
