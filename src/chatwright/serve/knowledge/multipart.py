"""One uploaded file (RFC 7578), read into memory within bounds; nothing is spooled to disk.

Starlette's reader takes a thousand files and writes them, in clear, into the temporary folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from chatwright.assist.documents import clean_name
from chatwright.serve.errors import ApiError
from chatwright.serve.knowledge.limits import KnowledgeLimits

_OVERHEAD = 64 * 1024  # of a body beside its file: boundaries, headers, fields
_FIELD_BYTES = 1_000
_HEADERS, _HEADER_BYTES = 8, 2_048
_MOST_FIELDS = 8


@dataclass(frozen=True, slots=True)
class Upload:
    """A file and the fields beside it. `name` is cleaned, and never empty."""

    name: str
    data: bytes
    fields: dict[str, str]


class Uploads:
    """Counts the uploads under way; each may hold `upload_bytes` in memory.

    Nobody has more than their share: who sends slowly must not keep others out.
    """

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._of: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        return self._of.total()

    @contextmanager
    def one(self, person_id: str) -> Iterator[None]:
        """Take a place. Raises `ApiError` 429 where there is none for this person."""
        if self.taken >= self._most or self._of[person_id] >= self._each:
            raise ApiError(
                429, "too many files are being uploaded; try again in a moment", code="server_busy"
            )
        self._of[person_id] += 1
        try:
            yield
        finally:
            self._of[person_id] -= 1
            if not self._of[person_id]:
                del self._of[person_id]


async def read_upload(
    request: Request, limits: KnowledgeLimits, *, fields: Collection[str] = ()
) -> Upload:
    """The one file of a request, in the field `file`, with those of the named `fields` there are.

    Raises `ApiError`: 400 for a body that is malformed, has a second file, no file, or a field that
    is not known; 408 too slow; 413 too large; 415 another type.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data":
        raise ApiError(415, "send the file as multipart/form-data", code="unsupported_media_type")
    if not 1 <= len(boundary) <= 70:  # RFC 2046
        raise _malformed("the content type names no boundary")
    most = limits.upload_bytes + _OVERHEAD
    told = request.headers.get("content-length", "0")
    if told.isdigit() and (len(told) > 18 or int(told) > most):
        raise _too_large(limits)
    form = _Form(limits, fields)
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": form.begin,
            "on_header_field": form.header_field,
            "on_header_value": form.header_value,
            "on_header_end": form.header_end,
            "on_headers_finished": form.headers_finished,
            "on_part_data": form.data,
            "on_part_end": form.end_part,
            "on_end": form.end,
        },
        max_header_count=_HEADERS,
        max_header_size=_HEADER_BYTES,
    )
    size = 0
    try:
        with anyio.fail_after(limits.upload_seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _too_large(limits)
                parser.write(part)
        parser.finalize()
    except TimeoutError as error:
        raise ApiError(408, "the file did not arrive in time", code="timeout") from error
    except ClientDisconnect as error:
        raise _malformed("the body was cut off") from error
    except FormParserError as error:
        raise _malformed("the body is no well-formed multipart/form-data") from error
    return form.upload()


@dataclass(slots=True)
class _Form:
    """What the parser calls, part by part."""

    limits: KnowledgeLimits
    known: Collection[str]
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    part: str = ""  # the field that is being read
    body: bytearray = field(default_factory=bytearray)
    most: int = 0
    file_name: str | None = None
    file: bytearray | None = None
    fields: dict[str, str] = field(default_factory=dict)
    whole: bool = False

    def begin(self) -> None:
        self.headers = {}
        self.body = bytearray()
        self.part = ""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        self.headers[bytes(self.name).lower()] = bytes(self.value)
        self.name.clear()
        self.value.clear()

    def headers_finished(self) -> None:
        told = self.headers.get(b"content-disposition", b"").decode("latin-1")
        kind, options = parse_options_header(told)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise _malformed("a part has no name")
        if b"content-transfer-encoding" in self.headers:
            raise _malformed("a part is transfer-encoded, which RFC 7578 does not allow")
        self.part = name
        if name == "file":
            if self.file is not None:
                raise ApiError(400, "send one file at a time", param="file", code="too_many_files")
            if b"filename" not in options:
                raise ApiError(
                    400, "the field 'file' holds no file", param="file", code="invalid_value"
                )
            self.file_name = clean_name(options[b"filename"].decode("utf-8", "replace"))
            self.file = self.body
            self.most = self.limits.upload_bytes
            return
        if name not in self.known or b"filename" in options:
            raise ApiError(
                400, f"unknown field {name[:60]!r}", param=name[:60], code="unknown_parameter"
            )
        if name in self.fields or len(self.fields) >= _MOST_FIELDS:
            raise ApiError(
                400, f"the field {name!r} is there twice", param=name, code="invalid_value"
            )
        self.fields[name] = ""
        self.most = _FIELD_BYTES

    def data(self, data: bytes, start: int, end: int) -> None:
        self.body += data[start:end]
        if len(self.body) > self.most:
            if self.part == "file":
                raise _too_large(self.limits)
            raise ApiError(400, f"{self.part}: too long", param=self.part, code="invalid_value")

    def end_part(self) -> None:
        if self.part != "file":
            self.fields[self.part] = self.body.decode("utf-8", "replace")

    def end(self) -> None:
        self.whole = True

    def upload(self) -> Upload:
        if not self.whole:
            raise _malformed("the body ends in the middle of a part")
        if self.file is None or self.file_name is None:
            raise ApiError(
                400, "the field 'file' is missing", param="file", code="missing_required_parameter"
            )
        return Upload(self.file_name, bytes(self.file), self.fields)


def _malformed(why: str) -> ApiError:
    return ApiError(400, why, code="invalid_multipart")


def _too_large(limits: KnowledgeLimits) -> ApiError:
    return ApiError(
        413,
        f"the file is larger than {limits.upload_bytes >> 20} MB"
        if limits.upload_bytes >= 1 << 20
        else f"the file is larger than {limits.upload_bytes} bytes",
        param="file",
        code="file_too_large",
    )
