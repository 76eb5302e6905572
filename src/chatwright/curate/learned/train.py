"""The recipe's stages that train what judges texts: `quality_model` and `perplexity_model`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from chatwright.curate.learned.ngram import Unit
from chatwright.records import atomic_folder, canonical_json, write_atomic
from chatwright.stage import Settings, StageContext, StageKind, StageSettings

Names = str | tuple[str, ...]
Lengths = tuple[int, ...]


class FeatureSettings(Settings):
    """Which n-grams count: of words and, where they are named, of characters; 2^bits columns."""

    words: Lengths = (1, 2)
    characters: Lengths = ()
    bits: int = Field(default=18, ge=10, le=22)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.words or self.characters):
            raise ValueError("name the lengths of words' or of characters' n-grams")
        if any(not 1 <= n <= 6 for n in (*self.words, *self.characters)):
            raise ValueError("lengths of n-grams are 1 to 6")
        return self

    def __str__(self) -> str:
        parts = [("words", self.words), ("characters", self.characters)]
        return " and ".join(f"{list(ns)} {what}" for what, ns in parts if ns)


class _ExampleSettings(StageSettings):
    """What both kinds of stage say about their examples.

    At most `max_rows` rows of a kind are taken, each of `characters` at most; a share `held_out` of
    them is not trained on. With `language` only rows of that language count.
    """

    max_rows: int = Field(default=20_000, ge=10, le=1_000_000)
    characters: int = Field(default=4_000, ge=100, le=1_000_000)
    held_out: float = Field(default=0.2, ge=0.02, le=0.8)
    language: str | None = None
    seed: int | None = None


class QualityModelSettings(_ExampleSettings):
    """Settings of `kind: quality_model`: datasets of good and of bad examples.

    `inverse_penalty` is scikit-learn's C; an n-gram of fewer than `least_texts` texts is left out.
    """

    references: ClassVar[tuple[str, ...]] = ("positive", "negative")

    positive: Names
    negative: Names
    features: FeatureSettings = FeatureSettings()
    inverse_penalty: float = Field(default=4.0, gt=0)
    least_texts: int = Field(default=2, ge=1)


class PerplexityModelSettings(_ExampleSettings):
    """Settings of `kind: perplexity_model`: texts as ours should be, and `against` to compare with.

    A vocabulary of at most `max_vocabulary` words seen `least_count` times; n-grams of three and
    more words seen `prune` times or fewer are left out.
    """

    references: ClassVar[tuple[str, ...]] = ("input", "against")

    input: Names
    against: Names = ()
    unit: Unit = "words"
    order: int = Field(default=3, ge=2, le=6)
    max_vocabulary: int = Field(default=100_000, ge=10, le=2_000_000)
    least_count: int = Field(default=2, ge=1)
    prune: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not _shape(self).fits:
            raise ValueError(
                f"n-grams of order {self.order} with a vocabulary of {self.max_vocabulary:,} do "
                "not fit into 63 bits: take a lower order or a smaller vocabulary"
            )
        return self


def run_quality_model(settings: QualityModelSettings, context: StageContext) -> None:
    """Examples in; the model, its card and how well it does on held-out examples out."""
    from chatwright.curate.learned.card import linear_card
    from chatwright.curate.learned.linear import Examples, judge, train_linear
    from chatwright.curate.learned.text import as_words
    from chatwright.curate.textmodels.hashed import Features

    good, bad = (
        _sample(names, settings, context) for names in (settings.positive, settings.negative)
    )

    def examples(positive: Sequence[str], negative: Sequence[str]) -> Examples:
        texts = [as_words(text) for text in (*positive, *negative)]
        return Examples(texts, np.arange(len(texts)) < len(positive))

    wanted = settings.features
    test = examples(good.test, bad.test)
    _need(min(len(good.test), len(bad.test)), "test", context)
    model = train_linear(
        examples(good.train, bad.train),
        examples(good.calibrate, bad.calibrate),
        Features(wanted.bits, wanted.characters, wanted.words),
        characters=settings.characters,
        inverse_penalty=settings.inverse_penalty,
        least_texts=settings.least_texts,
    )
    scores = judge(model, test)
    counts = {
        part: (len(getattr(good, part)), len(getattr(bad, part)))
        for part in ("train", "calibrate", "test")
    }
    text = linear_card(
        f"{context.recipe}/{context.stage}",
        positive=_names(settings.positive),
        negative=_names(settings.negative),
        counts=counts,
        features=str(wanted),
        characters=settings.characters,
        scores=scores,
    )
    _save(
        model, text, settings, context, {"auc": scores.auc, "brier": scores.brier, "at": scores.at}
    )


def run_perplexity_model(settings: PerplexityModelSettings, context: StageContext) -> None:
    """Texts in; the n-gram model, its card and perplexities of held-out texts out."""
    from chatwright.curate.learned.card import QUANTILES, perplexity_card
    from chatwright.curate.learned.kneser_ney import train_ngram
    from chatwright.curate.learned.ngram import units

    sample = _sample(settings.input, settings, context)
    lines = [ln for text in sample.train for ln in units(text, settings.unit, None)]
    model = train_ngram(lines, _shape(settings))
    held_out = {"held-out texts": [*sample.calibrate, *sample.test]}
    _need(len(held_out["held-out texts"]), "held-out", context)
    if settings.against:
        other = _sample(settings.against, settings, context)
        held_out["texts to compare with"] = [*other.train, *other.calibrate, *other.test]
    quantiles = {
        what: np.quantile(model.score(texts), QUANTILES).tolist()
        for what, texts in held_out.items()
    }
    sizes = {
        "words in the vocabulary" if settings.unit == "words" else "characters": len(
            model.vocabulary
        )
    }
    sizes |= {f"{n}-grams": len(order.keys) for n, order in enumerate(model.orders, start=2)}
    text = perplexity_card(
        f"{context.recipe}/{context.stage}",
        sources=_names(settings.input),
        lines=len(lines),
        unit=settings.unit,
        order=settings.order,
        sizes=sizes,
        characters=settings.characters,
        quantiles=quantiles,
    )
    _save(model, text, settings, context, {"quantiles": quantiles})


def _shape(settings: PerplexityModelSettings) -> Any:
    from chatwright.curate.learned.kneser_ney import NgramShape

    return NgramShape(
        settings.unit,
        settings.order,
        settings.max_vocabulary,
        settings.least_count,
        settings.prune,
        settings.characters,
    )


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _sample(names: Names, settings: _ExampleSettings, context: StageContext) -> Any:
    from chatwright.curate.learned.rows import read_sample

    return read_sample(
        [context.dataset_path(name) for name in _names(names)],
        most=settings.max_rows,
        characters=settings.characters,
        held_out=settings.held_out,
        seed=context.seed if settings.seed is None else settings.seed,
        language=settings.language,
    )


def _need(rows: int, part: str, context: StageContext) -> None:
    from chatwright.errors import DataError

    if not rows:
        raise DataError(
            f"no row of a kind is left for the {part} part",
            where=context.stage,
            hint="give more rows, or a larger share `held_out`",
        )


def _save(
    model: Any, card: str, settings: StageSettings, context: StageContext, scores: dict[str, Any]
) -> None:
    from chatwright.curate.learned.stored import save_model

    with atomic_folder(context.output) as folder:
        save_model(model, folder)
        write_atomic(folder / "README.md", card)
        lineage = context.lineage(settings, scores=scores)
        write_atomic(Path(folder) / "lineage.json", canonical_json(lineage) + "\n")


QUALITY_MODEL = StageKind("quality_model", QualityModelSettings, run_quality_model, "models")
PERPLEXITY_MODEL = StageKind(
    "perplexity_model", PerplexityModelSettings, run_perplexity_model, "models"
)
