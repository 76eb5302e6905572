"""The crawl's WARC file: one gzip member a record, mended where it was cut."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import hashlib
import io
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fastwarc.warc import WarcRecord, WarcRecordType

from chatwright.collect.crawl.fetch import Answer

REVISIT_PROFILE = "http://netpreserve.org/warc/1.1/revisit/{}"
_BLOCK = 1 << 20
# Headers that were true of the transfer and are not of what is stored.
_RENAMED = {b"transfer-encoding", b"trailer"}


def payload_digest(body: bytes) -> str:
    """SHA-1 in base 32, as WARC files have it: it tells captures apart and protects nothing."""
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    return "sha1:" + base64.b32encode(digest).decode()


def stamp(time: dt.datetime) -> str:
    """A WARC-Date."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


class WarcFile:
    """Appends captures to a `.warc.gz`. `size` is where the next one goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")
        self.size = self._file.tell()

    def info(self, fields: Mapping[str, str], time: dt.datetime) -> None:
        """The record that says who made the file, with what, and how."""
        record = _record(WarcRecordType.warcinfo, self.path.name, "info", time)
        record.headers["WARC-Filename"] = self.path.name
        record.headers["Content-Type"] = "application/warc-fields"
        record.set_bytes_content(_fields(fields))
        self._write([record])

    def capture(self, answer: Answer, fields: Mapping[str, str]) -> None:
        """An answer with its request, and what the crawl knows of them as metadata."""
        response = _record(WarcRecordType.response, answer.url, "response", answer.time)
        response.headers["WARC-Target-URI"] = answer.url
        response.headers["Content-Type"] = "application/http; msgtype=response"
        response.headers["WARC-Payload-Digest"] = payload_digest(answer.body)
        if answer.ip:
            response.headers["WARC-IP-Address"] = answer.ip
        response.set_bytes_content(_head(answer) + answer.body)
        self._write([response, *self._beside(answer, fields, response)])

    def revisit(
        self, answer: Answer, fields: Mapping[str, str], *, profile: str, digest: str, date: str
    ) -> None:
        """The page as it was at `date` (WARC 1.1, 6.7).

        `profile`: `server-not-modified` or `identical-payload-digest`.
        """
        record = _record(WarcRecordType.revisit, answer.url, "revisit", answer.time)
        record.headers["WARC-Target-URI"] = answer.url
        record.headers["Content-Type"] = "application/http; msgtype=response"
        record.headers["WARC-Profile"] = REVISIT_PROFILE.format(profile)
        record.headers["WARC-Refers-To-Target-URI"] = answer.url
        record.headers["WARC-Refers-To-Date"] = date
        record.headers["WARC-Payload-Digest"] = digest
        if answer.ip:
            record.headers["WARC-IP-Address"] = answer.ip
        record.set_bytes_content(_head(answer))
        self._write([record, *self._beside(answer, fields, record)])

    def note(self, url: str, fields: Mapping[str, str], time: dt.datetime) -> None:
        """What became of an address that gave no capture: a metadata record alone."""
        self._write([_metadata(url, fields, time, None)])

    def _beside(
        self, answer: Answer, fields: Mapping[str, str], capture: WarcRecord
    ) -> list[WarcRecord]:
        request = _record(WarcRecordType.request, answer.url, "request", answer.time)
        request.headers["WARC-Target-URI"] = answer.url
        request.headers["Content-Type"] = "application/http; msgtype=request"
        request.headers["WARC-Concurrent-To"] = capture.headers["WARC-Record-ID"]
        request.set_bytes_content(answer.request)
        identity = capture.headers["WARC-Record-ID"]
        return [request, _metadata(answer.url, fields, answer.time, identity)]

    def _write(self, records: Sequence[WarcRecord]) -> None:
        """All records in one write: a kill leaves all of them, or a rest that `mend` takes off."""
        out = bytearray()
        for record in records:
            plain = io.BytesIO()
            record.write(plain, checksum_data=True)
            out += gzip.compress(plain.getvalue(), 6, mtime=0)
        self._file.write(out)
        self._file.flush()
        self.size += len(out)

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _record(kind: WarcRecordType, url: str, what: str, time: dt.datetime) -> WarcRecord:
    # The name is made from what it names, so that a crawl done again gives the same one.
    name = uuid.uuid5(uuid.NAMESPACE_URL, f"{what} {stamp(time)} {url}")
    record = WarcRecord()
    record.init_headers(kind, record_urn=f"uuid:{name}".encode())
    record.headers["WARC-Date"] = stamp(time)
    return record


def _metadata(url: str, fields: Mapping[str, str], time: dt.datetime, of: str | None) -> WarcRecord:
    record = _record(WarcRecordType.metadata, url, "metadata", time)
    record.headers["WARC-Target-URI"] = url
    record.headers["Content-Type"] = "application/warc-fields"
    if of is not None:
        record.headers["WARC-Concurrent-To"] = of
    record.set_bytes_content(_fields(fields))
    return record


def _fields(fields: Mapping[str, str]) -> bytes:
    clean = ((name, " ".join(value.split())) for name, value in fields.items())
    return "".join(f"{name}: {value}\r\n" for name, value in clean).encode()


def _head(answer: Answer) -> bytes:
    """Status line and headers, as they came but for those of the transfer."""
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}".rstrip().encode("latin-1", "replace")]
    for name, value in answer.headers:
        prefix = b"X-Crawler-" if name.lower() in _RENAMED else b""
        lines.append(prefix + name + b": " + value)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def whole_size(path: Path) -> int:
    """The bytes of a gzip file up to the end of its last whole member."""
    whole, position = 0, 0
    member = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        block = file.read(_BLOCK)
        while block:
            try:
                member.decompress(block, _BLOCK)
                while member.unconsumed_tail and not member.eof:  # at the end it never empties
                    rest = member.unconsumed_tail
                    member.decompress(rest, _BLOCK)
            except zlib.error:
                return whole
            position += len(block) - len(member.unused_data)
            if member.eof:
                whole = position
                block = member.unused_data or file.read(_BLOCK)
                member = zlib.decompressobj(wbits=31)
            else:
                block = file.read(_BLOCK)
    return whole
