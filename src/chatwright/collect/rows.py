"""From what is found to rows with unique ids and a ledger line for each item."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from chatwright.collect.conversations import USED, chat_of
from chatwright.collect.decode import decode
from chatwright.collect.entries import Entry, Opened, Selection, local_path
from chatwright.collect.found import Limits, Lost, Page, Values, clean_text, columns_as_meta
from chatwright.collect.licenses import normalised
from chatwright.collect.output import Output
from chatwright.collect.permission import consent_of, license_of, refused
from chatwright.collect.preferences import NO_PREFERENCE, USED_BY_PREFERENCES, answers_of
from chatwright.collect.reading import read_entry
from chatwright.collect.settings import CollectSettings, SourceSettings
from chatwright.collect.signals import Signals, page_signals
from chatwright.errors import DataError
from chatwright.progress import Task
from chatwright.records import Conversation, Document, Preference, Row
from chatwright.sources.streams import split_suffix

_TABLES = {
    "application/jsonl",
    "application/json",
    "text/csv",
    "text/tab-separated-values",
    "application/vnd.apache.parquet",
}
_RESERVED = {"media_type", "encoding", "path", "row", "revision", "truncated", "license_stated",
             "license_hint", "left_out"}  # fmt: skip
_LICENSE = {"license", "licence", "language"}


class _Full(Exception):  # noqa: N818 (not an error: the limit of rows is reached)
    pass


class SourceReader:
    """Reads the entries of one opened source.

    `mixed`: another source of the collection states a licence, so that rows of which nobody knows
    theirs are not put among the others without being told to.
    """

    def __init__(
        self,
        source: SourceSettings,
        settings: CollectSettings,
        opened: Opened,
        out: Output,
        *,
        mixed: bool = False,
    ) -> None:
        self._source = source
        self._settings = settings
        self._license = normalised(source.license) or normalised(opened.license)
        self._mixed = mixed  # with sources whose licence is known
        self._unlicensed = 0
        self._rows = settings.rows
        self._limits = Limits(settings.max_bytes)
        self._opened = opened
        self._out = out
        self._others: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._kept = 0
        self._written = 0  # kept, here or apart
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
        if self._unlicensed:
            found["unlicensed"] = self._unlicensed
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
        if self._without_column is not None and self._written == 0:
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

    def _drop(self, uri: str, lost: Lost) -> str:
        """A ledger line; an item that could not be read whole has its address for content."""
        content = uri.encode("utf-8", "replace") if lost.content is None else lost.content
        row_id, other = self._out.unique_id(self._source.source, uri, content)
        self._lost[lost.rule] += 1
        if lost.revisit_of is not None:
            self._out.revisit(row_id, uri, lost, other)
        else:
            self._out.log(row_id, uri, "drop", lost, other)
        return row_id

    def _page(self, entry: Entry, uri: str, page: Page) -> None:
        row_id = self._page_row(entry, uri, page)
        if page.headers is not None:
            self._out.captured(uri, page.digest, row_id)

    def _page_row(self, entry: Entry, uri: str, page: Page) -> str:
        """The row of a page, or the line for why it gives none; returns its id either way."""
        content = page.content
        if not content.strip():
            return self._drop(uri, Lost("empty", 0.0, "min 1", "bytes", content=content))
        signals = self._signals(uri, page)
        closed = signals.closed
        if closed is not None and (closed[0] != "noindex" or self._settings.noindex == "honour"):
            return self._drop(uri, Lost(closed[0], detail=closed[1], content=content))
        lost = refused({}, None, self._source.consent == "required")
        if lost is not None:
            lost.content = content
            return self._drop(uri, lost)
        decoded = decode(content, page.charset)
        if isinstance(decoded, str):
            return self._drop(uri, Lost("not-text", detail=decoded, content=content))
        meta: dict[str, Any] = {
            "media_type": self._source.media_type or page.media_type,
            "encoding": decoded.encoding,
            "path": entry.path,
        }
        row_id, other = self._out.unique_id(self._source.source, uri, content)
        document = self._document(row_id, decoded.text, uri, meta)
        document.collected_at = page.time or entry.time
        lines = _replaced(decoded.replaced, decoded.encoding)
        if page.truncated:
            meta["truncated"] = page.truncated
            lines.append(Lost("truncated", detail=f"by the crawler: {page.truncated}"))
        if document.license is None and signals.license is not None:
            document.license = signals.license
            lines.append(Lost("license-found", detail=signals.license_by))
        elif document.license is None and signals.hint is not None:
            meta["license_hint"] = signals.hint
        self._keep(document, lines, other, len(content))
        return row_id

    def _signals(self, uri: str, page: Page) -> Signals:
        """What a capture asks for; of a file, which no server spoke for, its licence alone."""
        html = page.media_type == "text/html"
        if page.headers is None:
            if not html or self._license is not None:
                return Signals()
            found = page_signals((), page.content, charset=page.charset, uri=uri)
            return Signals(license=found.license, license_by=found.license_by, hint=found.hint)
        return page_signals(page.headers, page.content, html=html, charset=page.charset, uri=uri)

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
        if (lost := self._refused(found)) is not None:
            self._drop(uri, lost)
            return
        used = {self._source.text_column, self._source.id_column or "", *_LICENSE}
        meta = columns_as_meta(values, used | _RESERVED)
        meta |= {"media_type": self._source.media_type or "text/plain", "path": entry.path}
        row_id, other = self._out.unique_id(self._source.source, uri, found.content)
        document = self._document(row_id, clean_text(text), uri, meta)
        self._provenance(document, entry, values)
        lines = _replaced(found.replaced, None)
        self._keep(document, lines, other, len(found.content), "license" in values)

    def _refused(self, found: Values) -> Lost | None:
        """The line for a row whose people do not let it pass."""
        consent = consent_of(found.values)
        lost = refused(found.values, consent, self._source.consent == "required")
        if lost is not None:
            lost.content = found.content
        return lost

    def _conversation(self, entry: Entry, uri: str, found: Values) -> None:
        chat = chat_of(found.values)
        if isinstance(chat, str):
            if chat.startswith("none of"):
                self._missing_column(entry, uri, found)
            else:
                lost = Lost("bad-conversation", detail=chat, content=found.content)
                self._drop(uri, lost)
            return
        row = Conversation("", chat.messages, uri, self._source.source)
        self._keep_said(row, entry, found, USED, chat.meta())

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
        self._keep_said(row, entry, found, USED_BY_PREFERENCES, {})

    def _keep_said(
        self,
        row: Conversation | Preference,
        entry: Entry,
        found: Values,
        used: set[str],
        known: dict[str, Any],
    ) -> None:
        """Give a row of what people said its id and provenance, and write it."""
        if (lost := self._refused(found)) is not None:
            self._drop(row.uri, lost)
            return
        row.id, other = self._out.unique_id(self._source.source, row.uri, found.content)
        row.meta = columns_as_meta(_flat(found.values), used | _LICENSE | _RESERVED) | known
        row.meta["path"] = entry.path
        row.consent = consent_of(found.values)
        self._provenance(row, entry, found.values)
        lines = _replaced(found.replaced, None)
        self._keep(row, lines, other, len(found.content), "license" in found.values)

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
        if source.terms:
            meta["terms"] = source.terms
        return Document(row_id, text, uri, source.source, self._license, source.language, meta=meta)

    def _provenance(self, row: Row, entry: Entry, values: Mapping[str, Any]) -> None:
        """A row's own licence, terms and language go before those of its source."""
        own, stated = license_of(values)
        if stated is not None:
            row.meta["license_stated"] = stated
        if self._source.terms:
            row.meta.setdefault("terms", self._source.terms)
        row.license = own or self._license
        row.language = _name(values, "language") or self._source.language
        row.collected_at = entry.time

    def _keep(
        self,
        row: Row,
        lines: list[Lost],
        other: str | None,
        size: int,
        by_row: bool = False,
    ) -> None:
        """Write a row; `by_row`: its table has a column of licences."""
        how = self._settings.unknown_license
        unknown = row.license is None
        self._unlicensed += unknown
        self._out.unlicensed += unknown
        if unknown and how == "drop":
            self._lost["unknown-license"] += 1
            self._out.log(
                row.id, row.uri, "drop", Lost("unknown-license", None, "a licence"), other
            )
            return
        apart = unknown and how == "apart" and (self._mixed or by_row)
        kept = Lost("read" if other is None else "same-content", size, detail="bytes")
        self._out.keep(row, lines, kept, other, apart)
        if apart:
            self._lost["unknown-license"] += 1
        else:
            self._kept += 1
        self._written += 1
        if self._source.limit is not None and self._written >= self._source.limit:
            raise _Full


def _replaced(share: float, encoding: str | None) -> list[Lost]:
    """The line about characters that came out broken, where there are any."""
    detail = f"share of characters that {encoding or 'its encoding'} does not have"
    return [Lost("broken-encoding", share, detail=detail)] if share > 0 else []


def _flat(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with what its `meta` holds beside its columns: rows of ours that were written out."""
    meta = values.get("meta")
    return {**meta, **{k: v for k, v in values.items() if k != "meta"}} if isinstance(
        meta, dict) else values  # fmt: skip


def _name(values: Mapping[str, Any], column: str) -> str | None:
    value = values.get(column)
    return clean_text(value)[:200] if isinstance(value, str) and value.strip() else None
