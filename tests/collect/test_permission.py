"""Licences, terms, consent and opt-outs: what passes, what is kept apart, and the line for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chatwright.collect.stages import CollectSettings, external, run_collect
from chatwright.errors import DataError
from chatwright.records import Dataset
from chatwright.records.lineage import ancestors
from chatwright.stage import StageContext
from chatwright.workspace import Workspace

from .conftest import Collected

Collect = Callable[..., Collected]


def two_sources(tmp_path: Path) -> list[dict[str, str]]:
    for name, count in (("known", 2), ("unknown", 3)):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.txt").write_text(f"{name} words {number}")
    return [
        {"source": str(tmp_path / "unknown")},
        {"source": str(tmp_path / "known"), "license": "Apache License 2.0",
         "terms": "https://e.example/terms"},
    ]  # fmt: skip


def test_a_source_without_a_licence_is_kept_apart(collect: Collect, tmp_path: Path) -> None:
    found = collect(*two_sources(tmp_path))
    assert found.texts == ["known words 0", "known words 1"]
    assert {(r.license, r.meta["terms"]) for r in found.rows} == {
        ("Apache-2.0", "https://e.example/terms")
    }
    apart = Dataset.open(found.dataset.path / "unlicensed")
    assert [row.text for row in apart] == [f"unknown words {n}" for n in range(3)]
    assert [line.rule for line in apart.ledger] == ["read"] * 3
    moved = found.lines("drop")
    assert [(x.rule, x.row_id) for x in moved] == [("unknown-license", r.id) for r in apart]
    assert found.dataset.info.counts["unlicensed"] == 3
    assert apart.fingerprint != found.dataset.fingerprint


def test_mixed_or_dropped_when_told(collect: Collect, tmp_path: Path) -> None:
    sources = two_sources(tmp_path)
    kept = collect(*sources, unknown_license="keep")
    assert len(kept.rows) == 5
    dropped = collect(*sources, unknown_license="drop", name="dropped")
    assert len(dropped.rows) == 2
    assert [line.rule for line in dropped.lines("drop")] == ["unknown-license"] * 3
    assert not (dropped.dataset.path / "unlicensed").exists()


def test_nothing_to_keep_apart_from(collect: Collect, tmp_path: Path) -> None:
    """A folder of one's own, of which nobody says the licence, is still a corpus."""
    alone = collect(two_sources(tmp_path)[0])
    assert len(alone.rows) == 3
    assert alone.dataset.info.counts["unlicensed"] == 3
    assert not (alone.dataset.path / "unlicensed").exists()


def test_rows_that_state_no_licence_among_rows_that_do(collect: Collect, folder: Path) -> None:
    rows = [
        {"text": "a", "license": "cc-by-4.0"}, {"text": "b", "license": None},
        {"text": "c", "license": "unknown"}, {"text": "d", "license": "house rules"},
    ]  # fmt: skip
    (folder / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = collect(folder)
    assert [(r.text, r.license) for r in found.rows] == [("a", "CC-BY-4.0"), ("d", "house rules")]
    assert found.rows[0].meta["license_stated"] == "cc-by-4.0"
    assert [r.text for r in Dataset.open(found.dataset.path / "unlicensed")] == ["b", "c"]


@pytest.mark.parametrize("place", ["column", "meta", "metadata"])
@pytest.mark.parametrize("name", ["opt_out", "Opt-Out", "do_not_train"])
def test_opt_outs_always_count(collect: Collect, folder: Path, place: str, name: str) -> None:
    def row(text: str, value: object) -> str:
        said = {name: value}
        return json.dumps({"text": text} | (said if place == "column" else {place: said}))

    (folder / "r.jsonl").write_text("\n".join([row("a", True), row("b", False), row("c", "yes"),
                                               row("d", None)]))  # fmt: skip
    found = collect(folder)
    assert found.texts == ["b", "d"]
    assert found.dropped == [("opt-out", "r.jsonl#row=1"), ("opt-out", "r.jsonl#row=3")]


def test_only_consented_rows_pass_where_required(collect: Collect, folder: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
    rows = [chat | {"consent": c} for c in (True, False, None, "yes", "perhaps")] + [chat]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "page.txt").write_text("a page, whose people nobody asked")
    found = collect({"source": str(folder), "consent": "required"}, rows="conversations")
    assert [row.consent for row in found.rows] == [True, True]
    refused = [line for line in found.lines("drop") if line.rule == "consent"]
    assert [line.detail for line in refused] == [
        "refused", "required, and not stated", "unclear: 'perhaps'", "required, and not stated",
    ]  # fmt: skip
    any_ = collect(folder, rows="conversations", name="any")
    assert [row.consent for row in any_.rows] == [True, None, True, None]
    documents = collect({"source": str(folder / "page.txt"), "consent": "required"}, name="d")
    assert documents.rows == []


def context(tmp_path: Path, name: str) -> StageContext:
    workspace = Workspace(tmp_path / "workspace")
    return StageContext(
        "r", "pages", 7, workspace.datasets / "r" / name, tmp_path / "scratch", "f", workspace
    )


def test_datasets_are_sources(collect: Collect, folder: Path, tmp_path: Path) -> None:
    (folder / "a.txt").write_text("first words")
    (folder / "b.txt").write_text("second words")
    first = context(tmp_path, "first")
    told = {"source": str(folder), "license": "MIT"}
    run_collect(CollectSettings.model_validate({"sources": [told]}), first)
    more = tmp_path / "more"
    more.mkdir()
    (more / "c.txt").write_text("third words")
    settings = CollectSettings.model_validate(
        {"sources": [{"source": "dataset:r/first"}, {"source": str(more)},
                     {"source": str(first.output)}]}
    )  # fmt: skip
    assert settings.referenced() == ["r/first"]
    second = context(tmp_path, "second")
    run_collect(settings, second)
    found = Dataset.open(second.output)
    rows = list(found)
    before = list(Dataset.open(first.output))
    assert [r.text for r in rows] == ["first words", "second words"] * 2
    assert [r.id for r in rows[:2]] == [r.id for r in before]  # a row keeps its id
    assert len({r.id for r in rows}) == 4
    assert [line.other_id for line in found.ledger if line.rule == "same-content"] == [
        r.id for r in before
    ]
    assert [p.fingerprint for p in found.parents] == ["f", "f"]
    steps = ancestors(found, rows[0].id)
    assert steps[-1].dataset.resolve() == first.output.resolve()
    apart = Dataset.open(second.output / "unlicensed")
    assert [r.text for r in apart] == ["third words"]
    assert (apart.path / apart.parents[0].path).resolve() == first.output.resolve()
    digests = external(settings, second.workspace)
    assert digests[0] == digests[2] == Dataset.open(first.output).info.content_digest


def test_a_dataset_of_another_kind_is_refused(
    collect: Collect, folder: Path, tmp_path: Path
) -> None:
    (folder / "a.txt").write_text("words")
    first = context(tmp_path, "first")
    run_collect(CollectSettings.model_validate({"sources": [{"source": str(folder)}]}), first)
    for wrong, match in (
        ({"sources": [{"source": "dataset:r/first"}], "rows": "preferences"}, "document rows"),
        ({"sources": [{"source": "dataset:r/first", "include": ["*"]}]}, "choose files"),
    ):
        with pytest.raises(DataError, match=match):
            run_collect(CollectSettings.model_validate(wrong), context(tmp_path, "second"))
    assert not (tmp_path / "workspace" / "datasets" / "r" / "second").exists()
