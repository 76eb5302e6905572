"""The arena without a screen: answers on standard output, one line of input for each."""

from __future__ import annotations

import sys
from typing import TextIO

from chatwright.cli.arena_booth import CHOICE_KEYS, Booth
from chatwright.errors import ChatwrightError
from chatwright.evaluate.arena import REASONS, RatingTask


def run_plain(booth: Booth, lines: TextIO, out: TextIO | None = None) -> bool:
    """Judge by lines until everything is judged, the input ends or the judge leaves.

    Returns whether every line was understood.
    """
    out = out or sys.stdout
    understood = True
    print(booth.words["plain_vote" if booth.form == "compare" else "plain_rate"], file=out)
    if booth.form == "compare":
        reasons = [f"{number} {label}" for number, label, _ in booth.reason_labels()]
        print(f"{booth.words['reasons']} {' · '.join(reasons)}", file=out)
    shown = ""
    while booth.task is not None and not booth.done:
        if booth.task.id != shown:
            _show(booth, out)
            shown = booth.task.id
        print("> ", end="", file=out, flush=True)
        line = lines.readline()
        if not line:
            break
        print(file=out)
        if not line.strip("\ufeff \t\r\n"):
            continue
        try:
            fine = _take(booth, line.strip("\ufeff \t\r\n"), out)
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
    place = booth.words["of"].format(done=booth.place.done, total=booth.place.total)
    print(f"\n──── {booth.study.name} · {place} ────\n", file=out)
    for role, text in booth.prompt:
        print(f"[{role}] {text}\n", file=out)
    if booth.more:
        print(f"{booth.more}\n", file=out)
    for head, text in booth.answers:
        print(f"── {head} ──\n{text}\n", file=out)
    for label, _, _ in booth.scale_labels():
        print(f"  {label}", file=out)


def _take(booth: Booth, line: str, out: TextIO) -> bool:
    """Do what a line says. Whether it was understood."""
    booth.message = ""
    word, _, rest = line.partition(" ")
    word = {"←": "left", "→": "right"}.get(word, word.lower())
    if word == "q":
        booth.done = True
    elif word == "u":
        booth.undo()
    elif word == "?":
        print(booth.study.guidelines(booth.language), file=out)
    elif booth.form == "compare":
        digits = [d for d in rest if not d.isspace() and d not in ",，"]
        known = {str(n): reason.code for n, reason in enumerate(REASONS, start=1)}
        if word not in CHOICE_KEYS or not all(d in known for d in digits):
            return False
        booth.marks.reasons = [known[d] for d in digits]
        booth.vote(CHOICE_KEYS[word])
    else:
        return _rate(booth, line)
    return True


def _rate(booth: Booth, line: str) -> bool:
    assert isinstance(booth.task, RatingTask)
    if line.lower() == "s":
        booth.rate({})
        return True
    told = line.replace(",", " ").replace("，", " ").split()
    scales = booth.task.scales
    if len(told) != len(scales) or not all(t in {"1", "2", "3", "4", "5", "-"} for t in told):
        return False
    scores = {s: int(t) for s, t in zip(scales, told, strict=True) if t != "-"}
    booth.rate(scores)
    return True
