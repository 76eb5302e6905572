"""What became of a row, in plain words: its ledger lines here and before, and what it became."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatwright.curate.measures import MEASURES
from chatwright.errors import DataError
from chatwright.records import Dataset, LedgerEntry
from chatwright.records.lineage import Step, ancestors, descendants, parent_datasets
from chatwright.workspace import Workspace

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Told:
    """One ledger line, where it stands, and what it says in words."""

    dataset: str
    entry: LedgerEntry
    words: str


@dataclass(slots=True)
class Explanation:
    """The story of one row. `status` is "kept", "dropped" or "unknown", as the dataset has it."""

    row_id: str
    uri: str
    dataset: str
    status: str
    told: list[Told] = field(default_factory=list)
    origins: list[Step] = field(default_factory=list)
    made: list[Step] = field(default_factory=list)
    names: Callable[[Path], str] = str

    @property
    def lines(self) -> list[str]:
        """What a person reads, a sentence a line."""
        out = [self.uri, f"  id {self.row_id}", f"  {self.dataset}: {self.status}"]
        by_dataset: dict[str, list[str]] = {}
        for told in self.told:
            by_dataset.setdefault(told.dataset, []).append(told.words)
        for dataset, sentences in by_dataset.items():
            out.append(f"In {dataset}:")
            out.extend(f"  - {sentence}" for sentence in sentences)
        sources = [step for step in self.origins if step.depth > 0]
        if sources:
            out.append("It was made from:")
            out.extend(f"  - {uri}" for uri in dict.fromkeys(step.uri for step in sources))
        made = Counter(self.names(step.dataset) for step in self.made if step.depth > 0)
        if made:
            out.append("Made from it:")
            for name, count in made.items():
                uris = [s.uri for s in self.made if s.depth > 0 and self.names(s.dataset) == name]
                shown = ", ".join(list(dict.fromkeys(uris))[:_SHOWN])
                out.append(f"  - {count:,} {'row' if count == 1 else 'rows'} in {name}: {shown}")
        return out

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "id": self.row_id,
            "uri": self.uri,
            "dataset": self.dataset,
            "status": self.status,
            "ledger": [
                {"dataset": t.dataset, "words": t.words, **asdict(t.entry)} for t in self.told
            ],
            "origins": [self._step(step) for step in self.origins],
            "made": [self._step(step) for step in self.made],
        }

    def _step(self, step: Step) -> dict[str, Any]:
        return {**asdict(step), "dataset": self.names(step.dataset)}


def why(
    dataset: Dataset | str | Path, id_or_uri: str, workspace: Workspace | None = None
) -> Explanation:
    """What became of a row of `dataset` or of a row that never reached it.

    Walks the ledgers of this dataset and of those before it, oldest first; with a workspace, also
    what was made from the row afterwards. Raises `DataError` with near matches for an unknown one.
    """
    here = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    before = parent_datasets(here)
    places = [here, *before]
    row_id, uri = _find(places, id_or_uri)
    names = _namer(workspace)
    origins = ancestors(here, row_id)
    ids = list(dict.fromkeys([row_id, *(step.row_id for step in origins)]))
    told = []
    for place in reversed(places):
        for wanted in reversed(ids):
            for entry in place.ledger.for_row(wanted):
                words = sentence(entry, lambda other: _uri_of(places, other))
                told.append(Told(names(place.path), entry, words))
    final = [e for e in here.ledger.for_row(row_id) if e.action in ("keep", "drop")]
    if any(step.dataset == here.path and step.row_id == row_id for step in origins):
        status = "kept"
    elif final or any(t.entry.action == "drop" for t in told):
        status = "dropped"
    else:
        status = "unknown"
    made = [] if workspace is None else descendants(workspace, row_id)
    return Explanation(row_id, uri, names(here.path), status, told, origins, made, names)


def sentence(entry: LedgerEntry, uri_of: Callable[[str], str]) -> str:
    """One ledger line in words, with rule, value and bound."""
    other = uri_of(entry.other_id) if entry.other_id else ""
    value = _number(entry.value)
    detail = f" ({entry.detail})" if entry.detail else ""
    special = {
        ("drop", "duplicate-document"): f"dropped: it says the same as {other}, which came before",
        ("edit", "duplicate-paragraphs"): (
            f"edited: {_many(entry.value, 'paragraph')}, {entry.detail}, taken out: other pages "
            f"say the same (a paragraph stays {entry.bound}); for one, {other}"
        ),
        ("drop", "language"): (
            f"dropped: its language is {entry.detail} (confidence {value}), and only "
            f"{entry.bound} was asked for"
        ),
        ("drop", "empty"): f"dropped: no text was left{detail}",
        ("drop", "timeout"): f"dropped: it {entry.detail}",
        ("drop", "died"): f"dropped: reading it ended the worker process{detail}",
        ("edit", "extract"): f"edited: its main content, {value} characters, was extracted{detail}",
        ("edit", "normalise"): f"edited: {_many(entry.value, 'line')} brought into normal form",
        ("edit", "mojibake"): f"edited: broken encoding repaired in {_many(entry.value, 'line')}",
        ("keep", "curated"): f"kept, with {_many(entry.value, 'word')}",
        (
            "drop",
            "held-out",
        ): f"left out of this part: it is {entry.detail} ({entry.bound} held out)",
        ("keep", "held-out"): f"kept in this part: it is {entry.detail} ({entry.bound} held out)",
        ("keep", "augment"): f"kept, with {_copies(entry.value)} made of it{detail}",
        ("drop", "augment"): f"left out, with {_copies(entry.value)} made of it{detail}",
        ("edit", "augmented"): (
            f"made from {other}: {_many(entry.value, 'word')} changed "
            f"({entry.bound} may be){detail}"
        ),
    }.get((entry.action, entry.rule))
    if special is not None:
        return special
    if entry.rule in MEASURES:
        return f"dropped by the rule {entry.rule}: {value}, where {entry.bound} is asked{detail}"
    verbs = {"keep": "kept", "drop": "dropped", "edit": "edited", "merge": "merged"}
    said = f"{verbs.get(entry.action, entry.action)} by the rule {entry.rule}"
    if entry.value is not None:
        said += f": {value}" + (f", where {entry.bound} is asked" if entry.bound else "")
    elif entry.bound:
        said += f" ({entry.bound})"
    return said + detail + (f"; the other row is {other}" if other else "")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def _many(value: float | None, noun: str) -> str:
    return f"{_number(value)} {noun}{'' if value == 1 else 's'}"


def _copies(value: float | None) -> str:
    return f"{_number(value)} changed {'copy' if value == 1 else 'copies'}"


def _find(places: list[Dataset], id_or_uri: str) -> tuple[str, str]:
    """The id and uri of a row that some place's rows or ledger know."""
    for place in places:
        for row in place.find(id_or_uri):
            return row.id, row.uri
    for place in places:
        for entry in _ledger_matches(place, id_or_uri):
            return entry
    known = dict.fromkeys(uri for place in places for uri in _uris(place))
    near = difflib.get_close_matches(id_or_uri, list(known), n=_SHOWN, cutoff=0.6)
    ends = [uri for uri in known if id_or_uri and uri.endswith(id_or_uri)][:_SHOWN]
    near = list(dict.fromkeys([*ends, *near]))
    raise DataError(
        f"no row here has the id or uri {id_or_uri!r}",
        where=str(places[0].path),
        hint=f"did you mean: {', '.join(near)}" if near else "give a row's whole uri or its id",
    )


def _ledger_matches(place: Dataset, id_or_uri: str) -> Iterator[tuple[str, str]]:
    import pyarrow.compute as pc

    table = place.ledger.table()
    match = pc.or_(pc.equal(table["row_id"], id_or_uri), pc.equal(table["uri"], id_or_uri))
    for values in table.filter(match).slice(0, 1).to_pylist():
        yield values["row_id"], values["uri"]


def _uris(place: Dataset) -> Iterator[str]:
    yield from place.table(["uri"]).column("uri").to_pylist()
    yield from place.ledger.table().column("uri").to_pylist()


def _uri_of(places: list[Dataset], row_id: str) -> str:
    for place in places:
        for row in place.find(row_id):
            return str(row.uri)
    for place in places:
        for _, uri in _ledger_matches(place, row_id):
            return uri
    return row_id


def _namer(workspace: Workspace | None) -> Callable[[Path], str]:
    """A dataset's name in the workspace, or its path."""

    def name(path: Path) -> str:
        if workspace is not None:
            root = workspace.datasets.resolve()
            if path.resolve().is_relative_to(root):
                return path.resolve().relative_to(root).as_posix()
        return str(path)

    return name
