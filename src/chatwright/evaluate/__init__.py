"""Measures models: answers under retrieval, perplexity, bits per byte, each with its interval."""

from chatwright.evaluate.harness import Options, evaluate_models
from chatwright.evaluate.results import (
    METRICS,
    Comparison,
    Evaluation,
    Metric,
    ModelResult,
    Skipped,
)
from chatwright.evaluate.statistics import Difference, Estimate, bootstrap, paired_bootstrap

__all__ = [
    "METRICS",
    "Comparison",
    "Difference",
    "Estimate",
    "Evaluation",
    "Metric",
    "ModelResult",
    "Options",
    "Skipped",
    "bootstrap",
    "evaluate_models",
    "paired_bootstrap",
]
