"""The files that a source holds: of a folder, an archive, a hub data set, one download."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from chatwright.errors import SourceError
from chatwright.progress import Progress
from chatwright.sources import fetch
from chatwright.sources.archives import file_time, is_archive, open_archive
from chatwright.sources.download import file_url_path
from chatwright.sources.hub import HubFile, HubRepo, fetch_hub_file, open_repo, parse_hub_reference
from chatwright.sources.streams import split_suffix

MEDIA_TYPES = {
    ".txt": "text/plain",
    ".text": "text/plain",
    ".rst": "text/x-rst",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".parquet": "application/vnd.apache.parquet",
    ".warc": "application/warc",
    ".wet": "application/warc",
    ".arc": "application/x-arc",
}
_LZ4 = ".lz4"  # only WARC files come so
_ROWS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source. `path` is relative to it, with `/`; `size` counts stored bytes."""

    path: str
    size: int
    time: dt.datetime | None
    open: Callable[[], IO[bytes]]

    @property
    def media_type(self) -> str | None:
        """By the name's ending (.gz and the like aside), or None for one that we do not read."""
        return media_type(self.path)


@dataclass(slots=True)
class Opened:
    """What a source holds: entries sorted by path, and what there is to say about it.

    `left_out` are (path, reason) of links and unsafe names; `broken` tells of an archive that was
    cut off.
    """

    entries: list[Entry]
    license: str | None = None
    revision: str | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)
    broken: str | None = None


def media_type(path: str) -> str | None:
    """What a file of this name holds, or None where its ending says nothing to us."""
    name = split_suffix(path)[0].lower()
    if name.endswith(f".warc{_LZ4}"):
        return MEDIA_TYPES[".warc"]
    return MEDIA_TYPES.get(os.path.splitext(name)[1])  # noqa: PTH122 (a path inside an archive)


class Selection:
    """Include and exclude globs over paths: `*` stays within a folder, `**` crosses folders."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self.explicit = bool(include)
        self._include = [_glob(pattern) for pattern in include]
        self._exclude = [_glob(pattern) for pattern in exclude]

    def __call__(self, path: str) -> bool:
        if any(pattern.fullmatch(path) for pattern in self._exclude):
            return False
        if self._include:
            return any(pattern.fullmatch(path) for pattern in self._include)
        # Hidden files, and the state that a crawl keeps beside its WARC.
        return not any(p.startswith(".") or p.endswith(".crawl") for p in path.split("/"))


def _glob(pattern: str) -> re.Pattern[str]:
    """`doc/**/*.html` also matches `doc/a.html`; a pattern without `/` matches in any folder."""
    pattern = pattern.removeprefix("./")
    if "/" not in pattern:
        pattern = "**/" + pattern
    out, position = "", 0
    for match in re.finditer(r"\*\*/|\*\*|\*|\?|\[!?[^\]/]+\]", pattern):
        out += re.escape(pattern[position : match.start()])
        token = match[0]
        if token == "**/":
            out += r"(?:[^/]+/)*"
        elif token == "**":
            out += r".*"
        elif token == "*":
            out += r"[^/]*"
        elif token == "?":
            out += r"[^/]"
        else:
            out += token.replace("[!", "[^").replace("\\", r"\\")
        position = match.end()
    return re.compile(out + re.escape(pattern[position:]), re.S)


@contextlib.contextmanager
def open_source(
    source: str, sha256: str | None, selected: Selection, progress: Progress
) -> Iterator[Opened]:
    """The selected files of `source`, fetched if need be; readable until the block ends.

    Raises `SourceError` or `DataError` for a source that cannot be had or opened at all.
    """
    if source.startswith("hf:"):
        yield _open_hub(source, selected)
        return
    path = fetch(source, sha256=sha256, progress=progress)
    if path.is_dir():
        yield _open_folder(path, selected)
    elif is_archive(path.name):
        with open_archive(path) as archive:
            yield Opened(
                [
                    Entry(m.path, m.size, m.time, m.open)
                    for m in archive.members
                    if selected(m.path)
                ],
                left_out=[(name, why) for name, why in archive.skipped if selected(name)],
                broken=archive.broken,
            )
    else:
        # A download's own time would differ from machine to machine.
        time = None if source.startswith(("http:", "https:")) else file_time(path)
        yield Opened([Entry(path.name, path.stat().st_size, time, _opener(path))])


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _open_folder(folder: Path, selected: Selection) -> Opened:
    opened = Opened([])
    for path in walk(folder):
        name = path.relative_to(folder).as_posix()
        if not selected(name):
            continue
        try:
            entry = Entry(name, path.stat().st_size, file_time(path), _opener(path))
        except OSError as error:
            opened.left_out.append((name, error.strerror or str(error)))
            continue
        opened.entries.append(entry)
    opened.entries.sort(key=lambda entry: entry.path)
    return opened


def walk(folder: Path) -> Iterator[Path]:
    """All files below `folder`; links to folders are not followed (they may lead in a circle)."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(root) / name
            if not path.is_dir() and (path.is_file() or path.is_symlink()):
                yield path


def _open_hub(source: str, selected: Selection) -> Opened:
    repo = hub_data_set(source)
    chosen = [f for f in repo.files if selected(f.path) and (selected.explicit or is_data(f.path))]
    if not chosen:
        raise SourceError(
            "no file of this data set is chosen",
            where=source,
            hint="it holds " + (", ".join(f.path for f in repo.files[:8]) or "nothing"),
        )
    entries = [Entry(f.path, f.size, repo.date, _hub_opener(repo, f)) for f in chosen]
    return Opened(entries, license=repo.license, revision=repo.commit)


def hub_data_set(source: str) -> HubRepo:
    """The data set of a `hf:` reference at its commit."""
    name, revision = parse_hub_reference(source)
    return open_repo(name, "dataset", revision)


def _hub_opener(repo: HubRepo, file: HubFile) -> Callable[[], IO[bytes]]:
    return lambda: fetch_hub_file(repo, file).open("rb")


def is_data(path: str) -> bool:
    """Whether a file of a hub data set holds its rows (and is no card or description)."""
    name = split_suffix(path)[0].lower()
    described = name.rpartition("/")[2].startswith(("readme", "license", "dataset_info"))
    return name.endswith(_ROWS) and not described


def local_path(source: str) -> Path | None:
    """The local file or folder that `source` names, or None for one from elsewhere."""
    scheme = source.partition(":")[0].lower()
    if scheme in ("pypi", "hf", "http", "https"):
        return None
    if source.startswith("file:/"):
        return file_url_path(source)
    return Path(source.removeprefix("file:")).expanduser()
