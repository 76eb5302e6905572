"""The `collect` stage: sources in, documents (or conversations, preferences) and a ledger out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from chatwright.collect.dataset_source import (
    is_dataset,
    open_dataset,
    parent_of,
    read_dataset,
    states_licenses,
)
from chatwright.collect.entries import Selection, hub_data_set, local_path, open_source, walk
from chatwright.collect.licenses import normalised
from chatwright.collect.output import Origin, Output
from chatwright.collect.rows import SourceReader
from chatwright.collect.settings import DATASET, CollectSettings, SourceSettings
from chatwright.errors import ChatwrightError, DataError
from chatwright.records import Conversation, Dataset, Document, Preference, Row, file_digest
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
    row_type = _ROW_TYPES[settings.rows]
    datasets = {
        source.source: open_dataset(source.source, context.workspace, context.inputs)
        for source in settings.sources
        if is_dataset(source.source)
    }
    context = _with_parents(context, datasets)
    states = [_states_license(source, datasets) for source in settings.sources]
    with context.write_rows(row_type, settings) as out:
        dumped = settings.model_dump(mode="json")
        origin = Origin(context.stage, context.fingerprint, dumped, context.parents)
        output = Output(out, origin, row_type)
        try:
            found = []
            for number, source in enumerate(settings.sources):
                mixed = any(states[:number] + states[number + 1 :])
                dataset = datasets.get(source.source)
                if dataset is None:
                    found.append(_collect(source, settings, context, output, mixed))
                    continue
                with context.progress.task(f"collect {source.source}", len(dataset)) as task:
                    summary = read_dataset(
                        source, settings, dataset, row_type, output, mixed=mixed, task=task
                    )
                found.append(summary)
            output.finish()
        finally:
            output.close()
        out.counts["sources"] = found
        if output.unlicensed:
            out.counts["unlicensed"] = output.unlicensed


def _states_license(source: SourceSettings, datasets: dict[str, Dataset]) -> bool:
    """Whether a source says under what licence it is, before any of its rows is read."""
    if normalised(source.license) is not None:
        return True
    if source.source in datasets:
        return states_licenses(datasets[source.source])
    if source.source.startswith("hf:"):
        return normalised(hub_data_set(source.source).license) is not None
    return False


def _with_parents(context: StageContext, datasets: dict[str, Dataset]) -> StageContext:
    """The context with datasets as parents that no stage of the recipe made."""
    known = set(context.inputs)
    more = [
        parent_of(name, dataset, context)
        for name, dataset in datasets.items()
        if name.removeprefix(DATASET) not in known
    ]
    return replace(context, parents=[*context.parents, *more]) if more else context


def _collect(
    source: SourceSettings,
    settings: CollectSettings,
    context: StageContext,
    output: Output,
    mixed: bool,
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
        reader = SourceReader(source, settings, opened, output, mixed=mixed)
        total = sum(entry.size for entry in opened.entries)
        with progress.task(f"collect {source.source}", total) as task:
            reader.read(selection, task)
        return reader.summary()


def external(settings: CollectSettings, workspace: Workspace) -> list[Any]:
    """What the settings do not hold: digests of local files, the commit of a hub data set.

    What comes from elsewhere with a version or a checksum is the same each time.
    """
    return [_external(source, workspace) for source in settings.sources]


def _external(source: SourceSettings, workspace: Workspace) -> Any:
    if is_dataset(source.source):
        try:
            return open_dataset(source.source, workspace, {}).info.content_digest
        except ChatwrightError:
            return None  # a stage above makes it: its fingerprint is that of a parent
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


STAGES = [
    StageKind("collect", CollectSettings, run_collect, "datasets", revision=2, external=external)
]
