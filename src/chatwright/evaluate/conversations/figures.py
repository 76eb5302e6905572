"""The measures as a table, and how a group of conversations becomes a figure with its interval.

Every measure is a ratio of sums over conversations or a quantile over answers. What is drawn again
is a person with all their conversations, or a conversation where no person is named: answers in
one conversation, and conversations of one person, are not independent (Efron & Tibshirani 1993,
chapter 8; Field & Welsh 2007 for clusters).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chatwright.evaluate.conversations.measured import Measured
from chatwright.evaluate.statistics import CONFIDENCE, Estimate, Sample, estimate

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

RESAMPLES = 1_000
_CELLS_AT_A_TIME = 4_000_000
_LEAST_FOR_WINDOW = 1_000


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure over conversations.

    `direction` says which way is better. `ratio` gives (numerator, denominator) of a conversation,
    a denominator of 0 meaning that it says nothing about this; or `values` gives numbers, of which
    the figure is the quantile `q`.
    """

    name: str
    title: str
    direction: Literal["higher", "lower", "neither"]
    unit: Literal["share", "number", "seconds"]
    explained: str
    ratio: Callable[[Measured], tuple[float, float]] | None = None
    values: Callable[[Measured], Sequence[float]] | None = None
    q: float = 0.5


def _settled(m: Measured) -> tuple[float, float]:
    return (m.outcome.turns, 1) if m.outcome.turns is not None else (0, 0)


def _sentiment_change(m: Measured) -> tuple[float, float]:
    return (m.sentiment[-1] - m.sentiment[0], 1) if len(m.sentiment) > 1 else (0, 0)


MEASURES = (
    Measure(
        "satisfaction", "Satisfaction", "higher", "share", "thumbs up among the answers rated",
        ratio=lambda m: (m.thumbs_up, m.thumbs_up + m.thumbs_down),
    ),
    Measure(
        "rated", "Answers rated", "neither", "share", "answers with a thumb up or down",
        ratio=lambda m: (m.thumbs_up + m.thumbs_down, m.answers),
    ),
    Measure(
        "turns", "Turns", "neither", "number", "messages of the person in a conversation",
        ratio=lambda m: (m.turns, 1),
    ),
    Measure(
        "words", "Words per answer", "neither", "number", "1.6 Chinese characters are one word",
        ratio=lambda m: (m.words, m.answers),
    ),
    Measure(
        "asked_words", "Words per question", "neither", "number", "of the person's messages",
        ratio=lambda m: (m.asked_words, m.turns),
    ),
    Measure(
        "confirmed", "Confirmed", "higher", "share",
        "conversations with thanks, a confirmation or a thumb up",
        ratio=lambda m: (m.outcome.confirmed, 1),
    ),
    Measure(
        "turns_to_resolution", "Turns to resolution", "lower", "number",
        "the person's turns up to the answer that settled it; unsettled ones left out",
        ratio=_settled,
    ),
    Measure(
        "abandoned", "Abandoned", "lower", "share",
        "conversations left unanswered, cut off, or with a complaint or thumb down at the end",
        ratio=lambda m: (m.outcome.left is not None, 1),
    ),
    Measure(
        "repeated", "Questions repeated", "lower", "share",
        "later questions that rephrase an earlier one",
        ratio=lambda m: (m.repeated, m.requests - 1),
    ),
    Measure(
        "redone", "Answers redone", "lower", "share",
        "answers that the person cut off, rewrote or asked for again",
        ratio=lambda m: (m.redone, m.redone_recorded),
    ),
    Measure(
        "refusals", "Refusals", "lower", "share", "answers that say there is none, or decline",
        ratio=lambda m: (m.refused, m.answers),
    ),
    Measure(
        "sentiment", "Sentiment", "higher", "number", "of the person's messages, −1 to 1",
        ratio=lambda m: (sum(m.sentiment), len(m.sentiment)),
    ),
    Measure(
        "sentiment_change", "Sentiment, last − first", "higher", "number",
        "conversations of two turns or more",
        ratio=_sentiment_change,
    ),
    Measure(
        "seconds", "Time to answer", "lower", "seconds", "median time until the last token",
        values=lambda m: m.seconds,
    ),
    Measure(
        "seconds_p95", "Time to answer, p95", "lower", "seconds",
        "until the last token; 95 of 100 answers are quicker",
        values=lambda m: m.seconds, q=0.95,
    ),
    Measure(
        "first_token_seconds", "Time to first token", "lower", "seconds",
        "median time until something is seen",
        values=lambda m: m.first_token_seconds,
    ),
)  # fmt: skip
BY_NAME = {measure.name: measure for measure in MEASURES}


