"""One method applied to a model in memory, and what can be said about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from chatwright.compress.distil import distil
from chatwright.compress.layerwise import calibration_rows
from chatwright.compress.low_rank import factorise_model
from chatwright.compress.prune import Masks, Pattern, PruneCriterion, prune
from chatwright.compress.recover import recover
from chatwright.compress.settings import CompressSettings, count_of, parse_keep
from chatwright.compress.sharing import share, tie_embeddings
from chatwright.compress.structured import (
    PartCriterion,
    best_layers,
    channel_importance,
    head_importance,
    layer_influence,
    spread_layers,
    take_channels,
    take_heads,
    take_layers,
)
from chatwright.errors import UsageError
from chatwright.model.compact import densify
from chatwright.model.transformer import Transformer
from chatwright.progress import Progress
from chatwright.records import Dataset, Row
from chatwright.tokenizer import Tokenizer

# 16,384 tokens of calibration text where there are as many.
_ROWS, _ROW_LENGTH = 32, 512
# Channels are kept in multiples of this where there are as many: blocks of quantised weights.
_CHANNEL_MULTIPLE = 32
_RANK_SHARE = 0.8

Data = Dataset | Sequence[Row]


@dataclass(slots=True)
class Applied:
    """The compressed model and `facts` about what was done, for the card and the table."""

    model: Transformer
    facts: dict[str, Any] = field(default_factory=dict)


def apply_method(
    model: Transformer,
    tokenizer: Tokenizer,
    settings: CompressSettings,
    *,
    texts: Callable[[], Sequence[str]],
    data: Data | None,
    scratch: Path,
    progress: Progress,
) -> Applied:
    """Apply a method that is not quantisation, and train afterwards where `settings` say so.

    `model` may be changed. `texts` gives the calibration texts, and is asked only where they are
    needed; `data` is what to train on. `scratch` keeps the state of training.
    """

    def rows() -> list[list[int]]:
        length = min(_ROW_LENGTH, model.config.context)
        count = settings.rows or _ROWS
        found = calibration_rows(tokenizer.encode, texts(), count=count, length=length)
        progress.line(f"calibration: {len(found)} rows of {length} tokens")
        return found

    if settings.method == "distil":
        assert data is not None
        return _distilled(model, tokenizer, settings, data, scratch=scratch, progress=progress)
    masks: Masks = {}
    if settings.method == "prune":
        applied, masks = _pruned(model, settings, rows, progress)
    elif settings.method == "low-rank":
        applied = _factorised(model, settings, rows, progress)
    elif settings.method == "share":
        applied = _shared(model, settings)
    else:
        applied = _smaller(model, settings, rows, progress)
    if settings.recover is not None:
        assert data is not None
        result = recover(
            applied.model,
            tokenizer,
            data,
            steps=settings.recover,
            masks=masks,
            seed=settings.seed,
            scratch=scratch,
            progress=progress,
        )
        losses = [float(line["loss"]) for line in result.metrics]
        applied.facts |= {
            "recovery steps": settings.recover,
            "recovery tokens": result.tokens,
            "recovery loss": f"{losses[0]:.3f} → {losses[-1]:.3f}",
        }
    if settings.dense:
        applied.model = densify(applied.model)
    return applied


def _pruned(
    model: Transformer,
    settings: CompressSettings,
    rows: Callable[[], list[list[int]]],
    progress: Progress,
) -> tuple[Applied, Masks]:
    criterion = cast(PruneCriterion, settings.chosen_criterion)
    pattern = None if settings.pattern is None else Pattern.parse(settings.pattern)
    masks = prune(
        model,
        sparsity=settings.sparsity or 0.5,
        pattern=pattern,
        criterion=criterion,
        calibration=rows() if criterion == "wanda" else (),
        progress=progress,
    )
    removed = sum(int((~mask).sum()) for mask in masks.values())
    share_of = removed / sum(mask.numel() for mask in masks.values())
    shape = f" in the pattern {pattern}" if pattern else ""
    facts = {"pruned": f"{share_of:.1%} of the projections' weights{shape}", "criterion": criterion}
    return Applied(model, facts), masks


def _smaller(
    model: Transformer,
    settings: CompressSettings,
    rows: Callable[[], list[list[int]]],
    progress: Progress,
) -> Applied:
    config, criterion = model.config, settings.chosen_criterion
    if settings.method == "layers":
        count = _fewer(count_of(settings.keep, config.n_layers, 0.75), config.n_layers)
        if criterion == "spread":
            kept = spread_layers(config.n_layers, count)
        else:
            kept = best_layers(layer_influence(model, rows(), progress), count)
        gone = sorted(set(range(config.n_layers)) - set(kept))
        facts = {"layers": f"{count} of {config.n_layers}", "removed": ", ".join(map(str, gone))}
        return Applied(take_layers(model, kept), facts | {"criterion": criterion})
    part = cast(PartCriterion, criterion)
    if settings.method == "channels":
        there = config.mlp_width
        multiple = _CHANNEL_MULTIPLE if there >= 4 * _CHANNEL_MULTIPLE else 1
        count = _fewer(count_of(settings.keep, there, 0.75, multiple), there)
        smaller = take_channels(model, channel_importance(model, rows(), part, progress), count)
        facts = {"MLP channels": f"{count} of {there}", "criterion": criterion}
        return Applied(smaller, facts)
    unit = settings.unit or ("groups" if config.n_kv_heads > 1 else "queries")
    step = config.n_heads // config.n_kv_heads if unit == "groups" else config.n_kv_heads
    count = _fewer(count_of(settings.keep, config.n_heads, 0.75, step), config.n_heads)
    smaller = take_heads(model, head_importance(model, rows(), part, progress), count, unit)
    new = smaller.config
    facts = {
        "query heads": f"{new.n_heads} of {config.n_heads}",
        "key-value heads": f"{new.n_kv_heads} of {config.n_kv_heads}",
        "criterion": criterion,
    }
    return Applied(smaller, facts)


def _fewer(count: int, there: int) -> int:
    if count == there:
        raise UsageError(f"{count} of {there}: nothing would be taken out", where="--keep")
    return count


def _factorised(
    model: Transformer,
    settings: CompressSettings,
    rows: Callable[[], list[list[int]]],
    progress: Progress,
) -> Applied:
    keep: float | None = None
    if settings.keep is not None:
        asked = parse_keep(settings.keep)
        if isinstance(asked, int):
            raise UsageError(
                f"{settings.keep!r} is a count", where="--keep", hint="for a rank there is --rank"
            )
        keep = asked
    elif settings.rank is None and settings.energy is None:
        keep = _RANK_SHARE
    criterion = settings.chosen_criterion
    matrices = 7 * model.config.n_layers
    ranks = factorise_model(
        model,
        rank=settings.rank,
        keep=keep,
        energy=settings.energy,
        calibration=rows() if criterion == "activation" else (),
        progress=progress,
    )
    facts = {
        "factorised": f"{len(ranks)} of {matrices} matrices",
        "ranks": f"{min(ranks.values())} to {max(ranks.values())}",
        "criterion": criterion,
    }
    return Applied(model, facts)


def _shared(model: Transformer, settings: CompressSettings) -> Applied:
    facts: dict[str, Any] = {}
    there = model.config.n_layers
    if settings.tie_embeddings:
        model = tie_embeddings(model)
        facts["embedding"] = "is the head too (the mean of both)"
    if settings.keep is not None or not settings.tie_embeddings:
        count = _fewer(count_of(settings.keep, there, 0.5), there)
        share(model, count)
        facts["sets of weights"] = f"{count} for {there} layers"
    return Applied(model, facts)


def _distilled(
    teacher: Transformer,
    tokenizer: Tokenizer,
    settings: CompressSettings,
    data: Data,
    *,
    scratch: Path,
    progress: Progress,
) -> Applied:
    assert settings.recover is not None
    there = teacher.config.n_layers
    count = count_of(settings.keep, there, 0.5)
    temperature = 2.0 if settings.temperature is None else settings.temperature
    of_teacher = 0.5 if settings.teacher_share is None else settings.teacher_share
    student, loss = distil(
        teacher,
        tokenizer,
        data,
        layers=count,
        steps=settings.recover,
        temperature=temperature,
        share=of_teacher,
        seed=settings.seed,
        scratch=scratch,
        progress=progress,
    )
    facts = {
        "layers": f"{count} of {there}",
        "steps": settings.recover,
        "temperature": temperature,
        "teacher's share of the loss": of_teacher,
        "last loss": round(loss, 4),
    }
    return Applied(student, facts)
