"""Pages of WARC files (Common Crawl, wget, Heritrix): plain, gzip or LZ4; whole, cut or quirky."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from fastwarc.stream_io import BrotliReader, ChunkedReader, GzipReader
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.parse.encoding import detect_mime

from chatwright.collect.found import Found, Limits, Lost, Page
from chatwright.collect.members import GzipMembers
from chatwright.sources.streams import Forgiving

_TEXT = {
    "text/html": "text/html",
    "application/xhtml+xml": "text/html",
    "text/plain": "text/plain",
    "text/markdown": "text/markdown",
}
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_HEAD = 1 << 16
_TARGET = re.compile(rb"^WARC-Target-URI:[ \t]*([^\r\n]{1,8000})", re.I | re.M)
_SLACK = 300  # bytes of white space and folded headers between two records that mean nothing
_PAGES = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion


def read_warc(
    stream: Forgiving,
    limits: Limits,
    others: Counter[str],
    members: GzipMembers | None = None,
) -> Iterator[Found]:
    """The pages in a WARC stream (gzip and zstd already undone; fastwarc undoes LZ4).

    A page is a `response` with a 2xx status, or a `resource` or `conversion` (WET) record, with a
    text payload. A `revisit` says that a page was as before, a `metadata` record of our own crawls
    why there is no capture. Requests, other metadata and the like are no pages: `others` counts
    them by type. A record that is shorter than it announces is lost; so is a damaged one of
    `members`, and in a file that is not made of members what comes after a damaged place.
    """
    yield from _read(stream, limits, others, members)
    if members is not None:
        yield from _damaged(members)


def _damaged(members: GzipMembers) -> Iterator[Lost]:
    """A line for each member that could not be unpacked, with its address where that was told."""
    while members.damaged:
        member = members.damaged.popleft()
        match = _TARGET.search(member.data[:_HEAD])
        uri = match[1].decode("utf-8", "replace").strip("<> ") if match else None
        detail = f"its compressed record is damaged: {member.reason}"
        members.passed += 1
        suffix = "" if uri else f"#damaged={members.passed}"
        content = member.data or None
        yield Lost("unreadable", len(member.data), None, detail, suffix, uri, content)


def _read(
    stream: Forgiving, limits: Limits, others: Counter[str], members: GzipMembers | None
) -> Iterator[Found]:
    cut = False
    number = 0
    end = 0  # where the record before ended
    packed = False  # LZ4: positions then count packed bytes and tell nothing
    try:
        # Quirks mode: ClueWeb ends header lines with a bare LF. Payloads are decoded below, since
        # crawlers often keep `Content-Encoding: gzip` over a body that they have unpacked.
        for record in ArchiveIterator(stream, quirks_mode=True, fsspec_args=False):
            if members is not None and members.damaged:
                yield from _damaged(members)
            number += 1
            if number == 1:
                packed = record.stream_pos == 0 and stream.first == _LZ4_MAGIC
            if not packed and record.stream_pos - end > _SLACK:
                yield _gap(record.stream_pos - end, number)
            end = _end_of(record)
            if not record.record_type & _PAGES:
                told = _told(record)
                if told is not None:
                    yield told
                    cut = False
                    continue
                others[str(record.record_type)] += 1
                cut = False
                continue
            found = _record(record, limits)
            cut = isinstance(found, Lost) and found.rule == "truncated"
            if found is None:
                others[_no_page(record)] += 1
            else:
                yield found
    except OSError as error:
        detail = f"after record {number}: {error}; the rest of the file was not read"
        yield Lost("unreadable", detail=detail, suffix="#rest")
        return
    if stream.broken is not None and not cut:
        detail = f"after record {number}: {stream.broken}"
        yield Lost("truncated", stream.count, None, detail, suffix="#rest")
    elif number == 0:
        yield Lost("unreadable", detail="it holds no WARC record")
    elif not packed and not cut and stream.count - end > _SLACK:
        yield _gap(stream.count - end, number + 1)


def _end_of(record: Any) -> int:
    """The position after a record, by its own headers."""
    pairs = record.headers.items_bytes()
    head = sum(len(name) + len(value) + 4 for name, value in pairs) + 12
    length = record.headers.get("Content-Length") or ""
    return int(record.stream_pos) + head + (int(length) if length.isdigit() else 0)


def _gap(size: int, number: int) -> Lost:
    """What fastwarc passes over in search of the next record must not vanish silently."""
    detail = f"bytes before record {number} that are no record"
    return Lost("unreadable", size, detail=detail, suffix=f"#gap={number}")


def _record(record: Any, limits: Limits) -> Found | None:  # noqa: PLR0911
    uri = (record.headers.get("WARC-Target-URI") or "").strip("<>") or None
    if uri is not None and (uri.startswith("metadata:") or _host_file(uri)):
        return None  # the crawler's own log (wget keeps it as a resource), or what crawlers read
    suffix = "" if uri else f"#record={record.record_id or record.stream_pos}"
    date: dt.datetime | None = record.record_date
    http = record.http_headers if record.is_http_parsed else None
    if record.record_type == WarcRecordType.response:
        status = http.status_code if http is not None else None
        if status is None and record.reader.consume() < record.content_length:
            return Lost("truncated", detail="within its HTTP header", suffix=suffix, uri=uri)
        if status is None:
            return Lost("unreadable", detail="no HTTP status line", suffix=suffix, uri=uri)
        if not 200 <= status < 300:
            return Lost("http-status", status, "200 to 299", None, suffix, uri)
    announced = record.content_length
    if announced > limits.max_bytes:
        return Lost("too-large", announced, f"max {limits.max_bytes}", "bytes", suffix, uri)
    raw = record.reader.read()
    if len(raw) < announced:
        return Lost("truncated", len(raw), f"min {announced}", "bytes", suffix, uri)
    body = _decoded(raw, http, limits)
    if body is None:
        detail = "bytes when decompressed"
        return Lost("too-large", None, f"max {limits.max_bytes}", detail, suffix, uri)
    media, charset = _media_type(record, http, body)
    if media not in _TEXT:
        return Lost("not-text", detail=media, suffix=suffix, uri=uri, content=body)
    cut = record.headers.get("WARC-Truncated")
    time = date.replace(microsecond=0) if date is not None else None
    headers = tuple(http.to_tuples()) if http is not None else ()
    digest = record.headers.get("WARC-Payload-Digest")
    return Page(body, _TEXT[media], charset, uri, suffix, time, cut, headers, digest)


def _told(record: Any) -> Lost | None:
    """What a record without a capture says about a page: that it was as before, or why not kept."""
    uri = (record.headers.get("WARC-Target-URI") or "").strip("<>") or None
    if record.record_type == WarcRecordType.revisit and uri is not None:
        digest = record.headers.get("WARC-Payload-Digest") or ""
        date = record.headers.get("WARC-Refers-To-Date") or "an earlier time"
        return Lost("revisit", detail=f"as at {date}", uri=uri, revisit_of=digest)
    if record.record_type == WarcRecordType.metadata and uri is not None:
        fields = _warc_fields(record)
        verdict = fields.get("chatwright-verdict")
        if verdict:
            said = fields.get("chatwright-signals")
            return Lost(verdict[:40], detail=said and f"by the crawl: {said[:300]}", uri=uri)
    return None


def _warc_fields(record: Any) -> dict[str, str]:
    """The lines of a metadata record of type application/warc-fields."""
    media = (record.headers.get("Content-Type") or "").lower()
    if "warc-fields" not in media or record.content_length > _HEAD:
        return {}
    lines = record.reader.read().decode("utf-8", "replace").splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _no_page(record: Any) -> str:
    uri = (record.headers.get("WARC-Target-URI") or "").strip("<>")
    return "host-file" if _host_file(uri) else "resource"


def _host_file(uri: str) -> bool:
    """Files that speak to crawlers and are no pages."""
    path = uri.partition("://")[2].partition("/")[2]
    return path in ("robots.txt", "ai.txt", ".well-known/tdmrep.json")


def _media_type(record: Any, http: Any, body: bytes) -> tuple[str, str | None]:
    """Media type and charset: of the HTTP header, else of the record, else sniffed."""
    if http is not None:
        media, charset = record.http_content_type, record.http_charset
    else:
        media, charset = (record.headers.get("Content-Type") or "").split(";")[0].strip(), None
    if not media:
        media = detect_mime(body[:4096]) if body else "text/plain"
    return media.lower(), charset


def _decoded(raw: bytes, http: Any, limits: Limits) -> bytes | None:
    """The payload without transfer and content encoding; None where it swells past the bound."""
    if http is None:
        return raw
    body: bytes | None = raw
    if "chunked" in (http.get("Transfer-Encoding") or "").lower() and _chunked(raw):
        body = _through(ChunkedReader, raw, limits)
    for coding in reversed((http.get("Content-Encoding") or "").lower().split(",")):
        if body is None:
            return None
        if coding.strip() in ("gzip", "x-gzip") and body.startswith(b"\x1f\x8b"):
            body = _through(GzipReader, body, limits)
        elif coding.strip() == "br":
            body = _through(BrotliReader, body, limits)
    return body


def _chunked(raw: bytes) -> bool:
    size = raw[:18].split(b"\r\n")[0].split(b";")[0].strip()
    return bool(size) and all(c in b"0123456789abcdefABCDEF" for c in size)


def _through(reader: Any, data: bytes, limits: Limits) -> bytes | None:
    """`data` through a decoding reader; as it is where the header lied about it."""
    source: IO[bytes] = io.BytesIO(data)
    out = bytearray()
    try:
        stream = reader(source, fsspec_args=False)
        while block := stream.read(1 << 16):
            out += block
            if len(out) > limits.max_bytes:
                return None
    except OSError:
        return bytes(out) if out else data
    return bytes(out) if out else data
