"""From a dataset on disk to the facts of its data sheet."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chatwright.curate.privacy import Redactor
from chatwright.govern.datasheet.examples import find_examples, make_redactor
from chatwright.govern.datasheet.facts import (
    Part,
    Personal,
    RuleLines,
    SheetFacts,
    StageCounts,
)
from chatwright.govern.datasheet.histograms import Panel
from chatwright.govern.datasheet.panels import find_panels
from chatwright.govern.datasheet.scan import Scan, database, sources
from chatwright.records import Dataset
from chatwright.records.results import walk

_DOMAINS, _EXAMPLES = 25, 2
_RULES_WITH_EXAMPLES = 40


def gather_sheet(
    path: Path, *, name: str | None = None, redactor: Redactor | None = None
) -> SheetFacts:
    """Read a dataset, its ledger and those before it, as far as they are there.

    Memory is bounded whatever their size (`scan`). `name` is what the sheet calls it. `redactor` is
    what examples go through: by default all that is known by patterns, and names where a recogniser
    is installed. Raises `DataError` where there is no dataset.
    """
    dataset = Dataset.open(path)
    info = dataset.info
    results = walk([(name or info.stage or path.name, path)])
    chain = [(r.name, Dataset.open(r.path)) for r in results if r.kind == "dataset"]
    facts = SheetFacts(
        name=name or info.stage or path.name,
        kind=info.kind,
        stage=info.stage,
        rows=info.rows,
        fingerprint=info.fingerprint,
        created_at=info.created_at,
        chatwright=info.chatwright,
        parts=_parts(dataset),
        columns=[(field.name, str(field.type)) for field in dataset.row_type.schema],
        chain=results,
        missing=[r.name for r in results if r.kind == "missing"],
    )
    with database() as con:
        scan = Scan(con, dataset, chain)
        for key, value in scan.totals().items():
            if value is not None:
                setattr(facts, key, value if isinstance(value, str) else int(value))
        facts.languages = scan.groups("language")
        facts.licenses = scan.groups("license")
        facts.domains, facts.domain_count = scan.domains(_DOMAINS)
        if info.kind != "document":
            said = "CASE consent WHEN true THEN 'given' WHEN false THEN 'refused' END"
            facts.consent = scan.groups(said)
        for stage, place in chain:
            if not place.parents:
                facts.sources += sources(con, stage, place)
        rules = scan.rules()
        facts.stages = [
            _stage(stage, place, rules.get(number, []))
            for number, (stage, place) in enumerate(chain)
        ]
        facts.lengths = Panel("characters", "count", kept=scan.lengths())
        facts.panels, facts.scores = find_panels(scan, facts.languages, chain)
        facts.duplicates = scan.clusters()
        facts.personal = _personal(scan)
        facts.searched = any(s.settings.get("privacy") for s in facts.stages)
        redactor = redactor or make_redactor()
        facts.names_redacted = bool(redactor.recognisers)
        dropped = scan.dropped(_EXAMPLES)[:_RULES_WITH_EXAMPLES]
        facts.dropped = find_examples(dropped, chain, _before(chain), redactor)
    return facts


def sha256(file: Path) -> str:
    """Of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _parts(dataset: Dataset) -> list[Part]:
    import pyarrow.parquet as pq

    out = []
    for part in dataset.info.parts:
        file = dataset.path / part["file"]
        rows = pq.ParquetFile(file).metadata.num_rows
        out.append(Part(part["file"], file.stat().st_size, rows, sha256(file)))
    return out


def _stage(name: str, dataset: Dataset, rules: Sequence[RuleLines]) -> StageCounts:
    """Numbers of one dataset; without a count of its own, what is in its ledger is what came in."""
    counts = dataset.info.counts
    given = counts.get("in")
    if not isinstance(given, int):
        ended = sum(line.lines for line in rules if line.action in ("keep", "drop"))
        given = ended or None
    shown = {k: v for k, v in counts.items() if isinstance(v, (int, float, str)) and k != "in"}
    return StageCounts(
        name, dataset.info.kind, given, len(dataset), shown, tuple(rules),
        dataset.fingerprint, dataset.info.settings,
    )  # fmt: skip


def _before(chain: Sequence[tuple[str, Dataset]]) -> dict[int, list[Dataset]]:
    by_path = {dataset.path.resolve(): dataset for _, dataset in chain}
    return {
        number: [
            by_path[above]
            for parent in dataset.parents
            if (above := (dataset.path / parent.path).resolve()) in by_path
        ]
        for number, (_, dataset) in enumerate(chain)
    }


def _personal(scan: Scan) -> list[Personal]:
    counts: Counter[tuple[str, str]] = Counter()
    rows: Counter[tuple[str, str]] = Counter()
    for name, action, detail, n, found in scan.personal():
        done = "the row was dropped" if action == "drop" else (detail or "replaced")
        counts[name, done] += int(found)
        rows[name, done] += n
    return [
        Personal(name, rows[name, done], counts[name, done], done)
        for name, done in sorted(counts, key=lambda key: (-counts[key], key))
    ]
