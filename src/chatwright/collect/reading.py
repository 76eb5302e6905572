"""One file of a source in, its items out: dispatch by what the file holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, cast

from chatwright.collect.arc import ArcAsWarc
from chatwright.collect.entries import Entry
from chatwright.collect.found import Found, Limits, Lost, Page
from chatwright.collect.members import GzipMembers
from chatwright.collect.tables import broken_off, read_csv, read_json, read_jsonl, read_parquet
from chatwright.collect.warc import read_warc
from chatwright.errors import ChatwrightError
from chatwright.sources.streams import Counted, Forgiving, decompressed, read_bounded, split_suffix


def read_entry(
    entry: Entry,
    media: str,
    limits: Limits,
    others: Counter[str],
    report: Callable[[int], None],
) -> Iterator[Found]:
    """The items of one file that holds `media`; `report` is told the stored bytes as they go by.

    A file that cannot be opened or read gives one `Lost`; nothing is raised for bad content.
    """
    try:
        handle = entry.open()
    except ChatwrightError:
        raise  # a source that fails (no network, disk full) is no matter of one file
    except Exception as error:  # zipfile and tarfile raise many kinds for damaged members
        yield Lost("unreadable", detail=_reason(error))
        return
    try:
        with handle:
            yield from _read(entry, media, handle, limits, others=others, report=report)
    except ChatwrightError:
        raise
    except OSError as error:
        yield Lost("unreadable", detail=_reason(error))


def _read(
    entry: Entry,
    media: str,
    handle: IO[bytes],
    limits: Limits,
    *,
    others: Counter[str],
    report: Callable[[int], None],
) -> Iterator[Found]:
    suffix = split_suffix(entry.path)[1]
    if media == "application/vnd.apache.parquet":
        packed = decompressed(handle, suffix) if suffix else None
        yield from read_parquet(handle, packed, limits)
        report(entry.size)
        return
    counted = cast(IO[bytes], Counted(handle, report))
    if media in ("application/warc", "application/x-arc"):
        yield from _archive(counted, media, suffix, limits, others)
        return
    stream = decompressed(counted, suffix)
    if media == "application/jsonl":
        yield from read_jsonl(stream, limits)
    elif media == "application/json":
        yield from read_json(stream, limits)
    elif media in ("text/csv", "text/tab-separated-values"):
        yield from read_csv(stream, limits, "\t" if media.startswith("text/tab") else ",")
    else:
        yield _page(entry, stream, media, limits, packed=bool(suffix))


def _archive(
    handle: IO[bytes], media: str, suffix: str, limits: Limits, others: Counter[str]
) -> Iterator[Found]:
    """Captures of the web. Gzip by members, so that a damaged one costs no other."""
    members = GzipMembers(handle) if suffix == ".gz" else None
    stream = (
        decompressed(handle, suffix) if members is None else Forgiving(cast(IO[bytes], members))
    )
    if media == "application/x-arc":
        stream = ArcAsWarc(stream)
    yield from read_warc(stream, limits, others, members)


def _page(entry: Entry, stream: Forgiving, media: str, limits: Limits, packed: bool) -> Found:
    if not packed and entry.size > limits.max_bytes:
        return Lost("too-large", entry.size, f"max {limits.max_bytes}", "bytes")
    content = read_bounded(stream, limits.max_bytes)
    if content is None:
        detail = "bytes when decompressed, and more follow"
        return Lost("too-large", limits.max_bytes + 1, f"max {limits.max_bytes}", detail)
    if stream.broken is not None:
        return broken_off(stream, "the end of the page")
    return Page(content, media)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
