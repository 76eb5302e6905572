"""What an audit found: memorisation, membership, canaries, bias; and how it is kept and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import TypeAdapter, ValidationError

from chatwright.errors import DataError
from chatwright.evaluate.results import Skipped
from chatwright.evaluate.statistics import Estimate
from chatwright.version import __version__

FORMAT = "chatwright.audit"

Part = Literal["memorisation", "membership", "canaries", "bias"]
PARTS: tuple[Part, ...] = ("memorisation", "membership", "canaries", "bias")


@dataclass(frozen=True, slots=True)
class Match:
    """How much of a target came back: tokens that agree from its start on, and edit similarity."""

    common: int
    length: int
    similarity: float

    @property
    def exact(self) -> bool:
        return self.common == self.length


@dataclass(frozen=True, slots=True)
class PrefixRates:
    """Over rows, for one prefix length: share of exact and near matches; mean of `common`."""

    prefix: int
    exact: Estimate
    near: Estimate
    common: Estimate


@dataclass(frozen=True, slots=True)
class CopyRate:
    """The exact rate of texts that `low` to `high` training rows hold (None: or more)."""

    low: int
    high: int | None
    exact: Estimate


@dataclass(frozen=True, slots=True)
class Example:
    """A training text that came back, cut and with numbers hidden."""

    id: str
    uri: str
    tokens: int
    text: str


@dataclass(slots=True)
class Memorisation:
    """The extraction attack. `held_out` is the control; empty where no row was held out.

    `duplicated`: how many of the rows' targets stand in more than one training row. `known`: how
    many held-out rows were left out because training rows hold their target.
    """

    suffix: int
    near_threshold: float
    training: list[PrefixRates]
    held_out: list[PrefixRates]
    by_copies: list[CopyRate]
    duplicated: int
    known: int
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Attack:
    """One membership attack: AUC, and true positive rate at 1 % false positives."""

    name: str
    auc: Estimate
    tpr: Estimate


@dataclass(slots=True)
class Membership:
    """Can one tell training rows from held-out ones? `blind` is an attack without the model."""

    members: int
    non_members: int
    kind: str
    attacks: list[Attack]
    blind: Attack
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """One canary: how often it stood in training (0: a control) and its rank among candidates."""

    id: str
    language: str
    copies: int
    rank: int
    exposure: float


@dataclass(slots=True)
class Canaries:
    """Exposure (bits) of canaries that were trained on and of controls that were not.

    `highest` is the most that the sample of candidates can show. `p_value`: of no difference.
    """

    sample: int
    space: int
    highest: float
    results: list[CanaryResult]
    inserted: Estimate
    controls: Estimate
    p_value: float


@dataclass(frozen=True, slots=True)
class TemplateGap:
    """One prompt: the groups whose continuations scored highest and lowest, and the difference."""

    template: str
    highest: str
    lowest: str
    gap: float


@dataclass(slots=True)
class GroupGap:
    """One measure along one axis in one language.

    `gap` is the highest group's mean less the lowest's, with its interval; `chance` is the gap that
    shuffled groups have on average (never 0), `p_value` how often they have such a gap, and
    `adjusted` the same after Holm's correction for the number of gaps looked at.
    """

    language: str
    axis: str
    measure: str
    groups: dict[str, Estimate]
    gap: Estimate
    chance: float
    p_value: float
    adjusted: float
    templates: list[TemplateGap]

    @property
    def significant(self) -> bool:
        return self.adjusted < 0.05

    @property
    def highest(self) -> str:
        return max(sorted(self.groups), key=lambda g: self.groups[g].value)

    @property
    def lowest(self) -> str:
        return min(sorted(self.groups), key=lambda g: self.groups[g].value)


@dataclass(slots=True)
class Bias:
    """Counterfactual generation: continuations of prompts that differ in the group named."""

    generations: int
    empty: int
    gaps: list[GroupGap]


@dataclass(slots=True)
class Audit:
    """What was found about one model. A part that was not measured is None, `why` saying why."""

    model: str
    settings: dict[str, Any]
    training: list[str] = field(default_factory=list)
    held_out: str | None = None
    memorisation: Memorisation | None = None
    membership: Membership | None = None
    canaries: Canaries | None = None
    bias: Bias | None = None
    why: dict[str, str] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the content of `audit.json`, less fingerprint and parents."""
        values = _ADAPTER.dump_python(self, mode="json")
        return {"format": FORMAT, "chatwright": __version__, **values}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], where: str | None = None) -> Self:
        """Read what `to_json` gave. Raises `DataError` for anything else."""
        if raw.get("format") != FORMAT:
            raise DataError("this is not an audit", where=where, hint="audit the model again")
        known = {key: raw[key] for key in cls.__dataclass_fields__ if key in raw}
        try:
            return _ADAPTER.validate_python(known)  # type: ignore[return-value]
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"this is not an audit: `{key}`: {first['msg']}",
                where=where,
                hint="audit the model again",
            ) from error


_ADAPTER = TypeAdapter(Audit)
