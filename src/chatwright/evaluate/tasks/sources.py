"""Rows of a task's source, each with where it stands; what cannot be read is listed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from chatwright.collect.entries import Entry, Selection, local_path, open_source, walk
from chatwright.collect.found import Limits, Lost, Page, Values
from chatwright.collect.reading import read_entry
from chatwright.errors import DataError, SourceError
from chatwright.evaluate.tasks.schema import Source
from chatwright.progress import Progress
from chatwright.records import file_digest, fingerprint

DATA_VARIABLE = "CHATWRIGHT_DATA"
_ARTICLE = re.compile(r"^ ?= [^=].*[^=] = ?$", re.M)  # WikiText's `= Title =`, not `= = Section`
_EXAM_FILE = re.compile(r"(?P<subject>.+?)(?:_(?:val|dev|test))?\.csv")


@dataclass(frozen=True, slots=True)
class Row:
    """One row as its file has it. `where` is `file#row=3`."""

    where: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bad:
    """What could not be read, and why."""

    where: str
    reason: str


def locate(source: Source, base: Path | None) -> str | None:
    """The reference to open, or None where this machine does not have the source."""
    scheme, _, rest = source.source.partition(":")
    if scheme in ("data", "package"):
        told = os.environ.get(DATA_VARIABLE)
        ours = str(files("chatwright.evaluate.tasks") / "data")
        folder = (Path(told) if told else None) if scheme == "data" else Path(ours)
        if folder is None:
            return None
        path = (folder / rest).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise DataError("this leads out of its folder", where=source.source)
        return str(folder / rest) if path.exists() else None
    if scheme in ("hf", "https", "http", "pypi", "file"):
        return source.source
    path = Path(source.source).expanduser()
    if not path.is_absolute() and base is not None:
        path = base / path
    return str(path)


def source_digest(source: Source, base: Path | None) -> str | None:
    """A digest of the source's files where they lie on this machine; None where they do not."""
    reference = locate(source, base)
    path = local_path(reference) if reference is not None else None
    if path is None or not path.exists():
        return None
    if path.is_file():
        return file_digest(path)
    selected = Selection(source.files, [])
    names = {p.relative_to(path).as_posix(): p for p in walk(path)}
    return fingerprint("files", [[n, file_digest(p)] for n, p in names.items() if selected(n)])


def read_rows(source: Source, reference: str, progress: Progress) -> Iterator[Row | Bad]:
    """Every row of the source, in the order of its files. Raises `SourceError`, `DataError`."""
    selected = Selection(source.files, [])
    with open_source(reference, source.sha256, selected, progress) as opened:
        if not opened.entries:
            raise SourceError(
                "no file of this source is chosen",
                where=source.source,
                hint=f"`files` is {source.files}; see what the source holds",
            )
        for name, why in opened.left_out:
            yield Bad(f"{source.source}/{name}", why)
        if source.reader == "winobias":
            yield from _winobias(reference, [entry.path for entry in opened.entries])
            return
        for entry in opened.entries:
            one = Path(reference).name == entry.path
            where = source.source if one else f"{source.source}/{entry.path}"
            yield from _READERS[source.reader](entry, where)


def _rows(entry: Entry, where: str) -> Iterator[Row | Bad]:
    media = entry.media_type
    if media is None or media.startswith(("text/plain", "text/html", "text/x-", "text/markdown")):
        raise DataError(
            "this is not a table of rows",
            where=where,
            hint="rows come as .jsonl, .json, .csv, .tsv or .parquet; for text say "
            "`reader: lines` or `reader: articles`",
        )
    for found in read_entry(entry, media, Limits(), Counter(), lambda _: None):
        if isinstance(found, Values):
            yield Row(f"{where}{found.suffix}", dict(found.values))
        elif isinstance(found, Lost):
            yield Bad(f"{where}{found.suffix}", _reason(found))


def _text(entry: Entry, where: str) -> str | Bad:
    for found in read_entry(entry, "text/plain", Limits(1 << 30), Counter(), lambda _: None):
        if isinstance(found, Page):
            return found.content.decode("utf-8", "replace")
        if isinstance(found, Lost):
            return Bad(where, _reason(found))
    return Bad(where, "the file is empty")


def _lines(entry: Entry, where: str) -> Iterator[Row | Bad]:
    text = _text(entry, where)
    if isinstance(text, Bad):
        yield text
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield Row(f"{where}#line={number}", {"text": line, "line": number})


def _articles(entry: Entry, where: str) -> Iterator[Row | Bad]:
    """WikiText: an article runs from one `= Title =` to the next."""
    text = _text(entry, where)
    if isinstance(text, Bad):
        yield text
        return
    starts = [m.start() for m in _ARTICLE.finditer(text)]
    if not starts or text[: starts[0]].strip():
        starts.insert(0, 0)
    for number, (start, end) in enumerate(
        zip(starts, [*starts[1:], len(text)], strict=True), start=1
    ):
        part = text[start:end]
        if part.strip():
            yield Row(f"{where}#article={number}", {"text": part})


def _exams(entry: Entry, where: str) -> Iterator[Row | Bad]:
    """C-Eval and CMMLU: `question, A, B, C, D, answer`; CMMLU writes columns with capitals.

    The subject is the file's name (`law_val.csv`) or, on the hub, its folder's.
    """
    path = PurePosixPath(entry.path)
    name = _EXAM_FILE.fullmatch(path.name)
    subject = name["subject"] if name else path.parent.name or path.name.partition(".")[0]
    for row in _rows(entry, where):
        if isinstance(row, Bad):
            yield row
            continue
        values = {str(k).strip(): v for k, v in row.values.items()}
        values |= {k.lower(): v for k, v in values.items() if k.lower() in ("question", "answer")}
        choices = [values.get(letter) for letter in "ABCDEFGHIJ" if letter in values]
        if not choices:
            yield Bad(row.where, "the columns A, B, C, D are missing")
            continue
        shown = subject.replace("_", " ")
        yield Row(row.where, {**values, "choices": choices, "subject": shown})


def _winobias(reference: str, paths: list[str]) -> Iterator[Row | Bad]:
    """The pro and the anti sentence of each pair: they stand in two files, line by line."""
    from chatwright.evaluate.bias import read_winobias

    pairs, skipped = read_winobias([Path(reference) / path for path in paths])
    for pair in pairs:
        values = {"chosen": pair.more, "rejected": pair.less, "bias_type": pair.bias_type}
        yield Row(pair.id, {**values, "direction": pair.direction})
    for lost in skipped:
        yield Bad(lost.id, lost.reason)


def _reason(lost: Lost) -> str:
    detail = f": {lost.detail}" if lost.detail else ""
    return f"{lost.rule.replace('-', ' ')}{detail}"


_READERS = {
    "rows": _rows,
    "lines": _lines,
    "articles": _articles,
    "exams": _exams,
}
