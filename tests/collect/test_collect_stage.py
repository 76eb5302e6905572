from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chatwright.collect.stages import STAGES, CollectSettings, external
from chatwright.errors import DataError, SourceError
from chatwright.records import content_id
from chatwright.workspace import Workspace

from .conftest import Collected

Collect = Callable[..., Collected]
ZH = "第一页:数据库连接池的说明。"
PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".zst": zstandard.ZstdCompressor().compress,
}
ROWS = [{"text": "the first row", "n": 1}, {"text": ZH, "n": 2}]


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


TABLES: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".jsonl": as_jsonl,
    ".ndjson": as_jsonl,
    ".json": lambda rows: json.dumps(rows).encode(),
    ".csv": as_csv,
    ".tsv": lambda rows: as_csv(rows, "\t"),
    ".parquet": as_parquet,
}


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize(
    ("ending", "media"),
    [(".txt", "text/plain"), (".md", "text/markdown"), (".html", "text/html"),
     (".htm", "text/html"), (".rst", "text/x-rst")],
)  # fmt: skip
def test_pages(collect: Collect, folder: Path, pack: str, ending: str, media: str) -> None:
    file = folder / f"page{ending}{pack}"
    body = f"<p>{ZH}</p>".encode()
    file.write_bytes(PACK[pack](body))
    os.utime(file, (1_700_000_000.5, 1_700_000_000.5))
    found = collect({"source": str(folder), "license": "MIT", "language": "zh"})
    (row,) = found.rows
    assert row.text == body.decode()
    assert row.id == content_id(str(folder), body)  # of the original bytes, unpacked
    assert row.meta == {"media_type": media, "encoding": "utf-8", "path": file.name}
    assert row.uri == f"file:{folder}/{file.name}"
    assert (row.license, row.language) == ("MIT", "zh")
    assert row.collected_at.timestamp() == 1_700_000_000
    assert found.lines("keep")[0].value == len(body)


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("ending", TABLES)
def test_tables(collect: Collect, folder: Path, pack: str, ending: str) -> None:
    (folder / f"rows{ending}{pack}").write_bytes(PACK[pack](TABLES[ending](ROWS)))
    found = collect(folder)
    assert found.texts == [row["text"] for row in ROWS]
    assert [str(row.meta["n"]) for row in found.rows] == ["1", "2"]
    assert [row.uri.rpartition("#")[2] for row in found.rows] == ["row=1", "row=2"]


_CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
    str.strip
)


@pytest.mark.parametrize("ending", TABLES)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.fixed_dictionaries({"text": _CELLS, "title": _CELLS}), min_size=1, max_size=6)
)
def test_tables_give_back_what_went_in(
    collect: Collect, folder: Path, ending: str, rows: list[dict[str, Any]]
) -> None:
    (folder / f"rows{ending}").write_bytes(TABLES[ending](rows))
    found = collect(folder)
    assert found.texts == [row["text"] for row in rows]
    assert [row.meta["title"] for row in found.rows] == [row["title"] for row in rows]


def test_addresses_and_names_from_columns(collect: Collect, folder: Path) -> None:
    rows = [
        {"body": "a", "key": "x 1", "at": "https://a.example/1", "license": "CC-BY-4.0"},
        {"body": "b", "key": 7, "at": None, "language": "zh"},
        {"body": "c"},
    ]
    (folder / "r.jsonl").write_bytes(as_jsonl(rows))
    found = collect(
        {"source": str(folder), "text_column": "body", "id_column": "key", "uri_column": "at",
         "license": "MIT", "language": "en", "uri": "https://z.example/{path}"}
    )  # fmt: skip
    assert [row.uri for row in found.rows] == [
        "https://a.example/1",
        "https://z.example/r.jsonl#7",
        "https://z.example/r.jsonl#row=3",
    ]
    assert [row.license for row in found.rows] == ["CC-BY-4.0", "MIT", "MIT"]
    assert [row.language for row in found.rows] == ["en", "zh", "en"]


