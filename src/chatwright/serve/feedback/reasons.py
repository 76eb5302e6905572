"""Why an answer is good or bad: a fixed list, so that it can be counted."""

from __future__ import annotations

from typing import Literal

from chatwright.evaluate.arena.texts import Labelled

Rating = Literal["up", "down"]

REASONS: dict[Rating, tuple[Labelled, ...]] = {
    "up": (
        Labelled("correct", "Correct", "\u6b63\u786e"),
        Labelled("helpful", "Helpful", "\u6709\u7528"),
        Labelled("clear", "Clear", "\u6e05\u695a"),
        Labelled("complete", "Complete", "\u5b8c\u6574"),
        Labelled("well_sourced", "Good sources", "\u6765\u6e90\u53ef\u9760"),
        Labelled("good_style", "Well written", "\u6587\u7b14\u597d"),
    ),
    "down": (
        Labelled("incorrect", "Not correct", "\u4e0d\u6b63\u786e"),
        Labelled("not_helpful", "Not helpful", "\u6ca1\u6709\u7528"),
        Labelled("incomplete", "Not complete", "\u4e0d\u5b8c\u6574"),
        Labelled("bad_sources", "Bad sources", "\u6765\u6e90\u4e0d\u53ef\u9760"),
        Labelled(
            "instructions", "Did not follow instructions", "\u6ca1\u6709\u9075\u5b88\u8981\u6c42"
        ),
        Labelled("wrong_language", "Wrong language", "\u8bed\u8a00\u4e0d\u5bf9"),
        Labelled("unsafe", "Harmful", "\u6709\u5bb3"),
        Labelled("refused", "Refused without reason", "\u65e0\u6545\u62d2\u7edd\u56de\u7b54"),
    ),
}
CODES: dict[str, Labelled] = {one.code: one for group in REASONS.values() for one in group}
