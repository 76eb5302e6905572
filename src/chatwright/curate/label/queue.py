"""A queue: who sees which item next, and what they say."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from chatwright.curate.label.items import keyed, read_items
from chatwright.curate.label.shapes import (
    MODEL_PREFIX,
    Decision,
    Description,
    Given,
    Item,
    Kind,
    Place,
    Purpose,
    Shown,
    Task,
    checked_comment,
    checked_labeller,
    checked_labels,
    checked_name,
    checked_share,
)
from chatwright.curate.label.store import Append, State, Store
from chatwright.errors import DataError, UsageError
from chatwright.records import Dataset, disk_errors
from chatwright.workspace import Workspace

# So long an item that was shown is kept for who saw it; then others may have it, too.
_RESERVED_SECONDS = 30 * 60
_REPEAT_AFTER = 10  # items between a person's label and the same item again
_LONGEST_SECONDS = 86_400.0


class Queue:
    """One queue in `WORKSPACE/labels/NAME.db`. Safe to use from many threads and processes.

    >>> queue = Queue.create("first", "quickstart/corpus", ["good", "bad"], workspace=place)
    >>> task = queue.next("alice")
    >>> queue.label("alice", task.id, "good")
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.store = Store(path)
        self.description, self.items = self.store.read_queue()
        self._clock = clock
        self.gold = [item.number for item in self.items if item.gold is not None]
        self.wanted = _wanted(self.items, self.description)

    @classmethod
    def create(
        cls,
        name: str,
        dataset: str,
        labels: Sequence[str],
        *,
        workspace: Workspace | None = None,
        question: str = "",
        per_item: int = 2,
        overlap: float = 1.0,
        limit: int | None = None,
        gold_column: str | None = None,
        gold_file: Path | None = None,
        gold_share: float = 0.1,
        repeat_share: float = 0.05,
        seed: int = 0,
        key: str | None = None,
    ) -> Self:
        """Start a queue over a dataset of documents or conversations; see `Description`.

        Raises `UsageError` for a name that exists or settings that cannot be, `DataError` for a
        dataset without rows to label.
        """
        place = workspace or Workspace()
        path = queues_folder(place) / f"{checked_name(name)}.db"
        if path.exists():
            raise UsageError(
                f"there is a queue called {name!r} already",
                where=str(path),
                hint="choose another name with --name, or go on with it",
            )
        for value, what in ((per_item, "per_item"), (1 if limit is None else limit, "limit")):
            if value < 1:
                raise UsageError(f"{what} is {value}; it must be 1 or more", where=what)
        opened = Dataset.open(place.dataset(dataset))
        told = checked_labels(labels)
        secret = key or secrets.token_hex(16)
        items, left_out = read_items(
            opened,
            told,
            key=secret,
            seed=seed,
            limit=limit,
            gold_column=gold_column,
            gold_file=gold_file,
        )
        if not any(item.gold is None for item in items):
            raise DataError("the dataset has no row to label", where=str(opened.path))
        shares = checked_share(gold_share, "gold_share") + checked_share(
            repeat_share, "repeat_share"
        )
        if shares > 0.9:
            raise UsageError(
                f"{shares:.0%} of what people see would be checks", where="gold_share, repeat_share"
            )
        description = Description(
            name=name,
            labels=told,
            dataset=dataset,
            dataset_path=str(opened.path.resolve()),
            fingerprint=opened.fingerprint,
            question=question.strip(),
            per_item=per_item,
            overlap=checked_share(overlap, "overlap"),
            gold_share=gold_share,
            repeat_share=repeat_share,
            seed=seed,
            key=secret,
            left_out=left_out,
        )
        with disk_errors(path):
            Store(path).create(description, items)
        return cls(path)

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def labels(self) -> tuple[str, ...]:
        return self.description.labels

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        self.store.close()

    # -- people ------------------------------------------------------------------------------

    def next(self, labeller: str) -> Task | None:
        """What a person labels next; None when nothing is open for them.

        Asked again before an answer, it is the same one. What others said is never part of it.
        Raises `UsageError` for a bad name, or that of a model.
        """
        name = checked_labeller(labeller)
        with self.store.write() as (state, append):
            join(state, append, name, "person")
            shown = state.open_task(name)
            if shown is None:
                chosen = self._choose(state, name)
                if chosen is None:
                    return None
                item, purpose = chosen
                count = len(state.tasks_of.get(name, ()))
                task = f"{keyed(self.description.key, 'task', name, item, count):016x}"
                append(name, "show", {"purpose": purpose}, task=task, item=item)
                shown = state.shown[task]
            return self._task(shown, self._place(state, name))

    def label(
        self,
        labeller: str,
        task: str,
        label: str | None,
        *,
        comment: str = "",
        seconds: float | None = None,
    ) -> Given:
        """Record a label, or None for an item that is skipped.

        Raises `UsageError` for a label or task that is none, a task of somebody else, and one that
        was answered already.
        """
        name = checked_labeller(labeller)
        if label is not None and label not in self.labels:
            raise UsageError(
                f"{label!r} is no label here",
                where="label",
                hint=f"one of {', '.join(self.labels)}",
            )
        value = {"label": label, "comment": checked_comment(comment), "seconds": _seconds(seconds)}
        with self.store.write() as (state, append):
            shown = state.shown.get(task)
            if shown is None or shown.labeller != name:
                raise UsageError(
                    "this was not shown to you", where=name, hint="ask for your own next item"
                )
            if task in state.given:
                raise UsageError(
                    "this was labelled already", where=name, hint="undo it first, to change it"
                )
            append(name, "label", value, task=task, item=shown.item)
            return state.given[task]

    def undo(self, labeller: str) -> Given | None:
        """Take back the person's last answer, which is then shown again; None: there is none."""
        name = checked_labeller(labeller)
        with self.store.write() as (state, append):
            mine = state.answers_of(name)
            if not mine:
                return None
            append(name, "retract", {"of": mine[-1].sequence}, task=mine[-1].task)
            return mine[-1]

    def _choose(self, state: State, name: str) -> tuple[int, Purpose] | None:
        """The next item for a person, and why: a check now and then, else one that is needed."""
        mine = state.answers_of(name)
        draw = keyed(self.description.key, "check", name, len(mine)) / 2**64
        gold, repeat = self.description.gold_share, self.description.repeat_share
        needed = self._needed(state, name)
        if needed is None:
            return None
        if draw < gold:
            seen = {given.item for given in mine if given.purpose == "gold"}
            unseen = [number for number in self.gold if number not in seen]
            if unseen:
                start = keyed(self.description.key, "gold", name) % len(self.gold)
                return min(unseen, key=lambda number: (number - start) % len(self.items)), "gold"
        elif draw < gold + repeat:
            again = {given.item for given in mine if given.purpose == "repeat"}
            for given in mine[: max(0, len(mine) - _REPEAT_AFTER)]:
                if given.purpose == "item" and given.label is not None and given.item not in again:
                    return given.item, "repeat"
        return needed, "item"

    def _needed(self, state: State, name: str) -> int | None:
        """The first item that still wants a label and may have it from this person."""
        have = self.counts(state, reserved_for=name)
        mine = {state.shown[task].item for task in state.tasks_of.get(name, ())}
        for number, wanted in enumerate(self.wanted):
            if have[number] < wanted and number not in mine:
                return number
        return None

    def counts(self, state: State, *, reserved_for: str | None = None) -> list[int]:
        """How many people have labelled each item.

        With `reserved_for`, what others were shown within the last half hour counts as well: two
        people at once do not both take an item's last place.
        """
        have = [0] * len(self.items)
        since = self._clock() - _RESERVED_SECONDS
        for task, shown in state.shown.items():
            if shown.purpose != "item" or state.labellers.get(shown.labeller) != "person":
                continue
            given = state.given.get(task)
            if given is not None:
                have[shown.item] += given.label is not None
            elif reserved_for not in (None, shown.labeller) and shown.at >= since:
                have[shown.item] += 1
        return have

    def _place(self, state: State, name: str) -> Place:
        have = self.counts(state)
        mine = state.answers_of(name)
        seen = {given.item for given in mine}
        open_ = sum(
            h < w and n not in seen for n, (h, w) in enumerate(zip(have, self.wanted, strict=True))
        )
        return Place(sum(given.label is not None for given in mine), open_)

    def _task(self, shown: Shown, place: Place, votes: Mapping[str, int] | None = None) -> Task:
        item = self.items[shown.item]
        return Task(
            shown.task,
            item.text,
            item.uri,
            self.labels,
            self.description.question,
            place,
            dict(votes or {}),
        )

    # -- disagreements -----------------------------------------------------------------------

    def disputes(self, state: State | None = None) -> list[int]:
        """Items on which people disagree and nobody has decided yet."""
        now = state or self.store.read()
        votes = self.votes(now)
        return [n for n, said in enumerate(votes) if len(said) > 1 and n not in now.decisions]

    def votes(self, state: State | None = None, kind: Kind = "person") -> list[dict[str, int]]:
        """Of each item, label → how many people (or models) gave it; checks do not count."""
        now = state or self.store.read()
        found: list[dict[str, int]] = [{} for _ in self.items]
        for given in now.given.values():
            if given.label is None or given.purpose != "item":
                continue
            if now.labellers.get(given.labeller) == kind:
                said = found[given.item]
                said[given.label] = said.get(given.label, 0) + 1
        return found

    def next_dispute(self, labeller: str, skipped: Sequence[int] = ()) -> tuple[int, Task] | None:
        """A disagreement for this person to decide: not one that they had a part in.

        The task tells how often each label was given, and not by whom.
        """
        name = checked_labeller(labeller)
        state = self.store.read()
        open_ = self.disputes(state)
        mine = {given.item for given in state.answers_of(name)}
        free = [number for number in open_ if number not in mine and number not in skipped]
        if not free:
            return None
        votes = self.votes(state)[free[0]]
        done = sum(d.labeller == name for d in state.decisions.values())
        shown = Shown("", name, free[0], "item", 0.0)
        return free[0], self._task(shown, Place(done, len(free)), votes)

    def decide(self, labeller: str, item: int, label: str, *, comment: str = "") -> Decision:
        """Settle a disagreement. Raises `UsageError` where there is none (any more)."""
        name = checked_labeller(labeller)
        if label not in self.labels:
            raise UsageError(f"{label!r} is no label here", where="label")
        said = checked_comment(comment)
        with self.store.write() as (state, append):
            join(state, append, name, "person")
            if item not in self.disputes(state):
                raise UsageError(
                    "there is nothing to decide about this item", hint="ask for the next one"
                )
            append(name, "decide", {"label": label, "comment": said}, item=item)
            return state.decisions[item]

    def undo_decision(self, labeller: str) -> int | None:
        """Take back the person's last decision; returns the item, or None where there is none."""
        name = checked_labeller(labeller)
        with self.store.write() as (state, append):
            mine = [d for d in state.decisions.values() if d.labeller == name]
            if not mine:
                return None
            last = max(mine, key=lambda decision: decision.sequence)
            append(name, "undecide", {"of": last.sequence}, item=last.item)
            return last.item