def test_large_and_strange_columns_do_not_swell_the_row(collect: Collect, folder: Path) -> None:
    row = {
        "text": "a",
        "small": [1, {"k": "v"}],
        "large": "x" * 5000,
        "path": "not ours",
        "none": None,
        **{f"c{n}": "y" * 1900 for n in range(20)},
    }
    (folder / "r.jsonl").write_bytes(as_jsonl([row]))
    (found,) = collect(folder).rows
    assert found.meta["small"] == [1, {"k": "v"}]
    assert found.meta["path"] == "r.jsonl"
    assert "large" in found.meta["columns_left_out"]
    assert len(json.dumps(found.meta)) < 20_000


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "demo-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("doc/b.html", "doc/sub/a.html", "doc/notes.txt", "src/x.py", "doc/a b.html"):
            body = f"<h1>{name}</h1>".encode()
            info = tarfile.TarInfo(f"demo-1.0/{name}")
            info.size, info.mtime = len(body), 1_600_000_000
            tar.addfile(info, io.BytesIO(body))
        link = tarfile.TarInfo("demo-1.0/doc/link.html")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../etc/passwd"
        tar.addfile(link)
        evil = tarfile.TarInfo("../../doc/evil.html")
        tar.addfile(evil)
    return path


def test_an_archive(collect: Collect, archive: Path) -> None:
    """The links and unsafe names of an archive are dropped with a line, as far as chosen."""
    found = collect(
        {"source": str(archive), "include": ["**/doc/**/*.html"], "strip": "doc/",
         "uri": "https://docs.example/{path}?v=1"}
    )  # fmt: skip
    assert sorted(rule for rule, _ in found.dropped) == ["unreadable", "unreadable"]
    assert [row.uri for row in found.rows] == [
        "https://docs.example/a%20b.html?v=1",
        "https://docs.example/b.html?v=1",
        "https://docs.example/sub/a.html?v=1",
    ]
    assert {row.collected_at.timestamp() for row in found.rows} == {1_600_000_000}


