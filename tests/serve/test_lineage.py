"""From a citation's id to the page, and through every dataset in between."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chat_server import HTTP, PAGES, SOURCE
from chatwright.records import Dataset, content_id
from chatwright.serve.lineage import trace


def chunk_about(knowledge: Path, words: str) -> str:
    [found] = [row.id for row in Dataset.open(knowledge).rows if words in row.text]
    return found


@pytest.mark.parametrize(
    ("words", "page", "title"),
    [("right angles", "tides.html", "Tides"), ("引力在一条线上", "潮汐.html", "潮汐")],
)
def test_a_passage_leads_back_to_its_page(
    server: str, knowledge: Path, words: str, page: str, title: str
) -> None:
    chunk = chunk_about(knowledge, words)
    found = HTTP.get(f"{server}/v1/chatwright/passages/{chunk}", params={"model": "harbour"}).json()
    assert found["passage"]["id"] == chunk and words in found["passage"]["text"]
    assert found["page"] == {
        "id": content_id(SOURCE, PAGES[page][1]),
        "title": title,
        "uri": f"https://harbour.example/guide/{page}",
        "source": SOURCE,
        "license": "CC-BY-4.0",
        "language": PAGES[page][0],
        "collected_at": "2024-05-17T00:00:00+00:00",
    }
    assert [step["stage"] for step in found["steps"]] == ["knowledge", "corpus", "pages"]
    assert [step["rows"] for step in found["steps"]] == [5, 3, 3]
    [cut] = found["steps"][0]["ledger"]  # how many passages the page gave
    assert (cut["row_id"], cut["rule"]) == (found["page"]["id"], "chunks")
    [line] = found["steps"][2]["ledger"]
    assert (line["rule"], line["value"], line["bound"]) == ("word_count", 61.0, "min 5")


@pytest.mark.parametrize("name", ["0" * 32, "x" * 300, "' or 1=1", "..%2f..%2fetc", "%00", "潮"])
def test_no_such_passage(server: str, name: str) -> None:
    reply = HTTP.get(f"{server}/v1/chatwright/passages/{name}", params={"model": "harbour"})
    assert reply.status_code == 404 and "error" in reply.json()


def test_no_such_model(server: str) -> None:
    reply = HTTP.get(f"{server}/v1/chatwright/passages/x", params={"model": "nobody"})
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "model_not_found"


def test_a_page_is_no_passage(server: str, knowledge: Path) -> None:
    page = next(iter(Dataset.open(knowledge.parent / "pages").rows))
    reply = HTTP.get(f"{server}/v1/chatwright/passages/{page.id}", params={"model": "harbour"})
    assert reply.status_code == 404


def test_a_dataset_that_is_gone_is_told(knowledge: Path, tmp_path: Path) -> None:
    copy = tmp_path / "harbour"
    shutil.copytree(knowledge.parent, copy)
    shutil.rmtree(copy / "pages")
    chunk = chunk_about(knowledge, "right angles")
    found = trace(copy / "knowledge", chunk)
    assert found is not None
    assert [step["missing"] for step in found["steps"]] == [False, False, True]
    assert found["page"]["title"] == "Tides"  # from the corpus, the oldest that is left


def test_parents_that_go_in_a_circle_end(knowledge: Path, tmp_path: Path) -> None:
    copy = tmp_path / "harbour"
    shutil.copytree(knowledge.parent, copy)
    file = copy / "pages" / "dataset.json"
    told = json.loads(file.read_text())
    told["parents"] = [{"name": "k", "fingerprint": "c" * 32, "path": "../knowledge"}]
    file.write_text(json.dumps(told))
    found = trace(copy / "knowledge", chunk_about(knowledge, "right angles"))
    assert found is not None and len(found["steps"]) == 3
