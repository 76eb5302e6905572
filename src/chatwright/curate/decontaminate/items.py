"""Test items from benchmark files and from datasets of the workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from chatwright.collect.entries import Selection, local_path, open_source, walk
from chatwright.collect.found import Limits, Lost, Page, Values
from chatwright.collect.reading import read_entry
from chatwright.curate.balance.texts import row_text
from chatwright.curate.decontaminate.grams import Item
from chatwright.errors import DataError
from chatwright.progress import Progress
from chatwright.records import Dataset, file_digest, fingerprint
from chatwright.stage import Settings

_LONGEST_ITEM = 2_000_000  # bytes of one row of a benchmark
_LONGEST_TEXT = 1 << 30  # bytes of a text file, whose lines are items
_DEEPEST = 4


class Benchmark(Settings):
    """Files of test items: one file, or a folder with `include` globs; gz, zst, bz2, xz as well.

    Of JSONL, JSON, CSV, TSV and Parquet each row is an item; its texts are the `columns` in that
    order (lists and mappings give their texts in turn), or every column that holds text where none
    are named. Of a text file each line is an item. `id_column` names items beside their line.
    """

    file: str
    name: str | None = None
    include: list[str] = Field(default_factory=list)
    columns: list[str] | None = Field(default=None, min_length=1)
    id_column: str | None = None
    sha256: str | None = None

    @property
    def label(self) -> str:
        """What ledger lines call it."""
        return self.name or self.file.rstrip("/").rpartition("/")[2]


class Unreadable(Exception):  # noqa: N818 (a row of a benchmark: told and counted, never fatal)
    """A row or file of a benchmark that gives no item, and why."""


def benchmark_items(benchmark: Benchmark, progress: Progress) -> Iterator[Item | Unreadable]:
    """The items of a benchmark's files, in order.

    Raises `DataError` where there is no item at all, or none has the columns asked for.
    """
    count = 0
    columns: dict[str, None] = {}
    selected = Selection(benchmark.include, [])
    with open_source(benchmark.file, benchmark.sha256, selected, progress) as opened:
        for name, why in opened.left_out:
            yield Unreadable(f"{benchmark.label}/{name}: {why}")
        for entry in opened.entries:
            media = entry.media_type or "text/plain"
            where = benchmark.label
            if entry.path != where and len(opened.entries) > 1:
                where = f"{where}/{entry.path}"
            limits = Limits(_LONGEST_TEXT if media.startswith("text/plain") else _LONGEST_ITEM)
            for found in read_entry(entry, media, limits, Counter(), lambda _: None):
                if isinstance(found, Lost):
                    detail = found.detail or found.rule
                    yield Unreadable(f"{where}{found.suffix}: {detail}")
                elif isinstance(found, Page):
                    for item in _lines(benchmark.label, where, found):
                        count += 1
                        yield item
                else:
                    columns.update(dict.fromkeys(map(str, found.values)))
                    item_or_not = _row(benchmark, where, found)
                    count += isinstance(item_or_not, Item)
                    yield item_or_not
    if not count:
        asked = f" with text in {', '.join(benchmark.columns)}" if benchmark.columns else ""
        raise DataError(
            f"the benchmark holds no item{asked}",
            where=benchmark.file,
            hint=f"its columns: {', '.join(columns)}" if columns else "look at the file",
        )


def dataset_items(name: str, dataset: Dataset) -> Iterator[Item | Unreadable]:
    """Each row of a dataset as an item: held-out questions, say."""
    for row in dataset.rows:
        yield Item(name, row.uri, (row_text(row),), row.id)


def benchmark_digest(benchmark: Benchmark) -> Any:
    """What the fingerprint has of a benchmark's files; None for those that are fetched by name."""
    path = local_path(benchmark.file)
    if path is None or not path.exists():
        return None
    if path.is_file():
        return file_digest(path)
    selected = Selection(benchmark.include, [])
    names = {p.relative_to(path).as_posix(): p for p in walk(path)}
    return fingerprint("files", [[n, file_digest(p)] for n, p in names.items() if selected(n)])


def _lines(name: str, where: str, page: Page) -> Iterator[Item]:
    text = page.content.decode("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield Item(name, f"{where}#line={number}", (line,))


def _row(benchmark: Benchmark, where: str, found: Values) -> Item | Unreadable:
    place = f"{where}{found.suffix}"
    values: Mapping[str, Any] = found.values
    named = values.get(benchmark.id_column) if benchmark.id_column else None
    if named is not None:
        place += f" ({str(named)[:80]})"
    columns: Sequence[str] = benchmark.columns or [
        column for column in values if column != benchmark.id_column
    ]
    texts = [text for column in columns for text in _texts(values.get(column), _DEEPEST)]
    if not texts:
        asked = ", ".join(columns)
        return Unreadable(f"{place}: no text in {asked}" if asked else f"{place}: no text")
    return Item(benchmark.label, place, tuple(texts))


def _texts(value: Any, deep: int) -> Iterator[str]:
    """The texts of a column's value, in order."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif deep and isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner, deep - 1)
    elif deep and isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner, deep - 1)
