"""The stage that learns a vocabulary from documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from chatwright.errors import DataError
from chatwright.records import Conversation, Dataset, Document, atomic_folder
from chatwright.stage import StageContext, StageKind, StageSettings
from chatwright.tokenizer.tokenizer import Tokenizer
from chatwright.tokenizer.training import MIN_VOCAB


class TokenizerSettings(StageSettings):
    """`input`: datasets of documents or conversations; `max_characters` bounds what is read."""

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str | tuple[str, ...]
    vocab_size: int = Field(default=8192, ge=MIN_VOCAB, le=1_000_000)
    max_characters: int = Field(default=500_000_000, gt=0)


def run(settings: TokenizerSettings, context: StageContext) -> None:
    """Learn the vocabulary; write the tokenizer's folder with its lineage, whole or not at all."""
    names = [settings.input] if isinstance(settings.input, str) else list(settings.input)
    datasets = [Dataset.open(context.dataset_path(name)) for name in names]
    with context.progress.task("tokenizer", total=sum(len(d) for d in datasets)) as task:

        def texts() -> Iterator[str]:
            left = settings.max_characters
            for dataset in datasets:
                for row in dataset.rows:
                    for text in _texts(row):
                        if left <= 0:
                            return
                        yield text[:left]
                        left -= len(text)
                    task.advance()

        try:
            tokenizer = Tokenizer.train(texts(), settings.vocab_size)
        except DataError as error:
            raise DataError(error.message, where=", ".join(names), hint=error.hint) from error
    with atomic_folder(context.output) as folder:
        tokenizer.save(folder)
        lineage = context.lineage(settings)
        (folder / "lineage.json").write_text(
            json.dumps(lineage, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    if tokenizer.vocab_size < settings.vocab_size:
        context.progress.line(
            f"the text gave {tokenizer.vocab_size} tokens, fewer than the {settings.vocab_size} "
            "asked for"
        )


def _texts(row: object) -> list[str]:
    if isinstance(row, Document):
        return [row.text]
    if isinstance(row, Conversation):
        return [message.content for message in row.messages]
    raise DataError("a tokenizer learns from documents or conversations")


STAGES = [StageKind("tokenizer", TokenizerSettings, run, output="models")]
