"""Data sheets: every figure against a plain count, nothing private shown, nothing invented."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sheet_house import EMAIL, HOSTILE, PHONE, RULES, chats, pages

import forked
from chatwright.curate.privacy import Redactor
from chatwright.curate.privacy.kinds import PATTERN_TYPES
from chatwright.errors import DataError, UsageError
from chatwright.govern.datasheet.croissant import croissant, json_text, open_keys
from chatwright.govern.datasheet.examples import excerpt
from chatwright.govern.datasheet.facts import SheetFacts
from chatwright.govern.datasheet.gather import gather_sheet
from chatwright.govern.datasheet.histograms import (
    Panel,
    Scale,
    bin_sql,
    draw,
    parse_bound,
    place,
    value_at,
)
from chatwright.govern.datasheet.page import render_datasheet
from chatwright.govern.datasheet.questions import KEYS
from chatwright.govern.datasheet.stage import (
    DATASHEET,
    DatasheetSettings,
    read_answers,
)
from chatwright.records import Dataset, Document, write_dataset
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

ROOT = Path(__file__).parents[2]
PATTERNS = Redactor("tag", frozenset(PATTERN_TYPES))  # a recogniser of names loads for seconds


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    found: tuple[Path, Path] = pages(tmp_path_factory.mktemp("sheet") / "datasets")
    return found


@pytest.fixture(scope="module")
def facts(house: tuple[Path, Path]) -> SheetFacts:
    return gather_sheet(house[1], name="garden/curated", redactor=PATTERNS)


@pytest.fixture(scope="module")
def page(facts: SheetFacts) -> str:
    return render_datasheet(facts)


# ── figures ──────────────────────────────────────────────────────────────────────────────────────


def test_rows_and_groups_are_counted_as_a_plain_loop_counts_them(
    facts: SheetFacts, house: tuple[Path, Path]
) -> None:
    rows: list[Document] = list(Dataset.open(house[1]).rows)
    assert facts.rows == len(rows)
    assert facts.characters == sum(len(r.text) for r in rows)
    assert facts.text_bytes == sum(len(r.text.encode()) for r in rows)
    days = [r.collected_at.date().isoformat() for r in rows if r.collected_at]
    assert (facts.first, facts.last) == (min(days), max(days))
    for groups, of in ((facts.languages, "language"), (facts.licenses, "license")):
        counted = Counter(getattr(r, of) for r in rows)
        assert {g.name: g.rows for g in groups} == counted
        assert [g.rows for g in groups] == sorted(counted.values(), reverse=True)
    domains = Counter(
        m[1].lower() if (m := re.match(r"https?://([^/:]+)", r.uri)) else None for r in rows
    )
    assert {g.name: g.rows for g in facts.domains} == domains
    assert facts.domain_count == 3
    assert facts.unlicensed_rows == sum(r.license is None for r in rows) > 0


def test_ledgers_are_counted_as_a_plain_loop_counts_them(
    facts: SheetFacts, house: tuple[Path, Path]
) -> None:
    for stage, path in zip(facts.stages, house, strict=True):
        counted = Counter((e.action, e.rule) for e in Dataset.open(path).ledger)
        assert {(r.action, r.rule): r.lines for r in stage.rules} == counted
        assert stage.rows == len(Dataset.open(path))
    lines = list(Dataset.open(house[1]).ledger)
    found = sum(int(e.value or 0) for e in lines if e.rule == "pii-email")
    email = next(p for p in facts.personal if p.type == "email")
    assert (email.found, email.rows) == (found, sum(e.rule == "pii-email" for e in lines))
    for clusters in facts.duplicates:
        sizes = Counter(e.other_id for e in lines if e.rule == clusters.rule)
        assert clusters.dropped == sum(sizes.values())
        assert clusters.clusters == len(sizes)
        assert clusters.largest == max(sizes.values()) + 1
        assert sum(n for _, n in clusters.sizes) == len(sizes)
    assert len(facts.duplicates) == 2


def test_sources_are_those_of_the_collected_rows(
    facts: SheetFacts, house: tuple[Path, Path]
) -> None:
    rows = list(Dataset.open(house[0]).rows)
    counted = Counter((r.source, r.license) for r in rows)
    assert {(s.source, s.license): s.rows for s in facts.sources} == counted
    size = sum(len(r.text.encode()) for r in rows)
    assert sum(s.text_bytes for s in facts.sources) == size


def test_histograms_hold_kept_rows_and_dropped_ones_with_the_bounds(
    facts: SheetFacts, house: tuple[Path, Path]
) -> None:
    rows = list(Dataset.open(house[1]).rows)
    lines = list(Dataset.open(house[1]).ledger)
    english = [p for p in facts.panels if p.name == "terminal_line_ratio" and "en" in p.of]
    (panel,) = english
    assert (panel.low, panel.high, panel.label) == (0.12, None, "en")
    of_it = [r.meta["measures"]["terminal_line_ratio"] for r in rows if r.language == "en"]
    assert panel.kept == Counter(math.floor(v * 200 + 1e-9) for v in of_it)
    assert panel.dropped_rows == sum(e.rule == "terminal_line_ratio" for e in lines)
    words = [p for p in facts.panels if p.name == "word_count"]
    assert sum(p.dropped_rows for p in words) == sum(e.rule == "word_count" for e in lines)
    assert next(p for p in words if p.dropped_rows).bound == RULES[0][1]
    (adult,) = facts.scores
    assert (adult.name, adult.high, adult.kept_rows) == ("adult", 0.5, len(rows))
    assert facts.panels[0].dropped_rows == max(p.dropped_rows for p in facts.panels)


SCALES: tuple[Scale, ...] = ("share", "length", "count")


@given(st.sampled_from(SCALES), st.floats(0, 1e9, allow_subnormal=False))
def test_bins_are_the_same_in_sql_and_here(scale: Scale, value: float) -> None:
    row = duckdb.execute(
        f"SELECT {bin_sql('s', 'v')} FROM (SELECT '{scale}' AS s, $1::DOUBLE AS v)", [value]
    ).fetchone()
    assert row is not None
    at = place(scale, value)
    assert row[0] in (math.floor(at), math.floor(at + 1e-8))


@given(st.sampled_from(SCALES), st.floats(1, 1e5))
def test_a_place_is_undone(scale: Scale, value: float) -> None:
    value = value / 1e5 if scale == "share" else value / 1e4 if scale == "length" else value
    assert value_at(scale, place(scale, value)) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_bounds_are_read_and_drawn_where_they_lie() -> None:
    assert parse_bound("min 3, max 10") == (3.0, 10.0)
    assert parse_bound("max 1e-05") == (None, 1e-05)
    assert parse_bound("en or zh") == parse_bound(None) == (None, None)
    panel = Panel("x", "share", low=0.75, kept={155: 10}, dropped={130: 4, 145: 1})
    picture = draw(panel, 'a "label" <b>')
    assert "<b>" not in picture and "min 0.75" in picture
    line = re.search(r'<line class="bound" x1="([\d.]+)"', picture)
    assert line is not None
    gone = [float(x) for x in re.findall(r'<rect class="gone" x="([\d.]+)"', picture)]
    stayed = [float(x) for x in re.findall(r'<rect class="kept" x="([\d.]+)"', picture)]
    assert max(gone) < float(line[1]) < min(stayed)
    assert "<svg" in draw(Panel("nothing", "count"), "nothing")


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.loads: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            self.handlers += [name] if name.startswith("on") else []
            if name in ("src", "data", "action") or (tag == "link" and name == "href"):
                self.loads.append(value or "")
            if tag == "a" and name == "href":
                assert re.match(r"https?://|#", value or ""), value


def test_the_page_runs_and_loads_nothing(page: str) -> None:
    reader = _Reader()
    reader.feed(page)
    assert not reader.tags["script"] and not reader.loads and not reader.handlers
    assert "default-src 'none'" in page
    assert HOSTILE not in page and "49" not in re.findall(r"\{\{.*?\}\}", page)
    assert page.count("<details") >= 2 and reader.tags["svg"] > 6


def test_no_personal_data_of_dropped_rows_is_shown(page: str, facts: SheetFacts) -> None:
    for private in (EMAIL, PHONE, "zhangwei"):
        assert private not in page
    shown = [x.excerpt for d in facts.dropped for x in d.examples if x.excerpt]
    assert any("[EMAIL]" in text and "[PHONE]" in text for text in shown)
    key = next(d for d in facts.dropped if d.rule == "pii-private-key")
    assert key.why_hidden and not key.examples
    assert "\u82b1\u56ed\u5f88\u7f8e" in page  # Chinese stays Chinese


def test_an_excerpt_never_ends_within_personal_data() -> None:
    redactor = PATTERNS
    for before in range(1940, 2010, 3):
        said = excerpt("-" * 30 + " " * (before - 30) + f"mail {EMAIL} " * 400, redactor, "en")
        assert "zhang" not in said
    long = ("word " * 500)[: 2000 - 8] + f"{PHONE} and more " * 50
    assert PHONE[:6] not in excerpt(long, redactor, "en")
    # What is replaced by less brings the place of the cut to the front.
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    for left in range(14):
        body = "MIIEpAIB" * 300
        key = f"{begin} {body[: 2000 - len(begin) - len(end) - 3 - left]} {end}"
        said = excerpt(f"{key} {PHONE} " + "and more " * 100, redactor, "en")
        assert said.startswith("[PRIVATE_KEY]") or not said
        assert PHONE[:5] not in said


def test_what_only_people_know_is_a_marked_field(facts: SheetFacts, page: str) -> None:
    assert page.count('class="fill"') == len(KEYS) == 14
    told = render_datasheet(facts, answers={"purpose": "To try <b>it</b>."})
    assert told.count('class="fill"') == len(KEYS) - 1
    assert "To try &lt;b&gt;it&lt;/b&gt;." in told
    assert "rows have no known licence" in page
    known, _, unknown = page.partition("Sources without a known licence")
    unknown = unknown.partition("</table>")[0]
    assert unknown.count("<code>source ") == 3 and "MIT" not in unknown
    assert known[known.index("As collected") :].count("<td>MIT</td>") == 3
    assert "its owner" not in page and "a page&#39;s own signal" in page  # opt-outs are counted


def test_the_same_dataset_gives_the_same_page(house: tuple[Path, Path], page: str) -> None:
    again = render_datasheet(gather_sheet(house[1], name="garden/curated", redactor=PATTERNS))
    assert again == page


def test_an_empty_dataset_and_a_lost_parent_say_so(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with write_dataset(path, Document, stage="none", fingerprint="n", settings={}):
        pass
    facts = gather_sheet(path, redactor=PATTERNS)
    assert facts.rows == facts.characters == 0 and not facts.sources
    text = render_datasheet(facts)
    assert "No row was dropped" in text and "<b>not looked for</b>" in text
    with pytest.raises(DataError, match="no dataset"):
        gather_sheet(tmp_path / "nowhere")
    collected, curated = pages(tmp_path / "gone", 30)
    shutil.rmtree(collected)
    facts = gather_sheet(curated, redactor=PATTERNS)
    assert facts.missing == ["collected"] and not facts.sources
    assert all(x.excerpt is None for d in facts.dropped for x in d.examples)
    assert "Part of the history is gone" in render_datasheet(facts)


def test_conversations_have_messages_and_consent(tmp_path: Path) -> None:
    facts = gather_sheet(chats(tmp_path), redactor=PATTERNS)
    assert (facts.turns, facts.rows) == (10, 5)
    assert facts.characters == 5 * len("\u4f60\u597d\nhello")
    assert {g.name: g.rows for g in facts.consent} == {"given": 3, None: 2}
    assert "not stated (no person took part" in render_datasheet(facts)


# ── Croissant ────────────────────────────────────────────────────────────────────────────────────


def _ids(value: Any) -> tuple[set[str], set[str]]:
    """Identifiers that are defined, and those that are referred to."""
    defined: set[str] = set()
    meant: set[str] = set()
    if isinstance(value, dict):
        if "@id" in value:
            (meant if set(value) == {"@id"} else defined).add(value["@id"])
        for inner in value.values():
            more = _ids(inner)
            defined |= more[0]
            meant |= more[1]
    elif isinstance(value, list):
        for inner in value:
            more = _ids(inner)
            defined |= more[0]
            meant |= more[1]
    return defined, meant


def test_croissant_describes_the_files_and_columns(
    facts: SheetFacts, house: tuple[Path, Path]
) -> None:
    said = croissant(facts)
    assert said["@type"] == "sc:Dataset" and said["citeAs"] == ""
    assert "http://mlcommons.org/croissant/1.1" in said["conformsTo"]
    assert {"name", "description", "distribution", "recordSet", "dateCreated"} <= set(said)
    files = [d for d in said["distribution"] if d["@type"] == "cr:FileObject"]
    for file in files:
        content = (house[1] / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["contentSize"] == f"{len(content)} B"
    (rows,) = said["recordSet"]
    assert [f["@id"].removeprefix("rows/") for f in rows["field"]] == Document.schema.names
    body = {key: value for key, value in said.items() if key != "@context"}
    defined, meant = _ids(body)
    assert meant and meant <= defined
    assert EMAIL not in json.dumps(said)


def test_croissant_invents_neither_licence_nor_names(facts: SheetFacts, tmp_path: Path) -> None:
    said = croissant(facts)
    assert not {"license", "url", "creator", "datePublished"} & set(said)
    assert open_keys(said) == ["license", "url", "creator", "datePublished"]
    assert "no known licence" in said["description"]
    told = croissant(
        facts,
        answers={
            "license": "CC0-1.0", "url": "https://x.test/", "creator": "Us",
            "published": "2026-01-01", "unsuitable": "Nothing medical.",
        },
    )  # fmt: skip
    assert not open_keys(told) and told["rai:dataLimitations"] == "Nothing medical."
    assert said["rai:personalSensitiveInformation"].startswith("Found by patterns: email")
    path = tmp_path / "licensed"
    with write_dataset(path, Document, stage="l", fingerprint="l", settings={}) as out:
        out.write(Document("1", "t", "u", "s", "MIT"))
    assert croissant(gather_sheet(path, redactor=PATTERNS))["license"] == "MIT"


def test_the_reference_library_reads_it(tmp_path: Path) -> None:
    python = ROOT / ".bench" / "croissant" / "bin" / "python"
    if not python.exists():
        pytest.skip("mlcroissant is not installed in .bench/croissant (docs/guides/datasheet.md)")
    plain = tmp_path / "plain"
    pages(tmp_path, 40)[1].rename(plain)  # it takes a path for a pattern
    datasets = [plain, chats(tmp_path)]
    for dataset in datasets:
        said = croissant(gather_sheet(dataset, redactor=PATTERNS))
        (dataset / "croissant.json").write_text(json_text(said), encoding="utf-8")
    script = (
        "import json, sys, mlcroissant as mlc\n"
        "for file in sys.argv[1:]:\n"
        "    d = mlc.Dataset(jsonld=file)\n"
        "    ids = [r['rows/id'].decode() for r in d.records('rows')]\n"
        "    print(json.dumps([ids, sorted(d.metadata.ctx.issues.errors)]))"
    )
    done = subprocess.run(
        [python, "-c", script, *(str(path / "croissant.json") for path in datasets)],
        capture_output=True,
        text=True,
        check=True,
    )
    for dataset, line in zip(datasets, done.stdout.splitlines(), strict=True):
        ids, errors = json.loads(line)
        assert not errors
        assert ids == [row.id for row in Dataset.open(dataset).rows]


# ── stage and command ────────────────────────────────────────────────────────────────────────────


def test_the_stage_writes_page_description_and_lineage(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    _, curated = pages(workspace.datasets / "garden", 40)
    settings = DatasheetSettings(input="curated", answers={"funding": "Nobody."})
    context = StageContext(
        "garden", "sheet", 0, workspace.runs / "garden" / "sheet", tmp_path / "s", "f", workspace,
        {"curated": curated},
    )  # fmt: skip
    DATASHEET.run(settings, context)
    text = (context.output / "datasheet.html").read_text("utf-8")
    assert "Nobody." in text and "garden/cur&#39;at[e]d" in text
    description = (context.output / "croissant.json").read_text("utf-8")
    assert (curated / "croissant.json").read_text("utf-8") == description
    assert json.loads((context.output / "lineage.json").read_text("utf-8"))["stage"] == "sheet"
    with pytest.raises(ValueError, match="no such question: colour"):
        DatasheetSettings(input="curated", answers={"colour": "red"})


def test_answers_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "answers.yaml"
    file.write_text("purpose: To teach.\ncontact: us@example.org\n", encoding="utf-8")
    assert read_answers(file) == {"purpose": "To teach.", "contact": "us@example.org"}
    for text in ("purpose: [1]", "- a", "colour: red", "{", "\x00"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError):
            read_answers(file)
    with pytest.raises(UsageError):
        read_answers(tmp_path / "nowhere.yaml")


def test_the_command(house: tuple[Path, Path], tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "CHATWRIGHT_WORKSPACE": str(tmp_path)}
        return forked.run(["datasheet", *words], env, cwd=tmp_path, timeout=120)

    first = run(str(house[1]), "--out", "s/x.html", "--json")
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert said["croissant"] is None and "purpose" in said["open"]
    assert "Data sheet" in (tmp_path / "s" / "x.html").read_text("utf-8")
    assert not (house[1] / "datasheet.html").exists()
    assert run(str(house[1]), "--out", str(tmp_path)).returncode == 2
    assert run("nowhere").returncode == 2
