from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from chatwright.sources.streams import Counted, decompressed, read_bounded, split_suffix

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
TEXT = ("A page about 数据库 number %d. " * 3000 % tuple(range(3000))).encode()


@pytest.mark.parametrize("suffix", PACK)
@given(parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=3), step=st.integers(1, 5000))
def test_what_was_packed_comes_out(suffix: str, parts: list[bytes], step: int) -> None:
    """Several frames one after another are one file, as `cat a.gz b.gz` makes them."""
    packed = b"".join(PACK[suffix](part) for part in parts)
    stream = decompressed(io.BytesIO(packed), suffix)
    out = b""
    while block := stream.read(step):
        out += block
    assert out == b"".join(parts)
    assert (stream.broken, stream.count) == (None, len(out))


@pytest.mark.parametrize("suffix", [s for s in PACK if s])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_cut_file_gives_its_beginning_and_says_so(suffix: str, share: float) -> None:
    packed = PACK[suffix](TEXT)
    stream = decompressed(io.BytesIO(packed[: int(len(packed) * share)]), suffix)
    out = b""
    while block := stream.read(1 << 20):
        out += block
    assert stream.broken
    assert TEXT.startswith(out)
    if suffix == ".gz":  # the others work in blocks as large as this text
        assert len(out) > 0.8 * share * len(TEXT)


@pytest.mark.parametrize("suffix", [s for s in PACK if s])
def test_garbage_is_broken_and_not_an_error(suffix: str) -> None:
    stream = decompressed(io.BytesIO(b"certainly not compressed" * 10), suffix)
    assert stream.read() == b""
    assert stream.broken


@pytest.mark.parametrize("suffix", PACK)
def test_a_bound_stops_a_bomb(suffix: str) -> None:
    packed = PACK[suffix](b"\0" * 30_000_000)
    raw = io.BytesIO(packed)
    stream = decompressed(raw, suffix)
    assert read_bounded(stream, 1_000_000) is None
    assert stream.count == 1_000_001
    assert read_bounded(decompressed(io.BytesIO(PACK[suffix](b"abc")), suffix), 3) == b"abc"


def test_counted_reports_every_byte() -> None:
    seen: list[int] = []
    stream = decompressed(Counted(io.BytesIO(gzip.compress(TEXT)), seen.append), ".gz")
    assert read_bounded(stream, 10**9) == TEXT
    assert sum(seen) == len(gzip.compress(TEXT))


def test_suffixes() -> None:
    assert split_suffix("a/b.jsonl.GZ") == ("a/b.jsonl", ".gz")
    assert split_suffix("b.warc.lz4") == ("b.warc.lz4", "")
