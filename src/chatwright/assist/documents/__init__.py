"""Files that people upload, as text with headings and page numbers.

Parsed in a process of its own, with bounds on everything: a document that is made to do harm takes
that process down and nothing else.
"""

from typing import TYPE_CHECKING

from chatwright.lazy import lazy_names

if TYPE_CHECKING:
    from chatwright.assist.documents.isolated import read_document
    from chatwright.assist.documents.names import clean_name
    from chatwright.assist.documents.passages import Cut, cut_passages
    from chatwright.assist.documents.result import DocumentError, DocumentLimits, Parsed

_HOMES = {
    "Cut": ".passages",
    "DocumentError": ".result",
    "DocumentLimits": ".result",
    "Parsed": ".result",
    "clean_name": ".names",
    "cut_passages": ".passages",
    "read_document": ".isolated",
}

__all__ = [
    "Cut",
    "DocumentError",
    "DocumentLimits",
    "Parsed",
    "clean_name",
    "cut_passages",
    "read_document",
]

__getattr__ = lazy_names(__name__, _HOMES)
