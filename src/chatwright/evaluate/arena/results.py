"""What a study found: the shape of its results, people and model judges apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from chatwright.evaluate.arena.shapes import Judge, Kind
from chatwright.evaluate.statistics import Difference, Estimate


@dataclass(frozen=True, slots=True)
class Strength:
    """A model's Bradley–Terry rating on the Elo scale (400 points: odds of 10 to 1).

    Mean 1000 within a `group`: ratings of two groups, which no vote links, cannot be compared.
    `low` and `high` are the bootstrap interval over items.
    """

    model: str
    rating: float
    low: float
    high: float
    votes: int
    group: int = 0


@dataclass(frozen=True, slots=True)
class PairResult:
    """How `model` did against `other`: a tie counts half a win. Wilson's 95 % interval.

    `rate` is None where there is no vote. `identical`: items where both said the same, which are
    shown to nobody.
    """

    model: str
    other: str
    wins: int
    losses: int
    ties: int
    both_bad: int
    identical: int
    rate: float | None
    low: float | None
    high: float | None

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.both_bad


@dataclass(frozen=True, slots=True)
class JudgePair:
    """How far two judges agree on what both judged. `kappa` is None where it is undefined."""

    first: str
    second: str
    count: int
    same: float | None
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement among judges: Cohen's kappa by pairs, Fleiss' kappa, Krippendorff's alpha.

    `fleiss` is over the `fleiss_units` that `fleiss_judges` judges each have judged; `alpha` over
    all `units` with two judgements or more. None: undefined, and `note` says why.
    """

    pairs: tuple[JudgePair, ...]
    fleiss: float | None
    fleiss_units: int
    fleiss_judges: int
    alpha: float | None
    units: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class PositionBias:
    """How often the left answer won among `count` decisions, and the exact binomial p-value."""

    left: int
    count: int
    share: float | None
    low: float | None
    high: float | None
    p_value: float | None

    @property
    def biased(self) -> bool:
        return self.p_value is not None and self.p_value < 0.05


@dataclass(frozen=True, slots=True)
class JudgeSummary:
    """What one judge did. `seconds` are quartiles (25, 50, 75 %) of the time for one judgement."""

    judge: Judge
    votes: int
    skips: int
    ratings: int
    left_share: float | None
    seconds: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class ScaleResult:
    """One scale of the form: each model's mean, differences to the first model, agreement.

    `kappas` are quadratic-weighted (Cohen 1968), `alpha` is Krippendorff's with ordinal distance.
    `differences` are `model − first model` on the items that both were scored on, where those are
    five or more.
    """

    scale: str
    means: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    kappas: tuple[JudgePair, ...]
    alpha: float | None


@dataclass(frozen=True, slots=True)
class Section:
    """Everything that judges of one kind found."""

    kind: Kind
    judges: tuple[JudgeSummary, ...]
    votes: int
    skips: int
    ratings: int
    strengths: tuple[Strength, ...]
    matrix: tuple[PairResult, ...]
    agreement: Agreement
    position: PositionBias
    reasons: Mapping[str, Mapping[str, int]]  # model → reason → how often it won for it
    by_language: Mapping[str, tuple[PairResult, ...]]
    scales: tuple[ScaleResult, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """What became of one model judge's pairs: each was asked both ways round."""

    judge: str
    consistent: int
    inconsistent: int
    none: int


@dataclass(frozen=True, slots=True)
class StudyResults:
    """A study's results. People's and models' votes are never counted together."""

    name: str
    models: tuple[str, ...]
    items: int
    answered: Mapping[str, int]
    unanswered: Mapping[str, int]
    identical: int
    people: Section
    model_judges: Section
    verdicts: tuple[VerdictCounts, ...] = ()
    with_people: tuple[JudgePair, ...] = ()  # each model judge against the people's majority
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `chatwright arena results --json` prints them."""
        return asdict(self)
