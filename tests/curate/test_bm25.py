from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.curate.bm25 import SearchIndex
from chatwright.curate.words import search_words
from chatwright.errors import DataError

ROWS = [
    (["Session API", "Session.flush()"], "Write pending changes to the database."),
    (["Session API", "Session.commit()"], "Flush pending changes and commit the transaction."),
    (["Tutorial", "Rows"], "Many rows of a result. The set of rows is large."),
    (["Types", "SET"], "A type for sets of values."),
    (["Glossary", "check constraint"], "A condition that must hold for each row."),
    (["1.4 Changelog", "1.4.2"], "Fixed the flush of pending changes to the database."),
    (["会话"], "会话保存对象，并把变更写入数据库。"),
    (["事务"], "提交或者回滚数据库事务。"),
]


def best(index: SearchIndex, query: str) -> int:
    return index.search(query, 1)[0][0]


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("What does `Session.flush()` do?", 0),
        ("session commit", 1),
        ("how many rows are there in a result", 2),
        ("what is SET", 3),
        ("how do I set many rows", 2),  # "set" is no name here
        ("explain check constraint", 4),
        ("which flush was fixed in version 1.4.2", 5),
        ("怎么回滚事务？", 7),
        ("会话保存什么？", 6),
    ],
)
def test_finds(query: str, row: int) -> None:
    assert best(SearchIndex.build(ROWS), query) == row


def test_what_was_fixed_comes_behind_how_things_are() -> None:
    found = [row for row, _ in SearchIndex.build(ROWS).search("flush pending changes database", 8)]
    assert found.index(5) > found.index(0)


def test_nothing_to_find() -> None:
    index = SearchIndex.build(ROWS)
    assert index.search("zebra", 3) == [] and index.search("", 3) == []
    assert index.search("what is it", 3) == [] and index.search("session", 0) == []
    assert SearchIndex.build([]).search("session", 3) == []
    assert SearchIndex.build([([], "")]).search("session", 3) == []


WORD = st.sampled_from(["alpha", "beta", "gamma", "delta", "会话", "事务"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(WORD, min_size=1, max_size=12), min_size=1, max_size=12), st.lists(WORD))
def test_scores_are_those_of_the_formula(rows: list[list[str]], query: list[str]) -> None:
    """Against BM25 written out (Lucene's variant, no headings)."""
    k1, b = 1.2, 0.75
    index = SearchIndex.build([([], " ".join(row)) for row in rows], k1=k1, b=b)
    counts = [Counter(search_words(" ".join(row))) for row in rows]
    mean = sum(c.total() for c in counts) / len(rows)
    expected = []
    for count in counts:
        score = 0.0
        for word in set(search_words(" ".join(query))):
            df = sum(word in c for c in counts)
            if df and count[word]:
                idf = math.log(1 + (len(rows) - df + 0.5) / (df + 0.5))
                norm = k1 * (1 - b + b * count.total() / mean)
                score += idf * count[word] / (count[word] + norm)
        expected.append(score)
    got = dict(index.search(" ".join(query), len(rows)))
    assert set(got) == {row for row, score in enumerate(expected) if score > 0}
    for row, score in got.items():
        assert score == pytest.approx(expected[row], rel=1e-4)


def test_saved_and_opened_it_is_the_same(tmp_path: Path) -> None:
    index = SearchIndex.build(ROWS)
    index.save(tmp_path)
    again = SearchIndex.open(tmp_path, rows=len(ROWS))
    for query in ("flush", "回滚事务", "rows in a set"):
        assert again.search(query, 5) == index.search(query, 5)
    assert isinstance(again._data, np.memmap)


def test_an_empty_index_can_be_saved_and_opened(tmp_path: Path) -> None:
    SearchIndex.build([]).save(tmp_path)
    assert SearchIndex.open(tmp_path, rows=0).search("anything", 3) == []


def test_equal_bytes_in_another_process_with_another_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from chatwright.curate.bm25 import SearchIndex\n"
        f"SearchIndex.build({ROWS!r}).save(Path(sys.argv[1]))"
    )
    digests = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", code, str(folder)], check=True, env={"PYTHONHASHSEED": seed}
        )
        digests.append(json.loads((folder / "index.json").read_text())["digests"])
    assert digests[0] == digests[1]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "name", ["data.npy", "indices.npy", "indptr.npy", "words.json", "index.json"]
)
@pytest.mark.parametrize("harm", [_cut, _flip, Path.unlink])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, harm: Callable[[Path], None]) -> None:
    SearchIndex.build(ROWS).save(tmp_path)
    harm(tmp_path / name)
    with pytest.raises(DataError) as caught:
        SearchIndex.open(tmp_path)
    assert str(tmp_path) in (caught.value.where or "")


def _resign(folder: Path) -> None:
    """Make the digests fit what is there, as somebody who tampers would."""
    from chatwright.records import file_digest

    about = json.loads((folder / "index.json").read_text())
    about["digests"] = {name: file_digest(folder / name) for name in about["digests"]}
    (folder / "index.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("indices.npy", np.array([10**6], np.int32)),
        ("indices.npy", np.array([-1], np.int32)),
        ("indptr.npy", np.array([0, 10**9], np.int64)),
        ("data.npy", np.array([1.0], np.float64)),
        ("data.npy", np.zeros((2, 2), np.float32)),
    ],
)
def test_offsets_out_of_bounds_are_refused_whatever_the_digest_says(
    tmp_path: Path, name: str, array: np.ndarray
) -> None:
    SearchIndex.build([([], "alpha")]).save(tmp_path)
    np.save(tmp_path / name, array)
    _resign(tmp_path)
    with pytest.raises(DataError):
        SearchIndex.open(tmp_path)


def test_a_pickled_array_is_never_loaded(tmp_path: Path) -> None:
    SearchIndex.build(ROWS).save(tmp_path)
    np.save(tmp_path / "data.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    _resign(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        SearchIndex.open(tmp_path)


def test_the_index_of_other_rows_is_refused(tmp_path: Path) -> None:
    SearchIndex.build(ROWS).save(tmp_path)
    with pytest.raises(DataError, match="8 rows, the data set has 9"):
        SearchIndex.open(tmp_path, rows=9)
