"""The kinds of task: how each asks a model and turns what it said into values."""

from __future__ import annotations

from chatwright.evaluate.kinds.base import Bench, Kind, Said, Scored
from chatwright.evaluate.kinds.generated import CodeKind, GenerationKind
from chatwright.evaluate.kinds.instructed import InstructionsKind
from chatwright.evaluate.kinds.options import OptionsKind
from chatwright.evaluate.kinds.text import TextKind

_OPTIONS = OptionsKind()
KINDS: dict[str, Kind] = {
    "choice": _OPTIONS,
    "cloze": _OPTIONS,
    "classification": _OPTIONS,
    "preference": _OPTIONS,
    "text": TextKind(),
    "generation": GenerationKind(),
    "code": CodeKind(),
    "instructions": InstructionsKind(),
}

__all__ = ["KINDS", "Bench", "Kind", "Said", "Scored"]
