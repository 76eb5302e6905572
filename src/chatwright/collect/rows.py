"""From what is found to rows with unique ids and a ledger line for each item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from chatwright.collect.conversations import USED, consent_of, messages_of
from chatwright.collect.decode import decode
from chatwright.collect.entries import Entry, Opened, Selection, local_path
from chatwright.collect.found import Limits, Lost, Page, Values, clean_text, columns_as_meta
from chatwright.collect.preferences import NO_PREFERENCE, USED_BY_PREFERENCES, answers_of
from chatwright.collect.reading import read_entry
from chatwright.collect.settings import CollectSettings, SourceSettings
from chatwright.errors import DataError
from chatwright.progress import Task
from chatwright.records import (
    Conversation,
    DatasetWriter,
    Document,
    LedgerEntry,
    Preference,
    Row,
    content_id,
)
from chatwright.records.schema import Action
from chatwright.sources.streams import split_suffix

_TABLES = {
    "application/jsonl",
    "application/json",
    "text/csv",
    "text/tab-separated-values",
    "application/vnd.apache.parquet",
}
_RESERVED = {"media_type", "encoding", "path", "row", "revision", "truncated"}


class Output:
    """The dataset being written: gives out ids that no other row has, takes rows and lines."""

    def __init__(self, out: DatasetWriter, stage: str) -> None:
        self._out = out
        self._stage = stage
        self._ids: set[bytes] = set()

    def unique_id(self, source: str, uri: str, content: bytes) -> tuple[str, str | None]:
        """The id of an item, and the plain id that it would share with an earlier item, if any.

        Equal content of one source has one id. Where it comes at a second address, that row's id
        also hashes the address (and a count, should address and content both repeat), so that
        every row can be told from every other and each can be found again.
        """
        plain = content_id(source, content)
        if self._take(plain):
            return plain, None
        number = 0
        while True:
            other = content_id(f"{source}\n{uri}\n{number}", content)
            if self._take(other):
                return other, plain
            number += 1

    def _take(self, row_id: str) -> bool:
        key = bytes.fromhex(row_id)
        if key in self._ids:
            return False
        self._ids.add(key)
        return True

    def write(self, row: Row) -> None:
        self._out.write(row)

    def log(
        self,
        row_id: str,
        uri: str,
        action: Action,
        lost: Lost,
        other_id: str | None = None,
    ) -> None:
        """One ledger line; `lost` holds its rule, value, bound and detail."""
        self._out.log(
            LedgerEntry(
                row_id,
                uri,
                self._stage,
                action,
                lost.rule,
                None if lost.value is None else float(lost.value),
                lost.bound,
                other_id,
                None if lost.detail is None else clean_text(lost.detail),
            )
        )


class _Full(Exception):  # noqa: N818 (not an error: the limit of rows is reached)
    pass


class SourceReader:
    """Reads the entries of one opened source."""

    def __init__(
        self, source: SourceSettings, settings: CollectSettings, opened: Opened, out: Output
    ) -> None:
        self._source = source
        self._rows = settings.rows
        self._limits = Limits(settings.max_bytes)
        self._opened = opened
        self._out = out
        self._others: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._kept = 0
        self._without_column: tuple[str, list[str]] | None = None
        self._limited = False

    def summary(self) -> dict[str, Any]:
        """Counts for `dataset.json`."""
        found: dict[str, Any] = {
            "source": self._source.source,
            "files": len(self._opened.entries),
            "kept": self._kept,
            "dropped": dict(sorted(self._lost.items())),
        }
        if self._opened.revision:
            found["revision"] = self._opened.revision
        if self._others:
            found["other_records"] = dict(sorted(self._others.items()))
        if self._limited:
            found["stopped_at_limit"] = self._source.limit
        return found

    def read(self, selection: Selection, task: Task) -> None:
        for name, reason in self._opened.left_out:
            self._drop(self._uri(name), Lost("unreadable", detail=reason))
        try:
            for entry in self._opened.entries:
                task.status(entry.path)
                self._read_entry(entry, selection, task)
        except _Full:
            self._limited = True
        if self._opened.broken is not None:
            detail = f"{self._opened.broken}; the archive's further files are missing"
            self._drop(self._uri("#rest"), Lost("truncated", detail=detail))
        if self._without_column is not None and self._kept == 0:
            where, columns = self._without_column
            raise DataError(
                self._column_message(),
                where=where,
                hint="columns there: " + (", ".join(columns) or "none"),
            )

    def _column_message(self) -> str:
        if self._rows == "conversations":
            return "no row holds messages, conversations, or instruction and output"
        if self._rows == "preferences":
            return "no row holds a chosen and a rejected answer"
        return f"no row has the column {self._source.text_column!r} (text_column)"

    def _uri(self, path: str) -> str:
        """The address of a file: by the template, else the source and the path inside it."""
        if self._source.uri is not None:
            page = path.removeprefix(self._source.strip)
            return self._source.uri.replace("{path}", quote(page, safe="/#=~:@!$&'()*+,;"))
        source = self._source.source
        root = local_path(source)
        if root is not None:
            source = source if source.startswith("file:") else f"file:{source}"
            if root.is_file() and path == root.name:
                return source
        return f"{source.rstrip('/')}/{path}"

    def _read_entry(self, entry: Entry, selection: Selection, task: Task) -> None:
        uri = self._uri(entry.path)
        media = entry.media_type
        if media is None and selection.explicit:
            media = "text/plain"  # somebody asked for this very file
        if media is None:
            ending = split_suffix(entry.path)[0].rpartition("/")[2].partition(".")[2]
            self._drop(uri, Lost("unknown-format", detail=f".{ending}" if ending else "no ending"))
            task.advance(entry.size)
            return
        if self._rows != "documents" and media not in _TABLES:
            self._drop(uri, Lost("no-rows", detail=f"{media} holds no {self._rows}"))
            task.advance(entry.size)
            return
        for found in read_entry(entry, media, self._limits, self._others, task.advance):
            if isinstance(found, Lost):
                self._drop(found.uri or uri + found.suffix, found)
            elif isinstance(found, Page):
                self._page(entry, found.uri or uri + found.suffix, found)
            else:
                self._row(entry, uri, found)

    def _drop(self, uri: str, lost: Lost) -> None:
        """A ledger line; an item that could not be read whole has its address for content."""
        content = uri.encode("utf-8", "replace") if lost.content is None else lost.content
        row_id, other = self._out.unique_id(self._source.source, uri, content)
        self._lost[lost.rule] += 1
        self._out.log(row_id, uri, "drop", lost, other)

    def _page(self, entry: Entry, uri: str, page: Page) -> None:
        if not page.content.strip():
            self._drop(uri, Lost("empty", 0.0, "min 1", "bytes", content=page.content))
            return
        decoded = decode(page.content, page.charset)
        if isinstance(decoded, str):
            self._drop(uri, Lost("not-text", detail=decoded, content=page.content))
            return
        meta: dict[str, Any] = {
            "media_type": self._source.media_type or page.media_type,
            "encoding": decoded.encoding,
            "path": entry.path,
        }
        row_id, other = self._out.unique_id(self._source.source, uri, page.content)
        document = self._document(row_id, decoded.text, uri, meta)
        document.collected_at = page.time or entry.time
        self._note_replaced(row_id, uri, decoded.replaced, decoded.encoding)
        if page.truncated:
            meta["truncated"] = page.truncated
            self._out.log(
                row_id, uri, "edit", Lost("truncated", detail=f"by the crawler: {page.truncated}")
            )
        self._keep(document, other, len(page.content))

    def _row(self, entry: Entry, file_uri: str, found: Values) -> None:
        values = found.values
        uri = self._row_uri(file_uri, found)
        if self._rows == "conversations":
            self._conversation(entry, uri, found)
            return
        if self._rows == "preferences":
            self._preference(entry, uri, found)
            return
        text = values.get(self._source.text_column)
        if not isinstance(text, str):
            self._missing_column(entry, uri, found)
            return
        if not text.strip():
            self._drop(uri, Lost("empty", 0.0, "min 1", "characters", content=found.content))
            return
        used = {self._source.text_column, self._source.id_column or "", "license", "language"}
        meta = columns_as_meta(values, used | _RESERVED)
        meta |= {"media_type": self._source.media_type or "text/plain", "path": entry.path}
        row_id, other = self._out.unique_id(self._source.source, uri, found.content)
        document = self._document(row_id, clean_text(text), uri, meta)
        self._provenance(document, entry, values)
        self._note_replaced(row_id, uri, found.replaced, None)
        self._keep(document, other, len(found.content))

    def _conversation(self, entry: Entry, uri: str, found: Values) -> None:
        messages = messages_of(found.values)
        if isinstance(messages, str):
            if messages.startswith("none of"):
                self._missing_column(entry, uri, found)
            else:
                lost = Lost("bad-conversation", detail=messages, content=found.content)
                self._drop(uri, lost)
            return
        row = Conversation("", messages, uri, self._source.source)
        self._keep_said(row, entry, found, USED)

    def _preference(self, entry: Entry, uri: str, found: Values) -> None:
        answers = answers_of(found.values)
        if answers is None:
            self._missing_column(entry, uri, found)
            return
        if isinstance(answers, Lost):
            answers.content = found.content
            self._drop(uri, answers)
            return
        row = Preference(
            "",
            answers.prompt,
            answers.chosen,
            answers.rejected,
            answers.judge,
            uri,
            self._source.source,
        )
        self._keep_said(row, entry, found, USED_BY_PREFERENCES)

    def _keep_said(
        self, row: Conversation | Preference, entry: Entry, found: Values, used: set[str]
    ) -> None:
        """Give a row of what people said its id and provenance, and write it."""
        row.id, other = self._out.unique_id(self._source.source, row.uri, found.content)
        row.meta = columns_as_meta(found.values, used | {"license", "language"} | _RESERVED)
        row.meta["path"] = entry.path
        row.consent = consent_of(found.values)
        self._provenance(row, entry, found.values)
        self._note_replaced(row.id, row.uri, found.replaced, None)
        self._keep(row, other, len(found.content))

    def _missing_column(self, entry: Entry, uri: str, found: Values) -> None:
        column = self._source.text_column
        if self._without_column is None:
            names = [str(name)[:60] for name in list(found.values)[:30]]
            self._without_column = (self._uri(entry.path), names)
        if self._rows == "conversations":
            detail = "no messages, conversations, or instruction and output"
        elif self._rows == "preferences":
            detail = NO_PREFERENCE
        elif column in found.values:
            detail = f"{column!r} holds no text but {type(found.values[column]).__name__}"
        else:
            detail = f"no {column!r}"
        self._drop(uri, Lost("missing-column", detail=detail, content=found.content))

    def _row_uri(self, file_uri: str, found: Values) -> str:
        values = found.values
        given = values.get(self._source.uri_column) if self._source.uri_column else None
        if isinstance(given, str) and given.strip():
            return clean_text(given.strip())
        name = values.get(self._source.id_column) if self._source.id_column else None
        if isinstance(name, (str, int)) and str(name).strip():
            return f"{file_uri}#{quote(clean_text(str(name)), safe='/:@!$&()*+,;=~')}"
        return file_uri + found.suffix

    def _document(self, row_id: str, text: str, uri: str, meta: dict[str, Any]) -> Document:
        source = self._source
        license_name = source.license or self._opened.license
        return Document(row_id, text, uri, source.source, license_name, source.language, meta=meta)

    def _provenance(self, row: Row, entry: Entry, values: Mapping[str, Any]) -> None:
        """A row's own licence and language go before those of its source."""
        row.license = _name(values, "license") or self._source.license or self._opened.license
        row.language = _name(values, "language") or self._source.language
        row.collected_at = entry.time

    def _note_replaced(self, row_id: str, uri: str, share: float, encoding: str | None) -> None:
        if share > 0:
            detail = f"share of characters that {encoding or 'its encoding'} does not have"
            self._out.log(row_id, uri, "edit", Lost("broken-encoding", share, detail=detail))

    def _keep(self, row: Row, other: str | None, size: int) -> None:
        self._out.write(row)
        rule = "read" if other is None else "same-content"
        self._out.log(row.id, row.uri, "keep", Lost(rule, size, detail="bytes"), other)
        self._kept += 1
        if self._source.limit is not None and self._kept >= self._source.limit:
            raise _Full


def _name(values: Mapping[str, Any], column: str) -> str | None:
    value = values.get(column)
    return clean_text(value)[:200] if isinstance(value, str) and value.strip() else None
