"""Which tokens each step sees: a pure function of the step, so that resuming needs no replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from chatwright.errors import TrainingError
from chatwright.records import LedgerEntry
from chatwright.train.bins import Rows, pack
from chatwright.train.packing import IGNORED, Batch, make_batch
from chatwright.train.source import Static
from chatwright.train.tokens import TokenFile, name_rows


@dataclass(frozen=True, slots=True)
class Mixed:
    """A token file and how often an epoch goes through it.

    `weight` 2 takes every row twice; 0.5 takes a random half, another one in each epoch.
    """

    file: TokenFile
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """`length` inputs from `start` on in the tokens of file number `file`."""

    file: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _Conversations:
    """The conversations of a file that are trained on: a few bytes each, not an object."""

    file: int
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Stretch:
        return Stretch(self.file, int(self.starts[number]), int(self.lengths[number]))


@dataclass(frozen=True, slots=True)
class _Stretches:
    """A file's text cut into stretches of `length` inputs, the last one shorter."""

    file: int
    inputs: int
    length: int

    def __len__(self) -> int:
        return (self.inputs + self.length - 1) // self.length

    def __getitem__(self, number: int) -> Stretch:
        start = number * self.length
        return Stretch(self.file, start, min(self.length, self.inputs - start))


class Plan(Static):
    """The order of all training.

    `length` tokens are one row: a stretch of the documents (pretraining, the last one shorter), or
    whole conversations, packed best fit first (fine-tuning). A step takes `rows_per_step` rows.
    Each epoch has its own order, drawn from `seed` and the epoch's number.

    A conversation longer than `length` is dropped, or with `too_long="cut"` cut to its first
    `length` tokens where something in them carries loss; `ledger` says which. Raises
    `TrainingError` where nothing is left.

    An epoch of ten million conversations takes about 200 MB and is ordered in seconds.
    """

    def __init__(
        self,
        mixture: Sequence[Mixed],
        *,
        length: int,
        rows_per_step: int,
        seed: int,
        chat: bool,
        too_long: str = "drop",
        stage: str = "train",
    ) -> None:
        self._files = [m.file for m in mixture]
        self._weights = [m.weight for m in mixture]
        self._length = length
        self._rows_per_step = rows_per_step
        self._seed = seed
        self._chat = chat
        self.ledger: list[LedgerEntry] = []
        self._sequences: list[_Conversations | _Stretches] = []
        for number, mixed in enumerate(mixture):
            self.ledger.extend(mixed.file.ledger)
            self._sequences.append(
                self._conversations(number, too_long, stage)
                if chat
                else _Stretches(number, len(mixed.file.tokens) - 1, length)
            )
        if not any(len(found) for found in self._sequences):
            dropped = name_rows(entry.row_id for entry in self.ledger)
            raise TrainingError(
                f"nothing is left to train on: no conversation fits into {length} tokens "
                f"({dropped})",
                hint="raise `length`, or set `too_long: cut`",
            )
        # Sequences are numbered through all files.
        self._firsts = np.cumsum([0, *map(len, self._sequences)])
        self._number = np.int32 if self._firsts[-1] < 1 << 31 else np.int64
        self._lengths = np.concatenate(
            [s.lengths for s in self._sequences if isinstance(s, _Conversations)] or [np.zeros(0)]
        )
        if not any(self._share(number)[2] for number in range(len(mixture))):
            raise TrainingError("the weights of the data leave no row in an epoch")
        self._epoch_rows = lru_cache(maxsize=2)(self._make_epoch)
        self._rows_in_epoch: list[int] = []
        self._end: int | None = None

    # -- what there is ---------------------------------------------------------------------------

    def end_after(self, epochs: float) -> int:
        """End after going through the data `epochs` times (a fraction counts).

        Returns the number of steps; the last one takes what is left. Without this call the plan
        goes on for ever.
        """
        whole = int(epochs)
        rows = sum(self._count(e) for e in range(whole))
        if epochs > whole:
            rows += round((epochs - whole) * self._count(whole))
        self._end = max(1, rows)
        return -(-self._end // self._rows_per_step)

    def step(self, step: int, tokens_at_once: int) -> list[Batch]:
        """The micro-batches of one step (0-based).

        Each holds at most `tokens_at_once` tokens, or a single longer sequence. Sequences do not
        see each other, so a row may be computed in parts.
        """
        first = step * self._rows_per_step
        last = first + self._rows_per_step
        if self._end is not None:
            last = min(last, self._end)
        rows = [self._row(number) for number in range(first, last)]
        return self._batches([s for row in rows for s in row], tokens_at_once)

    def once(self, tokens: int, tokens_at_once: int) -> tuple[list[Batch], int | None]:
        """The first sequences in the files' own order, about `tokens` tokens of each file.

        For validation. The second value is the size in bytes of the text that carries loss (None
        for fine-tuning); documents are taken whole, so that it is exact.
        """
        chosen: list[Stretch] = []
        text_bytes = 0
        for number, file in enumerate(self._files):
            found = self._sequences[number]
            if isinstance(found, _Conversations):
                sizes = np.cumsum(found.lengths)
                count = max(1, int(np.searchsorted(sizes, tokens, side="right")))
                chosen += [found[i] for i in range(min(count, len(found)))]
            else:
                documents = max(1, int(np.searchsorted(file.offsets, tokens, side="right")) - 1)
                text_bytes += int(file.text_bytes[:documents].sum())
                whole = _Stretches(number, int(file.offsets[documents]) - 1, self._length)
                chosen += [whole[i] for i in range(len(whole))]
        return self._batches(chosen, tokens_at_once), None if self._chat else text_bytes

    # -- inside ----------------------------------------------------------------------------------

    def _conversations(self, number: int, too_long: str, stage: str) -> _Conversations:
        file = self._files[number]
        assert file.mask is not None
        lengths = np.diff(file.offsets) - 1
        kept = lengths <= self._length
        for row in np.flatnonzero(~kept).tolist():
            start = int(file.offsets[row])
            cut = too_long == "cut" and file.mask[start + 1 : start + 1 + self._length].any()
            kept[row] = cut
            self.ledger.append(
                LedgerEntry(
                    file.row_ids[row],
                    file.uris[row],
                    stage,
                    "edit" if cut else "drop",
                    "too long",
                    value=float(lengths[row]),
                    bound=f"max {self._length} tokens",
                )
            )
        sizes = np.minimum(lengths[kept], self._length).astype(np.int32)
        return _Conversations(number, file.offsets[:-1][kept], sizes)

    def _share(self, number: int) -> tuple[int, int, int]:
        """How often an epoch takes a file whole, how many sequences more, and how many in all."""
        count, weight = len(self._sequences[number]), self._weights[number]
        whole = int(weight)
        rest = round((weight - whole) * count)
        return whole, rest, whole * count + rest

    def _make_epoch(self, epoch: int) -> Rows:
        """The numbers of the sequences of one epoch, by row."""
        random = np.random.default_rng([self._seed, epoch])
        chosen: list[np.ndarray] = []
        for number, sequences in enumerate(self._sequences):
            whole, rest, _ = self._share(number)
            first, count = int(self._firsts[number]), len(sequences)
            chosen += [np.arange(first, first + count, dtype=self._number)] * whole
            if rest:
                more = first + random.choice(count, rest, replace=False)
                chosen.append(more.astype(self._number))
        numbers = np.concatenate(chosen)
        del chosen
        random.shuffle(numbers)
        if not self._chat:
            return Rows(numbers, np.arange(len(numbers) + 1))
        packed = pack(self._lengths[numbers], self._length)
        return _shuffled(Rows(numbers[packed.items], packed.starts), random)

    def _row(self, number: int) -> list[Stretch]:
        epoch = 0
        while number >= (rows := self._count(epoch)):
            number -= rows
            epoch += 1
        return [self._sequence(found) for found in self._epoch_rows(epoch)[number].tolist()]

    def _sequence(self, number: int) -> Stretch:
        file = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return self._sequences[file][number - int(self._firsts[file])]

    def _count(self, epoch: int) -> int:
        """The number of rows of an epoch."""
        if not self._chat:
            return sum(self._share(number)[2] for number in range(len(self._files)))
        same = all(weight == int(weight) for weight in self._weights)
        while len(self._rows_in_epoch) <= epoch:
            # The same conversations fill the same number of rows in any order.
            known = same and self._rows_in_epoch
            rows = (
                self._rows_in_epoch[0] if known else len(self._epoch_rows(len(self._rows_in_epoch)))
            )
            self._rows_in_epoch.append(rows)
        return self._rows_in_epoch[epoch]

    def _batches(self, sequences: Sequence[Stretch], tokens_at_once: int) -> list[Batch]:
        groups: list[list[Stretch]] = []
        room = 0
        for sequence in sequences:
            if not groups or sequence.length > room:
                groups.append([])
                room = tokens_at_once
            groups[-1].append(sequence)
            room -= sequence.length
        return [self._batch(group) for group in groups]

    def _batch(self, sequences: Sequence[Stretch]) -> Batch:
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        names: list[str] = []
        for s in sequences:
            file = self._files[s.file]
            tokens = file.tokens[s.start : s.start + s.length + 1].astype(np.int64)
            targets = tokens[1:]
            if file.mask is not None:
                learnt = file.mask[s.start + 1 : s.start + s.length + 1] != 0
                targets = np.where(learnt, targets, IGNORED)
            pairs.append((tokens[:-1], targets))
            first, last = file.row_at(s.start), file.row_at(s.start + s.length)
            names.extend(file.row_ids[row] for row in range(first, last + 1))
        return make_batch(pairs, names)


def _shuffled(rows: Rows, random: np.random.Generator) -> Rows:
    """The same rows in another order."""
    order = random.permutation(len(rows))
    sizes = np.diff(rows.starts)[order]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    # Where each item of the new order stood: the row's old beginning and the place within the row.
    moved = np.repeat(rows.starts[:-1][order] - starts[:-1], sizes)
    moved += np.arange(len(rows.items))
    return Rows(rows.items[moved], starts)