def test_include_is_matched_below_the_top_folder(collect: Collect, tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("doc/core/x.html", "setup.py"):
            tar.addfile(tarfile.TarInfo(f"demo-1.0/{name}"), io.BytesIO())
    found = collect({"source": str(path), "include": ["doc/**/*.html"]})
    assert found.dropped == [("empty", "x.html")]
    assert found.ledger[0].uri.endswith("demo-1.0.tgz/doc/core/x.html")


def test_one_bad_file_among_many(collect: Collect, folder: Path) -> None:
    for number in range(50):
        (folder / f"{number:02}.txt").write_text(f"page {number}")
    (folder / "25.txt").write_bytes(os.urandom(3000))
    (folder / "30.txt").write_bytes(b"")
    (folder / "31.txt").write_bytes(b" \n\t ")
    (folder / "40.txt.gz").write_bytes(gzip.compress(os.urandom(9000))[:-100])
    (folder / "41.txt.gz").write_bytes(b"no gzip")
    (folder / "50.png").write_bytes(b"\x89PNG")
    (folder / "README").write_bytes(b"no ending")
    (folder / "rows.parquet").write_bytes(b"PAR1 not really PAR1")
    (folder / "w.warc").write_bytes(b"no warc")
    (folder / "r.json").write_bytes(b'{"an": "object"}')
    (folder / "t.csv").write_bytes(b"")
    found = collect(folder)
    assert len(found.rows) == 47
    assert sorted(found.dropped) == [
        ("bad-json", "r.json"),
        ("empty", "30.txt"),
        ("empty", "31.txt"),
        ("empty", "t.csv"),
        ("not-text", "25.txt"),
        ("truncated", "40.txt.gz#rest"),
        ("truncated", "41.txt.gz#rest"),
        ("unknown-format", "50.png"),
        ("unknown-format", "README"),
        ("unreadable", "rows.parquet"),
        ("unreadable", "w.warc"),
    ]
    assert found.dataset.info.counts["sources"][0]["kept"] == 47


def test_a_file_that_may_not_be_read(collect: Collect, folder: Path) -> None:
    (folder / "a.txt").write_text("fine")
    (folder / "b.txt").write_text("secret")
    (folder / "b.txt").chmod(0)
    if os.access(folder / "b.txt", os.R_OK):
        pytest.skip("this user may read everything")
    found = collect(folder)
    assert found.dropped == [("unreadable", "b.txt")]


def test_a_hundred_megabytes_of_div(collect: Collect, folder: Path) -> None:
    """Dropped with its size and the bound; packed, it is never unpacked as a whole."""
    divs = b"<div>" * 20_000_000
    (folder / "divs.html").write_bytes(divs)
    (folder / "divs.html.gz").write_bytes(gzip.compress(divs, 1))
    (folder / "fine.html").write_bytes(b"<div>" * 1000)
    found = collect(folder)
    assert [row.meta["path"] for row in found.rows] == ["fine.html"]
    plain, packed = found.lines("drop")
    assert (plain.rule, plain.value, plain.bound) == ("too-large", 100e6, "max 20000000")
    assert (packed.rule, packed.bound) == ("too-large", "max 20000000")


def test_the_bound_is_a_setting_and_exact(collect: Collect, folder: Path) -> None:
    for size in (99, 100, 101):
        (folder / f"{size}.txt").write_bytes(b"x" * size)
        (folder / f"{size}.txt.zst").write_bytes(PACK[".zst"](b"y" * size))
    found = collect(folder, max_bytes=100)
    assert sorted(len(text) for text in found.texts) == [99, 99, 100, 100]
    assert sorted(found.dropped) == [("too-large", "101.txt"), ("too-large", "101.txt.zst")]


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16", "shift_jis"])
def test_a_page_that_lies_about_its_encoding(collect: Collect, folder: Path, encoding: str) -> None:
    text = {
        "big5": "這是關於資料庫的說明,請先安裝驅動程式。" * 5,
        "shift_jis": "これはデータベースについてのページです。" * 5,
    }.get(encoding, "这是关于数据库的说明,请先安装驱动程序。" * 5)
    page = f"<html><head><meta charset='utf-8'></head><p>{text}</p></html>"
    (folder / "p.html").write_bytes(page.encode(encoding))
    (row,) = collect(folder).rows
    assert row.text == page
    assert row.meta["encoding"] != "utf-8"


def test_broken_bytes_are_said_in_the_ledger(collect: Collect, folder: Path) -> None:
    data = bytearray((ZH * 100).encode())
    data[301] = 0xFF
    (folder / "p.txt").write_bytes(bytes(data))
    found = collect(folder)
    assert "\ufffd" in found.texts[0]
    (edit,) = found.lines("edit")
    assert edit.rule == "broken-encoding"
    assert edit.value == found.texts[0].count("\ufffd") / len(found.texts[0])


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_a_cut_table_keeps_its_whole_rows(collect: Collect, folder: Path, ending: str) -> None:
    rows = [{"text": os.urandom(300).hex()} for _ in range(200)]
    packed = gzip.compress(TABLES[ending](rows))
    (folder / f"rows{ending}.gz").write_bytes(packed[: len(packed) // 2])
    found = collect(folder)
    assert 60 < len(found.texts) < 120
    assert found.texts == [row["text"] for row in rows[: len(found.texts)]]
    assert found.dropped == [("truncated", f"rows{ending}.gz#rest")]


def test_bad_rows_of_jsonl(collect: Collect, folder: Path) -> None:
    lines = [
        b'{"text": "good"}',
        b"{not json",
        b'["an array"]',
        b"",
        b'{"text": 5}',
        b'{"other": "x"}',
        b'{"text": "  "}',
        b'{"text": "lone \\ud800 surrogate"}',
        b'{"text": "' + b"x" * 300 + b'"}',
        b"[" * 5000,
        '{"text": "末行没有换行"}'.encode(),
    ]
    (folder / "r.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    found = collect(folder, max_bytes=200)
    assert found.texts == ["good", "lone \ufffd surrogate", "末行没有换行"]
    assert [rule for rule, _ in found.dropped] == [
        "bad-json",
        "bad-json",
        "missing-column",
        "missing-column",
        "empty",
        "too-large",
        "too-large",
    ]
    assert found.dropped[0][1] == "r.jsonl#row=2"


def test_bad_rows_of_csv(collect: Collect, folder: Path) -> None:
    (folder / "r.csv").write_bytes(
        '\ufefftext,title\r\n"a, ""quoted""\r\nover two lines",x\r\none,two,three\r\n\r\nshort\r\n'
        .encode()
    )  # fmt: skip
    found = collect(folder)
    assert found.texts == ['a, "quoted"\r\nover two lines', "short"]
    assert found.dropped == [("bad-csv", "r.csv#row=2")]


def test_a_quote_that_never_closes_does_not_eat_the_memory(collect: Collect, folder: Path) -> None:
    csv.field_size_limit(131072)
    (folder / "r.csv").write_bytes(b'text\ngood\n"never closed\n' + b"line of text\n" * 200_000)
    found = collect(folder, max_bytes=100_000)
    assert found.texts == ["good"]
    assert [rule for rule, _ in found.dropped] == ["bad-csv"]


def test_csv_in_another_encoding(collect: Collect, folder: Path) -> None:
    rows = [{"text": "这是关于数据库的说明。", "n": n} for n in range(30)]
    (folder / "gb.csv").write_bytes(as_csv(rows).decode().encode("gb18030"))
    (folder / "u16.csv").write_bytes(as_csv(rows).decode().encode("utf-16"))
    assert collect(folder).texts == [row["text"] for row in rows] * 2


def test_a_missing_column(collect: Collect, folder: Path) -> None:
    (folder / "a.csv").write_text("title,body\nx,y\n")
    with pytest.raises(DataError, match="no row has the column 'text'") as caught:
        collect(folder)
    assert caught.value.where is not None
    assert caught.value.where.endswith("a.csv")
    assert "title, body" in str(caught.value.hint)
    (folder / "b.csv").write_text("text\nhello\n")
    found = collect(folder)  # one file has it: the other is a matter of the ledger
    assert found.texts == ["hello"]
    assert found.dropped == [("missing-column", "a.csv#row=1")]


def test_equal_content_at_two_addresses_gives_two_rows(collect: Collect, folder: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text("the same words")
    (folder / "d.jsonl").write_text('{"text": "x"}\n' * 2)
    found = collect(folder)
    plain = content_id(str(folder), b"the same words")
    assert [row.id == plain for row in found.rows] == [True, False, False, False, False]
    assert [line.rule for line in found.lines("keep")] == [
        "read",
        "same-content",
        "same-content",
        "read",
        "same-content",
    ]
    assert found.lines("keep")[1].other_id == plain


def test_the_same_input_gives_the_same_bytes(collect: Collect, folder: Path, archive: Path) -> None:
    (folder / "r.jsonl").write_bytes(as_jsonl(ROWS))
    (folder / "p.html").write_text(ZH)
    first = collect(folder, archive, name="one").dataset.info.content_digest
    assert collect(folder, archive, name="two").dataset.info.content_digest == first


def test_a_limit_bounds_the_rows(collect: Collect, folder: Path) -> None:
    (folder / "r.jsonl").write_bytes(as_jsonl([{"text": str(n)} for n in range(100)]))
    found = collect({"source": str(folder), "limit": 3})
    assert found.texts == ["0", "1", "2"]
    assert found.dataset.info.counts["sources"][0]["stopped_at_limit"] == 3


def test_nothing_there(collect: Collect, folder: Path) -> None:
    with pytest.raises(DataError, match="no files"):
        collect(folder)
    (folder / "a.txt").write_text("x")
    with pytest.raises(DataError, match="no file is chosen"):
        collect({"source": str(folder), "include": ["*.html"]})
    with pytest.raises(SourceError, match="no such file"):
        collect(folder / "none")


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError, match="all pages would have one address"):
        CollectSettings.model_validate({"sources": [{"source": "a", "uri": "https://x/"}]})
    with pytest.raises(ValidationError):
        CollectSettings.model_validate({"sources": []})
    with pytest.raises(ValidationError):
        CollectSettings.model_validate({"sources": [{"source": "a", "licence": "MIT"}]})


def test_changed_files_change_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    def of(**more: Any) -> Any:
        read = CollectSettings.model_validate({"sources": [{"source": str(folder), **more}]})
        return external(read, Workspace(tmp_path))

    (folder / "a.txt").write_text("one")
    (folder / "b.md").write_text("two")
    first, chosen = of(), of(include=["*.txt"])
    os.utime(folder / "a.txt", (1, 1))
    assert of() == first
    (folder / "b.md").write_text("three")
    assert of() != first
    assert of(include=["*.txt"]) == chosen
    assert STAGES[0].kind == "collect"


def test_a_full_disk_leaves_what_was_there(
    collect: Collect, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.txt").write_text("one")
    before = collect(folder).dataset
    (folder / "b.txt").write_text("two")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(DataError, match="No space left"):
        collect(folder)
    monkeypatch.undo()
    assert before.find(f"file:{folder}/a.txt")
    assert sorted(p.name for p in before.path.parent.iterdir()) == ["out"]


def test_killed_in_the_middle_leaves_nothing_half_written(
    collect: Collect, folder: Path, tmp_path: Path
) -> None:
    for number in range(400):
        (folder / f"{number:03}.html").write_text(f"<p>{number} {ZH * 2000}</p>")
    code = (
        "import sys; from pathlib import Path\n"
        "from chatwright.collect.stages import CollectSettings, run_collect\n"
        "from chatwright.stage import StageContext; from chatwright.workspace import Workspace\n"
        "s = CollectSettings.model_validate({'sources': [{'source': sys.argv[1]}]})\n"
        "out = Path(sys.argv[2])\n"
        "print('go', flush=True)\n"
        "run_collect(s, StageContext('r', 'pages', 7, out, out, 'f', Workspace(out.parent)))\n"
    )
    output = tmp_path / "workspace" / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(output)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    deadline = time.monotonic() + 20
    while not list(output.parent.glob(".out.*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    found = collect(folder)
    assert len(found.rows) == 400
    assert sorted(p.name for p in output.parent.iterdir()) == ["out"]
