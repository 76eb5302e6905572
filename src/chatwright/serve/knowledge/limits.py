"""Bounds on what people upload and search."""

from __future__ import annotations

from dataclasses import dataclass, field

from chatwright.assist.documents import DocumentError, DocumentLimits
from chatwright.serve.errors import ApiError

_STATUS = {"unsupported": 415, "too_large": 413, "unreadable": 400, "empty": 400, "busy": 503}
_CODES = {
    "unsupported": "unsupported_file",
    "too_large": "file_too_large",
    "unreadable": "file_unreadable",
    "empty": "file_empty",
    "busy": "server_busy",
}


@dataclass(frozen=True, slots=True)
class KnowledgeLimits:
    """What one person, collection or request may take.

    `upload_bytes` and `upload_seconds` are of one upload, `uploads` how many the server takes in at
    one time (`uploads_each` of one person). A person has at most `collections`, and `files` of
    `file_bytes` together; a collection `documents` and `passages`. An attachment's text is cut to
    `attachment_characters`. A search goes over `searched` collections at most; indexes of
    `cached_passages` together stay in memory.
    `inputs` are the texts of one request for embeddings, each of `tokens` and all of `all_tokens`.
    """

    document: DocumentLimits = field(default_factory=DocumentLimits)
    upload_bytes: int = 25 << 20
    upload_seconds: float = 120.0
    uploads: int = 8
    uploads_each: int = 3
    collections: int = 100
    documents: int = 500
    passages: int = 20_000
    files: int = 1_000
    file_bytes: int = 1 << 30
    attachment_characters: int = 200_000
    searched: int = 64
    cached_passages: int = 40_000
    inputs: int = 256
    tokens: int = 8_192
    all_tokens: int = 32_768


def document_error(error: DocumentError) -> ApiError:
    """A document that cannot be read, as the caller is told."""
    name = f"{error.where}: " if error.where else ""
    hint = f" ({error.hint})" if error.hint else ""
    return ApiError(
        _STATUS[error.reason],
        f"{name}{error.message}{hint}",
        param="file",
        code=_CODES[error.reason],
    )
