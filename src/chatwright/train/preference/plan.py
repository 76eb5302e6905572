"""Which pairs each step sees: a pure function of the step, so that resuming needs no replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from chatwright.errors import TrainingError
from chatwright.records import LedgerEntry
from chatwright.train.packing import IGNORED, Batch, make_batch
from chatwright.train.preference.pairs import PairFile
from chatwright.train.preference.sharing import SHARED
from chatwright.train.source import Static
from chatwright.train.tokens import name_rows


@dataclass(frozen=True, slots=True)
class MixedPairs:
    """A pair file and how often an epoch goes through it, as `plan.Mixed`."""

    file: PairFile
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Row `row` of file number `file`, without the first `cut` tokens of its prompt.

    `lengths` are those of its two sequences once cut, which begin with `shared` tokens in common;
    `number` counts the plan's pairs from 0.
    """

    number: int
    file: int
    row: int
    cut: int
    lengths: tuple[int, int]
    shared: int

    @property
    def length(self) -> int:
        return sum(self.lengths)

    @property
    def computed(self) -> int:
        """How many tokens it takes: what both sequences begin with is computed once."""
        return self.length - self.shared


class PairPlan(Static):
    """The order of all training on pairs. A step takes `pairs_per_step` of them.

    Only rows whose place lies within `places` are used (`pairs.place_of`). A sequence longer than
    `length` drops its pair, or with `too_long="cut"` both prompts lose as many of their first
    tokens as that takes, the answers none; `ledger` says which. A pair whose answer alone is too
    long is dropped in any case. Each epoch has its own order, drawn from `seed` and its number.
    Raises `TrainingError` where nothing is left.
    """

    def __init__(
        self,
        mixture: Sequence[MixedPairs],
        *,
        length: int,
        pairs_per_step: int,
        seed: int,
        places: tuple[float, float] = (0.0, 1.0),
        too_long: str = "drop",
        stage: str = "train",
    ) -> None:
        self.files = [m.file for m in mixture]
        self._weights = [m.weight for m in mixture]
        self._length = length
        self._pairs_per_step = pairs_per_step
        self._seed = seed
        self.ledger: list[LedgerEntry] = []
        self._by_file: list[list[Pair]] = []
        self.pairs: list[Pair] = []
        for number in range(len(self.files)):
            found = self._select(number, places, too_long, stage)
            self._by_file.append(found)
            self.pairs += found
        if not self.pairs:
            dropped = name_rows(entry.row_id for entry in self.ledger)
            raise TrainingError(
                f"nothing is left to train on: no pair with a prompt in the range {list(places)} "
                f"fits into {length} tokens" + (f" ({dropped})" if dropped else ""),
                hint="raise `length`, set `too_long: cut`, or widen `preference.prompts`",
            )
        # What an objective knows of each pair beforehand, [pairs, 2]: reference log-probabilities.
        self.known: dict[str, np.ndarray] = {}
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._pairs_in_epoch = self._count_epoch()
        self._end: int | None = None

    # -- what there is ---------------------------------------------------------------------------

    @property
    def tokens_per_pair(self) -> float:
        """Mean number of tokens of a pair's two sequences."""
        return sum(pair.length for pair in self.pairs) / len(self.pairs)

    def end_after(self, epochs: float) -> int:
        """End after going through the pairs `epochs` times (a fraction counts); gives the steps.

        The last step takes what is left. Without this call the plan goes on for ever.
        """
        self._end = max(1, round(epochs * self._pairs_in_epoch))
        return -(-self._end // self._pairs_per_step)

    def step(self, step: int, tokens_at_once: int) -> list[Batch]:
        """The micro-batches of one step (0-based): whole pairs, `tokens_at_once` tokens at most.

        Tokens that a pair's sequences share are counted once, as they are computed. A longer pair
        is a batch of its own. Sequence 2i of a batch is the chosen one of its i-th pair, 2i + 1 the
        rejected one. `targets` are the answers' tokens; each sequence ends with its answer's last
        token. By sequence, `extra` has `margin`, `shared` (how many tokens a pair's sequences begin
        with in common) and what is in `known`.
        """
        first = step * self._pairs_per_step
        last = first + self._pairs_per_step
        if self._end is not None:
            last = min(last, self._end)
        return self.batches([self._pair(number) for number in range(first, last)], tokens_at_once)

    def used(self, steps: int) -> list[Pair]:
        """The pairs that the first `steps` steps train on, each once, in the order of `pairs`."""
        if self._end is not None:
            count = min(self._end, steps * self._pairs_per_step)
        else:
            count = steps * self._pairs_per_step
        if count >= self._pairs_in_epoch:
            return self.pairs
        found = {pair.number: pair for pair in map(self._pair, range(count))}
        return [found[number] for number in sorted(found)]

    def once(self, tokens: int, tokens_at_once: int) -> tuple[list[Batch], None]:
        """The pairs of `first` as batches, for validation."""
        return self.batches(self.first(tokens), tokens_at_once), None

    def first(self, tokens: int) -> list[Pair]:
        """Pairs in the order of their places, about `tokens` tokens of each file.

        The order by place is as good as random and the same each time.
        """
        chosen: list[Pair] = []
        for pairs in self._by_file:
            found = sorted(pairs, key=lambda pair: (self._place(pair), pair.row))
            sizes = np.cumsum([pair.length for pair in found])
            chosen += found[: max(1, int(np.searchsorted(sizes, tokens, side="right")))]
        return chosen

    def batches(self, pairs: Sequence[Pair], tokens_at_once: int) -> list[Batch]:
        """These pairs in this order, as many in a batch as fit."""
        groups: list[list[Pair]] = []
        room = 0
        for pair in pairs:
            if not groups or pair.computed > room:
                groups.append([])
                room = tokens_at_once
            groups[-1].append(pair)
            room -= pair.computed
        return [self._batch(group) for group in groups]

    # -- inside ----------------------------------------------------------------------------------

    def _place(self, pair: Pair) -> float:
        return float(self.files[pair.file].places[pair.row])

    def _select(
        self, number: int, places: tuple[float, float], too_long: str, stage: str
    ) -> list[Pair]:
        file = self.files[number]
        self.ledger.extend(file.ledger)
        low, high = places
        found: list[Pair] = []
        sizes = np.diff(file.offsets).reshape(-1, 2)
        for row in np.flatnonzero((file.places >= low) & (file.places < high)).tolist():
            longest = int(sizes[row].max())
            cut = max(0, longest - self._length)
            if cut:
                possible = too_long == "cut" and cut < int(file.starts[2 * row])
                self.ledger.append(
                    LedgerEntry(
                        file.row_ids[row],
                        file.uris[row],
                        stage,
                        "edit" if possible else "drop",
                        "too long",
                        value=float(longest),
                        bound=f"max {self._length} tokens",
                        detail="the prompt's beginning was left out" if possible else None,
                    )
                )
                if not possible:
                    continue
            chosen, rejected = (int(size) - cut for size in sizes[row])
            place = len(self.pairs) + len(found)
            shared = int(file.shared[row]) - cut
            found.append(Pair(place, number, row, cut, (chosen, rejected), shared))
        return found

    def _count_epoch(self) -> int:
        count = sum(
            len(pairs) * int(weight) + round((weight - int(weight)) * len(pairs))
            for pairs, weight in zip(self._by_file, self._weights, strict=True)
        )
        if not count:
            raise TrainingError("the weights of the data leave no pair in an epoch")
        return count

    def _make_epoch(self, epoch: int) -> list[Pair]:
        """The pairs of one epoch, in order."""
        random = np.random.default_rng([self._seed, epoch])
        chosen: list[Pair] = []
        for pairs, weight in zip(self._by_file, self._weights, strict=True):
            chosen.extend(pairs * int(weight))
            rest = round((weight - int(weight)) * len(pairs))
            chosen.extend(pairs[i] for i in random.choice(len(pairs), rest, replace=False))
        return [chosen[i] for i in random.permutation(len(chosen))]

    def _pair(self, number: int) -> Pair:
        epoch, within = divmod(number, self._pairs_in_epoch)
        return self._epoch(epoch)[within]

    def _batch(self, pairs: Sequence[Pair]) -> Batch:
        sequences: list[tuple[np.ndarray, np.ndarray]] = []
        margins: list[float] = []
        shared: list[int] = []
        for pair in pairs:
            file = self.files[pair.file]
            for side in (2 * pair.row, 2 * pair.row + 1):
                begin, end = int(file.offsets[side]) + pair.cut, int(file.offsets[side + 1])
                tokens = file.tokens[begin:end].astype(np.int64)
                targets = np.full(len(tokens), IGNORED, np.int64)
                start = int(file.starts[side]) - pair.cut
                targets[start - 1 : -1] = tokens[start:]
                sequences.append((tokens, targets))
            shared += [pair.shared] * 2
            margins += [float(file.margins[pair.row])] * 2
        batch = make_batch(sequences, [self.files[p.file].row_ids[p.row] for p in pairs])
        extra = {"margin": torch.tensor(margins, dtype=torch.float32), SHARED: torch.tensor(shared)}
        numbers = [pair.number for pair in pairs]
        for name, values in self.known.items():
            extra[name] = torch.from_numpy(values[numbers].reshape(-1).astype(np.float32))
        return replace(batch, extra=extra, together=2)
