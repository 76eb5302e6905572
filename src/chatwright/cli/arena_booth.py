"""Where a judge sits: what is shown now, what each key does, and nothing of any terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from chatwright.cli.arena_words import WORDS
from chatwright.cli.talk import printable
from chatwright.errors import ChatwrightError
from chatwright.evaluate.arena import (
    REASONS,
    SCALE_TEXTS,
    Choice,
    Comparison,
    Place,
    RatingTask,
    Study,
)

Page = Literal["judge", "guidelines", "more", "comment"]
CHOICE_KEYS: dict[str, Choice] = {
    "left": "left", "l": "left", "right": "right", "r": "right", "t": "tie", "b": "both_bad",
    "s": "skip",
}  # fmt: skip


@dataclass(slots=True)
class Marks:
    """What the judge has set for the task on the screen."""

    reasons: list[str] = field(default_factory=list)
    scores: dict[str, int] = field(default_factory=dict)
    scale: int = 0
    comment: str = ""
    scroll: int = 0


class Booth:
    """One judge and one study. `press` takes the names of keys; `done`: the judge has left.

    `task` is None when everything is judged: the last judgement can still be taken back.
    """

    def __init__(
        self,
        study: Study,
        judge: str,
        form: Literal["compare", "rate"],
        language: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self.judge = judge
        self.form = form
        self.language = language
        self.words = WORDS[language]
        self.marks = Marks()
        self.page: Page = "judge"
        self.page_scroll = 0
        self.draft = ""
        self.message = ""
        self.done = False
        self.task: Comparison | RatingTask | None = None
        self.place = Place(0, 0)
        self._clock = clock
        self._since = 0.0
        self.load()

    def load(self) -> None:
        """Show what comes next."""
        if self.form == "compare":
            self.task = self.study.next_comparison(self.judge)
        else:
            self.task = self.study.next_rating(self.judge)
        self.marks = Marks()
        self._since = self._clock()
        if self.task is None:
            self.place = Place(self.place.total, self.place.total)
        else:
            self.place = self.task.place

    # -- what is on the screen -----------------------------------------------------------------

    @property
    def answers(self) -> list[tuple[str, str]]:
        """Each answer's heading and text, without control characters."""
        task = self.task
        if isinstance(task, Comparison):
            pairs = [(self.words["left"], task.left), (self.words["right"], task.right)]
        else:
            pairs = [(self.words["answer"], task.answer)] if task else []
        return [(head, printable(text).strip() or self.words["empty"]) for head, text in pairs]

    @property
    def prompt(self) -> list[tuple[str, str]]:
        """The conversation as (role, text)."""
        return (
            [(m.role, printable(m.content).strip()) for m in self.task.messages]
            if self.task
            else []
        )

    @property
    def more(self) -> str:
        """Passages and reference; empty where there are none."""
        if self.task is None:
            return ""
        parts = [(self.words["passages"], self.task.context),
                 (self.words["reference"], self.task.reference)]  # fmt: skip
        return "\n\n".join(f"# {head}\n\n{printable(text)}" for head, text in parts if text)

    def reason_labels(self) -> list[tuple[str, str, bool]]:
        """Digit, label and whether it is set."""
        return [
            (str(n), reason.text(self.language), reason.code in self.marks.reasons)
            for n, reason in enumerate(REASONS, start=1)
        ]

    def scale_labels(self) -> list[tuple[str, int | None, bool]]:
        """Label, score and whether the next digit goes there."""
        if not isinstance(self.task, RatingTask):
            return []
        return [
            (SCALE_TEXTS[s].text(self.language), self.marks.scores.get(s), n == self.marks.scale)
            for n, s in enumerate(self.task.scales)
        ]

    # -- keys ----------------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Take one key: a character, or "left", "up", "pagedown", "enter", "tab", "escape"."""
        if self.page == "comment":
            self._write(key)
        elif self.page != "judge":
            self._read(key)
        else:
            self.message = ""
            try:
                self._judge(key)
            except ChatwrightError as error:  # another window was quicker: go on from there
                self.message = error.message
                self.load()

    def _judge(self, key: str) -> None:
        steps = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}
        if key in ("q", "Q"):
            self.done = True
        elif key in steps:
            self.marks.scroll = max(0, self.marks.scroll + steps[key])
        elif key == "?":
            self.page, self.page_scroll = "guidelines", 0
        elif key == "i" and self.more:
            self.page, self.page_scroll = "more", 0
        elif key == "c":
            self.page, self.draft = "comment", self.marks.comment
        elif key == "u":
            self.undo()
        elif self.task is None:
            self.done = key == "escape"  # not Enter: it was just pressed for the last score
        elif self.form == "compare":
            self._compare(key)
        else:
            self._rate(key)

    def _compare(self, key: str) -> None:
        if key.isdigit() and 1 <= int(key) <= len(REASONS):
            code = REASONS[int(key) - 1].code
            if code in self.marks.reasons:
                self.marks.reasons.remove(code)
            else:
                self.marks.reasons.append(code)
        elif key in CHOICE_KEYS:
            self.vote(CHOICE_KEYS[key])

    def _rate(self, key: str) -> None:
        assert isinstance(self.task, RatingTask)
        scales, marks = self.task.scales, self.marks
        if key in ("1", "2", "3", "4", "5"):
            marks.scores[scales[marks.scale]] = int(key)
            marks.scale = min(marks.scale + 1, len(scales) - 1)
        elif key == "-":
            marks.scores.pop(scales[marks.scale], None)
            marks.scale = min(marks.scale + 1, len(scales) - 1)
        elif key in ("tab", "right"):
            marks.scale = (marks.scale + 1) % len(scales)
        elif key in ("backtab", "left"):
            marks.scale = (marks.scale - 1) % len(scales)
        elif key == "s":
            self.rate({})
        elif key == "enter":
            if marks.scores:
                self.rate(marks.scores)
            else:
                self.message = self.words["no_scores"]

    def _read(self, key: str) -> None:
        """A page of text: scroll, or go back."""
        steps = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}
        if key in steps:
            self.page_scroll = max(0, self.page_scroll + steps[key])
        else:
            self.page = "judge"

    def _write(self, key: str) -> None:
        """A comment being typed."""
        if key in ("enter", "escape"):
            self.marks.comment = self.draft.strip() if key == "enter" else self.marks.comment
            self.page = "judge"
        elif key == "backspace":
            self.draft = self.draft[:-1]
        elif len(key) == 1:
            self.draft += key

    # -- what it comes to ----------------------------------------------------------------------

    def vote(self, choice: Choice) -> None:
        """Record the choice with the reasons that are set, and show the next pair."""
        assert self.task is not None
        reasons = self.marks.reasons if choice in ("left", "right") else []
        self.study.vote(
            self.judge,
            self.task.id,
            choice,
            reasons=reasons,
            comment=self.marks.comment,
            seconds=self._clock() - self._since,
        )
        self.message = self.words["voted"].format(choice=self.words[choice])
        self.load()

    def rate(self, scores: dict[str, int]) -> None:
        """Record scores and show the next answer."""
        assert self.task is not None
        self.study.rate(
            self.judge,
            self.task.id,
            scores,
            comment=self.marks.comment,
            seconds=self._clock() - self._since,
        )
        self.message = self.words["rated" if scores else "skip"]
        self.load()

    def undo(self) -> None:
        """Take the last judgement back and show it again."""
        taken = self.study.undo(self.judge)
        self.load()
        self.message = self.words["undone" if taken else "nothing"]

    def closing(self) -> str:
        """The last line, when everything is judged or the judge leaves."""
        if self.task is None:
            return self.words["all"]
        return self.words["later"].format(done=self.place.done, total=self.place.total)
