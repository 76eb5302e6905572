"""A BM25 index over chunks: built once, saved as plain arrays, memory-mapped when opened.

The library bm25s does the scoring. What is ours: which words a chunk is found under (headings
count more than running text), bytes that are equal for equal input, and a check of every file
before it is believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from chatwright.curate.words import phrase_words, search_words
from chatwright.errors import DataError
from chatwright.records import canonical_json, file_digest, read_json

_FORMAT = "chatwright.bm25/1"
_ARRAYS = {"data": np.float32, "indices": np.int32, "indptr": np.int64}
_LONGEST_NAME = 8  # words of a heading that a question may name as a whole
_LONGEST_QUERY = 200
_NAME_WEIGHT = 2
_FEW_WORDS = 2
_NAME = re.compile(
    r"(?<=[`“\"‘'])[^`”\"’'\n]{1,80}(?=[`”\"’'])"  # quoted
    r"|[^\W\d][\w.]*(?=\(\))"  # called
    r"|\b(?:\w+\.)+\w+\b|\b\w*_\w+\b|\b\w*[a-z]\w*[A-Z]\w*\b|\b[A-Z][A-Z0-9]+\b"
)
RELEASE_NOTES = re.compile(  # headings
    r"^v?\d+(?:\.\d+)+|change ?log|release notes|what.s new|更新日志|变更记录|新特性|新变化",
    re.I,
)
# What changed in a release is told in the words of everything; it comes behind how things are,
# unless the question is about versions. This word (which no text can hold) marks those rows.
_RELEASE_NOTE = "=release note="
_NOTE_WEIGHT = 0.6
_ASKS_WHAT_CHANGED = re.compile(
    r"\b(?:versions?|releases?d?|change[ds]?|changelog|new|fixed|bug|since|\d+\.\d+)\b"
    r"|版本|更新|变更|修复|新增",
    re.I,
)
_REBUILD = "remove the folder and build it again"


class SearchIndex:
    """Finds rows by words. Reading only, and so safe to use from many threads.

    >>> index = SearchIndex.build([(["Session.execute()"], "Execute a statement."), ...])
    >>> index.search("what does execute do", 3)     # [(row, score), …], best first
    """

    def __init__(self, vocabulary: dict[str, int], arrays: dict[str, Any], rows: int) -> None:
        self._vocabulary = vocabulary
        self._data = arrays["data"]
        self._indices = arrays["indices"]
        self._indptr = arrays["indptr"]
        self.rows = rows

    @classmethod
    def build(
        cls,
        texts: Sequence[tuple[Sequence[str], str]],
        *,
        k1: float = 1.2,
        b: float = 0.75,
        heading_weight: int = 4,
        path_weight: int = 1,
    ) -> Self:
        """Index (headings from the page's title down, text) of each row.

        The last heading's words count `heading_weight` times, those above it `path_weight` times
        (see `weighted_words`).
        """
        import bm25s

        words: list[list[str]] = []
        before: Sequence[str] | None = None
        for headings, text in texts:
            first = headings != before
            words.append(weighted_words(headings, text, heading_weight, path_weight, first))
            before = headings
        # Sorted, so that the same rows give the same bytes whatever Python's hash seed is.
        vocabulary = {word: i for i, word in enumerate(sorted({w for row in words for w in row}))}
        if not vocabulary:
            empty = {"data": np.zeros(0, np.float32), "indices": np.zeros(0, np.int32)}
            return cls({}, {**empty, "indptr": np.zeros(1, np.int64)}, len(texts))
        engine = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy", csc_backend="numpy")
        scores = engine.build_index_from_ids(
            unique_token_ids=list(range(len(vocabulary))),
            corpus_token_ids=[[vocabulary[w] for w in row] for row in words],
            show_progress=False,
        )
        arrays = {name: np.ascontiguousarray(scores[name], kind) for name, kind in _ARRAYS.items()}
        return cls(vocabulary, arrays, len(texts))

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """The best `k` rows that hold a word of the query, best first; equals by row order."""
        asked = _named(query).union(search_words(query))
        ids = sorted(self._vocabulary[w] for w in asked if w in self._vocabulary)
        if not ids or k <= 0:
            return []
        scores = np.zeros(self.rows, np.float32)
        for word in ids:
            start, end = int(self._indptr[word]), int(self._indptr[word + 1])
            # a row stands at most once under a word, so plain indexing adds right
            scores[self._indices[start:end]] += self._data[start:end]
        notes = self._vocabulary.get(_RELEASE_NOTE)
        if notes is not None and not _ASKS_WHAT_CHANGED.search(query):
            scores[self._indices[self._indptr[notes] : self._indptr[notes + 1]]] *= _NOTE_WEIGHT
        k = min(k, self.rows)
        floor = np.partition(scores, -k)[-k]
        near = np.flatnonzero(scores >= max(floor, np.finfo(np.float32).tiny))
        best = near[np.argsort(-scores[near], kind="stable")][:k]
        return [(int(row), float(scores[row])) for row in best]

    def save(self, folder: Path) -> None:
        """Write the index into an existing folder: arrays, words, and a digest of each."""
        arrays = {"data": self._data, "indices": self._indices, "indptr": self._indptr}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.asarray(array), allow_pickle=False)
        words = sorted(self._vocabulary, key=self._vocabulary.__getitem__)
        (folder / "words.json").write_text(canonical_json(words), encoding="utf-8")
        files = [f"{name}.npy" for name in arrays] + ["words.json"]
        about = {
            "format": _FORMAT,
            "rows": self.rows,
            "digests": {name: file_digest(folder / name) for name in files},
        }
        (folder / "index.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def open(cls, folder: Path, *, rows: int | None = None, check: bool = True) -> Self:
        """Map a saved index into memory. Raises `DataError` for anything missing or damaged.

        `rows` is how many rows the data set beside it has. `check` compares every file with its
        digest (a full read: 10 ms for ten thousand chunks).
        """
        about = read_json(folder / "index.json", "search index")
        if about.get("format") != _FORMAT or not isinstance(about.get("digests"), dict):
            raise DataError(
                "the search index is of an unknown kind",
                where=str(folder / "index.json"),
                hint=_REBUILD,
            )
        if rows is not None and about.get("rows") != rows:
            raise DataError(
                f"the search index is of {about.get('rows')} rows, the data set has {rows}",
                where=str(folder),
                hint=_REBUILD,
            )
        for name in [*(f"{array}.npy" for array in _ARRAYS), "words.json"]:
            path = folder / name
            if not path.is_file():
                raise DataError(
                    "a file of the search index is missing", where=str(path), hint=_REBUILD
                )
            if check and file_digest(path) != about["digests"].get(name):
                raise DataError(
                    "a file of the search index is damaged (its digest differs)",
                    where=str(path),
                    hint=_REBUILD,
                )
        try:
            arrays = {
                name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in _ARRAYS
            }
            words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
            _validate(arrays, words, about["rows"])
        except (OSError, ValueError, TypeError, KeyError, EOFError) as error:
            raise DataError(
                f"the search index cannot be read: {error}", where=str(folder), hint=_REBUILD
            ) from error
        return cls({word: i for i, word in enumerate(words)}, arrays, about["rows"])


def _validate(arrays: dict[str, Any], words: Any, rows: Any) -> None:
    """Every offset and row number within bounds: a lookup can then not read beside the arrays."""
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("words.json is not a list of words")
    for name, kind in _ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(f"{name}.npy is not a row of {np.dtype(kind).name}")
    indptr, indices = arrays["indptr"], arrays["indices"]
    if len(indptr) != len(words) + 1 or indptr[0] != 0 or indptr[-1] != len(indices):
        raise ValueError("the word offsets do not fit the arrays")
    if len(arrays["data"]) != len(indices) or (np.diff(indptr) < 0).any():
        raise ValueError("the word offsets do not fit the arrays")
    if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= int(rows)):
        raise ValueError("a row number is out of bounds")


def weighted_words(
    headings: Sequence[str], text: str, heading_weight: int, path_weight: int, first: bool
) -> list[str]:
    """A row's words, its headings' repeated by their weights.

    The nearest heading is one more word as a whole (`=check constraint`), for the first row under
    it only: who asks for something by its name wants the place where it is introduced.
    """
    words = search_words(text)
    if headings:
        words += search_words(headings[-1]) * heading_weight
        for heading in headings[:-1]:
            words += search_words(heading) * path_weight
        if first:
            for name in headings[-1].split(", "):
                key = phrase_words(name)
                if key:
                    words += ["=" + " ".join(key)] * _NAME_WEIGHT
        if any(RELEASE_NOTES.search(heading) for heading in headings):
            words.append(_RELEASE_NOTE)
    return words


def _named(query: str) -> set[str]:
    """Every run of the query's words that could be a whole heading.

    One word alone is a name only where it is written like one (`Row`, insert(), DetachedError) or
    where nearly nothing else is asked: "many rows" does not ask for the class Row.
    """
    words = phrase_words(query)[:_LONGEST_QUERY]
    names = {" ".join(phrase_words(m.group())) for m in _NAME.finditer(query)}
    names |= {name.rsplit(".", 1)[-1] for name in names}
    if len(words) <= _FEW_WORDS:
        names.update(words)
    for length in range(2, _LONGEST_NAME + 1):
        names.update(" ".join(words[at : at + length]) for at in range(len(words) - length + 1))
    return {"=" + name for name in names if name}