def join(state: State, append: Append, name: str, kind: Kind) -> None:
    """Enter a labeller's name once; it stays of one kind."""
    known = state.labellers.get(name)
    if known is None:
        append(name, "join", {"kind": kind})
    elif known != kind:
        raise UsageError(f"{name!r} is a {known} here", where="labeller")


def model_name(name: str) -> str:
    """How a model or rule is entered, so that no person can be taken for it."""
    return MODEL_PREFIX + name.strip()[:200]


def queues_folder(workspace: Workspace) -> Path:
    """Where a workspace's queues lie."""
    return workspace.root / "labels"


def open_queue(name: str, workspace: Workspace | None = None) -> Queue:
    """A queue by name. Raises `UsageError` for one that there is not."""
    place = workspace or Workspace()
    path = queues_folder(place) / f"{checked_name(name)}.db"
    if not path.exists():
        there = ", ".join(queues(place))
        raise UsageError(
            f"there is no queue called {name!r}",
            where=str(queues_folder(place)),
            hint=f"there are: {there}" if there else "start one: chatwright label new DATASET",
        )
    return Queue(path)


def queues(workspace: Workspace) -> list[str]:
    """The names of a workspace's queues."""
    return sorted(p.stem for p in queues_folder(workspace).glob("[!.]*.db"))


def _wanted(items: Sequence[Item], description: Description) -> list[int]:
    """How many people's labels each item wants; gold items none."""
    wanted = []
    place = 0
    for item in items:
        if item.gold is not None:
            wanted.append(0)
            continue
        # The overlapping ones lie evenly among the others.
        share = description.overlap
        is_shared = int((place + 1) * share + 1e-9) > int(place * share + 1e-9)
        wanted.append(description.per_item if is_shared else 1)
        place += 1
    return wanted


def _seconds(value: float | None) -> float | None:
    if value is None:
        return None
    if not 0 <= value < float("inf"):
        raise UsageError(f"{value!r} is no time in seconds", where="seconds")
    return round(min(float(value), _LONGEST_SECONDS), 3)
