from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright.collect.entries import Selection, is_data, local_path, media_type, open_source
from chatwright.progress import Silent


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("doc/**/*.html", ["doc/a.html", "doc/x/y/b.html"], ["a.html", "doc/a.htm", "xdoc/a.html"]),
        ("*.md", ["a.md", "deep/er/a.md"], ["a.mdx"]),
        ("doc/*.md", ["doc/a.md"], ["doc/x/a.md", "a.md"]),
        ("doc/**", ["doc/a", "doc/x/y"], ["doc", "docs/a"]),
        ("**/tests/**", ["tests/a", "x/tests/y/a"], ["tests", "x/test/a"]),
        ("a?.t[xy]t", ["ab.txt", "ab.tyt"], ["a.txt", "ab.tzt", "a/.txt"]),
        ("[!a].txt", ["b.txt"], ["a.txt"]),
        ("./a+(b).txt", ["a+(b).txt"], ["aab.txt"]),
        ("文档/**/*.txt", ["文档/数据.txt", "文档/a/b.txt"], ["档/a.txt"]),
    ],
)
def test_globs(pattern: str, yes: list[str], no: list[str]) -> None:
    selected = Selection([pattern], [])
    assert [path for path in yes + no if selected(path)] == yes


def test_exclude_goes_before_include_and_hidden_files_are_left_out() -> None:
    selected = Selection(["**/*.txt"], ["drafts/**"])
    assert selected("a/b.txt")
    assert not selected("drafts/b.txt")
    everything = Selection([], [])
    assert everything("a/b.txt")
    assert not everything(".git/config")
    assert not everything("a/.hidden.txt")
    assert not everything("site.crawl/ledger.jsonl")


@given(st.lists(st.text("ab*?[].\\", min_size=1, max_size=5), min_size=1, max_size=4))
def test_any_pattern_compiles(parts: list[str]) -> None:
    Selection(["/".join(parts)], [])("a/b")


def test_a_folder_is_listed_in_order_whatever_the_disk_says(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "a.txt", "Z.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere.txt")
    with open_source(str(tmp_path), None, Selection([], []), Silent()) as opened:
        paths = [entry.path for entry in opened.entries]
        assert paths == ["Z.txt", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt"]
        assert [name for name, _ in opened.left_out] == ["dangling.txt"]


def test_media_types() -> None:
    assert media_type("a/b.HTML.gz") == "text/html"
    assert media_type("x.warc.lz4") == media_type("x.warc.gz") == "application/warc"
    assert media_type("x.rst") == "text/x-rst"
    assert media_type("x.png") is media_type("README") is media_type("x.lz4") is None


def test_data_files_of_a_hub_data_set() -> None:
    assert is_data("data/train.parquet")
    assert is_data("a.jsonl.zst")
    assert not is_data("README.md")
    assert not is_data("sub/dataset_infos.json")
    assert not is_data("LICENSE.txt")


def test_local_references(tmp_path: Path) -> None:
    assert local_path(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert local_path("file:docs") == local_path("docs") == Path("docs")
    assert local_path("pypi:x==1") is local_path("hf:a/b") is local_path("https://x/y") is None
