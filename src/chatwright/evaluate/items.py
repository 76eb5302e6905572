"""The questions that an evaluation asks, read from a dataset; what cannot be asked is listed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chatwright.errors import DataError
from chatwright.evaluate.results import Skipped
from chatwright.records import Conversation, Dataset, Document, Message

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its reference answer.

    `gold` names the passages (row ids and uris) that hold the answer; it is empty exactly where
    `answerable` is False. `messages` is the row's own conversation: the prompt with the passages
    that the question was made from (`passage_ids`, in the order of their numbers), and the
    reference answer with its citation.
    """

    id: str
    text: str
    reference: str
    gold: tuple[str, ...]
    uri: str
    answerable: bool
    language: str | None
    messages: tuple[Message, ...]
    passage_ids: tuple[str, ...] = ()


def read_questions(
    dataset: Dataset, limit: int | None = None, seed: int = 0
) -> tuple[list[Question], list[Skipped]]:
    """The dataset's questions, and the rows that cannot be scored, each with the reason.

    `limit` takes that many, chosen by a hash of id and `seed`: the choice does not depend on the
    order of rows, and a larger limit only adds to it. Raises `DataError` where the dataset holds no
    conversations or not one question.
    """
    if dataset.row_type is not Conversation:
        raise DataError(
            f"evaluation needs questions, and this dataset holds {dataset.info.kind} rows",
            where=str(dataset.path),
            hint="make questions first (`kind: questions`), or give the pages as `text`",
        )
    questions: list[Question] = []
    skipped: list[Skipped] = []
    seen: set[str] = set()
    for row in dataset.rows:
        try:
            if row.id in seen:
                raise ValueError("a row with this id came before")
            questions.append(read_question(row))
            seen.add(row.id)
        except ValueError as error:
            skipped.append(Skipped(row.id, str(error)))
    if not questions:
        first = f"; the first row: {skipped[0].reason}" if skipped else ""
        raise DataError(f"no row can be asked{first}", where=str(dataset.path))
    return choose(questions, limit, seed, lambda question: question.id), skipped


def read_question(row: Conversation) -> Question:
    """Check one row. Raises `ValueError` saying what it lacks."""
    if len(row.messages) < 2 or row.messages[-1].role != "assistant":
        raise ValueError("the conversation does not end with an assistant's answer")
    text, reference = row.meta.get("question"), row.meta.get("answer")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("meta.question is missing")
    if not isinstance(reference, str) or not reference.strip():
        raise ValueError("meta.answer, the gold answer, is missing")
    answerable = row.meta.get("answerable", True)
    if not isinstance(answerable, bool):
        raise ValueError("meta.answerable is neither true nor false")
    gold = _names(row.meta.get("gold"))
    if answerable and not gold:
        raise ValueError("meta.gold, the passage that holds the answer, is missing")
    return Question(
        id=row.id,
        text=text,
        reference=reference,
        gold=tuple(gold) if answerable else (),
        uri=row.uri,
        answerable=answerable,
        language=row.language,
        messages=tuple(row.messages),
        passage_ids=tuple(_names(row.meta.get("passage_ids"))),
    )


@dataclass(frozen=True, slots=True)
class Page:
    """A text whose probability is measured."""

    id: str
    uri: str
    text: str


def read_pages(
    dataset: Dataset, limit: int | None, most_bytes: int, seed: int = 0
) -> tuple[list[Page], list[Skipped]]:
    """The texts of a documents dataset, each cut to its first `most_bytes` UTF-8 bytes.

    Cut by bytes and not by tokens, so that models with different tokenizers see the same text. The
    cut falls between characters. Empty texts are listed as skipped.
    """
    if dataset.row_type is not Document:
        raise DataError(
            f"bits per byte need texts, and this dataset holds {dataset.info.kind} rows",
            where=str(dataset.path),
            hint="give a dataset of documents as `text`",
        )
    pages: list[Page] = []
    skipped: list[Skipped] = []
    for row in dataset.rows:
        if row.text.strip():
            raw = row.text.encode("utf-8", "replace")[:most_bytes]
            pages.append(Page(row.id, row.uri, raw.decode("utf-8", "ignore")))
        else:
            skipped.append(Skipped(row.id, "the text is empty"))
    if not pages:
        raise DataError("the dataset has no text", where=str(dataset.path))
    return choose(pages, limit, seed, lambda page: page.id), skipped


def _names(value: Any) -> list[str]:
    """A string or a list of strings as a list, without the empty ones."""
    found: Iterable[Any] = value if isinstance(value, list) else [value]
    return [name for name in found if isinstance(name, str) and name]


def lot(seed: int, key: str) -> bytes:
    """What a row draws: it depends on the seed and the row's own key alone, and on no other row."""
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()


def choose(items: Sequence[T], limit: int | None, seed: int, key: Callable[[T], str]) -> list[T]:
    """`limit` of the items (None: all) by the lots of their keys, in their own order."""
    if limit is None or len(items) <= limit:
        return list(items)
    drawn = sorted(range(len(items)), key=lambda i: lot(seed, key(items[i])))
    return [items[i] for i in sorted(drawn[:limit])]
