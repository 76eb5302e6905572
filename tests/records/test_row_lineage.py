"""From a row back to the collected page, and from a page forward to all that was made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatwright.records import Conversation, Dataset, Document, Message, Parent, write_dataset
from chatwright.records.lineage import ancestors, descendants, parent_datasets
from chatwright.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """pages a, b, c → corpus a, b → chunks a1 a2 b1 → questions q (from a2 and b1), r (from a1)."""
    place = Workspace(tmp_path)

    def save(name: str, rows: list[Document] | list[Conversation], parent: str | None) -> None:
        parents = [Parent(parent, parent, f"../{parent}")] if parent else []
        with write_dataset(
            place.datasets / "r" / name, type(rows[0]), stage=name, fingerprint=name, settings={},
            parents=parents,
        ) as out:  # fmt: skip
            for row in rows:
                out.write(row)

    def doc(name: str, *parents: str) -> Document:
        return Document(name, "text", f"uri:{name}", "s", parents=list(parents))

    save("pages", [doc("a"), doc("b"), doc("c")], None)
    save("corpus", [doc("a"), doc("b")], "pages")
    save("chunks", [doc("a1", "a"), doc("a2", "a"), doc("b1", "b")], "corpus")
    asked = [Message("user", "?")]
    save(
        "questions",
        [
            Conversation("q", asked, "uri:q", "s", parents=["a2", "b1"]),
            Conversation("r", asked, "uri:r", "s", parents=["a1"]),
        ],
        "chunks",
    )
    return place


def open_(workspace: Workspace, name: str) -> Dataset:
    return Dataset.open(workspace.dataset(f"r/{name}"))


def test_back_to_the_pages(workspace: Workspace) -> None:
    steps = ancestors(open_(workspace, "questions"), "q")
    assert [(s.dataset.name, s.row_id, s.depth) for s in steps] == [
        ("questions", "q", 0),
        ("chunks", "a2", 1),
        ("chunks", "b1", 1),
        ("corpus", "a", 2),
        ("corpus", "b", 2),
        ("pages", "a", 2),
        ("pages", "b", 2),
    ]
    assert ancestors(open_(workspace, "questions"), "nothing") == []


def test_forward_to_all_that_was_made(workspace: Workspace) -> None:
    made = {(s.dataset.name, s.row_id): s.depth for s in descendants(workspace, "a")}
    assert made == {
        ("pages", "a"): 0,
        ("corpus", "a"): 0,
        ("chunks", "a1"): 1,
        ("chunks", "a2"): 1,
        ("questions", "q"): 2,
        ("questions", "r"): 2,
    }
    assert {s.row_id for s in descendants(workspace, "c")} == {"c"}
    assert {s.row_id for s in descendants(workspace, "b1")} == {"b1", "q"}
    narrowed = descendants(workspace, "a", within=[workspace.datasets / "r" / "chunks"])
    assert {s.row_id for s in narrowed} == {"a1", "a2"}


def test_a_parent_that_is_gone_and_a_dataset_that_is_broken(workspace: Workspace) -> None:
    (workspace.datasets / "r" / "pages" / "dataset.json").unlink()
    assert [d.path.name for d in parent_datasets(open_(workspace, "chunks"))] == ["corpus"]
    assert [s.row_id for s in ancestors(open_(workspace, "chunks"), "a1")] == ["a1", "a"]
    (workspace.datasets / "r" / "questions" / "dataset.json").write_text("{")
    assert {s.dataset.name for s in descendants(workspace, "a")} == {"corpus", "chunks"}
