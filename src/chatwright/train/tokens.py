"""Rows tokenised once, into files that are memory-mapped from then on.

A token file is a folder: `tokens.bin` (uint16 or uint32, all rows end to end), `mask.bin` (uint8,
one where a token carries loss; fine-tuning only), `offsets.bin` (int64, where each row begins, and
the end), `rows.parquet` (id, uri and bytes of text of each row) and `index.json`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chatwright.errors import DataError, TrainingError
from chatwright.progress import Progress
from chatwright.records import (
    Conversation,
    Document,
    LedgerEntry,
    Message,
    Row,
    atomic_folder,
    disk_errors,
    read_json,
)

_FORMAT = "chatwright.tokens.1"
_NAMED_AT_MOST = 10
_ROWS_AT_ONCE = 256


class TextTokenizer(Protocol):
    """What training asks of a tokenizer (`chatwright.tokenizer.Tokenizer` has it)."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def bos_id(self) -> int | None: ...
    @property
    def end_of_text_id(self) -> int | None: ...
    def token_id(self, token: str) -> int | None: ...
    def encode_many(self, texts: Sequence[str]) -> list[list[int]]: ...
    def chat_with_mask(self, messages: Any) -> tuple[list[int], list[bool]]: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row's tokens, which of them carry loss (None: all), and its text's size in bytes."""

    tokens: list[int]
    mask: list[bool] | None
    text_bytes: int


def encode_documents(rows: Sequence[Document], tokenizer: TextTokenizer) -> list[Encoded]:
    """Text, then the end-of-text token; the begin token before it where the tokenizer has one.

    ChatML models name the start of a turn as their begin token; no document begins with that.
    """
    begin = tokenizer.bos_id
    if begin is None or begin in (tokenizer.end_of_text_id, tokenizer.token_id("<|im_start|>")):
        before: list[int] = []
    else:
        before = [begin]
    texts = [row.text for row in rows]
    return [
        Encoded(
            [*before, *ids, _end_of_text(tokenizer)], None, len(text.encode("utf-8", "replace"))
        )
        for text, ids in zip(texts, tokenizer.encode_many(texts), strict=True)
    ]


def _end_of_text(tokenizer: TextTokenizer) -> int:
    if tokenizer.end_of_text_id is None:
        raise TrainingError(
            "this tokenizer has no token that ends a text, so no model could learn to stop",
            hint="name an eos_token in its tokenizer_config.json",
        )
    return tokenizer.end_of_text_id


def encode_conversation(row: Conversation, tokenizer: TextTokenizer) -> Encoded:
    """The chat template's tokens up to the last one that carries loss.

    What comes after it (a user's turn that nobody answered) influences no loss, so leaving it out
    changes nothing but the time.
    """
    messages: list[Message] = row.messages
    tokens, mask = tokenizer.chat_with_mask(messages)
    # The first token is predicted from nothing, so it cannot carry loss.
    end = max((i + 1 for i, learnt in enumerate(mask) if learnt and i), default=0)
    size = sum(len(m.content.encode("utf-8", "replace")) for m in messages)
    return Encoded(tokens[:end], [False, *mask[1:end]][:end], size)


@dataclass(frozen=True, slots=True)
class TokenFile:
    """An open token file; the arrays are memory-mapped and read-only."""

    path: Path
    tokens: np.ndarray
    mask: np.ndarray | None
    offsets: np.ndarray
    row_ids: list[str]
    uris: list[str]
    text_bytes: np.ndarray
    ledger: list[LedgerEntry]

    def __len__(self) -> int:
        return len(self.row_ids)

    @classmethod
    def open(cls, path: Path) -> TokenFile:
        """Open a token file. Raises `DataError` where a part is missing or has a wrong size."""
        index = read_json(path / "index.json", "token index")
        if index.get("format") != _FORMAT:
            raise DataError("not a token file of this version", where=str(path))
        try:
            rows = pq.read_table(path / "rows.parquet")
            total = int(index["tokens"])
            return cls(
                path=path,
                tokens=_map(path / "tokens.bin", np.dtype(index["dtype"]), total),
                mask=_map(path / "mask.bin", np.dtype("uint8"), total) if index["mask"] else None,
                offsets=np.asarray(_map(path / "offsets.bin", np.dtype("int64"), len(rows) + 1)),
                row_ids=rows["id"].to_pylist(),
                uris=rows["uri"].to_pylist(),
                text_bytes=rows["text_bytes"].to_numpy(),
                ledger=[LedgerEntry(**entry) for entry in index["ledger"]],
            )
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise DataError(
                f"the token file cannot be read: {error}",
                where=str(path),
                hint="remove the folder; it is made again from the dataset",
            ) from error

    def row_at(self, position: int) -> int:
        """The row that the token at `position` belongs to."""
        return int(np.searchsorted(self.offsets, position, side="right")) - 1


def _map(file: Path, dtype: np.dtype[Any], count: int) -> np.ndarray:
    if file.stat().st_size != count * dtype.itemsize:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes, not {count} tokens")
    return np.memmap(file, dtype, mode="r", shape=(count,)) if count else np.zeros(0, dtype)


def write_token_file(
    path: Path,
    rows: Iterable[Row],
    tokenizer: TextTokenizer,
    *,
    objective: str,
    stage: str,
    total: int | None,
    progress: Progress,
) -> TokenFile:
    """Tokenise `rows` into the folder `path` (written beside, renamed when whole) and open it.

    `objective` is "pretrain" (documents) or "sft" (conversations). A document without text, or a
    conversation that the chat template refuses, is left out with a ledger line. Raises
    `TrainingError` naming the conversations in which no token carries loss, and `DataError` for
    rows of another kind, an empty dataset or a full disk.
    """
    with (
        disk_errors(path),
        atomic_folder(path) as folder,
        progress.task("tokenise", total) as task,
        _Writer(folder, tokenizer, chat=objective == "sft", stage=stage) as writer,
    ):
        pending = iter(rows)
        while chunk := list(itertools.islice(pending, _ROWS_AT_ONCE)):
            writer.add(chunk)
            task.advance(len(chunk))
        writer.finish()
    return TokenFile.open(path)


class _Writer:
    """Appends encoded rows to the files of one token file."""

    def __init__(self, folder: Path, tokenizer: TextTokenizer, *, chat: bool, stage: str) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._chat = chat
        self._stage = stage
        self._dtype = np.dtype("uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32")
        self._ledger: list[LedgerEntry] = []
        self._unsupervised: list[str] = []
        self._rows: list[tuple[str, str, int]] = []
        self._offsets = [0]

    def __enter__(self) -> _Writer:
        self._tokens_file = (self._folder / "tokens.bin").open("wb")
        self._mask_file = (self._folder / "mask.bin").open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._tokens_file.close()
        self._mask_file.close()

    def add(self, rows: Sequence[Row]) -> None:
        wanted = Conversation if self._chat else Document
        for row in rows:
            if not isinstance(row, wanted):
                raise DataError(
                    f"training takes {wanted.kind}s here, and this is a {row.kind}",
                    where=f"row {row.id}",
                    hint="objective sft takes conversations, pretrain takes documents",
                )
        if self._chat:
            for row in rows:
                self._add_conversation(row)  # type: ignore[arg-type]
            return
        documents = [row for row in rows if isinstance(row, Document) and row.text]
        for row in rows:
            if isinstance(row, Document) and not row.text:
                self._leave_out(row, "no text", None)
        for row, encoded in zip(
            documents, encode_documents(documents, self._tokenizer), strict=True
        ):
            end = self._tokenizer.end_of_text_id
            # At the very beginning, something to predict the first token from.
            first = [end] if not self._rows and encoded.tokens[0] != self._tokenizer.bos_id else []
            self._append(row, [*first, *encoded.tokens], encoded.text_bytes)

    def _add_conversation(self, row: Conversation) -> None:
        try:
            encoded = encode_conversation(row, self._tokenizer)
        except DataError as error:
            self._leave_out(row, "chat template", error.message)
            return
        if not any(encoded.mask or ()):
            self._unsupervised.append(row.id)
            return
        self._mask_file.write(np.asarray(encoded.mask, "uint8").tobytes())
        self._append(row, encoded.tokens, encoded.text_bytes)

    def _append(self, row: Row, tokens: Sequence[int | None], text_bytes: int) -> None:
        self._tokens_file.write(np.asarray(tokens, self._dtype).tobytes())
        self._rows.append((row.id, row.uri, text_bytes))
        self._offsets.append(self._offsets[-1] + len(tokens))

    def _leave_out(self, row: Row, rule: str, detail: str | None) -> None:
        entry = LedgerEntry(row.id, row.uri, self._stage, "drop", rule, detail=detail)
        self._ledger.append(entry)

    def finish(self) -> None:
        if self._unsupervised:
            raise TrainingError(
                f"{len(self._unsupervised)} conversation(s) have no supervised token "
                f"(the assistant says nothing in them): {name_rows(self._unsupervised)}",
                where=f"stage {self._stage}",
                hint="remove these rows from the dataset, or check the chat template",
            )
        if not self._rows:
            left_out = f"; {len(self._ledger)} rows were left out" if self._ledger else ""
            raise DataError(f"there is no row to train on{left_out}", where=f"stage {self._stage}")
        np.asarray(self._offsets, "int64").tofile(self._folder / "offsets.bin")
        ids, uris, sizes = zip(*self._rows, strict=True)
        table = pa.table({"id": ids, "uri": uris, "text_bytes": pa.array(sizes, pa.int64())})
        pq.write_table(table, self._folder / "rows.parquet")
        index = {
            "format": _FORMAT,
            "dtype": self._dtype.name,
            "mask": self._chat,
            "tokens": self._offsets[-1],
            "ledger": [entry.to_arrow() for entry in self._ledger],
        }
        (self._folder / "index.json").write_text(json.dumps(index) + "\n", encoding="utf-8")


def name_rows(row_ids: Iterable[str]) -> str:
    """Row ids for a message: the first ten, and how many more."""
    ids = list(row_ids)
    more = f" and {len(ids) - _NAMED_AT_MOST} more" if len(ids) > _NAMED_AT_MOST else ""
    return ", ".join(ids[:_NAMED_AT_MOST]) + more
