"""Lists of domains and addresses: every form of line, tricks of addresses, long lists."""

from __future__ import annotations

import gzip
import pickle
import random
import time
import tracemalloc
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chatwright.curate.candidate import Candidate
from chatwright.curate.lists import (
    MAX_GLOBS,
    Address,
    Glob,
    ListSettings,
    external,
    make_step,
    parse_address,
    read_list,
)
from chatwright.errors import DataError, UsageError
from chatwright.records import Document

LINES = """\
# a comment
! another
plain.example
UPPER.Example.
0.0.0.0 hosts-one.example hosts-two.example # both
127.0.0.1 localhost
::1 ip6-localhost
||adblock.example^
https://prefix.example/forum/
path.example/a/b
path.example/search?q=1
*.below.example
.xxx
glob.example/*/print
ads*.example
b\u00fccher.example
\u4f8b\u3048.example/\u9053
192.0.2.7
port.example:8080
user@login.example

trailing.example   # why
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "block.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("uri", "entry"),
    [
        ("https://plain.example/x", "plain.example"),
        ("http://deep.sub.plain.example", "plain.example"),
        ("https://notplain.example/", None),
        ("https://plain.example.org/", None),
        ("HTTPS://PLAIN.EXAMPLE:443/", "plain.example"),
        ("https://plain.example./", "plain.example"),
        ("https://user:pw@plain.example/", "plain.example"),
        ("https://plain.example@other.example/", None),
        ("https:\\\\plain.example\\x", "plain.example"),
        ("https://upper.example", "upper.example"),
        ("https://hosts-two.example/", "hosts-two.example"),
        ("http://localhost/", None),
        ("https://adblock.example/", "adblock.example"),
        ("https://prefix.example/", None),
        ("https://prefix.example/forum", "prefix.example/forum"),
        ("https://www.prefix.example/forum/1?x=2#y", "prefix.example/forum"),
        ("https://prefix.example/forums", None),
        ("https://path.example/a/b/c", "path.example/a/b"),
        ("https://path.example/a/bc", None),
        ("https://path.example/search?q=1", "path.example/search?q=1"),
        ("https://path.example/search?q=12", None),
        ("https://below.example/", None),
        ("https://x.below.example/", "*.below.example"),
        ("https://any.thing.xxx/", "*.xxx"),
        ("https://glob.example/2024/5/print", "glob.example/*/print"),
        ("https://glob.example/2024/5/prints", None),
        ("https://ads7.example/", "ads*.example"),
        ("https://b\u00fccher.example/", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://\u4f8b\u3048.example/\u9053/1", "xn--r8jz45g.example/%E9%81%93"),
        ("https://xn--r8jz45g.example/%E9%81%93", "xn--r8jz45g.example/%E9%81%93"),
        ("http://192.0.2.7/", "192.0.2.7"),
        ("http://1.192.0.2.7.example/", None),
        ("https://port.example/", "port.example"),
        ("https://login.example/", "login.example"),
        ("https://trailing.example/", "trailing.example"),
        ("file:///home/x/plain.example", None),
        ("plain.example", None),
        ("https://[::1]/", None),
        ("https://[broken", None),
        ("https://" + "a." * 5000 + "example", None),
        ("https://a..example/", None),
        ("", None),
    ],
)
def test_every_form_of_line_and_address(listed: Path, uri: str, entry: str | None) -> None:
    address = parse_address(uri)
    found = None if address is None else read_list(listed).match(address)
    assert found == entry


def test_comments_and_local_names_are_no_entries_and_odd_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_text("# x\n127.0.0.1 localhost\ngood.example\nword\nother.example\n*\n")
    found = read_list(path)
    assert (found.entries, found.skipped) == (2, 2)


def test_what_is_no_list_is_an_error_that_names_a_line(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("Call me Ishmael.\nSome years ago\nnever mind how long\n")
    with pytest.raises(DataError, match=r"line 1: Call me Ishmael") as raised:
        read_list(path)
    assert "book.txt" in str(raised.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_list(tmp_path / "missing.txt")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"a.example\n" * 5000)[:-20])
    with pytest.raises(DataError, match=r"cut\.gz"):
        read_list(cut)
    many = tmp_path / "globs.txt"
    many.write_text("".join(f"a*{n}.example\n" for n in range(MAX_GLOBS + 2)))
    with pytest.raises(DataError, match="patterns"):
        read_list(many)


def test_bytes_that_are_no_text_and_lines_without_end_are_survived(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_bytes(
        b"\xff\xfe\x00\n" + b"a" * 1_000_000 + b"\na.example\nb.example\nd.example\n" + b"c" * 99
    )
    found = read_list(path)
    assert found.entries == 3 and found.skipped == 3


_PART = st.text(alphabet="ab/.", max_size=6)


@given(st.lists(_PART, min_size=1, max_size=5).map("*".join), st.text(alphabet="ab/.", max_size=20))
@settings(max_examples=300)
def test_globs_match_as_fnmatch_does(pattern: str, text: str) -> None:
    host, _, path = text.partition("/")
    address = Address(host, "/" + path)
    against = host + "/" + path if "/" in pattern else host
    assert Glob(pattern).matches(address) == fnmatchcase(against, pattern)


def test_a_glob_of_many_stars_is_no_trap() -> None:
    start = time.perf_counter()
    assert not Glob("a*" * 500 + "b/").matches(Address("a" * 100_000, "/"))
    assert time.perf_counter() - start < 1


def test_a_long_list_takes_little_memory_and_a_lookup_no_longer(tmp_path: Path) -> None:
    def write(n: int) -> Path:
        path = tmp_path / f"{n}.txt.gz"
        lines = "".join(f"host{i * 7919 % 1_000_003}.example\n" for i in range(n))
        path.write_bytes(gzip.compress(lines.encode(), 1))
        return path

    def seconds(path: Path) -> float:
        found = read_list(path)
        addresses = [
            Address(f"a.host{random.Random(i).randrange(10**7)}.example", "/") for i in range(300)
        ]
        best = 9.0
        for _ in range(5):
            start = time.perf_counter()
            for address in addresses:
                found.match(address)
            best = min(best, time.perf_counter() - start)
        return best

    short, long = write(200), write(60_000)
    tracemalloc.start()
    found = read_list(long)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.entries == 60_000 and peak < 6_000_000  # a set of these strings takes 8 MB
    assert all(
        found.match(Address(f"host{i * 7919 % 1_000_003}.example", "/"))
        for i in range(0, 60_000, 997)
    )
    assert found.match(Address("host1000004.example", "/")) is None
    assert seconds(long) < 5 * seconds(short)


def _run(settings: ListSettings, *uris: str) -> list[tuple[str, str | None, str | None]]:
    step = make_step(settings)
    assert step is not None
    step = pickle.loads(pickle.dumps(step))
    rows = [Candidate(Document(str(n), "", uri, "s"), "c", "") for n, uri in enumerate(uris)]
    step(rows)
    return [(e.rule, e.bound, e.detail) for row in rows for e in row.lines]


def test_block_allow_and_only(tmp_path: Path) -> None:
    block, allow, only = (tmp_path / f"{name}.txt" for name in ("block", "allow", "only"))
    block.write_text("bad.example\nworse.example/x\n")
    allow.write_text("good.bad.example\n")
    only.write_text("bad.example\nfine.example\n")
    uris = (
        "https://a.bad.example/1",
        "https://good.bad.example/",
        "https://fine.example/",
        "file:x",
    )
    assert _run(ListSettings(block=(str(block),), allow=(str(allow),)), *uris) == [
        ("block-list", "block.txt", "bad.example")
    ]
    assert _run(ListSettings(only=(str(only),)), *uris, "https://new.example/") == [
        ("only-list", "only.txt", "no host"),
        ("only-list", "only.txt", "new.example"),
    ]
    assert make_step(None) is None and make_step(ListSettings()) is None


def test_a_changed_list_is_another_fingerprint_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_text("one.example\n")
    chosen = ListSettings(block=(str(path),))
    before = external(chosen)
    assert _run(chosen, "https://two.example/") == []
    path.write_text("one.example\ntwo.example\n")
    assert external(chosen) != before
    assert len(_run(chosen, "https://two.example/")) == 1
    with pytest.raises(UsageError, match="there is no list"):
        external(ListSettings(block=(str(tmp_path / "none"),)))
    with pytest.raises(ValidationError):
        ListSettings(blok=())  # type: ignore[call-arg]


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_is_survived_as_an_address(text: str) -> None:
    for uri in (text, f"https://{text}", f"https://a.example/{text}"):
        address = parse_address(uri)
        if address is not None:
            assert address.host.isascii() and address.host == address.host.lower()
