"""What became of a row, in plain words: its ledger lines here and before, and what it became."""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chatwright.curate.explain_words import words_of
from chatwright.errors import DataError
from chatwright.records import Dataset, LedgerEntry
from chatwright.records.lineage import Step, ancestors, descendants, parent_datasets
from chatwright.workspace import Workspace

_SHOWN = 3
_MOST_OTHERS = 5


@dataclass(frozen=True, slots=True)
class Told:
    """One ledger line, where it stands, and what it says in words."""

    dataset: str
    entry: LedgerEntry
    words: str


@dataclass(frozen=True, slots=True)
class Other:
    """A row that a line names (a survivor, say), and what the dataset has of it."""

    row_id: str
    uri: str
    status: str


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
    others: list[Other] = field(default_factory=list)
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
        if self.others:
            out.append("The rows named here:")
            out += [
                f"  - {other.status}: chatwright why {shlex.quote(self.dataset)} "
                f"{shlex.quote(other.uri)}"
                for other in self.others
            ]
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
            "others": [asdict(other) for other in self.others],
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
    told = _tell(places, ids, names)
    final = [e for e in here.ledger.for_row(row_id) if e.action in ("keep", "drop")]
    if any(step.dataset == here.path and step.row_id == row_id for step in origins):
        status = "kept"
    elif final or any(t.entry.action == "drop" for t in told):
        status = "dropped"
    else:
        status = "unknown"
    made = [] if workspace is None else descendants(workspace, row_id)
    others = _others(here, places, told)
    return Explanation(row_id, uri, names(here.path), status, told, origins, made, others, names)


def sentence(entry: LedgerEntry, uri_of: Callable[[str], str]) -> str:
    """One ledger line in words, with rule, value and bound."""
    return words_of(entry, uri_of(entry.other_id) if entry.other_id else "")


def _tell(places: list[Dataset], ids: list[str], names: Callable[[Path], str]) -> list[Told]:
    """The lines of these rows (the last is the oldest), oldest dataset first."""
    told: list[Told] = []
    first_done: dict[str, str] = {}
    for place in reversed(places):
        name = names(place.path)
        for wanted in reversed(ids):
            for entry in place.ledger.for_row(wanted):
                words = sentence(entry, lambda other: _uri_of(places, other))
                if entry.rule.startswith("pii-") and entry.action == "edit":
                    # What the first look missed, or what replaced it, was found again.
                    before = first_done.setdefault(entry.rule, name)
                    words += f"; it was looked for in {before} before" if before != name else ""
                told.append(Told(name, entry, words))
    return told


def _others(here: Dataset, places: list[Dataset], told: list[Told]) -> list[Other]:
    """The rows that lines name, each with what became of it in the dataset."""
    out: list[Other] = []
    mine = {t.entry.row_id for t in told}
    for row_id in dict.fromkeys(t.entry.other_id for t in told if t.entry.other_id):
        if row_id in mine or not (uri := _known_uri(places, row_id)):
            continue
        if here.table(["id"], filter=_has_id(row_id)).num_rows:
            status = "kept"
        else:
            gone = any(e.action == "drop" for place in places for e in place.ledger.for_row(row_id))
            status = "dropped" if gone else "unknown"
        out.append(Other(row_id, uri, status))
        if len(out) == _MOST_OTHERS:
            break
    return out


def _has_id(row_id: str) -> Any:
    import pyarrow.compute as pc

    return pc.field("id") == row_id


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
    return _known_uri(places, row_id) or row_id


def _known_uri(places: list[Dataset], row_id: str) -> str | None:
    for place in places:
        for values in place.table(["uri"], filter=_has_id(row_id)).slice(0, 1).to_pylist():
            return str(values["uri"])
    for place in places:
        for _, uri in _ledger_matches(place, row_id):
            return uri
    return None


def _namer(workspace: Workspace | None) -> Callable[[Path], str]:
    """A dataset's name in the workspace, or its path."""

    def name(path: Path) -> str:
        if workspace is not None:
            root = workspace.datasets.resolve()
            if path.resolve().is_relative_to(root):
                return path.resolve().relative_to(root).as_posix()
        return str(path)

    return name
