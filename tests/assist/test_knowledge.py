from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from chatwright.assist import Knowledge
from chatwright.assist.knowledge import INDEX_FOLDER, KnowledgeSettings, run_knowledge
from chatwright.errors import DataError
from chatwright.records import Dataset, Document, file_digest, write_dataset
from chatwright.workspace import Workspace

from .conftest import stage_context


def test_passages_lead_back_to_their_page(knowledge_path: Path, pages: Path) -> None:
    page_ids = {page.id for page in Dataset.open(pages).rows}
    for chunk in Dataset.open(knowledge_path).rows:
        assert len(chunk.parents) == 1 and chunk.parents[0] in page_ids
        assert "#a" in chunk.uri and chunk.license == "MIT"


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What does `Session.flush()` do?", "pending changes"),
        ("how do I release the connection of a session", "release its connection"),
        ("where does the dragon sleep?", "dragon"),
        ("怎么撤销全部变更？", "回滚会撤销"),
        ("怎样释放会话的连接", "关闭会话会释放"),
    ],
)
def test_search(knowledge_path: Path, question: str, words: str) -> None:
    found = Knowledge.open(knowledge_path).search(question, 3)
    assert words in found[0][0].text
    assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)


def test_a_passage_is_found_by_its_id(knowledge_path: Path) -> None:
    knowledge = Knowledge.open(knowledge_path)
    passage = knowledge.search("flush", 1)[0][0]
    assert knowledge.passage(passage.id) == passage
    assert knowledge.passage("no such id") is None
    assert passage.title == "Session › Session.flush()"


def test_equal_input_gives_equal_bytes(
    knowledge_path: Path, workspace: Workspace, pages: Path
) -> None:
    other = workspace.datasets / "demo" / "again"
    run_knowledge(KnowledgeSettings(input="pages"), stage_context(workspace, other, pages=pages))
    for name in [
        "part-00000.parquet",
        *(f"{INDEX_FOLDER}/{n}" for n in ("data.npy", "words.json")),
    ]:
        assert file_digest(other / name) == file_digest(knowledge_path / name)


def test_a_page_without_text_is_in_the_ledger(workspace: Workspace) -> None:
    path = workspace.datasets / "empty"
    with write_dataset(path, Document, stage="p", fingerprint="f", settings={}) as out:
        out.write(Document("e", "", "https://x.org/e", "t"))
    output = workspace.datasets / "k"
    run_knowledge(KnowledgeSettings(input="p"), stage_context(workspace, output, p=path))
    knowledge = Knowledge.open(output)
    (line,) = knowledge.dataset.ledger.for_row("e")
    assert (line.action, line.rule, line.value) == ("drop", "chunks", 0.0)
    assert len(knowledge) == 0 and knowledge.search("anything", 3) == []


def test_many_threads_get_what_one_gets(knowledge_path: Path) -> None:
    knowledge = Knowledge.open(knowledge_path)
    questions = ["flush", "close session", "回滚事务", "dragon"]
    expected = {q: knowledge.search(q, 3) for q in questions}
    wrong: list[str] = []

    def ask() -> None:
        for _ in range(50):
            wrong.extend(q for q in questions if knowledge.search(q, 3) != expected[q])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_ten_thousand_passages_are_searched_in_time(workspace: Workspace) -> None:
    path = workspace.datasets / "many"
    with write_dataset(path, Document, stage="p", fingerprint="f", settings={}) as out:
        for n in range(100):
            body = "\n\n".join(
                f"## Entry {n * 100 + i}\n\n" + f"The word{i} of part{n} and some more words. " * 5
                for i in range(100)
            )
            out.write(Document(f"d{n}", f"# Page {n}\n\n{body}", f"https://x.org/{n}", "t"))
    output = workspace.datasets / "k"
    run_knowledge(KnowledgeSettings(input="p"), stage_context(workspace, output, p=path))
    knowledge = Knowledge.open(output)
    assert len(knowledge) == 10_000
    took = []
    for n in range(50):
        start = time.perf_counter()
        found = knowledge.search(f"what are the words of word{n} in part{n}?", 3)
        took.append(time.perf_counter() - start)
        assert f"word{n} of part{n}" in found[0][0].text
    assert sorted(took)[25] < 0.02


def test_a_dataset_without_index_is_told_from_one_with(pages: Path) -> None:
    with pytest.raises(DataError, match="no search index"):
        Knowledge.open(pages)


def test_a_damaged_index_is_an_error_that_names_the_file(knowledge_path: Path) -> None:
    file = knowledge_path / INDEX_FOLDER / "indices.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError) as caught:
        Knowledge.open(knowledge_path)
    assert caught.value.where == str(file) and "build it again" in str(caught.value)
