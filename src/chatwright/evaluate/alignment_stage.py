"""The `alignment` stage of a recipe: aligned models beside the one that they began as."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from chatwright.errors import DataError, ModelError
from chatwright.evaluate.alignment import (
    Asked,
    Said,
    answer,
    compare,
    divergences,
    read_prompts,
    read_text,
    table,
    text_perplexity,
)
from chatwright.records import Dataset, Message, atomic_folder, disk_errors
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.train.stages import external

if TYPE_CHECKING:
    from chatwright.model import Transformer
    from chatwright.tokenizer import Tokenizer


class AlignmentSettings(StageSettings):
    """Settings of an `alignment` stage.

    `models` maps labels to models; the first is the start. Each answers the same prompts of `data`
    (preferences or conversations; those of the range `prompts`, at most `limit`). `reward` is the
    reward model that was optimised, `judge` one that was not: it says who wins. `text` are
    documents, of which the first `text_bytes` tell whether the model still knows its language.
    """

    references: ClassVar[tuple[str, ...]] = ("models", "data", "reward", "judge", "text")

    models: dict[str, str] = Field(min_length=2)
    data: str
    prompts: tuple[float, float] = (0.0, 1.0)
    limit: int | None = Field(100, ge=1)
    reward: str | None = None
    judge: str | None = None
    text: str | None = None
    text_bytes: int = Field(65_536, ge=1)
    window: int = Field(512, ge=2)
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(64, ge=1)
    max_batch: int = Field(16, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reward is None and self.judge is None:
            raise ValueError("give `reward`, `judge` or both: who says which answer is better?")
        low, high = self.prompts
        if not 0 <= low < high <= 1:
            raise ValueError(f"prompts: [{low:g}, {high:g}] is no range within [0, 1]")
        return self


def run_alignment(settings: AlignmentSettings, context: StageContext) -> None:
    """Write `alignment.json`, `table.md` and `answers.jsonl`."""
    dataset = Dataset.open(context.dataset_path(settings.data))
    asked = read_prompts(dataset, settings.prompts, settings.limit, context.seed)
    names = list(settings.models)
    start, tokenizer = _load(settings.models[names[0]], context)
    prompts, too_long = _that_fit(asked, tokenizer, start, settings.max_tokens)
    if not prompts:
        raise DataError("no prompt fits the models' context", where=f"stage {context.stage}")
    pages = []
    if settings.text is not None:
        pages = read_text(context.dataset_path(settings.text), settings.text_bytes)
    said: dict[str, Said] = {}
    with context.progress.task("compare", len(names) + len(_judges(settings))) as task:
        for name in names:
            model, own = (start, tokenizer)
            if name != names[0]:
                model, own = _load(settings.models[name], context)
                if own.vocab_size != tokenizer.vocab_size:
                    raise ModelError(
                        f"{name} has another vocabulary than {names[0]}",
                        where=f"stage {context.stage}: models",
                        hint="the distance from the start needs one vocabulary",
                    )
            answers = answer(
                model,
                own,
                prompts,
                temperature=settings.temperature,
                max_tokens=settings.max_tokens,
                seed=context.seed,
                max_batch=settings.max_batch,
            )
            answers.kl = [0.0] * len(prompts)
            if model is not start:
                answers.kl = divergences(
                    model, start, own, prompts, answers.ids, temperature=settings.temperature
                )
            if pages:
                answers.perplexity = text_perplexity(model, own, pages, settings.window)
            said[name] = answers
            task.advance()
        for role, reference in _judges(settings).items():
            judge, judges_tokenizer = _load(reference, context)
            for answers in said.values():
                answers.rewards[role] = _scores(judge, judges_tokenizer, prompts, answers.texts)
            task.advance()
    lines = compare(said, "judge" if settings.judge else None, context.seed)
    text = table(lines)
    result = {
        **context.lineage(settings),
        "lines": [line.to_json() for line in lines],
        "prompts": len(prompts),
        "left_out": [a.row_id for a in too_long],
    }
    with disk_errors(context.output), atomic_folder(context.output) as folder:
        _write(folder / "alignment.json", json.dumps(result, ensure_ascii=False, indent=1))
        _write(folder / "table.md", text.rstrip("\n"))
        rows = [_row(i, prompt, said) for i, prompt in enumerate(prompts)]
        _write(folder / "answers.jsonl", "\n".join(json.dumps(r, ensure_ascii=False) for r in rows))
    for left_out in too_long:
        context.progress.line(f"not asked: {left_out.row_id} is too long for the models' context")
    for line in text.splitlines():
        context.progress.line(line)


def _judges(settings: AlignmentSettings) -> dict[str, str]:
    roles = {"reward": settings.reward, "judge": settings.judge}
    return {role: name for role, name in roles.items() if name is not None}


def _load(name: str, context: StageContext) -> tuple[Transformer, Tokenizer]:
    from chatwright.model import best_dtype, load_model

    reference: Any = context.inputs.get(name, name)
    model, tokenizer = load_model(
        reference, dtype=best_dtype(), workspace=context.workspace, progress=context.progress
    )
    return model.eval().requires_grad_(False), tokenizer


def _that_fit(
    asked: Sequence[Asked], tokenizer: Tokenizer, model: Transformer, max_tokens: int
) -> tuple[list[Asked], list[Asked]]:
    room = model.config.context - max_tokens
    fits = [
        len(tokenizer.chat(list(a.messages), add_generation_prompt=True)) <= room for a in asked
    ]
    kept = [a for a, ok in zip(asked, fits, strict=True) if ok]
    return kept, [a for a, ok in zip(asked, fits, strict=True) if not ok]


def _scores(
    judge: Transformer, tokenizer: Tokenizer, prompts: Sequence[Asked], texts: Sequence[str]
) -> list[float]:
    from chatwright.train.preference.scoring import score_conversations

    conversations = [
        [*asked.messages, Message("assistant", text)]
        for asked, text in zip(prompts, texts, strict=True)
    ]
    return [float(s) for s in score_conversations(judge, tokenizer, conversations)]


def _row(number: int, asked: Asked, said: dict[str, Said]) -> dict[str, Any]:
    return {
        "id": asked.row_id,
        "prompt": [{"role": m.role, "content": m.content} for m in asked.messages],
        "answers": {
            name: {
                "text": answers.texts[number],
                "tokens": len(answers.ids[number]),
                "ended": answers.ended[number],
                "kl": answers.kl[number],
                "rewards": {role: found[number] for role, found in answers.rewards.items()},
            }
            for name, answers in said.items()
        },
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


STAGES = [StageKind("alignment", AlignmentSettings, run_alignment, "runs", external=external)]
