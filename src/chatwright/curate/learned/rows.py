"""The rows that a learned model is trained and judged on: which, in what order, held out or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chatwright.errors import DataError
from chatwright.records import Conversation, Dataset, Document

Part = Literal["train", "calibrate", "test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """The texts of one kind of example, in parts that share no row."""

    train: list[str]
    calibrate: list[str]
    test: list[str]

    @property
    def size(self) -> int:
        return len(self.train) + len(self.calibrate) + len(self.test)


def read_sample(
    paths: Sequence[Path],
    *,
    most: int,
    characters: int,
    held_out: float,
    seed: int,
    language: str | None = None,
) -> Sample:
    """At most `most` rows of the datasets, of the first so many characters each.

    Which rows, and which part each is in, hangs on a hash of the row's id and the seed: the same on
    every machine, and adding rows moves few. Half of the held-out rows calibrate, half test. Equal
    texts are taken once. Raises `DataError` where there is no row with text.
    """
    ranked: dict[bytes, str] = {}
    bound = b"\xff" * 16
    for row_id, text in _texts(paths, language):
        rank = hashlib.blake2b(f"{seed}:{row_id}".encode(), digest_size=16).digest()
        if rank > bound:
            continue
        ranked[rank] = text[:characters]
        if len(ranked) >= 2 * most:  # the bound falls, and with it what is read in vain
            bound = sorted(ranked)[most - 1]
            ranked = {key: value for key, value in ranked.items() if key <= bound}
    if not ranked:
        which = f" in {language}" if language else ""
        raise DataError(f"there is no text{which} here", where=", ".join(map(str, paths)))
    parts: dict[Part, list[str]] = {"train": [], "calibrate": [], "test": []}
    seen: set[str] = set()
    for rank in sorted(ranked)[:most]:
        text = ranked[rank]
        if text in seen:
            continue
        seen.add(text)
        # Other bytes than those that the order hangs on first.
        draw = int.from_bytes(rank[8:], "big") / 2**64
        part: Part = "train"
        if draw < held_out:
            part = "calibrate" if draw < held_out / 2 else "test"
        parts[part].append(text)
    return Sample(parts["train"], parts["calibrate"], parts["test"])


def _texts(paths: Sequence[Path], language: str | None) -> Iterator[tuple[str, str]]:
    for path in paths:
        for row in Dataset.open(path).rows:
            text = _text_of(row, path)
            if text.strip() and (language is None or row.language == language):
                yield row.id, text


def _text_of(row: Any, path: Path) -> str:
    if isinstance(row, Document):
        return row.text
    if isinstance(row, Conversation):
        return "\n\n".join(str(message.content or "") for message in row.messages)
    raise DataError("it holds neither documents nor conversations", where=str(path))
