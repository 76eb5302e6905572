"""Where a labeller sits: what is shown now, what each key does, and nothing of any terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from chatwright.cli.talk import printable
from chatwright.curate.label.queue import Queue
from chatwright.curate.label.shapes import Task
from chatwright.errors import ChatwrightError

WORDS = {
    "en": {
        "of": "{done} done, {open} open",
        "decide_of": "{open} to decide",
        "keys": "digit: label   s skip   u undo   c comment   \u2191\u2193 scroll   q quit",
        "comment": "Comment",
        "comment_keys": "write, then Enter   Esc leaves it out",
        "noted": "Noted: {label}.",
        "skipped": "Skipped.",
        "undone": "Taken back: label again.",
        "nothing": "There is nothing to take back.",
        "all": "That was all. Thank you!",
        "end_keys": "u undo the last one   q leave",
        "later": "{done} labelled. The same command goes on from here.",
        "decided": "{done} decided. The same command goes on from here.",
        "said": "Said so far: {votes}",
        "plain": "a digit or a label; s skip, u undo, c WORDS comment, q quit",
        "not_understood": "That was not understood.",
        "empty": "(the text is empty)",
    },
    "zh": {
        "of": "已完成 {done}，剩余 {open}",
        "decide_of": "待裁决 {open}",
        "keys": "数字键：标签   s 跳过   u 撤销   c 评论   "
        "↑↓ 滚动   q 退出",
        "comment": "评论",
        "comment_keys": "输入后按 Enter   Esc 放弃",
        "noted": "已记下：{label}。",
        "skipped": "已跳过。",
        "undone": "已撤销，请重新标注。",
        "nothing": "没有可以撤销的。",
        "all": "全部完成，谢谢！",
        "end_keys": "u 撤销上一个   q 离开",
        "later": "已标注 {done}。再次运行同一命令即可继续。",
        "decided": "已裁决 {done}。再次运行同一命令即可继续。",
        "said": "目前的标签：{votes}",
        "plain": "数字或标签；s 跳过，u 撤销，c 文字 评论，q 退出",
        "not_understood": "没有看懂。",
        "empty": "（文本是空的）",
    },
}  # fmt: skip

Mode = Literal["label", "decide"]
_SCROLL = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}


class Booth:
    """One labeller and one queue. `press` takes the names of keys; `done`: the labeller has left.

    `task` is None when nothing is open: the last label can still be taken back.
    """

    def __init__(
        self,
        queue: Queue,
        labeller: str,
        mode: Mode = "label",
        language: str = "en",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self.labeller = labeller
        self.mode = mode
        self.words = WORDS[language]
        self.task: Task | None = None
        self.message = ""
        self.comment = ""
        self.draft: str | None = None
        self.scroll = 0
        self.done = False
        self._item = 0
        self._skipped: list[int] = []
        self._decided = 0
        self._clock = clock
        self._since = 0.0
        self.load()

    def load(self) -> None:
        """Show what comes next."""
        if self.mode == "label":
            self.task = self.queue.next(self.labeller)
        else:
            found = self.queue.next_dispute(self.labeller, self._skipped)
            self._item, self.task = found if found is not None else (0, None)
        self.comment, self.draft, self.scroll = "", None, 0
        self._since = self._clock()

    @property
    def text(self) -> str:
        """What is to be labelled, without control characters."""
        return (printable(self.task.text).strip() or self.words["empty"]) if self.task else ""

    @property
    def where(self) -> str:
        """How far it is."""
        if self.task is None:
            return ""
        place = self.task.place
        words = self.words["of" if self.mode == "label" else "decide_of"]
        return words.format(done=place.done, open=place.open)

    @property
    def votes(self) -> str:
        """What was said of a disagreement; nobody's name."""
        if self.task is None or not self.task.votes:
            return ""
        said = ", ".join(
            f"{label} \u00d7{count}" for label, count in sorted(self.task.votes.items())
        )
        return self.words["said"].format(votes=said)

    def press(self, key: str) -> None:
        """Take one key: a character, or "up", "pagedown", "enter", "escape", "backspace"."""
        if self.draft is not None:
            self._write(key)
            return
        self.message = ""
        try:
            self._take(key)
        except ChatwrightError as error:  # another window was quicker: go on from there
            self.message = error.message
            self.load()

    def _take(self, key: str) -> None:
        if key in ("q", "Q"):
            self.done = True
        elif key in _SCROLL:
            self.scroll = max(0, self.scroll + _SCROLL[key])
        elif key == "u":
            self.undo()
        elif self.task is None:
            self.done = key == "escape"
        elif key == "c":
            self.draft = self.comment
        elif key == "s":
            self.say(None)
        elif key.isdigit() and 1 <= int(key) <= len(self.task.labels):
            self.say(self.task.labels[int(key) - 1])

    def _write(self, key: str) -> None:
        """A comment being typed."""
        assert self.draft is not None
        if key in ("enter", "escape"):
            self.comment = self.draft.strip() if key == "enter" else self.comment
            self.draft = None
        elif key == "backspace":
            self.draft = self.draft[:-1]
        elif len(key) == 1:
            self.draft += key

    def say(self, label: str | None) -> None:
        """Record a label (None: skip) and show the next item."""
        assert self.task is not None
        if self.mode == "decide":
            if label is None:
                self._skipped.append(self._item)
            else:
                self.queue.decide(self.labeller, self._item, label, comment=self.comment)
                self._decided += 1
        else:
            took = self._clock() - self._since
            self.queue.label(self.labeller, self.task.id, label, comment=self.comment, seconds=took)
        said = self.words["skipped"] if label is None else self.words["noted"].format(label=label)
        self.load()
        self.message = said

    def undo(self) -> None:
        """Take the last answer back and show it again."""
        if self.mode == "label":
            taken = self.queue.undo(self.labeller) is not None
        else:
            taken = self.queue.undo_decision(self.labeller) is not None
            self._decided -= taken
        self.load()
        self.message = self.words["undone" if taken else "nothing"]

    def closing(self) -> str:
        """The last line, when nothing is open or the labeller leaves."""
        if self.task is None:
            return self.words["all"]
        if self.mode == "decide":
            return self.words["decided"].format(done=self._decided)
        return self.words["later"].format(done=self.task.place.done)
