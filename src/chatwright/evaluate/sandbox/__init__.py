"""Runs code that a model wrote: locked up, judged by its tests."""

from chatwright.evaluate.sandbox.humaneval import clean_completion, humaneval_program, pass_at_k
from chatwright.evaluate.sandbox.runner import (
    Limits,
    Outcome,
    Protection,
    check_sandbox,
    require_sandbox,
    run_many,
    run_python,
)

__all__ = [
    "Limits",
    "Outcome",
    "Protection",
    "check_sandbox",
    "clean_completion",
    "humaneval_program",
    "pass_at_k",
    "require_sandbox",
    "run_many",
    "run_python",
]
