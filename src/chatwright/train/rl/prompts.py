"""The prompts that answers are made to: read from rows, and in which order they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chatwright.errors import DataError, TrainingError
from chatwright.records import Conversation, LedgerEntry, Message, Preference, Row
from chatwright.tokenizer import Tokenizer
from chatwright.train.preference.pairs import place_of


@dataclass(frozen=True, slots=True)
class Prompt:
    """Messages that ask for an answer, as token ids too; `reference` is the row's own answer."""

    row_id: str
    messages: Sequence[Message]
    ids: Sequence[int]
    reference: str | None
    meta: Mapping[str, Any]


def prompt_of(row: Row) -> tuple[list[Message], str | None]:
    """The messages before the answer, and the answer that the row has.

    Of a conversation the last assistant turn is taken off where it ends with one; of a preference
    the chosen answer is the row's. Raises `DataError` for rows of another kind.
    """
    if isinstance(row, Preference):
        return list(row.prompt), row.chosen
    if isinstance(row, Conversation):
        messages = list(row.messages)
        if messages and messages[-1].role == "assistant":
            return messages[:-1], messages[-1].content
        return messages, None
    raise DataError(
        f"reinforcement learning takes conversations or preferences, and this is a {row.kind}",
        where=f"row {row.id}",
        hint="documents can stand beside them with ppo.pretrain_mix",
    )


class Prompts:
    """All prompts and their order, a pure function of the seed.

    `parts` are rows with their weights, as in every mixture: 2 comes twice in an epoch, 0.5 a
    random half of the time. A row without a prompt, one that the chat template refuses, and one of
    more than `longest` tokens are left out; `ledger` names them. Only prompts whose place
    (`preference.pairs.place_of`) lies in the range `places` are looked at. Raises `TrainingError`
    where none is left.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Iterable[Row], float]],
        tokenizer: Tokenizer,
        *,
        longest: int,
        seed: int,
        stage: str,
        places: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.ledger: list[LedgerEntry] = []
        self.all: list[Prompt] = []
        self._seed = seed
        self._parts: list[tuple[range, float]] = []
        self._orders: dict[int, list[int]] = {}
        for rows, weight in parts:
            first = len(self.all)
            for row in rows:
                self._add(row, tokenizer, longest, stage, places)
            self._parts.append((range(first, len(self.all)), weight))
        self.per_epoch = sum(
            len(numbers) * int(weight) + round((weight - int(weight)) * len(numbers))
            for numbers, weight in self._parts
        )
        if not self.per_epoch:
            left_out = f"; {len(self.ledger)} rows were left out" if self.ledger else ""
            raise TrainingError(
                f"there is no prompt to answer{left_out}",
                where=f"stage {stage}",
                hint="a prompt has a message of the user and leaves room for max_new_tokens",
            )

    def take(self, first: int, count: int) -> list[int]:
        """Which of `all` come `first`-th to (`first` + `count` − 1)-th, over all epochs."""
        return [
            self._order(n // self.per_epoch)[n % self.per_epoch]
            for n in range(first, first + count)
        ]

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self._orders:
            random = np.random.default_rng([self._seed, epoch])
            chosen: list[int] = []
            for numbers, weight in self._parts:
                chosen.extend(list(numbers) * int(weight))
                rest = round((weight - int(weight)) * len(numbers))
                chosen.extend(int(i) for i in random.choice(numbers, rest, replace=False))
            self._orders = {epoch - 1: self._orders.get(epoch - 1, [])} if epoch else {}
            self._orders = {e: order for e, order in self._orders.items() if order}
            self._orders[epoch] = [chosen[i] for i in random.permutation(len(chosen))]
        return self._orders[epoch]

    def _add(
        self,
        row: Row,
        tokenizer: Tokenizer,
        longest: int,
        stage: str,
        places: tuple[float, float],
    ) -> None:
        def leave_out(rule: str, **more: Any) -> None:
            self.ledger.append(LedgerEntry(row.id, row.uri, stage, "drop", rule, **more))

        messages, reference = prompt_of(row)
        low, high = places
        if messages and not low <= place_of(messages) < high:
            return
        if not messages or messages[-1].role == "assistant":
            leave_out("no prompt")
            return
        try:
            ids = tokenizer.chat(messages, add_generation_prompt=True)
        except DataError as error:
            leave_out("chat template", detail=error.message)
            return
        if len(ids) > longest:
            leave_out("too long", value=float(len(ids)), bound=f"max {longest} tokens")
            return
        self.all.append(Prompt(row.id, messages, ids, reference, row.meta))
