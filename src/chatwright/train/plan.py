"""Which tokens each step sees: a pure function of the step, so that resuming needs no replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from chatwright.errors import TrainingError
from chatwright.records import LedgerEntry
from chatwright.train.packing import IGNORED, Batch, make_batch, pack
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


class Plan:
    """The order of all training.

    `length` tokens are one row: a stretch of the documents (pretraining, the last one shorter), or
    whole conversations, packed best fit first (fine-tuning). A step takes `rows_per_step` rows.
    Each epoch has its own order, drawn from `seed` and the epoch's number.

    A conversation longer than `length` is dropped, or with `too_long="cut"` cut to its first
    `length` tokens where something in them carries loss; `ledger` says which. Raises
    `TrainingError` where nothing is left.
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
        self._length = length
        self._rows_per_step = rows_per_step
        self._seed = seed
        self._chat = chat
        self.ledger: list[LedgerEntry] = []
        self._sequences: list[list[Stretch]] = []
        for number, mixed in enumerate(mixture):
            self.ledger.extend(mixed.file.ledger)
            found = (
                self._conversations(number, too_long, stage) if chat else self._stretches(number)
            )
            self._sequences.append(found)
        self._weights = [m.weight for m in mixture]
        if not any(self._sequences):
            dropped = name_rows(entry.row_id for entry in self.ledger)
            raise TrainingError(
                f"nothing is left to train on: no conversation fits into {length} tokens "
                f"({dropped})",
                hint="raise `length`, or set `too_long: cut`",
            )
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
            if self._chat:
                found = self._sequences[number]
                sizes = np.cumsum([s.length for s in found])
                chosen += found[: max(1, int(np.searchsorted(sizes, tokens, side="right")))]
            else:
                documents = max(1, int(np.searchsorted(file.offsets, tokens, side="right")) - 1)
                text_bytes += int(file.text_bytes[:documents].sum())
                chosen += self._stretches(number, int(file.offsets[documents]))
        return self._batches(chosen, tokens_at_once), None if self._chat else text_bytes

    # -- inside ----------------------------------------------------------------------------------

    def _conversations(self, number: int, too_long: str, stage: str) -> list[Stretch]:
        file = self._files[number]
        assert file.mask is not None
        found = []
        for row in range(len(file)):
            start, end = int(file.offsets[row]), int(file.offsets[row + 1])
            size = end - start - 1
            if size > self._length:
                cut = too_long == "cut" and file.mask[start + 1 : start + 1 + self._length].any()
                self.ledger.append(
                    LedgerEntry(
                        file.row_ids[row],
                        file.uris[row],
                        stage,
                        "edit" if cut else "drop",
                        "too long",
                        value=float(size),
                        bound=f"max {self._length} tokens",
                    )
                )
                if not cut:
                    continue
                size = self._length
            found.append(Stretch(number, start, size))
        return found

    def _stretches(self, number: int, end: int | None = None) -> list[Stretch]:
        targets = (len(self._files[number].tokens) if end is None else end) - 1
        return [
            Stretch(number, start, min(self._length, targets - start))
            for start in range(0, targets, self._length)
        ]

    def _make_epoch(self, epoch: int) -> list[list[Stretch]]:
        """The rows of one epoch, in order."""
        random = np.random.default_rng([self._seed, epoch])
        chosen: list[Stretch] = []
        for sequences, weight in zip(self._sequences, self._weights, strict=True):
            chosen.extend(sequences * int(weight))
            rest = round((weight - int(weight)) * len(sequences))
            chosen.extend(sequences[i] for i in random.choice(len(sequences), rest, replace=False))
        if not chosen:
            raise TrainingError("the weights of the data leave no row in an epoch")
        chosen = [chosen[i] for i in random.permutation(len(chosen))]
        if not self._chat:
            return [[s] for s in chosen]
        rows = pack([s.length for s in chosen], self._length)
        return [[chosen[i] for i in rows[r]] for r in random.permutation(len(rows))]

    def _row(self, number: int) -> list[Stretch]:
        epoch = 0
        while number >= (rows := self._count(epoch)):
            number -= rows
            epoch += 1
        return self._epoch_rows(epoch)[number]

    def _count(self, epoch: int) -> int:
        while len(self._rows_in_epoch) <= epoch:
            self._rows_in_epoch.append(len(self._epoch_rows(len(self._rows_in_epoch))))
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
