"""Who is shown what, and whether an answer to it may be taken: between the votes and the judges."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from chatwright.errors import UsageError
from chatwright.evaluate.arena import checks
from chatwright.evaluate.arena.files import Answers
from chatwright.evaluate.arena.schedule import (
    Unit,
    next_unit,
    shared_count,
    swapped,
    task_id,
    units,
)
from chatwright.evaluate.arena.shapes import (
    Answer,
    Description,
    Form,
    Item,
    Judge,
    Place,
    Rating,
    Vote,
)
from chatwright.evaluate.arena.votes import Shown, State, VoteLog

_SIZES: Mapping[Form, int] = {"compare": 2, "rate": 1}


class Desk:
    """Hands out comparisons and ratings, and takes the answers. Safe to use from many threads."""

    def __init__(
        self, description: Description, items: Sequence[Item], answers: Answers, log: VoteLog
    ) -> None:
        self.log = log
        self.description = description
        self.models = tuple(entry.label for entry in description.models)
        self._items = [item.id for item in items]
        self._answers = answers
        self._orders: dict[Form, list[Unit]] = {}
        self._sides: dict[tuple[str, ...], frozenset[str]] = {}
        self._lock = threading.RLock()

    def order(self, form: Form) -> list[Unit]:
        """All that can be asked, in a hidden order: (item, model, model) or (item, model)."""
        with self._lock:
            if form not in self._orders:
                key = self.description.key
                self._orders[form] = units(self._items, self.models, _SIZES[form], key)
            return self._orders[form]

    def available(self, form: Form) -> set[Unit]:
        """What has answers by all its models, and different ones: two equal texts are no choice."""
        answers = self._answers.all()
        found: set[Unit] = set()
        for unit in self.order(form):
            texts = [said(answers.get((model, unit[0]))) for model in unit[1:]]
            if None not in texts and (form == "rate" or texts[0] != texts[1]):
                found.add(unit)
        return found

    def identical(self) -> list[Unit]:
        """The pairs whose models said the same: ties by identity, which nobody need judge."""
        answers = self._answers.all()
        return [
            unit
            for unit in self.order("compare")
            if (first := said(answers.get((unit[1], unit[0])))) is not None
            and first == said(answers.get((unit[2], unit[0])))
        ]

    def sides(self, judge: str, unit: Unit) -> tuple[str, str]:
        """The models of a pair in the order in which this judge sees them: left, right."""
        item, first, second = unit
        cached = (judge, first, second)
        with self._lock:
            if cached not in self._sides:
                key, pair = self.description.key, (first, second)
                self._sides[cached] = swapped(key, judge, pair, self._items)
            return (second, first) if item in self._sides[cached] else (first, second)

    def next(self, judge: str, form: Form) -> tuple[Shown, Place] | None:
        """What a person sees next, entered in the log as shown; None when there is no more."""
        name = checks.judge(judge)
        forms = self.description.forms
        if form not in forms:
            raise UsageError(
                f"the study {self.description.name!r} does not ask this",
                where="forms",
                hint=f"it asks judges to {' and to '.join(forms)}",
            )
        available = self.available(form)
        with self.log.write() as (state, append):
            join(state, append, Judge(name, "person"))
            done, load = self._progress(state, name, form)
            shown = state.open_task(name, form)
            place = Place(len(done & available), len(available))
            if shown is not None:
                return shown, place
            order = self.order(form)
            shared = shared_count(len(order), self.description.overlap)
            unit = next_unit(order, shared, available=available, done=done, load=load)
            if unit is None:
                return None
            left, right = self.sides(name, unit) if form == "compare" else (unit[1], None)
            task = task_id(self.description.key, name, unit)
            shown = Shown(task, name, form, unit[0], left, right)
            value = {"form": form, "item": unit[0], "left": left, "right": right}
            append(name, "show", task, value)
            return shown, place

    def _progress(self, state: State, judge: str, form: Form) -> tuple[set[Unit], Counter[Unit]]:
        """What the judge has done, and how often people have judged (or been shown) each unit."""
        places = {label: place for place, label in enumerate(self.models)}
        done: set[Unit] = set()
        load: Counter[Unit] = Counter()
        for shown in state.shown.values():
            if shown.form != form or state.judges[shown.judge].kind != "person":
                continue
            pair = [shown.left] if shown.right is None else [shown.left, shown.right]
            unit = (shown.item, *sorted(pair, key=lambda label: places.get(label, 0)))
            answer = state.standing.get(shown.task)
            if shown.judge == judge and answer is not None:
                done.add(unit)
            skipped = isinstance(answer, Vote) and answer.choice == "skip"
            if not (skipped or (isinstance(answer, Rating) and answer.skipped)):
                load[unit] += 1
        return done, load

    def answer(
        self,
        judge: str,
        task: str,
        form: Form,
        action: str,
        value: Callable[[Shown], Mapping[str, object]],
    ) -> Vote | Rating:
        """Enter what a judge says to what that judge was shown; else raises `UsageError`."""
        name = checks.judge(judge)
        with self.log.write() as (state, append):
            shown = state.shown.get(task)
            if shown is None or shown.form != form:
                raise UsageError(
                    f"there is no such {'comparison' if form == 'compare' else 'rating'}",
                    where=str(task)[:80],
                    hint="ask for the next one, and answer that",
                )
            if shown.judge != name:
                raise UsageError(
                    "this was shown to another judge", where=name, hint="ask for your own next one"
                )
            if task in state.standing:
                raise UsageError(
                    "this was judged already", where=name, hint="undo the vote first, to change it"
                )
            append(name, action, task, value(shown))
            return state.standing[task]


def join(state: State, append: Callable[..., int], judge: Judge) -> None:
    """Enter a judge's name once; it stays of one kind."""
    known = state.judges.get(judge.name)
    if known is None:
        value = {"kind": judge.kind, "fingerprint": judge.fingerprint}
        append(judge.name, "join", None, value)
    elif known.kind != judge.kind:
        raise UsageError(
            f"{judge.name!r} is a {known.kind} that judges here", hint="take another name"
        )


def said(answer: Answer | None) -> str | None:
    """An answer's text; None where there is none."""
    return None if answer is None else answer.text