class Observations:
    """What a group says about one measure: its conversations (rows) and the people behind them.

    `rows` are those that say something. `unit` [rows] numbers the people (or conversations where
    no person is named) from 0 to `units` − 1.
    """

    def __init__(self, measure: Measure, group: Sequence[Measured]) -> None:
        self.measure = measure
        if measure.ratio is not None:
            pairs = [measure.ratio(m) for m in group]
            kept = [i for i, (_, bottom) in enumerate(pairs) if bottom > 0]
            self.columns: Floats = np.array([pairs[i] for i in kept], np.float64).reshape(-1, 2)
        else:
            assert measure.values is not None
            lists = [measure.values(m) for m in group]
            kept = [i for i, found in enumerate(lists) if found]
            values = np.array([v for i in kept for v in lists[i]], np.float64)
            owner = np.repeat(np.arange(len(kept)), [len(lists[i]) for i in kept])
            order = np.argsort(values, kind="stable")
            self._values, self._owner = values[order], owner[order]
        self.rows = [group[i] for i in kept]
        numbers: dict[tuple[str, str | int], int] = {}
        keys = ((("user", m.user) if m.user else ("row", i)) for i, m in enumerate(self.rows))
        self.unit: Integers = np.array(
            [numbers.setdefault(key, len(numbers)) for key in keys], np.int64
        )
        self.units = len(numbers)

    def __len__(self) -> int:
        """Conversations that say something."""
        return len(self.rows)

    @property
    def width(self) -> int:
        """Cells that one row of weights takes while a figure is made."""
        return len(self.rows) if self.measure.ratio is not None else len(self._values)

    def figure(self, weights: Floats) -> Floats:
        """The measure for each row of `weights` [times, rows]; NaN where all weights are 0.

        A quantile is the smallest value that at least a share q of the weight does not exceed.
        """
        if self.measure.ratio is not None:
            return _over(weights @ self.columns)
        window = self._window(weights)
        out, found = self._quantiles(weights, *window)
        if not found.all():  # rarely: the window was too narrow for some
            rest, _ = self._quantiles(weights[~found], 0, len(self._values))
            out[~found] = rest
        return out

    def figures_of_both(self, weights: Floats | None, is_new: Booleans) -> tuple[Floats, Floats]:
        """The measure of the rows that are not new, and of those that are.

        `weights` [times, rows] with `is_new` [rows], or None (each row once) with [times, rows].
        """
        if self.measure.ratio is None:
            old, new = (~is_new).astype(np.float64), is_new.astype(np.float64)
            if weights is not None:
                old, new = weights * old, weights * new
            return self.figure(old), self.figure(new)
        if weights is None:
            sums = is_new.astype(np.float64) @ self.columns
            return _over(self.columns.sum(axis=0) - sums), _over(sums)
        both = np.hstack([self.columns * ~is_new[:, None], self.columns * is_new[:, None]])
        sums = weights @ both
        return _over(sums[:, :2]), _over(sums[:, 2:])

    def _window(self, weights: Floats) -> tuple[int, int]:
        """Where in the sorted values the quantile of every row of weights should lie."""
        count = len(self._values)
        if count < _LEAST_FOR_WINDOW:
            return 0, count
        heaped = np.cumsum(weights.mean(axis=0)[self._owner])
        middle = int(np.searchsorted(heaped, self.measure.q * heaped[-1]))
        half = 50 + 4 * math.isqrt(count)
        return max(0, middle - half), min(count, middle + half)

    def _quantiles(self, weights: Floats, start: int, end: int) -> tuple[Floats, Booleans]:
        """Quantiles that lie among the sorted values `start`…`end`, and for which rows they do."""
        rows, count = len(self.rows), len(self._values)
        below = weights @ np.bincount(self._owner[:start], minlength=rows)
        total = weights @ np.bincount(self._owner, minlength=rows)
        heaped = below[:, None] + np.cumsum(weights[:, self._owner[start:end]], axis=1)
        # A hair less, so that a share that is met exactly is not missed by rounding.
        wanted = self.measure.q * total - 1e-9
        place = start + (heaped < wanted[:, None]).sum(axis=1)
        found = ((below < wanted) | (start == 0)) & ((heaped[:, -1] >= wanted) | (end == count))
        values = self._values[np.minimum(place, count - 1)]
        return np.where(total > 0, values, np.nan), np.asarray(found)

    def value(self) -> float:
        return float(self.figure(np.ones((1, len(self))))[0])

    def estimate(self, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
        """The figure with its 95 % interval over people; `count` is the conversations."""
        if self.measure.ratio is not None:
            columns = np.zeros((self.units, 2))
            np.add.at(columns, self.unit, self.columns)
            found = estimate([Sample(columns)], seed=seed, resamples=resamples)
            return Estimate(found.value, found.low, found.high, len(self))
        random = np.random.default_rng(seed)
        values = [
            self.figure(times[:, self.unit])
            for times in drawn(random, self.units, resamples, self.width)
        ]
        low, high = np.quantile(
            np.concatenate(values), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        )
        return Estimate(self.value(), float(low), float(high), len(self))


def _over(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1])


def drawn(random: np.random.Generator, units: int, resamples: int, width: int) -> Iterator[Floats]:
    """How often each unit was drawn, [some resamples, units], until `resamples` were given.

    `width`: the columns of what is made from it, so that a batch fits in memory.
    """
    step = max(1, _CELLS_AT_A_TIME // max(units, width))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        places = random.integers(0, units, size=(count, units))
        places += np.arange(count)[:, None] * units
        times = np.bincount(places.ravel(), minlength=count * units)
        yield times.reshape(count, units).astype(np.float64)


def show(measure: Measure, value: float) -> str:
    """A value as people read it: `83.1 %`, `2.31`, `1.85 s`."""
    if measure.unit == "share":
        return f"{100 * value:.1f} %"
    text = f"{value:.2f}"
    if text == "-0.00":
        text = "0.00"
    return f"{text} s" if measure.unit == "seconds" else text.replace("-", "−")
