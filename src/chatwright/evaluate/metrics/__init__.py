"""What answers and predictions are worth: two registries of metrics, pure functions behind them."""

from chatwright.evaluate.metrics.answers import Answer, Columns, TextMetric
from chatwright.evaluate.metrics.calibration import (
    Bin,
    calibration_counts,
    reliability,
    softmax,
)
from chatwright.evaluate.metrics.citations import CitationScore, citation_score
from chatwright.evaluate.metrics.classification import (
    Prediction,
    class_counts,
    confusion_matrix,
)
from chatwright.evaluate.metrics.labels import (
    LABEL_METRICS,
    LabelMetric,
    aggregate_predictions,
    class_metrics,
    compare_predictions,
    label_metric,
)
from chatwright.evaluate.metrics.likelihoods import bits_per_byte, perplexity
from chatwright.evaluate.metrics.overlap import (
    exact_match,
    rouge_1,
    rouge_2,
    rouge_l,
    token_f1,
)
from chatwright.evaluate.metrics.registry import TEXT_METRICS, text_metric
from chatwright.evaluate.metrics.sets import aggregate, compare

__all__ = [
    "LABEL_METRICS",
    "TEXT_METRICS",
    "Answer",
    "Bin",
    "CitationScore",
    "Columns",
    "LabelMetric",
    "Prediction",
    "TextMetric",
    "aggregate",
    "aggregate_predictions",
    "bits_per_byte",
    "calibration_counts",
    "citation_score",
    "class_counts",
    "class_metrics",
    "compare",
    "compare_predictions",
    "confusion_matrix",
    "exact_match",
    "label_metric",
    "perplexity",
    "reliability",
    "rouge_1",
    "rouge_2",
    "rouge_l",
    "softmax",
    "text_metric",
    "token_f1",
]
