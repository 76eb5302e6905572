"""The `collect` stage: sources in, documents (or conversations, preferences) and a ledger out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatwright.collect.entries import Selection, hub_data_set, local_path, open_source, walk
from chatwright.collect.rows import Output, SourceReader
from chatwright.collect.settings import CollectSettings, SourceSettings
from chatwright.errors import DataError
from chatwright.records import Conversation, Document, Preference, Row, file_digest
from chatwright.stage import StageContext, StageKind
from chatwright.workspace import Workspace

_ROW_TYPES: dict[str, type[Row]] = {
    "documents": Document,
    "conversations": Conversation,
    "preferences": Preference,
}


def run_collect(settings: CollectSettings, context: StageContext) -> None:
    """Read every source in order and write the dataset.

    Raises `SourceError` or `DataError` for a source that cannot be had, that holds nothing at
    all, or whose tables all lack the text column; a bad page or row is a line of the ledger.
    """
    with context.write_rows(_ROW_TYPES[settings.rows], settings) as out:
        output = Output(out, context.stage)
        out.counts["sources"] = [
            _collect(source, settings, context, output) for source in settings.sources
        ]


def _collect(
    source: SourceSettings, settings: CollectSettings, context: StageContext, output: Output
) -> dict[str, Any]:
    """Read one source; returns its counts."""
    selection = Selection(source.include, source.exclude)
    progress = context.progress
    with open_source(source.source, source.sha256, selection, progress) as opened:
        if not opened.entries and not opened.left_out:
            raise DataError(
                "no file is chosen" if selection.explicit else "there are no files",
                where=source.source,
                hint="check include and exclude: globs such as doc/**/*.html, matched against "
                "the path inside the source",
            )
        reader = SourceReader(source, settings, opened, output)
        total = sum(entry.size for entry in opened.entries)
        with progress.task(f"collect {source.source}", total) as task:
            reader.read(selection, task)
        return reader.summary()


def external(settings: CollectSettings, workspace: Workspace) -> list[Any]:
    """What the settings do not hold: digests of local files, the commit of a hub data set.

    What comes from elsewhere with a version or a checksum is the same each time.
    """
    return [_external(source) for source in settings.sources]


def _external(source: SourceSettings) -> Any:
    if source.source.startswith("hf:"):
        return hub_data_set(source.source).commit
    path = local_path(source.source)
    if path is None or not path.exists():
        return None
    if path.is_file():
        return file_digest(path)
    selected = Selection(source.include, source.exclude)
    files = ((file.relative_to(path).as_posix(), file) for file in walk(path))
    return sorted([name, _digest(file)] for name, file in files if selected(name))


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


STAGES = [StageKind("collect", CollectSettings, run_collect, "datasets", external=external)]
