"""What an assistant knows: the chunks of a corpus and an index to find them by."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from chatwright.curate.bm25 import SearchIndex
from chatwright.curate.chunks import chunk_documents, index_headings
from chatwright.errors import DataError
from chatwright.records import Dataset, Document, LedgerEntry
from chatwright.records.grounding import Passage
from chatwright.stage import StageContext, StageSettings

INDEX_FOLDER = "index"


class KnowledgeSettings(StageSettings):
    """Settings of a `knowledge` stage: pages in, chunks and a search index out.

    `words`: length that a chunk is cut to; `small`: a section shorter than this joins the one
    before it; `overlap`: words repeated between chunks of one section. `k1` and `b` are BM25's
    (Robertson and Zaragoza 2009); `heading_weight` and `path_weight` say how many times the words
    of the nearest heading, and of those above it, count.
    """

    references: ClassVar[tuple[str, ...]] = ("input",)

    input: str
    words: int = Field(default=180, ge=20, le=5_000)
    small: int = Field(default=25, ge=0, le=1_000)
    overlap: int = Field(default=0, ge=0, le=200)
    k1: float = Field(default=1.2, gt=0, le=10)
    b: float = Field(default=0.75, ge=0, le=1)
    heading_weight: int = Field(default=4, ge=0, le=20)
    path_weight: int = Field(default=1, ge=0, le=20)


def run_knowledge(settings: KnowledgeSettings, context: StageContext) -> None:
    """Cut every page of `input` into chunks and index them, in one dataset folder.

    Each page gets a ledger line: how many chunks it gave, or that it had no text.
    """
    source = Dataset.open(context.dataset_path(settings.input))
    texts: list[tuple[list[str], str]] = []
    with (
        context.write_rows(Document, settings) as out,
        context.progress.task("cut pages into passages", total=len(source)) as task,
    ):
        pages = 0
        for page in source.rows:
            if not isinstance(page, Document):
                raise DataError(
                    f"knowledge is made of documents, and this holds {source.info.kind} rows",
                    where=str(source.path),
                )
            chunks = chunk_documents(
                page, words=settings.words, small=settings.small, overlap=settings.overlap
            )
            for chunk in chunks:
                out.write(chunk)
                texts.append((index_headings(chunk), chunk.text))
            out.log(
                LedgerEntry(
                    page.id,
                    page.uri,
                    context.stage,
                    "keep" if chunks else "drop",
                    "chunks",
                    float(len(chunks)),
                    "min 1",
                )
            )
            pages += bool(chunks)
            task.advance()
        task.status("indexing")
        folder = out.folder / INDEX_FOLDER
        folder.mkdir()
        SearchIndex.build(
            texts,
            k1=settings.k1,
            b=settings.b,
            heading_weight=settings.heading_weight,
            path_weight=settings.path_weight,
        ).save(folder)
        out.counts = {"pages": pages, "passages": len(texts)}


class Knowledge:
    """Passages that can be searched. Read-only, so that any number of threads may share one.

    >>> knowledge = Knowledge.open("chatwright-workspace/datasets/quickstart/knowledge")
    >>> for passage, score in knowledge.search("how do I commit a session?", 3): ...
    """

    def __init__(self, dataset: Dataset, index: SearchIndex) -> None:
        self.dataset = dataset
        self._index = index
        columns = dataset.table(["id", "text", "uri", "meta"])
        self._columns: dict[str, Any] = {n: columns.column(n) for n in columns.column_names}
        self._rows: dict[str, int] | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the result of a `knowledge` stage.

        Raises `DataError` where it is missing, is another kind of dataset, or its index is damaged
        or does not belong to its rows.
        """
        dataset = Dataset.open(path)
        folder = Path(path) / INDEX_FOLDER
        if dataset.info.kind != Document.kind or not folder.is_dir():
            raise DataError(
                "this dataset has no search index",
                where=str(path),
                hint="name the result of a `kind: knowledge` stage",
            )
        return cls(dataset, SearchIndex.open(folder, rows=len(dataset)))

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def fingerprint(self) -> str:
        return self.dataset.fingerprint

    def search(self, query: str, k: int = 3) -> list[tuple[Passage, float]]:
        """The best `k` passages with their BM25 scores, best first; fewer where fewer match."""
        return [(self._passage(row), score) for row, score in self._index.search(query, k)]

    def passage(self, passage_id: str) -> Passage | None:
        """The passage of that id, or None."""
        if self._rows is None:
            self._rows = {v: row for row, v in enumerate(self._columns["id"].to_pylist())}
        row = self._rows.get(passage_id)
        return None if row is None else self._passage(row)

    def _passage(self, row: int) -> Passage:
        values = {name: column[row].as_py() for name, column in self._columns.items()}
        meta = json.loads(values["meta"] or "{}")
        title = str(meta.get("title") or values["uri"])
        return Passage(values["id"], title, values["uri"], values["text"])
