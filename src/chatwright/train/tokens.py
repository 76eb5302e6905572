"""Rows tokenised once, shard by shard, into a file that is memory-mapped from then on."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chatwright.errors import DataError, TrainingError
from chatwright.progress import Progress
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    LedgerEntry,
    Message,
    Row,
    atomic_folder,
    disk_errors,
    fingerprint,
)
from chatwright.train.shards import ROWS, SHARD_FORMAT, Shard, TokenFile, write_index

__all__ = [
    "Encoded",
    "TextTokenizer",
    "TokenFile",
    "encode_conversation",
    "encode_documents",
    "name_rows",
    "write_token_file",
]

SHARD_TOKENS = 1 << 26
"""A shard is closed when it has so many tokens (128 MB of uint16)."""

_NAMED_AT_MOST = 10
# Tokenised together: enough for every core, little enough for the memory of a small machine.
_ROWS_AT_ONCE = 1024
_CHARACTERS_AT_ONCE = 1 << 20
_ROWS_READ = 32
_MUTE = "no supervised token"


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
    def chat_with_mask(
        self, messages: Any, *, last_only: bool = False
    ) -> tuple[list[int], list[bool]]: ...


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


def encode_conversation(
    row: Conversation, tokenizer: TextTokenizer, *, last_only: bool = False
) -> Encoded:
    """The chat template's tokens up to the last one that carries loss.

    All assistant messages carry loss, or with `last_only` the last one of the conversation.
    What comes after it (a user's turn that nobody answered) influences no loss, so leaving it out
    changes nothing but the time.
    """
    messages: list[Message] = row.messages
    tokens, mask = tokenizer.chat_with_mask(messages, last_only=last_only)
    # The first token is predicted from nothing, so it cannot carry loss.
    end = max((i + 1 for i, learnt in enumerate(mask) if learnt and i), default=0)
    size = sum(len(m.content.encode("utf-8", "replace")) for m in messages)
    return Encoded(tokens[:end], [False, *mask[1:end]][:end], size)


def write_token_file(
    path: Path,
    rows: Iterable[Row],
    tokenizer: TextTokenizer,
    *,
    objective: str,
    stage: str,
    total: int | None,
    progress: Progress,
    shard_tokens: int = SHARD_TOKENS,
) -> TokenFile:
    """Tokenise `rows` into the folder `path` and open it.

    It is made beside, a shard of about `shard_tokens` tokens at a time, and renamed when whole. For
    the rows of a `Dataset`, what a kill or a full disk left is gone on from: at most the shard that
    was being written is lost, and the bytes are those of an undisturbed run. Of a file that was
    damaged since, only the damaged shards are made again. `path` must therefore be named after what
    goes in, tokenizer included (`train` does so).

    `objective` is "pretrain" (documents), "sft" (conversations) or "sft-last" (conversations, of
    which only the last answer is learnt). A document without text, a conversation that the chat
    template refuses and one in which no token carries loss are left out with a ledger line. Raises
    `TrainingError` naming the latter where nothing else is left, and `DataError` for rows of
    another kind, an empty dataset or a full disk.
    """
    content = None
    if isinstance(rows, Dataset):
        made_of = [path.name, objective, tokenizer.vocab_size, shard_tokens]
        content = fingerprint("tokens", [*made_of, rows.info.content_digest])
    growing = path.with_name(f".{path.name}.growing")
    with disk_errors(path), progress.task("tokenise", total) as task:
        _take_over(path, growing, content)
        growing.mkdir(parents=True, exist_ok=True)
        try:
            names, shards = _all_shards(
                growing,
                rows,
                lambda first: _Encoder(tokenizer, objective=objective, stage=stage, first=first),
                content=content,
                most=shard_tokens,
                advance=task.advance,
            )
            _check(shards, stage)
        except (TrainingError, DataError):  # not a full disk: it is the rows that are wrong
            shutil.rmtree(growing, ignore_errors=True)
            raise
        write_index(growing, names, shards)
        _put_in_place(growing, path)
    return TokenFile.open(path)


def _all_shards(
    growing: Path,
    rows: Iterable[Row],
    make_encoder: Callable[[bool], _Encoder],
    *,
    content: str | None,
    most: int,
    advance: Callable[[int], None],
) -> tuple[list[str], list[Shard]]:
    """The shards that are there already, and the others, which are written; with their names."""
    names: list[str] = []
    shards: list[Shard] = []
    chunks: Iterator[list[Row]] | None = None
    while True:
        here = growing / f"shard-{len(shards):05d}"
        shard = _whole(here, content)
        if shard is not None:
            chunks = None
            advance(shard.rows_in)
        else:
            shutil.rmtree(here, ignore_errors=True)
            if chunks is None:
                chunks = _chunks(_rows_from(rows, sum(s.rows_in for s in shards)))
            encoder = make_encoder(not shards)
            if not _write_shard(
                here, chunks, encoder, content=content or "", most=most, advance=advance
            ):
                return names, shards
            shard = Shard.open(here)
        names.append(here.name)
        shards.append(shard)


def _take_over(path: Path, growing: Path, content: str | None) -> None:
    """Keep at `growing` what there is of this content, and nothing else."""

    def useful(folder: Path) -> bool:
        return any(_whole(p, content) is not None for p in folder.glob("shard-*"))

    if not useful(growing):
        shutil.rmtree(growing, ignore_errors=True)
        if useful(path):
            path.rename(growing)
    for leftover in growing.glob(".*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    (growing / "index.json").unlink(missing_ok=True)


def _whole(path: Path, content: str | None) -> Shard | None:
    """The shard at `path` if it is whole and of this content."""
    if content is None or not path.exists():
        return None
    try:
        shard = Shard.open(path)
    except (DataError, OSError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None
    return shard if shard.content == content else None


def _put_in_place(growing: Path, path: Path) -> None:
    before = path.with_name(f".{path.name}.replaced.partial")
    shutil.rmtree(before, ignore_errors=True)
    if path.exists():
        path.rename(before)
    growing.rename(path)
    shutil.rmtree(before, ignore_errors=True)


def _rows_from(rows: Iterable[Row], start: int) -> Iterator[Row]:
    """The rows after the first `start`; a dataset's parts that lie before are not read."""
    if not isinstance(rows, Dataset):
        return itertools.islice(rows, start, None)
    parts = list(rows.info.parts)
    while parts and start:
        count = pq.read_metadata(rows.path / parts[0]["file"]).num_rows
        if count > start:
            break
        start -= count
        parts.pop(0)
    rest = Dataset(rows.path, replace(rows.info, parts=parts))
    # A book may be a row: few at a time.
    some = itertools.chain.from_iterable(rest.batches(_ROWS_READ))
    return itertools.islice(some, start, None)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows to tokenise together, whose text has about so many characters."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.text) if isinstance(row, Document) else 0
        if len(chunk) >= _ROWS_AT_ONCE or size >= _CHARACTERS_AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _check(shards: Sequence[Shard], stage: str) -> None:
    if any(len(shard.rows) for shard in shards):
        return
    ledger = [entry for shard in shards for entry in shard.ledger]
    mute = [entry.row_id for entry in ledger if entry.rule == _MUTE]
    if mute:
        raise TrainingError(
            f"there is nothing to learn: {len(mute)} conversation(s) have no supervised token "
            f"(the assistant says nothing in them): {name_rows(mute)}",
            where=f"stage {stage}",
            hint="check the roles of the messages, and the chat template",
        )
    left_out = f"; {len(ledger)} rows were left out" if ledger else ""
    raise DataError(f"there is no row to train on{left_out}", where=f"stage {stage}")


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of a shard."""

    row: Row
    encoded: Encoded


class _Encoder:
    """Turns rows into tokens; remembers what was left out. `first`: the file begins here."""

    def __init__(
        self, tokenizer: TextTokenizer, *, objective: str, stage: str, first: bool
    ) -> None:
        self._tokenizer = tokenizer
        self._stage = stage
        self._first = first
        self.chat = objective != "pretrain"
        self._last_only = objective == "sft-last"
        self.dtype = np.dtype("uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32")
        self.ledger: list[LedgerEntry] = []

    def encode(self, rows: Sequence[Row]) -> Iterator[_Line]:
        wanted = Conversation if self.chat else Document
        for row in rows:
            if not isinstance(row, wanted):
                raise DataError(
                    f"training takes {wanted.kind}s here, and this is a {row.kind}",
                    where=f"row {row.id}",
                    hint="objective sft takes conversations, pretrain takes documents",
                )
        if self.chat:
            for row in rows:
                yield from self._conversation(row)  # type: ignore[arg-type]
        else:
            yield from self._documents(rows)  # type: ignore[arg-type]

    def _documents(self, rows: Sequence[Document]) -> Iterator[_Line]:
        for row in rows:
            if not row.text:
                self._leave_out(row, "no text", None)
        documents = [row for row in rows if row.text]
        for row, encoded in zip(
            documents, encode_documents(documents, self._tokenizer), strict=True
        ):
            tokens = encoded.tokens
            if self._first and tokens[0] != self._tokenizer.bos_id:
                # At the very beginning, something to predict the first token from.
                tokens = [_end_of_text(self._tokenizer), *tokens]
            self._first = False
            yield _Line(row, replace(encoded, tokens=tokens))

    def _conversation(self, row: Conversation) -> Iterator[_Line]:
        try:
            encoded = encode_conversation(row, self._tokenizer, last_only=self._last_only)
        except DataError as error:
            self._leave_out(row, "chat template", error.message)
            return
        if any(encoded.mask or ()):
            yield _Line(row, encoded)
        else:
            self._leave_out(row, _MUTE, "the assistant says nothing in it")

    def _leave_out(self, row: Row, rule: str, detail: str | None) -> None:
        entry = LedgerEntry(row.id, row.uri, self._stage, "drop", rule, detail=detail)
        self.ledger.append(entry)


def _write_shard(
    path: Path,
    chunks: Iterator[list[Row]],
    encoder: _Encoder,
    *,
    content: str,
    most: int,
    advance: Callable[[int], None],
) -> bool:
    """Write the next shard whole or not at all. Returns whether there was a row for it."""
    chunk = next(chunks, None)
    if chunk is None:
        return False
    rows_in = rows = tokens = 0
    with atomic_folder(path) as folder:
        with (
            (folder / "tokens.bin").open("wb") as token_file,
            (folder / "mask.bin").open("wb") as mask_file,
            pa.OSFile(str(folder / "rows.arrow"), "wb") as row_file,
            pa.ipc.new_file(row_file, ROWS) as row_writer,
        ):
            while chunk is not None:
                lines = list(encoder.encode(chunk))
                for line in lines:
                    token_file.write(np.asarray(line.encoded.tokens, encoder.dtype).tobytes())
                    if encoder.chat:
                        mask_file.write(np.asarray(line.encoded.mask, "uint8").tobytes())
                row_writer.write_batch(_names(lines))
                rows += len(lines)
                rows_in += len(chunk)
                tokens += sum(len(line.encoded.tokens) for line in lines)
                advance(len(chunk))
                chunk = next(chunks, None) if tokens < most else None
        if not encoder.chat:
            (folder / "mask.bin").unlink()
        said = {
            "format": SHARD_FORMAT,
            "content": content,
            "dtype": encoder.dtype.name,
            "mask": encoder.chat,
            "tokens": tokens,
            "rows": rows,
            "rows_in": rows_in,
            "ledger": [entry.to_arrow() for entry in encoder.ledger],
        }
        (folder / "shard.json").write_text(json.dumps(said) + "\n", encoding="utf-8")
    return True


def _names(lines: Sequence[_Line]) -> pa.RecordBatch:
    values = {
        "id": [line.row.id for line in lines],
        "uri": [line.row.uri for line in lines],
        "tokens": [len(line.encoded.tokens) for line in lines],
        "text_bytes": [line.encoded.text_bytes for line in lines],
    }
    return pa.RecordBatch.from_pydict(values, schema=ROWS)


def name_rows(row_ids: Iterable[str]) -> str:
    """Row ids for a message: the first ten, and how many more."""
    ids = list(row_ids)
    more = f" and {len(ids) - _NAMED_AT_MOST} more" if len(ids) > _NAMED_AT_MOST else ""
    return ", ".join(ids[:_NAMED_AT_MOST]) + more
