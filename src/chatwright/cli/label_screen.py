"""Labelling at a terminal: one full screen, drawn anew after every key; or lines through a pipe."""

from __future__ import annotations

import sys
from typing import TextIO

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.utils import get_cwidth

from chatwright.cli.arena_screen import Line, fit, fit_end, wrap
from chatwright.cli.label_booth import Booth
from chatwright.errors import ChatwrightError

_BAR, _DIM, _BOLD, _ON = "reverse", "fg:ansibrightblack", "bold", "bold reverse"
_READABLE = 100  # columns of running text


def run_screen(booth: Booth) -> None:
    """Label at a full screen until nothing is open or the labeller leaves."""
    from prompt_toolkit.application import Application
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.keys import Keys
    from prompt_toolkit.layout import FormattedTextControl, Layout, Window

    keys = KeyBindings()
    names = {"c-m": "enter", "c-j": "enter", "c-h": "backspace"}

    @keys.add(Keys.Any)
    def typed(event: KeyPressEvent) -> None:
        for press in event.key_sequence:
            name = press.key.value if isinstance(press.key, Keys) else press.key
            booth.press(names.get(name, name))
        if booth.done:
            event.app.exit()

    @keys.add(Keys.BracketedPaste)
    def pasted(event: KeyPressEvent) -> None:
        if booth.draft is not None:  # a paste is words, never a label
            booth.draft += " ".join(event.data.split())

    @keys.add("c-c")
    @keys.add("c-d")
    def leave(event: KeyPressEvent) -> None:
        event.app.exit()

    def text() -> StyleAndTextTuples:
        size = app.output.get_size()
        out: StyleAndTextTuples = []
        for number, line in enumerate(draw(booth, size.columns, size.rows)):
            out += [("", "\n")] if number else []
            out += line
        return out

    app: Application[None] = Application(
        layout=Layout(Window(FormattedTextControl(text, focusable=True, show_cursor=False))),
        key_bindings=keys,
        full_screen=True,
    )
    app.timeoutlen = app.ttimeoutlen = 0.05  # Esc alone should not wait for more
    app.run()


def draw(booth: Booth, columns: int, rows: int) -> list[Line]:
    """The whole screen: at most `rows` lines of at most `columns` cells."""
    left = f" {booth.queue.name} \u00b7 {booth.labeller}"
    right = f"{booth.where} "
    gap = " " * max(1, columns - get_cwidth(left) - get_cwidth(right))
    head: Line = [(_BAR, fit(left + gap + right, columns))]
    words = booth.words
    if booth.task is None:
        said = fit(f"  {booth.message}", columns)
        end = fit(f"  {words['end_keys']}", columns)
        lines: list[Line] = [[(_BOLD, fit(f"  {words['all']}", columns))], [], [("", said)], [],
                             [(_DIM, end)]]  # fmt: skip
        return [head, [], *lines][:rows]
    foot = _foot(booth, columns)
    top: list[Line] = []
    if booth.task.question:
        top = [[(_BOLD, f" {row}")] for row in wrap(booth.task.question, columns - 2)][:4]
        top.append([])
    room = max(1, rows - len(top) - len(foot) - 2)
    width = min(columns - 2, _READABLE)
    body = [row for part in booth.text.split("\n") for row in wrap(part, width)]
    booth.scroll = min(booth.scroll, max(0, len(body) - room))
    shown: list[Line] = [[("", f" {row}")] for row in body[booth.scroll : booth.scroll + room]]
    below = len(body) - room - booth.scroll
    if below > 0:
        shown[-1] = [(_DIM, fit(f" \u2193 {below + 1}", columns))]
    shown += [[] for _ in range(room - len(shown))]
    return [head, *top, *shown, [], *foot][:rows]


def _foot(booth: Booth, columns: int) -> list[Line]:
    assert booth.task is not None
    words = booth.words
    if booth.draft is not None:
        typed = fit_end(booth.draft, columns - get_cwidth(words["comment"]) - 5)
        return [
            [(_BOLD, f" {words['comment']}: "), ("", typed), (_ON, " ")],
            [(_DIM, fit(f" {words['comment_keys']}", columns))],
        ]
    entries = [f" {number} {label} " for number, label in enumerate(booth.task.labels, start=1)]
    lines: list[Line] = [[]]
    used = 0
    for entry in entries:
        shown = fit(entry, columns)
        if used + get_cwidth(shown) > columns:
            lines.append([])
            used = 0
        lines[-1].append((_BOLD, shown))
        used += get_cwidth(shown)
    if booth.votes:
        lines.insert(0, [("", fit(f" {booth.votes}", columns))])
    if booth.comment:
        lines.append([(_DIM, fit(f" {words['comment']}: {booth.comment}", columns))])
    lines.append([(_DIM, fit(f" {words['keys']}", columns))])
    lines.append([("fg:ansigreen", fit(f" {booth.message}", columns))])
    return lines


def run_plain(booth: Booth, lines: TextIO, out: TextIO | None = None) -> bool:
    """Label by lines until nothing is open, the input ends or the labeller leaves.

    Returns whether every line was understood.
    """
    out = out or sys.stdout
    understood = True
    print(booth.words["plain"], file=out)
    shown = ""
    while booth.task is not None and not booth.done:
        now = booth.task.id + booth.task.uri
        if now != shown:
            _show(booth, out)
            shown = now
        print("> ", end="", file=out, flush=True)
        line = lines.readline()
        if not line:
            break
        print(file=out)
        told = line.strip("\ufeff \t\r\n")
        if not told:
            continue
        booth.message = ""
        try:
            fine = _take(booth, told)
        except ChatwrightError as error:
            print(error.message, file=out)
            fine = False
        if not fine:
            print(booth.words["not_understood"], file=out)
            understood = False
        elif booth.message:
            print(booth.message, file=out)
    return understood


def _show(booth: Booth, out: TextIO) -> None:
    assert booth.task is not None
    print(f"\n\u2500\u2500\u2500\u2500 {booth.queue.name} \u00b7 {booth.where}\n", file=out)
    print(booth.text, file=out)
    if booth.task.question:
        print(f"\n{booth.task.question}", file=out)
    if booth.votes:
        print(booth.votes, file=out)
    print("  ".join(f"{n} {label}" for n, label in enumerate(booth.task.labels, start=1)), file=out)


def _take(booth: Booth, line: str) -> bool:
    """Do what a line says. Whether it was understood."""
    assert booth.task is not None
    word, _, rest = line.partition(" ")
    labels = {label.casefold(): label for label in booth.task.labels}
    # A label may be called "s" or "q": it then means itself.
    if line.casefold() in labels:
        booth.say(labels[line.casefold()])
    elif line.isdigit() and 1 <= int(line) <= len(booth.task.labels):
        booth.say(booth.task.labels[int(line) - 1])
    elif line == "q":
        booth.done = True
    elif line == "u":
        booth.undo()
    elif line == "s":
        booth.say(None)
    elif word == "c" and rest.strip():
        booth.comment = rest.strip()
    else:
        return False
    return True
