"""`why`: sentences with rule, value, bound and the other row; forward and back along lineage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_curate_stage import PAGES, WORDS  # type: ignore[import-not-found]

from chatwright.curate import why
from chatwright.errors import DataError
from chatwright.records import Document, Parent, content_id, write_dataset

HOME = "https://docs.test/"


@pytest.fixture
def corpus(collected: Any, run: Any) -> Any:
    collected("pages", PAGES)
    return run("curate", "corpus", input="pages", workers=0, languages=["en", "zh"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("short.html", "dropped by the rule word_count: 2, where min 20, max 1000000 is asked"),
        ("same.html", f"it says the same as {HOME}good.html"),
        ("french.html", "its language is fr"),
        ("empty.html", "no text was left"),
        ("links.html", "link_ratio: 0.98"),
        ("part2.html", "1 paragraph, 3"),
        ("mojibake.txt", "broken encoding repaired in 1 line"),
    ],
)
def test_sentences(corpus: Any, workspace: Any, name: str, sentence: str) -> None:
    told = why(corpus, HOME + name, workspace)
    assert sentence in "\n".join(told.lines)
    assert told.lines[0] == HOME + name
    kept = name in ("part2.html", "mojibake.txt")
    assert told.status == ("kept" if kept else "dropped")
    shown = told.to_json()
    assert json.loads(json.dumps(shown))["ledger"][-1]["action"] == ("keep" if kept else "drop")


def test_the_id_works_as_well_as_the_uri(corpus: Any) -> None:
    by_uri = why(corpus, HOME + "short.html")
    assert why(corpus, by_uri.row_id).lines == by_uri.lines
    assert why(corpus.path, by_uri.row_id).lines == by_uri.lines


def test_an_unknown_row_names_near_ones(corpus: Any) -> None:
    with pytest.raises(DataError, match=r"did you mean.*good\.html"):
        why(corpus, "good.html")
    with pytest.raises(DataError, match=r"short\.html"):
        why(corpus, HOME + "shrot.html")


def test_from_a_chunk_back_to_its_page_and_forward_again(
    corpus: Any, run: Any, workspace: Any
) -> None:
    train = run("split", "train", input="corpus", part="train", held_out=0.0)
    page = next(iter(train.rows))
    chunk = Document(content_id("t", "chunk"), WORDS, page.uri + "#top", "t", parents=[page.id])
    path = workspace.datasets / "test" / "chunks"
    parents = [Parent("train", "x", "../train")]
    with write_dataset(
        path, Document, stage="chunks", fingerprint="c", settings={}, parents=parents
    ) as out:
        out.write(chunk)
    back = why(path, chunk.uri, workspace)
    assert back.status == "kept"
    assert f"  - {page.uri}" in back.lines[back.lines.index("It was made from:") :]
    assert "In test/corpus:" in back.lines
    assert {step.row_id for step in back.origins} == {chunk.id, page.id}
    forward = why(corpus, page.uri, workspace)
    assert "  - 1 row in test/chunks: " + chunk.uri in forward.lines
    # Dropped before: the story is found from the far end of the house too.
    gone = why(path, HOME + "short.html", workspace)
    assert gone.status == "dropped" and "word_count" in "\n".join(gone.lines)
