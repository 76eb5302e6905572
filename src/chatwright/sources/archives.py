"""Members of tar and zip archives, read where they are: nothing is ever unpacked to a path."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from chatwright.errors import DataError
from chatwright.records import disk_errors
from chatwright.sources.streams import decompressed
from chatwright.workspace import cache_folder

_TAR = re.compile(r"\.(?:tar(?P<suffix>\.gz|\.bz2|\.xz|\.zst)?|(?P<short>tgz|tbz2|txz))$", re.I)
_SHORT = {"tgz": ".gz", "tbz2": ".bz2", "txz": ".xz"}
_ZIP = (".zip", ".whl")
# A source archive shrinks its text about five times. A bomb shrinks it a thousand times.
_MAX_SWELL = 200
_SMALL = 1 << 30


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    `name` is as in the archive; `path` lacks the top folder that all members share
    (`sqlalchemy-2.0.36/doc/x.html` → `doc/x.html`). `time` is when the member was last changed,
    None where the archive does not really say.
    """

    name: str
    path: str
    size: int
    time: dt.datetime | None
    open: Callable[[], IO[bytes]]


@dataclass(slots=True)
class Archive:
    """Members sorted by path; `skipped` holds (name, reason) of links and unsafe names.

    `broken` tells, for an archive that was cut off, what is missing.
    """

    members: list[Member]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    broken: str | None = None


def is_archive(name: str) -> bool:
    """Whether a file of this name holds members."""
    return name.lower().endswith(_ZIP) or _TAR.search(name) is not None


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The members of a .tar (.gz .bz2 .xz .zst), .zip or .whl, readable until the block ends.

    A compressed tar is decompressed once into an unnamed temporary file (in the download cache),
    so that members can be read in any order; memory stays small. Raises `DataError` for a file
    that is no archive, or one that swells more than 200 times (and beyond 1 GiB).
    """
    bound = max(_SMALL, _MAX_SWELL * path.stat().st_size)
    with contextlib.ExitStack() as stack:
        try:
            if path.name.lower().endswith(_ZIP):
                archive = _open_zip(stack.enter_context(zipfile.ZipFile(path)), bound)
            else:
                archive = _open_tar(stack, path, bound)
        except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise DataError(f"not a readable archive: {error}", where=str(path)) from error
        archive.members.sort(key=lambda member: member.path)
        yield archive


def _open_zip(file: zipfile.ZipFile, bound: int) -> Archive:
    infos = {info.filename: info for info in file.infolist() if not info.is_dir()}
    if sum(info.file_size for info in infos.values()) > bound:
        raise ValueError(f"its members would fill more than {bound} bytes")
    archive, safe = _sorted_out(list(infos))
    for name, path in safe.items():
        info = infos[name]
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            archive.skipped.append((name, "link"))
        elif info.flag_bits & 1:
            archive.skipped.append((name, "encrypted"))
        else:
            time = _time(dt.datetime(*info.date_time, tzinfo=dt.UTC)) if _dated(info) else None
            opened = _opener(file.open, info)
            archive.members.append(Member(name, path, info.file_size, time, opened))
    return archive


def _dated(info: zipfile.ZipInfo) -> bool:
    """1980-01-01 is what a zip says that knows no time; some hold a month 0."""
    try:
        dt.datetime(*info.date_time, tzinfo=dt.UTC)
    except ValueError:
        return False
    return info.date_time[:3] != (1980, 1, 1)


def _open_tar(stack: contextlib.ExitStack, path: Path, bound: int) -> Archive:
    match = _TAR.search(path.name)
    if match is None:
        raise ValueError("its name does not end like that of an archive")
    suffix = match["suffix"] or _SHORT.get(match["short"] or "", "")
    raw: IO[bytes] = stack.enter_context(path.open("rb"))
    broken = None
    if suffix:
        raw, broken = _spooled(stack, raw, suffix.lower(), bound)
    tar = stack.enter_context(tarfile.open(fileobj=raw, mode="r:"))  # noqa: SIM115
    infos: dict[str, tarfile.TarInfo] = {}
    links: list[str] = []
    try:
        for info in tar:
            if info.isreg():
                infos[info.name] = info  # a later member of the same name replaces the earlier
            elif not info.isdir():
                links.append(info.name)
    except tarfile.TarError as error:
        broken = broken or str(error)
    archive, safe = _sorted_out(list(infos))
    archive.broken = broken
    archive.skipped.extend((name, "link or special file") for name in links)
    for name, inner_path in safe.items():
        info = infos[name]
        time = _time_of(info.mtime)
        archive.members.append(
            Member(name, inner_path, info.size, time, _opener(tar.extractfile, info))
        )
    return archive


def _opener(opens: Callable[..., object], info: object) -> Callable[[], IO[bytes]]:
    return lambda: cast(IO[bytes], opens(info))


def _spooled(
    stack: contextlib.ExitStack, raw: IO[bytes], suffix: str, bound: int
) -> tuple[IO[bytes], str | None]:
    """The decompressed stream in a temporary file, and how it broke off, if it did."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    spool: IO[bytes] = tempfile.TemporaryFile(dir=cache)  # noqa: SIM115
    stack.callback(spool.close)
    stream = decompressed(raw, suffix)
    with disk_errors(cache):
        while block := stream.read(1 << 20):
            spool.write(block)
            if stream.count > bound:
                raise ValueError(f"it swells to more than {bound} bytes")
        spool.seek(0)
    return spool, stream.broken


def _sorted_out(names: list[str]) -> tuple[Archive, dict[str, str]]:
    """Safe names with their paths below the shared top folder; the others are put aside."""
    archive = Archive([])
    clean: dict[str, str] = {}
    for name in names:
        path = name.removeprefix("./")
        parts = path.split("/")
        if not path or path.startswith("/") or "\\" in path or ":" in parts[0] or ".." in parts:
            archive.skipped.append((name, "unsafe path"))
        else:
            clean[name] = path
    tops = {path.split("/")[0] if "/" in path else None for path in clean.values()}
    if len(tops) == 1 and None not in tops:
        clean = {name: path.partition("/")[2] for name, path in clean.items()}
    return archive, clean


def _time_of(seconds: float) -> dt.datetime | None:
    try:
        return _time(dt.datetime.fromtimestamp(int(seconds), tz=dt.UTC)) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


def _time(time: dt.datetime) -> dt.datetime:
    return time.replace(microsecond=0)


def file_time(path: Path) -> dt.datetime | None:
    """When a file was last changed, in whole seconds of UTC."""
    return _time_of(path.stat().st_mtime)
