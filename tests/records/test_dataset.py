"""Rows, ledgers and ids go in and come out the same; broken datasets say what is broken."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.errors import DataError
from chatwright.records import (
    Conversation,
    Dataset,
    Document,
    LedgerEntry,
    Message,
    Parent,
    Preference,
    Row,
    content_id,
    file_digest,
    fingerprint,
    write_dataset,
)

_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_MAYBE = st.none() | _TEXT
_TIME = st.none() | st.datetimes(
    datetime(1970, 1, 2), datetime(2100, 1, 1)
).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))  # fmt: skip
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_META = st.dictionaries(_TEXT, _JSON, max_size=3)
_PROVENANCE: dict[str, st.SearchStrategy[Any]] = {
    "uri": _TEXT, "source": _TEXT, "license": _MAYBE, "language": _MAYBE, "collected_at": _TIME,
    "parents": st.lists(_TEXT, max_size=3), "meta": _META,
}  # fmt: skip
_MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant", "tool"]), _TEXT), max_size=3
)
_CONSENT = st.none() | st.booleans()
_ROWS = {
    Document: st.builds(Document, _TEXT, _TEXT, **_PROVENANCE),
    Conversation: st.builds(Conversation, _TEXT, _MESSAGES, **_PROVENANCE, consent=_CONSENT),
    Preference: st.builds(
        Preference, _TEXT, _MESSAGES, _TEXT, _TEXT, _TEXT, **_PROVENANCE, consent=_CONSENT
    ),
}


def write(
    path: Path, rows: list[Any], ledger: list[LedgerEntry] | None = None, **more: Any
) -> Dataset:
    row_type: type[Row] = type(rows[0]) if rows else Document
    with write_dataset(
        path, row_type, stage="s", fingerprint="f", settings={"a": 1}, **more
    ) as out:
        for row in rows:
            out.write(row)
        for entry in ledger or []:
            out.log(entry)
        out.counts = {"in": 9}
    return Dataset.open(path)


@pytest.mark.parametrize("kind", list(_ROWS), ids=lambda kind: kind.kind)
def test_rows_come_back_as_they_were(
    kind: type[Row], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")

    @given(st.lists(_ROWS[kind], min_size=1, max_size=4))  # type: ignore[index]
    def check(rows: list[Any]) -> None:
        dataset = write(folder / "data", rows)
        assert list(dataset.rows) == rows
        assert len(dataset) == len(rows) and dataset.row_type is kind
        found = dataset.find(rows[0].id)
        assert rows[0] in found and all(rows[0].id in (r.id, r.uri) for r in found)

    check()


def test_the_ledger_keeps_order_and_finds_a_row(tmp_path: Path) -> None:
    entries = [
        LedgerEntry(
            f"{n % 3}", f"u{n}", "s", "edit" if n < 6 else "drop", "r", n / 2, "max 1", None, "d"
        )
        for n in range(9)
    ]
    dataset = write(tmp_path / "d", [], entries)
    assert list(dataset.ledger) == entries
    assert dataset.ledger.for_row("1") == entries[1::3]
    assert len(dataset.ledger) == dataset.info.ledger_rows == 9
    assert dataset.ledger.for_row("none") == []


def test_an_empty_dataset_is_one(tmp_path: Path) -> None:
    dataset = write(tmp_path / "d", [])
    assert list(dataset.rows) == [] and len(dataset) == 0 and len(dataset.ledger) == 0
    assert dataset.table(["id"]).num_rows == 0
    assert dataset.find("x") == []


def test_equal_rows_give_equal_bytes_and_the_description_says_all(tmp_path: Path) -> None:
    rows = [Document(f"{n}", "text " * n, f"u{n}", "s", meta={"b": 1, "a": n}) for n in range(2500)]
    parents = [Parent("pages", "abc", "../pages")]
    one = write(tmp_path / "one", rows, parents=parents)
    two = write(tmp_path / "two", rows, parents=parents)
    assert one.info.content_digest == two.info.content_digest
    assert one.parents == parents
    assert one.info.parts[0]["digest"] == file_digest(one.path / "part-00000.parquet")
    said = json.loads((one.path / "dataset.json").read_text())
    assert said["rows"] == 2500 and said["counts"] == {"in": 9} and said["settings"] == {"a": 1}
    assert [len(batch) for batch in one.batches(1000)] == [1000, 1000, 500]


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_part_is_named(tmp_path: Path, keep: int) -> None:
    dataset = write(tmp_path / "d", [Document("1", "x" * 500, "u", "s")])
    part = dataset.path / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:keep])
    with pytest.raises(DataError, match="cannot be read") as caught:
        list(Dataset.open(dataset.path).rows)
    assert caught.value.where == str(part)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d / "dataset.json").unlink(), "no dataset here"),
        (lambda d: (d / "dataset.json").write_text('{"format":'), "cannot be read"),
        (lambda d: (d / "dataset.json").write_text("[]"), "not a JSON object"),
        (lambda d: (d / "dataset.json").write_text('{"format": "x"}'), "not a Chatwright dataset"),
        (
            lambda d: (d / "dataset.json").write_text(
                '{"format": "chatwright.dataset", "kind": "document"}'
            ),
            "unexpected content",
        ),
        (lambda d: (d / "part-00000.parquet").unlink(), "part of the dataset is missing"),
    ],
)
def test_a_spoilt_dataset_says_how(tmp_path: Path, spoil: Any, said: str) -> None:
    dataset = write(tmp_path / "d", [Document("1", "x", "u", "s")])
    spoil(dataset.path)
    with pytest.raises(DataError, match=said):
        Dataset.open(dataset.path)


def test_a_row_without_a_column_is_an_error() -> None:
    with pytest.raises(DataError, match="lacks a column"):
        Document.from_arrow({"id": "1"})


@given(_TEXT, st.binary(max_size=20), _TEXT, st.binary(max_size=20))
def test_content_ids_tell_apart_what_differs(s: str, a: bytes, t: str, b: bytes) -> None:
    assert (content_id(s, a) == content_id(t, b)) is ((s, a) == (t, b))


def test_content_ids_are_the_same_everywhere() -> None:
    # Fixed values: an id that changed would cut every ledger from its rows.
    assert content_id("pypi:x==1", b"page") == content_id("pypi:x==1", "page")
    assert content_id("", b"") == "c804ce198ec337e3dc762bdd1a09aece"
    assert content_id("pypi:x==1", "page") == "85bd4590d571153052d18175e3676d85"
    assert content_id("ab", "c") != content_id("a", "bc")
    assert content_id("s", "\ud800")


def test_fingerprints_hang_on_kind_settings_and_parents_in_order() -> None:
    base = fingerprint("k", {"a": 1, "b": 2}, ["p", "q"])
    assert base == fingerprint("k", {"b": 2, "a": 1}, ["p", "q"])
    others = [
        fingerprint("j", {"a": 1, "b": 2}, ["p", "q"]),
        fingerprint("k", {"a": 1, "b": 3}, ["p", "q"]),
        fingerprint("k", {"a": 1, "b": 2}, ["q", "p"]),
        fingerprint("k", {"a": 1, "b": 2}, ["pq"]),
    ]
    assert len({base, *others}) == 5
