"""Pairs of answers tokenised once, into files that are memory-mapped from then on.

A pair file is a folder: `tokens.bin` (uint16 or uint32; prompt and chosen answer, prompt and
rejected answer, all rows end to end), `offsets.bin` (int64, where each of these sequences begins,
and the end), `starts.bin` (int64, how many tokens of each are prompt), `rows.parquet` (id, uri,
place, margin and the length of what both begin with) and `index.json`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chatwright.errors import DataError
from chatwright.progress import Progress
from chatwright.records import (
    LedgerEntry,
    Message,
    Preference,
    Row,
    atomic_folder,
    disk_errors,
)
from chatwright.train.preference.sharing import common_length
from chatwright.train.setup import Data, Opener
from chatwright.train.shards import map_array, reading
from chatwright.train.tokens import TextTokenizer

_FORMAT = "chatwright.pairs.2"
_FORM = "pairs"
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt's tokens and those of the two answers to it, each with its end-of-turn token."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


class _LeftOut(Exception):  # noqa: N818 (a ledger line, not an error)
    def __init__(self, rule: str, detail: str) -> None:
        self.rule, self.detail = rule, detail


def encode_answer(
    messages: Sequence[Message], tokenizer: TextTokenizer
) -> tuple[list[int], list[int]]:
    """Tokens before a conversation's last answer, and the answer's own with its end of turn.

    What the template writes after that is left off, so that the answer's last token (the
    end-of-turn token where the template has one) is the last of all. Raises `DataError` where the
    conversation does not end with the assistant's turn or the template refuses it.
    """
    if not messages or messages[-1].role != "assistant":
        raise DataError(
            "a conversation to be judged must end with an answer",
            hint="give it with the assistant's turn last",
        )
    tokens, mask = tokenizer.chat_with_mask(messages)
    end = len(mask)
    while end and not mask[end - 1]:
        end -= 1
    start = end
    while start and mask[start - 1]:
        start -= 1
    return tokens[:start], tokens[start:end]


def encode_pair(row: Preference, tokenizer: TextTokenizer) -> Encoded:
    """The row under the chat template. Raises `DataError` where the template refuses it."""
    found = []
    for answer, which in ((row.chosen, "chosen"), (row.rejected, "rejected")):
        said = [*row.prompt, Message("assistant", answer)]
        prompt, tokens = encode_answer(said, tokenizer)
        if len(tokens) < 2 or not answer.strip():
            raise _LeftOut("empty answer", f"nothing is left of the {which} answer")
        found.append((prompt, tokens))
    (prompt, chosen), (other, rejected) = found
    if prompt != other:
        raise _LeftOut("prompts differ", "the chat template writes the prompt in two ways")
    if chosen == rejected:
        raise _LeftOut("tie", "both answers have the same tokens")
    if not prompt:
        raise _LeftOut("no prompt", "the chat template writes nothing before the answer")
    return Encoded(prompt, chosen, rejected)


def place_of(prompt: Sequence[Message]) -> float:
    """A number in [0, 1) that a prompt's first user turn alone decides: which side of a split."""
    first = next((m.content for m in prompt if m.role == "user"), prompt[0].content)
    digest = hashlib.blake2b(first.strip().encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


@dataclass(frozen=True, slots=True)
class PairFile:
    """An open pair file; the arrays are memory-mapped and read-only.

    Sequence 2i is row i's prompt with the chosen answer, 2i + 1 the same with the rejected one;
    `shared[i]` is how many tokens these begin with in common.
    """

    path: Path
    tokens: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray
    row_ids: list[str]
    uris: list[str]
    places: np.ndarray
    margins: np.ndarray
    shared: np.ndarray
    ledger: list[LedgerEntry]

    def __len__(self) -> int:
        return len(self.row_ids)

    @classmethod
    def open(cls, path: Path) -> PairFile:
        """Open a pair file. Raises `DataError` where a part is missing or has a wrong size."""
        with reading(path, _FORMAT, "pair file") as index:
            rows = pq.read_table(path / "rows.parquet")
            count = 2 * len(rows)
            return cls(
                path=path,
                tokens=map_array(path / "tokens.bin", index["dtype"], int(index["tokens"])),
                offsets=map_array(path / "offsets.bin", "int64", count + 1),
                starts=map_array(path / "starts.bin", "int64", count),
                row_ids=rows["id"].to_pylist(),
                uris=rows["uri"].to_pylist(),
                places=rows["place"].to_numpy(),
                margins=rows["margin"].to_numpy(),
                shared=rows["shared"].to_numpy(),
                ledger=[LedgerEntry(**entry) for entry in index["ledger"]],
            )


def open_pairs(opener: Opener, data: Data) -> PairFile:
    """The pair file of these rows under the opener's tokenizer, made where it is not there."""
    return opener.open_or_make(data, _FORM, PairFile.open, write_pair_file)


def write_pair_file(
    path: Path,
    rows: Iterable[Row],
    tokenizer: TextTokenizer,
    *,
    stage: str,
    total: int | None,
    progress: Progress,
) -> PairFile:
    """Tokenise preferences into the folder `path` (written beside, renamed when whole); open it.

    A row that the chat template refuses, whose answer is empty under it, or whose answers are the
    same tokens is left out with a ledger line. Raises `DataError` for rows of another kind, where
    no row is left, and for a full disk.
    """
    with (
        disk_errors(path),
        atomic_folder(path) as folder,
        progress.task("tokenise", total) as task,
        (folder / "tokens.bin").open("wb") as file,
    ):
        writer = _Writer(folder, tokenizer, stage, file)
        pending = iter(rows)
        while chunk := list(itertools.islice(pending, _ROWS_AT_ONCE)):
            for row in chunk:
                writer.add(row)
            task.advance(len(chunk))
        writer.finish()
    return PairFile.open(path)


class _Writer:
    """Appends encoded pairs to the files of one pair file."""

    def __init__(self, folder: Path, tokenizer: TextTokenizer, stage: str, file: Any) -> None:
        self._folder, self._tokenizer, self._stage, self._file = folder, tokenizer, stage, file
        self._dtype = np.dtype("uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32")
        self._offsets = [0]
        self._starts: list[int] = []
        self._rows: list[tuple[str, str, float, float, int]] = []
        self._ledger: list[LedgerEntry] = []

    def add(self, row: Row) -> None:
        if not isinstance(row, Preference):
            raise DataError(
                f"this objective takes preferences, and this is a {row.kind}",
                where=f"row {row.id}",
                hint="collect them with `rows: preferences`",
            )
        try:
            pair = encode_pair(row, self._tokenizer)
        except _LeftOut as why:
            self._leave_out(row, why.rule, why.detail)
            return
        except DataError as error:
            self._leave_out(row, "chat template", error.message)
            return
        for answer in (pair.chosen, pair.rejected):
            tokens = np.asarray(pair.prompt + answer, self._dtype)
            self._file.write(tokens.tobytes())
            self._offsets.append(self._offsets[-1] + len(tokens))
            self._starts.append(len(pair.prompt))
        shared = len(pair.prompt) + common_length(pair.chosen, pair.rejected)
        self._rows.append((row.id, row.uri, place_of(row.prompt), _margin(row), shared))

    def _leave_out(self, row: Preference, rule: str, detail: str) -> None:
        entry = LedgerEntry(row.id, row.uri, self._stage, "drop", rule, detail=detail)
        self._ledger.append(entry)

    def finish(self) -> None:
        if not self._rows:
            left_out = f"; {len(self._ledger)} rows were left out" if self._ledger else ""
            raise DataError(f"there is no pair to learn from{left_out}", where=self._stage)
        self._file.flush()
        np.asarray(self._offsets, "int64").tofile(self._folder / "offsets.bin")
        np.asarray(self._starts, "int64").tofile(self._folder / "starts.bin")
        ids, uris, places, margins, shared = zip(*self._rows, strict=True)
        columns = {
            "id": ids,
            "uri": uris,
            "place": pa.array(places, pa.float64()),
            "margin": pa.array(margins, pa.float64()),
            "shared": pa.array(shared, pa.int64()),
        }
        pq.write_table(pa.table(columns), self._folder / "rows.parquet")
        index = {
            "format": _FORMAT,
            "dtype": self._dtype.name,
            "tokens": self._offsets[-1],
            "ledger": [entry.to_arrow() for entry in self._ledger],
        }
        (self._folder / "index.json").write_text(json.dumps(index) + "\n", encoding="utf-8")


def _margin(row: Preference) -> float:
    """The row's `meta.margin`, 0 where it says none."""
    value = row.meta.get("margin")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0.0
    return float(value)
