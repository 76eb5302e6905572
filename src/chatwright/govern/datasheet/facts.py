"""What a data sheet tells, as plain values. What is not known is None or empty, never a guess."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chatwright.govern.datasheet.histograms import Panel
from chatwright.records.results import Result


@dataclass(frozen=True, slots=True)
class SourceRows:
    """Rows of one source under one licence in a dataset that was collected.

    `license` is None where none is known; `first` and `last` are days (ISO) of capture.
    """

    dataset: str
    source: str
    license: str | None
    rows: int
    text_bytes: int
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class RuleLines:
    """How many ledger lines a rule left in a stage. `total` is the sum of their whole values."""

    action: str
    rule: str
    lines: int
    total: int | None


@dataclass(frozen=True, slots=True)
class StageCounts:
    """One dataset on the way: what came in, what is in it, what its ledger holds."""

    name: str
    kind: str
    rows_in: int | None
    rows: int
    counts: dict[str, Any]
    rules: tuple[RuleLines, ...]
    fingerprint: str
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one language, domain, role or the like, and their characters."""

    name: str | None
    rows: int
    characters: int | None = None


@dataclass(frozen=True, slots=True)
class Clusters:
    """What a kind of duplicate took out: clusters by how many rows they had, the survivor too."""

    rule: str
    dropped: int
    clusters: int
    largest: int
    sizes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Personal:
    """Personal data of one type: in how many rows, how many findings, and what became of it."""

    type: str
    rows: int
    found: int
    done: str


@dataclass(frozen=True, slots=True)
class Example:
    """A dropped row, without personal data. `excerpt` is None where none may or can be shown."""

    uri: str
    value: float | None
    bound: str | None
    detail: str | None
    excerpt: str | None
    language: str | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows that a rule dropped in a stage, and some of them. `why_hidden`: no texts, and why."""

    stage: str
    rule: str
    rows: int
    why_hidden: str | None
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the dataset."""

    file: str
    bytes: int
    rows: int
    sha256: str


@dataclass(slots=True)
class SheetFacts:
    """Everything that a data sheet says of one dataset."""

    name: str
    kind: str
    stage: str
    rows: int
    fingerprint: str
    created_at: str
    chatwright: str
    characters: int = 0
    text_bytes: int = 0
    turns: int | None = None
    first: str | None = None
    last: str | None = None
    parts: list[Part] = field(default_factory=list)
    columns: list[tuple[str, str]] = field(default_factory=list)
    chain: list[Result] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    sources: list[SourceRows] = field(default_factory=list)
    licenses: list[Group] = field(default_factory=list)
    stages: list[StageCounts] = field(default_factory=list)
    languages: list[Group] = field(default_factory=list)
    domains: list[Group] = field(default_factory=list)
    domain_count: int = 0
    consent: list[Group] = field(default_factory=list)
    lengths: Panel | None = None
    panels: list[Panel] = field(default_factory=list)
    scores: list[Panel] = field(default_factory=list)
    duplicates: list[Clusters] = field(default_factory=list)
    personal: list[Personal] = field(default_factory=list)
    searched: bool = False
    dropped: list[Dropped] = field(default_factory=list)
    names_redacted: bool = False

    @property
    def unlicensed_rows(self) -> int:
        return sum(group.rows for group in self.licenses if group.name is None)
